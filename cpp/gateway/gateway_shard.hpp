#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "env/clock.hpp"
#include "env/descriptor.hpp"
#include "gateway/epoll_sockets.hpp"
#include "gateway/gateway_state.hpp"
#include "gateway/hold_point.hpp"
#include "gateway/operator_log.hpp"
#include "loop/event_loop.hpp"

namespace boost::asio {
class io_context;
}  // namespace boost::asio

namespace carillon {

/// What all shards of a gateway share.
struct GatewayShared : LoopShared {
  OperatorLog* operator_log = nullptr;
  std::function<void(Shard&)> on_shard_failed;  ///< on its thread, for other owners of cursors there
  /// Called on the thread of each shard: the result lives until the thread has ended. `wake` has the turn
  /// follow that sends what a handler of `io` has written.
  std::function<std::shared_ptr<void>(boost::asio::io_context& io, std::function<void()> wake)> companion;
  std::atomic<bool> is_draining{false};    ///< at every endpoint
  Endpoint endpoint;                       ///< the one of the configuration
  std::atomic<std::uint64_t> accepted{0};  ///< connections since the start
  /// At the addresses of clients, since the start: within the limits. See LoopShared::closed_unread for those
  /// that are not. What became of the others is known with their first request: see SessionCounters.
  std::atomic<std::uint64_t> within_limits{0};
  /// Closed unread, or accepted only to be refused, because descriptors had run out; since the start.
  std::atomic<std::uint64_t> without_descriptor{0};
};

/// A thread with its event loop. It waits for events, ticks and calls of other threads.
class GatewayShard final {
 public:
  /// An exception ends the thread: `failed` is called on it, while the shard is still as it was.
  using Failed = std::function<void(GatewayShard&, const char* what)>;

  GatewayShard(std::uint32_t index, GatewayShared& shared, TurnLimits turn_limits, Failed failed);
  ~GatewayShard();
  GatewayShard(const GatewayShard&) = delete;
  GatewayShard& operator=(const GatewayShard&) = delete;

  [[nodiscard]] Shard& shard() { return loop_->shard(); }
  [[nodiscard]] const SessionCounters& counters() const { return loop_->counters(); }
  [[nodiscard]] const DeliveryMetrics& deliveries() const { return loop_->output().deliveries(); }
  [[nodiscard]] const LoopMetrics& metrics() const { return loop_->metrics(); }
  /// On the shard's thread.
  [[nodiscard]] std::size_t connections() const { return loop_->connections().size(); }

  /// With io_uring, if it works on this thread.
  void start(bool with_uring);
  /// Closes every connection and ends the thread. Any other thread.
  void stop();
  /// Adds an accepted socket, whose handshake counts already. Any thread.
  void adopt(int descriptor, bool is_over_limit, Endpoint& endpoint);
  /// Asks every client of the endpoint to disconnect, each at a random moment within `pace_ms`. Any thread.
  void drain(Endpoint& endpoint, Millis pace_ms);
  /// Closes those that are still open. Any thread.
  void cut_off(const Endpoint& endpoint);
  /// Closes the client's connection at once, without a close handshake. Any thread. `done` is always called,
  /// with whether the connection was here; a thread that has died has no clients.
  void cut(std::string client, std::function<void(bool)> done);
  /// Runs `visit` for each session on the shard's thread, then always `done`. Any thread.
  void for_each_session(std::function<void(Session&)> visit, std::function<void()> done);

  /// Stops between two turns, or in the middle of one whose work is not begun, until the point is released.
  /// Any thread.
  void pause(std::shared_ptr<HoldPoint> point) {
    shard().post([point = std::move(point)] { point->stop_here(); });
  }

  // A takeover. Nothing runs here between hold() and the release of the point.

  /// Stops reading, waits up to `answers_ms` for pending answers of sessions, and stops at `point`. Any
  /// thread.
  void hold(std::shared_ptr<HoldPoint> point, Millis answers_ms);
  /// The point permits the stop: runs another turn, in which the thread stops.
  void stop_soon() {
    shard().post([] {});
  }
  /// Writes down every connection that can be moved; `left_behind` are the clients of the others. While held.
  void save(GatewayState& state, std::vector<int>& descriptors, std::vector<std::string>& left_behind) {
    loop_->save(state.connections, descriptors, left_behind);
  }
  /// Continues a saved connection here. Before start(), with the shard bound to this thread.
  void restore(const ConnectionState& state, Descriptor descriptor, Endpoint& endpoint);
  /// Closes the restored connections without a close handshake: the other process keeps them. Instead of
  /// start().
  void discard();

 private:
  struct Io;  // Asio stays in the source file
  struct Arrival;

  void wait_for_events();
  void wait_for_tick();
  void wait_for_sweep();
  void turn();
  void post_turn();
  void end_turn();
  void stop_if_idle();
  void fail(const char* what);

  GatewayShared& shared_;
  const Failed failed_;
  const SystemClock clock_;
  std::shared_ptr<Io> io_;  // null once stopped, so that a late wake-up does nothing
  std::shared_ptr<void> companion_;
  EpollSockets sockets_;
  std::unique_ptr<Flush> flush_;
  std::unique_ptr<EventLoop> loop_;
  bool is_turn_posted_ = false;
  std::optional<Millis> sweep_due_ms_;  // when the timer of swept channels expires
  std::shared_ptr<HoldPoint> hold_;     // asked to stop
  Millis answers_until_ms_ = 0;
  bool is_unarmed_ = false;  // events came meanwhile, so there is no wait for events
  std::thread thread_;
};

}  // namespace carillon
