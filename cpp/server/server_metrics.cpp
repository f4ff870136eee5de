// The page of metrics: /metrics, Server.metrics().
#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/exposition.hpp"
#include "server/memory_trim.hpp"
#include "server/network.hpp"
#include "server/process_figures.hpp"

namespace carillon {

namespace {

using Of = Exposition::Unit;

constexpr std::array kCarriers{
    Transport::websocket,    Transport::sse,           Transport::poll,    Transport::http_stream,
    Transport::emulated_sse, Transport::uni_websocket, Transport::uni_sse, Transport::uni_http_stream};
constexpr std::array kHookOperations{Operation::connect,     Operation::subscribe, Operation::publish,
                                     Operation::presence,    Operation::history,   Operation::refresh,
                                     Operation::sub_refresh, Operation::rpc};
struct BurnWindow {
  std::string_view name;
  Millis ms;
};
constexpr std::array kBurnWindows{BurnWindow{"5m", 300'000}, BurnWindow{"1h", 3'600'000},
                                  BurnWindow{"6h", ErrorBudget::kLongestWindowMs}};

constexpr double seconds(Millis ms) { return static_cast<double>(ms) / 1000; }

using Shards = std::vector<std::unique_ptr<GatewayShard>>;

template <typename Get>
std::uint64_t sum_of(const Shards& shards, Get get) {
  std::uint64_t sum = 0;
  for (const auto& shard : shards) sum += get(*shard);
  return sum;
}

template <typename Get>
HistogramCounts counts_of(const Shards& shards, Get get) {
  HistogramCounts sum;
  for (const auto& shard : shards) sum += get(*shard).counts();
  return sum;
}

void add_forwarded(Exposition& page, const FleetSessions& sessions) {
  using Forwarding = OtherGateways::Forwarding;
  page.counter("carillon_forwarded_commands_total",
               "Requests to /emulation for another gateway, by what became of them.")
      .sample(sessions.forwarded(Forwarding::taken), {{"result", "taken"}})
      .sample(sessions.forwarded(Forwarding::unknown), {{"result", "unknown"}})
      .sample(sessions.forwarded(Forwarding::too_long), {{"result", "too_long"}})
      .sample(sessions.forwarded(Forwarding::refused), {{"result", "refused"}})
      .sample(sessions.forwarded(Forwarding::late), {{"result", "late"}});
}

void add_connections(Exposition& page, const Shards& shards, const Gateway& gateway,
                     const GatewayShared& shared) {
  const auto open = [&](auto member) {
    return sum_of(shards, [member](const GatewayShard& shard) { return (shard.counters().*member).load(); });
  };
  page.gauge("carillon_clients", "Clients that are connected, by transport.");
  for (const Transport each : kCarriers)
    page.sample(
        sum_of(shards, [each](const GatewayShard& shard) { return shard.counters().open(each).load(); }),
        {{"transport", name_of(each)}});
  page.gauge("carillon_connections", "Connections that are open, clients or not.")
      .sample(std::uint64_t{gateway.connections()});
  page.gauge("carillon_connections_max", "Maximum number of connections, by limits and descriptors.")
      .sample(std::uint64_t{gateway.connections_max()});
  page.gauge("carillon_handshakes", "Connections that are accepted, and not yet clients.")
      .sample(std::uint64_t{shared.admission.handshakes()});
  page.gauge("carillon_clogged_connections", "Connections whose kernel buffer is full.")
      .sample(open(&SessionCounters::clogged));
  page.counter("carillon_accepted_connections_total", "Connections that were accepted.")
      .sample(shared.accepted.load());
  page.counter("carillon_refused_connections_total",
               "Connections over a limit that were refused or closed unread.")
      .sample(open(&SessionCounters::refused), {{"reason", "limit"}})
      .sample(shared.turned_away.load(), {{"reason", "turned_away"}});
  page.counter("carillon_accept_pauses_total", "Times that accepting paused because of a limit.")
      .sample(std::uint64_t{shared.admission.pauses()});
  page.counter("carillon_disconnects_total", "Clients that the server gave up, by reason.")
      .sample(open(&SessionCounters::slow), {{"reason", "slow"}})
      .sample(open(&SessionCounters::no_pong), {{"reason", "no_pong"}})
      .sample(open(&SessionCounters::no_ack), {{"reason", "no_ack"}})
      .sample(open(&SessionCounters::handshake_timeouts), {{"reason", "handshake_timeout"}});
  page.counter("carillon_http_requests_total", "HTTP requests that were read.")
      .sample(open(&SessionCounters::requests));
  page.counter("carillon_bad_requests_total", "Requests and messages with a mistake of the client.")
      .sample(open(&SessionCounters::bad_requests));
  page.counter("carillon_commands_total", "Commands of clients that were read.")
      .sample(open(&SessionCounters::commands));
  page.gauge("carillon_commands_under_way", "Commands of clients that wait for a hook or the store.")
      .sample(open(&SessionCounters::commands_under_way));
  page.histogram("carillon_connect_to_live_seconds",
                 "From the accept of a connection until the first subscription of its client has read "
                 "everything, if it "
                 "was asked for within limits.handshake_timeout_ms.")
      .sample(counts_of(shards, [](GatewayShard& shard) -> auto& { return shard.metrics().connect_to_live; }),
              Of::nanoseconds);
  page.gauge("carillon_draining", "1 while clients are asked to reconnect elsewhere.")
      .sample(std::uint64_t{shared.is_draining.load() ? 1U : 0U});
}

void add_deliveries(Exposition& page, const Shards& shards, Hub& hub) {
  const auto hub_sum = [&](auto get) {
    return sum_of(shards, [get](GatewayShard& shard) { return get(shard.shard()); });
  };
  const auto delivered = [&](Transport transport, auto member) {
    return sum_of(
        shards, [=](const GatewayShard& shard) { return (shard.deliveries().of(transport).*member).load(); });
  };
  page.gauge("carillon_subscriptions", "Open subscriptions.").sample(hub.subscriptions());
  page.gauge("carillon_channels", "Channels with subscribers.").sample(hub.channels_followed());
  page.counter(
      "carillon_publications_total",
      "Publications that publishers gave to this server, by namespace or pattern of the configuration.");
  for (const auto& [name, count] : hub.publications().sums()) page.sample(count, {{"namespace", name}});
  page.counter("carillon_deliveries_total",
               "Publications, joins and leaves that subscribers got, by transport.");
  for (const Transport each : kCarriers)
    page.sample(delivered(each, &DeliveryMetrics::Sum::deliveries), {{"transport", name_of(each)}});
  page.sample(hub_sum([](const Shard& shard) { return shard.delivered_in_process(); }),
              {{"transport", "in_process"}});
  page.counter("carillon_delivered_bytes_total", "Bytes of these deliveries, as framed for the transport.");
  for (const Transport each : kCarriers)
    page.sample(delivered(each, &DeliveryMetrics::Sum::bytes), {{"transport", name_of(each)}});
  page.counter("carillon_drops_total", "Entries that a subscription did not get, by reason.");
  for (std::size_t i = 0; i < kDropReasons; ++i) {
    page.sample(hub_sum([i](const Shard& shard) { return shard.dropped(static_cast<DropReason>(i)); }),
                {{"reason", kDropReasonNames[i]}});
  }
  page.counter("carillon_gaps_total", "Gaps that were reported to open subscriptions.")
      .sample(hub_sum([](const Shard& shard) { return shard.gaps_told(); }));
  page.counter("carillon_recoveries_total", "Subscriptions that began with a position, by what they got.")
      .sample(hub.recovered(), {{"result", "recovered"}})
      .sample(hub.not_recovered(), {{"result", "not_recovered"}});
  page.histogram(
          "carillon_publish_to_socket_seconds",
          "From a publisher's call until the kernel has the bytes, one observation per delivery, without "
          "subscribers that catch up.")
      .sample(counts_of(shards,
                        [](GatewayShard& shard) -> auto& { return shard.deliveries().publish_to_socket; }),
              Of::nanoseconds);
  page.histogram("carillon_batch_publications", "Entries that a subscriber got at once.")
      .sample(counts_of(shards,
                        [](GatewayShard& shard) -> auto& { return shard.deliveries().batch_publications; }),
              Of::plain);
  Shard::Lag slowest;
  for (const auto& shard : shards) {
    const Shard::Lag lag = shard->shard().slowest();
    slowest = {std::max(slowest.publications, lag.publications), std::max(slowest.age_ms, lag.age_ms)};
  }
  page.gauge("carillon_lagging_subscriptions", "Subscriptions that are behind.")
      .sample(hub_sum([](const Shard& shard) { return shard.lagging(); }));
  page.gauge("carillon_slowest_subscription_publications", "How far the slowest subscription is behind.")
      .sample(slowest.publications);
  page.gauge("carillon_slowest_subscription_seconds",
             "Age of the oldest publication that the slowest subscription has not got.")
      .sample(seconds(slowest.age_ms));
}

void add_fan_out(Exposition& page, const Shards& shards, const Hub& hub) {
  page.histogram("carillon_walk_members", "Inboxes that one step of a walk over members wrote to.")
      .sample(hub.walk_members().counts(), Of::plain);
  page.counter("carillon_inbox_entries_total", "Publications that were entered into inboxes.")
      .sample(hub.inbox_entries());
  page.counter("carillon_inbox_timeouts_total",
               "Publications that were stored, and perhaps not in all inboxes when their publishers were "
               "answered.")
      .sample(hub.inbox_timeouts());
  page.counter("carillon_inbox_reads_total", "Inboxes that were read.").sample(hub.inbox_reads());
  page.counter("carillon_inbox_merges_total", "Ranges of logs that were merged for them.")
      .sample(hub.inbox_merges());
  page.counter("carillon_sweeps_total", "Visits of a thread to a channel in read mode.")
      .sample(sum_of(shards, [](GatewayShard& shard) { return shard.shard().sweeps(); }));
}

void add_store(Exposition& page, const StoreFigures& figures, const MeasuredStore* store, const Hub& hub) {
  page.gauge("carillon_store_up", "1 while the store takes publications.")
      .sample(std::uint64_t{figures.trouble.empty() ? 1U : 0U});
  page.gauge("carillon_history_bytes", "Memory of publications, their encoded forms, and channels.")
      .sample(hub.history_bytes() + static_cast<std::int64_t>(figures.dormant_bytes));
  page.gauge("carillon_inbox_bytes", "Memory of members, inboxes and read positions.")
      .sample(std::uint64_t{figures.inbox_bytes});
  page.gauge("carillon_inbox_users", "Users with an inbox.").sample(std::uint64_t{figures.inbox_users});
  page.gauge("carillon_store_wal_bytes", "Size of the write-ahead log of SQLite.")
      .sample(std::uint64_t{figures.wal_bytes});
  const Hub::PageFigures pages = hub.pages();
  page.counter("carillon_stored_pages_read_total",
               "Pages of histories that were read from the store for subscribers.")
      .sample(pages.read);
  page.counter("carillon_stored_page_publications_total", "Publications in these pages.")
      .sample(pages.publications);
  page.gauge("carillon_stored_pages", "Pages in memory, or being read.")
      .sample(std::uint64_t{pages.room.under_way});
  page.gauge("carillon_stored_pages_waiting", "Pages that wait for room (limits.stored_pages).")
      .sample(std::uint64_t{pages.room.waiting});
  page.counter("carillon_stored_page_waits_total", "Times that a page had to wait for room.")
      .sample(pages.room.waits);
  if (store == nullptr) return;  // in memory it answers at once
  page.histogram("carillon_store_call_seconds", "How long the store took to answer, by call.");
  for (std::size_t i = 0; i < MeasuredStore::kCallNames.size(); ++i) {
    page.sample(store->latency(static_cast<MeasuredStore::Call>(i)), Of::nanoseconds,
                {{"call", MeasuredStore::kCallNames[i]}});
  }
  page.gauge("carillon_store_calls_under_way", "Calls that the store has not answered.")
      .sample(store->under_way());
  page.counter("carillon_store_errors_total", "Answers of the store with an error.");
  for (std::size_t i = 1; i < kStoreErrors; ++i) {
    const auto error = static_cast<StoreError>(i);
    page.sample(store->errors(error), {{"error", name_of(error)}});
  }
}

void add_loops(Exposition& page, const Shards& shards) {
  page.histogram("carillon_turn_seconds", "Length of a turn of a thread: read, deliver, send.");
  for (const auto& shard : shards)
    page.sample(shard->metrics().turn.counts(), Of::nanoseconds,
                {{"shard", std::to_string(shard->shard().index())}});
  page.histogram("carillon_loop_lag_seconds", "By how much the ticks of a thread came too late.");
  for (const auto& shard : shards)
    page.sample(shard->metrics().lag.counts(), Of::nanoseconds,
                {{"shard", std::to_string(shard->shard().index())}});
}

void add_questions(Exposition& page, const HookAccess& hooks, const ProxyAccess& proxies) {
  page.histogram("carillon_hook_seconds", "From a client's question to the answer of the hook.");
  for (const Operation each : kHookOperations)
    if (hooks.has_hook(each))
      page.sample(hooks.latency(each).counts(), Of::nanoseconds, {{"operation", name_of(each)}});
  page.gauge("carillon_hook_questions", "Questions that wait for hooks.").sample(std::uint64_t{hooks.open()});
  page.counter("carillon_hook_failures_total", "Questions that hooks did not decide, by reason.")
      .sample(hooks.undecided(), {{"reason", "undecided"}})
      .sample(hooks.refused(), {{"reason", "no_room"}})
      .sample(hooks.lost_notices(), {{"reason", "lost_notice"}});
  const BackendCounters& backends = proxies.counters();
  page.histogram("carillon_proxy_seconds", "From a client's question to the answer of the backend.");
  for (const Operation each : kHookOperations)
    if (proxies.is_used(each))
      page.sample(backends.latencies.at(static_cast<std::size_t>(each)).counts(), Of::nanoseconds,
                  {{"operation", name_of(each)}});
  page.gauge("carillon_proxy_questions", "Questions that wait for backends.").sample(backends.open.load());
  page.counter("carillon_proxy_failures_total", "Questions that backends did not decide, by reason.")
      .sample(backends.undecided.load(), {{"reason", "undecided"}})
      .sample(backends.refused.load(), {{"reason", "no_room"}});
  page.counter("carillon_proxy_connections_total", "Connections that were opened to backends.")
      .sample(backends.connections.load());
}

void add_process(Exposition& page, const GatewayShared& shared, std::uint64_t kernel_bytes,
                 std::uint64_t descriptors) {
  const ProcessFigures process = process_figures();
  page.gauge("carillon_body_bytes", "Size of the request bodies that are being read or carried out.")
      .sample(static_cast<std::int64_t>(shared.bodies.bytes()));
  page.gauge("carillon_unsent_bytes", "Memory of replies that clients do not read.")
      .sample(shared.unsent.bytes());
  page.gauge("carillon_kernel_bytes", "Memory in the kernel for data that clients have not acknowledged.")
      .sample(kernel_bytes);
  page.gauge("process_resident_memory_bytes", "Resident memory of the process.").sample(resident_bytes());
  page.counter("process_cpu_seconds_total", "Processor time of the process.").sample(process.cpu_s);
  page.gauge("process_start_time_seconds", "When the process began, since 1970.").sample(process.started_s);
  page.gauge("process_open_fds", "Open descriptors.").sample(descriptors);
  page.gauge("process_max_fds", "Maximum number of open descriptors.").sample(process.descriptors_max);
}

void add_objectives(Exposition& page, const Objectives& objectives, const Objectives::Counts& counts,
                    Millis now_ms) {
  struct Row {
    std::string_view name;
    const ErrorBudget& budget;
    const ObjectiveCounts& counts;
  };
  const std::array<Row, 2> rows{Row{"availability", objectives.availability, counts.availability},
                                Row{"latency", objectives.latency, counts.latency}};
  page.gauge("carillon_objective_ratio", "Share of events that have to be good.");
  for (const Row& row : rows) page.sample(row.budget.objective(), {{"objective", row.name}});
  page.gauge("carillon_objective_latency_seconds", "Time within which a delivery is good.")
      .sample(seconds(objectives.latency_ms));
  page.counter(
      "carillon_objective_events_total",
      "availability: publications and new connections, good if taken. latency: deliveries, good if in time.");
  for (const Row& row : rows) {
    page.sample(row.counts.good, {{"objective", row.name}, {"result", "good"}});
    page.sample(row.counts.bad, {{"objective", row.name}, {"result", "bad"}});
  }
  page.gauge("carillon_error_budget_burn_rate",
             "Bad events within a window, in multiples of what the objective permits; 1 uses it up exactly.");
  for (const Row& row : rows)
    for (const auto& [name, ms] : kBurnWindows)
      page.sample(row.budget.burn_rate(now_ms, ms, row.counts), {{"objective", row.name}, {"window", name}});
  page.gauge(
      "carillon_error_budget_remaining_ratio",
      "What is left of the bad events that the objective permits since the start; below 0 it is spent.");
  for (const Row& row : rows) page.sample(row.budget.remaining(row.counts), {{"objective", row.name}});
}

}  // namespace

Objectives::Counts Server::objective_counts() const {
  const Shards& shards = network_->gateway.shards();
  Objectives::Counts counts;
  // Each of these counts only rises: a counter that falls looks like a restart.
  if (measured_store_) {
    counts.availability.good = measured_store_->answered_publications();
    counts.availability.bad = measured_store_->failed_publications();
  } else {
    for (const auto& [name, count] : hub_->publications().sums()) counts.availability.good += count;
  }
  counts.availability.bad += hub_->inbox_timeouts();
  counts.availability.good += network_->shared.within_limits.load();
  counts.availability.bad += network_->shared.closed_unread.load();
  for (const auto& shard : shards) {
    counts.availability.good += shard->counters().served_over_limit.load();
    counts.availability.bad += shard->counters().refused.load();
  }
  const HistogramCounts latencies =
      counts_of(shards, [](GatewayShard& shard) -> auto& { return shard.deliveries().publish_to_socket; });
  const auto objective_ns = static_cast<std::uint64_t>(objectives_.latency_ms) * 1'000'000;
  for (std::size_t i = 0; i < latencies.observations.size(); ++i) {
    const bool is_good = i < latencies.bounds.size() && latencies.bounds[i] <= objective_ns;
    (is_good ? counts.latency.good : counts.latency.bad) += latencies.observations[i];
  }
  return counts;
}

std::string Server::metrics() {
  const Gateway& gateway = network_->gateway;
  const Shards& shards = gateway.shards();
  const GatewayShared& shared = network_->shared;
  Exposition page;
  page.gauge("carillon_info", "This server; always 1.")
      .sample(std::uint64_t{1}, {{"version", version_}, {"flush", gateway.flush_name()}});
  add_connections(page, shards, gateway, shared);
  add_forwarded(page, network_->fleet_sessions);
  add_deliveries(page, shards, *hub_);
  add_fan_out(page, shards, *hub_);
  add_loops(page, shards);
  add_store(page, store_->figures(), measured_store_.get(), *hub_);
  add_questions(page, network_->access, network_->proxy_access);
  page.counter("carillon_events_total", "Records for the operator in the log, by event.");
  for (const auto& [event, count] : network_->log.events()) page.sample(count, {{"event", event}});
  page.counter("carillon_log_lines_lost_total", "Records that were lost because their queue was full.")
      .sample(network_->log.lost());
  page.counter("carillon_log_records_suppressed_total", "Records over limits.log_records_per_s.")
      .sample(network_->log.suppressed());
  add_objectives(page, objectives_, objective_counts(), clock_.now_ms());
  const std::uint64_t kernel_bytes =
      sum_of(shards, [](const GatewayShard& shard) { return shard.counters().kernel_bytes.load(); });
  add_process(page, shared, kernel_bytes, descriptors_.load(std::memory_order_relaxed));
  return page.take();
}

}  // namespace carillon
