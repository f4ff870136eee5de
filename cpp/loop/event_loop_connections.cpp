// An event loop's connections: how they come, what their sessions ask for, their deadlines and figures.
#include <algorithm>
#include <utility>

#include "loop/event_loop.hpp"
#include "transports/http_session.hpp"

namespace carillon {

namespace {
constexpr std::size_t kMeasuredPerTick = 256;
constexpr std::size_t kLaggingPerTick = 1'024;
constexpr std::size_t kVisitedPerTurn = 512;
constexpr int kDeadlinesPerTick = 1'024;  // 100,000 that are due at once are spread over 5 s
}  // namespace

Connection* EventLoop::add(int descriptor, bool is_over_limit, Endpoint& endpoint) {
  auto connection = std::make_unique<Connection>();
  Connection& place = *connection;
  place.endpoint = &endpoint;
  place.outlet.descriptor = descriptor;
  place.index = static_cast<std::uint32_t>(connections_.size());
  place.session = std::make_unique<HttpSession>(context_of(endpoint), place.outlet, is_over_limit);
  place.is_handshaking = true;
  place.accepted_ns = machine_.now_ns();
  place.until_ms = clock_.now_ms() + shared_.limits.handshake_place_ms;
  connections_.push_back(std::move(connection));
  if (!sockets_.watch(place)) {
    drop(place);
    return nullptr;
  }
  wheel_.schedule(place, deadline_of(place));
  if (is_over_limit) {
    if (Connection* oldest = over_limit_.add(place)) {
      // One that has its answer is counted already, as refused or served.
      if (!oldest->is_lingering && !oldest->is_close_wanted) {
        shared_.turned_away.fetch_add(1, std::memory_order_relaxed);
        if (!oldest->endpoint->is_internal) shared_.closed_unread.fetch_add(1, std::memory_order_relaxed);
      }
      oldest->is_cut = true;
      settle_later(*oldest);
    }
  }
  return &place;
}

void EventLoop::for_each_session(std::function<void(Session&)> visit, std::function<void()> done) const {
  Shard::in_pieces(
      [this, visit = std::move(visit), done = std::move(done), left = connections_.size()]() mutable {
        // Downwards: what moves to the place of a connection that goes comes from further up.
        left = std::min(left, connections_.size());
        for (std::size_t share = kVisitedPerTurn; share > 0 && left > 0; --share) {
          const Connection& connection = *connections_[--left];
          if (!connection.is_gone && !connection.is_lingering) visit(*connection.session);
        }
        if (left > 0) return true;
        done();
        return false;
      });
}

// ---- what sessions ask for

void EventLoop::close(Outlet& outlet) {
  Connection& connection = connection_of(outlet);
  connection.is_close_wanted = true;
  settle_later(connection);
}

void EventLoop::replace(Outlet& outlet, std::unique_ptr<Session> successor) {
  Connection& connection = connection_of(outlet);
  replaced_.push_back(std::move(connection.session));
  connection.session = std::move(successor);
  wheel_.schedule(connection, deadline_of(connection));
}

void EventLoop::pause_reading(Outlet& outlet, bool is_paused) {
  Connection& connection = connection_of(outlet);
  connection.is_reading_paused = is_paused;
  if (!is_paused && connection.has_unread) read_later(connection);
}

void EventLoop::read_on_later(Outlet& outlet) {
  Connection& connection = connection_of(outlet);
  connection.has_input_aside = true;
  read_later(connection);
}

void EventLoop::reschedule(Outlet& outlet) {
  Connection& connection = connection_of(outlet);
  // A session under construction is not in its place yet; it is scheduled when it is.
  if (connection.session && !connection.is_gone) wheel_.schedule(connection, deadline_of(connection));
}

void EventLoop::end_handshake(Outlet& outlet) { end_handshake(connection_of(outlet)); }

void EventLoop::note_subscribe(Outlet& outlet) {
  std::int64_t& accepted_ns = connection_of(outlet).accepted_ns;
  const std::int64_t handshake_ns = shared_.limits.handshake_timeout_ms * 1'000'000;
  if (accepted_ns != 0 && machine_.now_ns() - accepted_ns > handshake_ns) accepted_ns = 0;
}

void EventLoop::note_live(Outlet& outlet) {
  const std::int64_t accepted_ns = std::exchange(connection_of(outlet).accepted_ns, 0);
  if (accepted_ns != 0) metrics_.connect_to_live.observe_ns(machine_.now_ns() - accepted_ns);
}

void EventLoop::end_handshake(Connection& connection) {
  if (std::exchange(connection.is_handshaking, false)) shared_.admission.end_handshake();
}

std::string EventLoop::peer(const Outlet& outlet) const {
  // Asked for when a record is written, so that an idle connection keeps nothing for it.
  return sockets_.peer(outlet.descriptor);
}

// ---- time

void EventLoop::tick() {
  if (!std::exchange(is_tick_waiting_, true)) {
    unseen_ = connections_.size();
    still_to_read_.reset();
  }
  take_events();
}

void EventLoop::tick_if_all_is_seen() {
  // What came in time may wait in a socket behind more events than one turn takes: deadlines are judged when
  // every connection that was ready at the tick has been read.
  const bool is_all_read = unseen_ == 0 && still_to_read_ == std::size_t{0};
  if (!is_tick_waiting_ || !is_all_read || is_stopping_ || !is_reading_) return;
  is_tick_waiting_ = false;
  measure_some();
  shard_.measure_lag(kLaggingPerTick, machine_.wall_ms());
  meet_deadlines();
}

Millis EventLoop::deadline_of(const Connection& connection) const {
  if (connection.is_lingering) return connection.until_ms;
  Millis deadline = connection.session->deadline();
  if (connection.is_to_be_asked || connection.is_handshaking)
    deadline = std::min(deadline, connection.until_ms);
  if (connection.outlet.is_clogged) {
    deadline = std::min(deadline, connection.outlet.progress_ms + shared_.limits.stall_timeout_ms);
  }
  return deadline;
}

void EventLoop::meet_deadlines() {
  due_.clear();
  wheel_.advance(clock_.now_ms(), due_);
  const Millis now = clock_.now_ms();
  bool is_anything_due = relieve_unsent();
  int room = kDeadlinesPerTick;
  for (Connection* connection : due_) {
    if (connection->is_gone) continue;
    if (deadline_of(*connection) <= now) {
      if (room-- <= 0) {  // those of many at once are spread over ticks: others have their turns in between
        wheel_.schedule(*connection, now + wheel_.tick_ms());
        continue;
      }
      is_anything_due = true;
      const Outlet& outlet = connection->outlet;
      if (connection->is_lingering) {
        drop(*connection);
      } else if (outlet.is_clogged && outlet.progress_ms + shared_.limits.stall_timeout_ms <= now) {
        stalled(*connection);
        drop(*connection);
      } else if (connection->is_to_be_asked && connection->until_ms <= now) {
        connection->is_to_be_asked = false;
        connection->session->drain();
      } else if (connection->is_handshaking && connection->until_ms <= now) {
        end_handshake(*connection);
      } else {
        connection->session->on_deadline(now);
      }
    }
    if (!connection->is_gone) wheel_.schedule(*connection, deadline_of(*connection));
  }
  if (is_anything_due) end_turn();
}

void EventLoop::drain(Endpoint& endpoint, Millis pace_ms) {
  const auto pace = static_cast<std::uint64_t>(std::max<Millis>(0, pace_ms));
  for (const auto& connection : connections_) {
    if (connection->endpoint != &endpoint || connection->is_gone || connection->is_lingering) continue;
    if (!std::exchange(connection->is_asked, true)) endpoint.asked.fetch_add(1);
    end_handshake(*connection);
    connection->is_to_be_asked = true;
    connection->until_ms = clock_.now_ms() + static_cast<Millis>(shared_.random.below(pace + 1));
    wheel_.schedule(*connection, deadline_of(*connection));
  }
}

// ---- figures

void EventLoop::count_left(Connection& connection) {
  if (std::exchange(connection.is_asked, false)) connection.endpoint->asked.fetch_sub(1);
}

void EventLoop::count_clogged(Connection& connection) {
  const bool is_clogged = connection.outlet.is_clogged && !connection.is_gone;
  if (std::exchange(connection.is_counted_clogged, is_clogged) == is_clogged) return;
  if (is_clogged) {
    counters_.clogged.fetch_add(1, std::memory_order_relaxed);
  } else {
    counters_.clogged.fetch_sub(1, std::memory_order_relaxed);
  }
}

void EventLoop::set_kernel_bytes(Connection& connection, std::uint32_t bytes) {
  counters_.kernel_bytes.fetch_add(std::uint64_t{bytes} - connection.kernel_bytes, std::memory_order_relaxed);
  connection.kernel_bytes = bytes;
}

void EventLoop::measure_some() {
  // It is a system call each: a bounded number per tick, in turns.
  const std::size_t count = std::min(connections_.size(), kMeasuredPerTick);
  for (std::size_t i = 0; i < count; ++i) {
    next_measured_ = (next_measured_ + 1) % connections_.size();
    Connection& connection = *connections_[next_measured_];
    set_kernel_bytes(connection, sockets_.kernel_bytes(connection.outlet.descriptor));
  }
}

}  // namespace carillon
