#include "loop/event_loop.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <utility>

#include "env/planted_fault.hpp"
#include "protocol/centrifuge_codes.hpp"
#include "transports/http_session.hpp"

namespace carillon {

namespace {
constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kEventsPerCall = 64;
constexpr std::size_t kEventsPerTurn = 512;
}  // namespace

EventLoop::EventLoop(std::uint32_t index, LoopShared& shared, Sockets& sockets, const Clock& machine,
                     TurnLimits turn_limits, Millis tick_ms, std::function<void()> wake)
    : shared_(shared),
      sockets_(sockets),
      machine_(machine),
      clock_(machine),
      shard_(index, turn_limits, clock_, std::move(wake)),
      output_(shard_, shared.unsent),
      wheel_(clock_.now_ms(), tick_ms),
      buffer_(kReadBytes),
      over_limit_(shared.refusals_per_loop) {}

EventLoop::~EventLoop() = default;

SessionContext& EventLoop::context_of(const Endpoint& endpoint) {
  if (contexts_.size() <= endpoint.number) contexts_.resize(endpoint.number + 1);
  std::unique_ptr<SessionContext>& context = contexts_[endpoint.number];
  if (!context) {
    context = std::make_unique<SessionContext>(SessionContext{.hub = shared_.hub,
                                                              .shard = shard_,
                                                              .output = output_,
                                                              .host = *this,
                                                              .access = shared_.access,
                                                              .origins = shared_.origins,
                                                              .handler = shared_.handler,
                                                              .http = shared_.http,
                                                              .deflation = shared_.deflation,
                                                              .clock = clock_,
                                                              .random = shared_.random,
                                                              .limits = shared_.limits,
                                                              .heartbeat = shared_.heartbeat,
                                                              .counters = counters_,
                                                              .is_draining = endpoint.is_draining,
                                                              .is_internal = endpoint.is_internal,
                                                              .version = shared_.version,
                                                              .bodies = shared_.bodies,
                                                              .unsent = shared_.unsent,
                                                              .directory = shared_.directory,
                                                              .personal_channel = shared_.personal_channel,
                                                              .newest_of_user = shared_.newest_of_user,
                                                              .user_connections = shared_.user_connections,
                                                              .token_cookie = shared_.token_cookie,
                                                              .node = shared_.node,
                                                              .switched_off = shared_.switched_off,
                                                              .tells_time = shared_.tells_time,
                                                              .log = shared_.log,
                                                              .others = shared_.others});
  }
  return *context;
}

// ---- a turn

void EventLoop::turn() {
  if (is_reading_ && !is_stopping_) {
    read_ready();  // else it would wait for one more turn of a large fan-out
  } else {
    turn_began_ns_ = clock_.refresh();
  }
  end_turn();
  tick_if_all_is_seen();
}

void EventLoop::take_events() {
  if (!is_reading_ || read_ready() > 0) end_turn();
  tick_if_all_is_seen();
}

std::size_t EventLoop::read_ready() {
  turn_began_ns_ = clock_.refresh();
  const std::int64_t until_ns = (clock_.now_ms() + shared_.limits.read_ms_per_turn) * 1'000'000;
  std::array<SocketEvent, kEventsPerCall> events;
  std::size_t seen = 0;
  bool is_more_there = true;
  while (is_more_there && seen < kEventsPerTurn) {
    const std::size_t found = sockets_.take_events(events);
    for (std::size_t i = 0; i < found; ++i) on_event(events[i]);
    seen += found;
    is_more_there = found == kEventsPerCall;
  }
  unseen_ -= is_more_there ? std::min(unseen_, seen) : unseen_;
  if (unseen_ == 0 && !still_to_read_) still_to_read_ = read_queue_.size();
  const std::size_t read = read_queued(until_ns);
  // Some may have left the queue unread, with their connections.
  if (still_to_read_)
    *still_to_read_ = std::min(*still_to_read_ - std::min(*still_to_read_, read), read_queue_.size());
  clock_.refresh();
  return seen + read;
}

void EventLoop::on_event(const SocketEvent& event) {
  Connection& connection = *event.connection;
  if (connection.is_gone) return;
  // Before anything is sent: a send would take the error away.
  if (event.is_broken) return drop_broken(connection);
  Outlet& outlet = connection.outlet;
  if (event.is_writable && outlet.is_clogged && !has_fault<PlantedFault::ignored_writability>(10)) {
    if (flush_->flush_unsent(outlet, clock_.now_ms(), report_)) {
      count_clogged(connection);
      outlet.wants_empty_notice = false;
      connection.session->on_outlet_empty();
      if (connection.is_close_wanted) settle_later(connection);
    }
  }
  if (event.is_hung_up) connection.has_hangup = true;
  if (!event.is_readable && !event.is_hung_up) return;
  connection.has_unread = true;
  if (!connection.is_reading_paused) return read_later(connection);
  if (event.is_hung_up) connection.session->on_hang_up();
}

void EventLoop::read_later(Connection& connection) {
  if (std::exchange(connection.is_read_queued, true)) return;
  read_queue_.push_back(&connection);
}

std::size_t EventLoop::read_queued(std::int64_t until_ns) {
  // Each connection gets an even share of what is left of the turn's time. A handshake or a message full of
  // commands costs much more than a delivery: nobody is to wait for all that the others have sent.
  reading_.clear();
  reading_.swap(read_queue_);
  std::size_t next = 0;
  while (next < reading_.size()) {
    const std::int64_t now_ns = machine_.now_ns();
    if (next > 0 && now_ns >= until_ns) break;  // one at least, so that it goes on
    const auto waiting = static_cast<std::int64_t>(reading_.size() - next);
    time_until_ns_ = now_ns + std::max<std::int64_t>(1, (until_ns - now_ns) / waiting);
    Connection& connection = *reading_[next++];
    connection.is_read_queued = false;
    if (!connection.is_gone) read_one(connection);
  }
  time_until_ns_ = 0;
  const auto rest = reading_.begin() + static_cast<std::ptrdiff_t>(next);
  const auto end =
      std::remove_if(rest, reading_.end(), [](const Connection* connection) { return connection->is_gone; });
  read_queue_.insert(read_queue_.begin(), rest, end);
  return next;
}

void EventLoop::read_one(Connection& connection) {
  // What the session has put aside comes first: the end of the connection must not overtake it.
  if (std::exchange(connection.has_input_aside, false)) {
    if (!connection.is_lingering) connection.session->read_on();
  } else if (!connection.is_reading_paused && std::exchange(connection.has_unread, false)) {
    read(connection);
  }
  if (connection.is_gone) return;
  if (connection.has_input_aside || (connection.has_unread && !connection.is_reading_paused)) {
    read_later(connection);
  } else if (connection.is_reading_paused && connection.has_hangup) {
    connection.session->on_hang_up();  // it had not paused yet when the end was seen, which is not read now
  }
}

void EventLoop::read(Connection& connection) {
  const std::ptrdiff_t count = sockets_.receive(connection.outlet.descriptor, buffer_);
  if (count < 0) {
    if (count == Sockets::kBroken) drop_broken(connection);
    return;
  }
  if (count == 0) {
    connection.has_peer_closed = true;
    return connection.is_close_wanted ? settle_later(connection) : connection.session->on_end_of_input();
  }
  if (!connection.is_lingering && !connection.is_close_wanted) {
    connection.session->on_bytes({buffer_.data(), static_cast<std::size_t>(count)});
  }
  // A full buffer was not all there is, and behind a hang-up stands the end: it is asked again, after the
  // others.
  if (connection.has_hangup || static_cast<std::size_t>(count) == buffer_.size())
    connection.has_unread = true;
}

void EventLoop::end_turn() {
  shard_.turn();
  if (is_stopping_) return output_.clear();  // everything is closed: nothing may begin any more
  finishing_.swap(output_.finishing());
  for (std::size_t i = 0; i < finishing_.size(); ++i) {
    if (finishing_[i] != nullptr) finishing_[i]->finish_turn();
  }
  finishing_.clear();
  flush();
  output_.count_sent(machine_);
  settle();
  // A second part of the same turn, and the ticks of a hold, have no beginning of their own.
  if (const std::int64_t began_ns = std::exchange(turn_began_ns_, 0); began_ns != 0)
    metrics_.turn.observe_ns(machine_.now_ns() - began_ns);
}

bool EventLoop::has_work() {
  if (is_stopping_) return false;
  const bool has_unread = !read_queue_.empty() && is_reading_;
  return shard_.has_work() || has_unread || !output_.finishing().empty() || !output_.is_empty();
}

void EventLoop::flush() {
  // Sessions that are told of an empty outlet may write again; a third round waits for the next turn.
  for (int round = 0; round < 2 && !output_.is_empty(); ++round) {
    flush_->flush(output_, clock_.now_ms(), report_);
    output_.clear();
    FlushReport report;
    std::swap(report, report_);
    for (Outlet* outlet : report.broken) drop_broken(connection_of(*outlet));
    for (Outlet* outlet : report.clogged) {
      Connection& connection = connection_of(*outlet);
      count_clogged(connection);
      if (!connection.is_gone) wheel_.schedule(connection, deadline_of(connection));
      relieve_unsent();
    }
    for (Outlet* outlet : report.emptied) {
      const Connection& connection = connection_of(*outlet);
      if (connection.is_gone) continue;
      outlet->wants_empty_notice = false;
      connection.session->on_outlet_empty();
    }
    report.clear();
    if (report_.broken.empty()) std::swap(report, report_);  // keeps the vectors' memory
  }
  for (Outlet* outlet : report_.broken) drop_broken(connection_of(*outlet));
  report_.clear();
}

void EventLoop::settle_later(Connection& connection) {
  if (connection.is_settling) return;
  connection.is_settling = true;
  settling_.push_back(&connection);
}

void EventLoop::settle() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < settling_.size(); ++i) {
    Connection& connection = *settling_[i];
    if (connection.is_cut) drop(connection);
    if (!connection.is_gone && connection.outlet.last_slice != nullptr) {  // the next flush comes first
      settling_[kept++] = &connection;
      continue;
    }
    connection.is_settling = false;
    if (connection.is_gone || !connection.is_close_wanted || connection.outlet.is_clogged) continue;
    if (connection.has_peer_closed) {
      drop(connection);
    } else if (!connection.is_lingering) {
      begin_linger(connection);
    }
  }
  settling_.resize(kept);
  replaced_.clear();
  std::erase_if(graveyard_, [this](const auto& connection) {
    if (connection->outlet.last_slice != nullptr) return false;  // slices of the next flush point at it
    sockets_.close(connection->outlet.descriptor);
    return true;
  });
}

// ---- ends

void EventLoop::begin_linger(Connection& connection) {
  // Closing while the peer still sends would reset the connection and take our last words with it.
  connection.session->let_go();
  count_left(connection);
  connection.is_lingering = true;
  connection.is_reading_paused = false;
  connection.outlet.is_closing = true;
  connection.until_ms = clock_.now_ms() + std::min<Millis>(2'000, shared_.limits.close_timeout_ms);
  sockets_.end_sending(connection.outlet.descriptor);
  wheel_.schedule(connection, connection.until_ms);
  if (connection.has_unread) read_later(connection);
}

void EventLoop::drop(Connection& connection) {
  if (connection.is_gone) return;
  connection.is_gone = true;
  end_handshake(connection);
  count_left(connection);
  connection.endpoint->connections.fetch_sub(1);
  count_clogged(connection);
  set_kernel_bytes(connection, 0);
  if (!connection.is_lingering) connection.session->let_go();
  connection.outlet.unsent.reset();
  wheel_.remove(connection);
  if (connection.is_read_queued) std::erase(read_queue_, &connection);
  over_limit_.remove(connection);
  // Closing alone would not end its events: a forked child, or the next process, may hold the socket, too.
  sockets_.unwatch(connection);
  // The descriptor stays open until the turn is over: its number must not be given to another connection
  // before.
  const std::uint32_t index = connection.index;
  graveyard_.push_back(std::move(connections_[index]));
  if (index + 1 < connections_.size()) {
    connections_[index] = std::move(connections_.back());
    connections_[index]->index = index;
  }
  connections_.pop_back();
  shared_.connections.fetch_sub(1);
}

void EventLoop::drop_broken(Connection& connection) {
  if (connection.is_gone) return;
  if (!connection.is_lingering) lost(connection);
  drop(connection);
}

void EventLoop::lost(Connection& connection) {
  // Whatever waits here or not: what the kernel has taken was never acknowledged, and it saw the stall first,
  // on its own clock.
  if (sockets_.has_timed_out(connection.outlet.descriptor)) return stalled(connection);
  connection.session->note_end(0, "the connection was lost");
}

void EventLoop::stalled(Connection& connection) {
  if (sockets_.is_silent(connection.outlet.descriptor)) {
    counters_.no_ack.fetch_add(1, std::memory_order_relaxed);
    return connection.session->note_end(0, "no ack: the peer has vanished");
  }
  counters_.slow.fetch_add(1, std::memory_order_relaxed);
  connection.session->note_end(kDisconnectSlow.code, "slow: took nothing of what waited for it");
}

bool EventLoop::relieve_unsent() {
  // Each loop closes only connections of its own: those that hold too much may be another's, which has more
  // than an even share then.
  const UnsentBudget& budget = shared_.unsent;
  const std::int64_t even_share = budget.bytes_max() / static_cast<std::int64_t>(shared_.loops);
  if (!budget.is_exceeded() || output_.unsent().bytes() <= even_share) return false;
  struct Holder {
    std::int64_t cost;  // memory, times how long the kernel has taken nothing of it
    Connection* connection;
    bool operator<(const Holder& other) const { return cost < other.cost; }
  };
  std::vector<Holder> holders;
  for (const auto& connection : connections_) {
    const Outlet& outlet = connection->outlet;
    if (!outlet.unsent) continue;
    holders.push_back(
        {outlet.unsent->memory() * (clock_.now_ms() - outlet.progress_ms + 1), connection.get()});
  }
  std::make_heap(holders.begin(), holders.end());
  // An eighth more than must be, so that this search is rare.
  const std::int64_t enough = budget.bytes_max() - budget.bytes_max() / 8;
  for (auto end = holders.end(); end != holders.begin() && budget.bytes() > enough; --end) {
    std::pop_heap(holders.begin(), end);
    Connection& connection = *(end - 1)->connection;
    shared_.unsent.count_closed();
    counters_.slow.fetch_add(1, std::memory_order_relaxed);
    connection.session->note_end(kDisconnectSlow.code, "slow: limits.unsent_bytes_total was exceeded");
    drop(connection);
  }
  return true;
}

bool EventLoop::cut(std::string_view client) {
  if (client.empty()) return false;  // connections that are no clients yet, or have no id, are named so
  bool is_here = false;
  for (const auto& connection : connections_) {
    if (connection->is_gone || connection->session->client_id() != client) continue;
    is_here = connection->is_cut = true;
    connection->session->note_end(0, "cut by the server");
    settle_later(*connection);
  }
  return is_here;
}

void EventLoop::cut_off(const Endpoint& endpoint) {
  for (const auto& connection : connections_) {
    if (connection->endpoint != &endpoint || connection->is_gone) continue;
    connection->is_cut = true;
    connection->session->note_end(0, "cut off at the end of a drain");
    settle_later(*connection);
  }
}

void EventLoop::stop() {
  is_stopping_ = true;
  for (const auto& connection : connections_) {
    if (connection->is_gone) continue;
    connection->session->note_end(0, "the server stopped");
    connection->session->let_go();
  }
}

void EventLoop::abandon() {
  for (const auto& connection : connections_) {
    try {
      connection->session->note_end(0, "the server failed");
      connection->session->let_go();
    } catch (const std::exception&) {
      continue;  // the first failure is the one that is told
    }
  }
  shard_.close();
  release();
}

void EventLoop::release() {
  replaced_.clear();
  for (const auto& connection : graveyard_) sockets_.close(connection->outlet.descriptor);
  graveyard_.clear();
  for (const auto& connection : connections_) {
    sockets_.close(connection->outlet.descriptor);
    connection->is_gone = true;
    end_handshake(*connection);
    count_left(*connection);
    connection->endpoint->connections.fetch_sub(1);
    count_clogged(*connection);
    set_kernel_bytes(*connection, 0);
  }
  shared_.connections.fetch_sub(connections_.size());
  connections_.clear();
}

}  // namespace carillon
