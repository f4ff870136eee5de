#include <future>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/ledger_document.hpp"
#include "server/network.hpp"

namespace carillon {

using nlohmann::json;

std::string Server::stats() {
  std::uint64_t websocket = 0;
  std::uint64_t sse = 0;
  std::uint64_t polls = 0;
  std::uint64_t emulated = 0;
  std::uint64_t unidirectional = 0;
  std::uint64_t requests = 0;
  std::uint64_t commands = 0;
  std::uint64_t commands_under_way = 0;
  std::uint64_t command_pauses = 0;
  std::uint64_t refused = 0;
  std::uint64_t slow = 0;
  std::uint64_t no_pong = 0;
  std::uint64_t no_ack = 0;
  std::uint64_t clogged = 0;
  std::uint64_t kernel_bytes = 0;
  std::uint64_t lagging = 0;
  std::uint64_t gaps_told = 0;
  std::uint64_t sweeps = 0;
  std::uint64_t handshake_timeouts = 0;
  std::uint64_t bad_requests = 0;
  for (const auto& shard : network_->gateway.shards()) {
    const SessionCounters& counters = shard->counters();
    websocket += counters.websocket;
    sse += counters.sse;
    polls += counters.polls;
    emulated += counters.emulated();
    unidirectional += counters.unidirectional();
    requests += counters.requests;
    commands += counters.commands;
    commands_under_way += counters.commands_under_way;
    command_pauses += counters.command_pauses;
    refused += counters.refused;
    slow += counters.slow;
    no_pong += counters.no_pong;
    no_ack += counters.no_ack;
    clogged += counters.clogged;
    kernel_bytes += counters.kernel_bytes;
    lagging += shard->shard().lagging();
    gaps_told += shard->shard().gaps_told();
    sweeps += shard->shard().sweeps();
    handshake_timeouts += counters.handshake_timeouts;
    bad_requests += counters.bad_requests;
  }
  const AdaptiveThreshold& adaptive = hub_->adaptive_threshold();
  std::uint64_t backlog = 0;
  json listeners = json::array();
  for (const ListenerInfo& each : network_->gateway.listeners()) {
    backlog += each.backlog;
    listeners.push_back({{"host", each.host},
                         {"port", each.port},
                         {"connections", each.connections},
                         {"is_draining", each.is_draining}});
  }
  const Hub::PageFigures pages = hub_->pages();
  const StoreFigures figures = store_->figures();
  const json document = {
      {"version", version_},
      {"uptime_ms", clock_.now_ms() - started_ms_},
      {"threads", network_->gateway.shards().size()},
      {"is_running", is_running()},
      {"is_draining", network_->shared.is_draining.load()},
      {"connections", network_->gateway.connections()},
      {"listeners", std::move(listeners)},
      {"backlog", backlog},
      {"handshakes", network_->shared.admission.handshakes()},
      {"websocket", websocket},
      {"sse", sse},
      {"polls", polls},
      {"emulated", emulated},
      {"unidirectional", unidirectional},
      {"subscriptions", hub_->subscriptions()},
      {"channels", hub_->channels_followed()},
      {"channels_in_memory", hub_->channels_in_use()},
      {"channels_known", figures.channels_known},
      {"clogged", clogged},
      {"kernel_bytes", kernel_bytes},
      {"resident_bytes", resident_bytes()},
      {"memory_trims", memory_trim_.trims()},
      {"lagging", lagging},
      {"published", hub_->published()},
      {"recovered", hub_->recovered()},
      {"not_recovered", hub_->not_recovered()},
      {"gaps_told", gaps_told},
      {"inbox_bytes", figures.inbox_bytes},
      {"inbox_users", figures.inbox_users},
      {"inbox_entries", hub_->inbox_entries()},
      {"inbox_reads", hub_->inbox_reads()},
      {"inbox_merges", hub_->inbox_merges()},
      {"sweeps", sweeps},
      {"fanout_write_ns", adaptive.write_ns()},
      {"fanout_read_ns", adaptive.read_ns()},
      {"adaptive_factor", adaptive.factor()},
      {"history_bytes", hub_->history_bytes() + static_cast<std::int64_t>(figures.dormant_bytes)},
      {"stored_pages", pages.room.under_way},
      {"stored_pages_waiting", pages.room.waiting},
      {"stored_pages_read", pages.read},
      {"stored_page_publications", pages.publications},
      {"stored_page_waits", pages.room.waits},
      {"store_trouble", figures.trouble},
      {"wal_bytes", figures.wal_bytes},
      {"body_bytes", network_->shared.bodies.bytes()},
      {"unsent_bytes", network_->shared.unsent.bytes()},
      {"requests", requests},
      {"commands", commands},
      {"commands_under_way", commands_under_way},
      {"command_pauses", command_pauses},
      {"connections_max", network_->gateway.connections_max()},
      {"accepted", network_->shared.accepted.load()},
      {"accept_pauses", network_->shared.admission.pauses()},
      {"refused", refused},
      {"turned_away", network_->shared.turned_away.load()},
      {"without_descriptor", network_->shared.without_descriptor.load()},
      {"slow", slow},
      {"no_pong", no_pong},
      {"no_ack", no_ack},
      {"handshake_timeouts", handshake_timeouts},
      {"bad_requests", bad_requests},
      {"deflated", network_->shared.deflation.deflated()},
      {"inflated", network_->shared.deflation.inflated()},
      {"bodies_refused", network_->shared.bodies.refused()},
      {"unsent_closed", network_->shared.unsent.closed()},
      {"log_lines_lost", network_->log.lost()},
      {"log_records_suppressed", network_->log.suppressed()},
      {"hook_questions", network_->access.open()},
      {"hooks_undecided", network_->access.undecided()},
      {"hooks_refused", network_->access.refused()},
      {"disconnects_lost", network_->access.lost_notices()},
      {"proxy_requests", network_->proxy_access.counters().open.load()},
      {"proxies_undecided", network_->proxy_access.counters().undecided.load()},
      {"proxies_refused", network_->proxy_access.counters().refused.load()},
      {"proxy_connections", network_->proxy_access.counters().connections.load()},
      {"flush", network_->gateway.flush_name()},
      {"last_error", network_->gateway.failure()},
  };
  return document.dump();
}

std::string Server::ledger(const std::string& channel, const std::string& client) {
  auto promise = std::make_shared<std::promise<Ledger>>();
  std::future<Ledger> future = promise->get_future();
  Ledger ledger;
  {
    // Not while stop() takes the shards away.
    const std::lock_guard lifecycle(lifecycle_mutex_);
    hub_->ledger([promise](Ledger result) { promise->set_value(std::move(result)); }, Ledger::kAllRows,
                 {channel, client});
    if (is_running_ || has_stopped_) ledger = future.get();
  }
  return ledger_document(std::move(ledger));
}

}  // namespace carillon
