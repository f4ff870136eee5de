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
#include "gateway/descriptor.hpp"
#include "gateway/epoll_sockets.hpp"
#include "gateway/gateway_state.hpp"
#include "gateway/hold_point.hpp"
#include "gateway/operator_log.hpp"
#include "loop/event_loop.hpp"

namespace carillon {

/// What all shards of a gateway share.
struct GatewayShared : LoopShared {
  OperatorLog* operator_log = nullptr;
  std::function<void(Shard&)> on_shard_failed;       ///< on its thread, for others who have cursors there
  std::atomic<bool> is_draining{false};              ///< at every endpoint
  Endpoint endpoint;                                 ///< the one that is always there
  std::atomic<std::uint64_t> accepted{0};            ///< connections, ever
  std::atomic<std::uint64_t> without_descriptor{0};  ///< of `turned_away`: for want of a descriptor
};

/// A thread with its event loop: it waits for events, for ticks and for other threads' wishes.
class GatewayShard final {
 public:
  /// An exception ends the thread: `failed` hears of it there, while the shard still has what it had.
  using Failed = std::function<void(GatewayShard&, const char* what)>;

  GatewayShard(std::uint32_t index, GatewayShared& shared, TurnLimits turn_limits, Failed failed);
  ~GatewayShard();
  GatewayShard(const GatewayShard&) = delete;
  GatewayShard& operator=(const GatewayShard&) = delete;

  [[nodiscard]] Shard& shard() { return loop_->shard(); }
  [[nodiscard]] const SessionCounters& counters() const { return loop_->counters(); }
  /// On the shard's thread.
  [[nodiscard]] std::size_t connections() const { return loop_->connections().size(); }

  /// With io_uring, if the thread can have it after all.
  void start(bool with_uring);
  /// Closes every connection and ends the thread. Any other thread.
  void stop();
  /// Takes over an accepted socket, whose handshake counts. Any thread.
  void adopt(int descriptor, bool is_over_limit, Endpoint& endpoint);
  /// Asks every client of the endpoint to disconnect, each at a random moment within `pace_ms`. Any thread.
  void drain(Endpoint& endpoint, Millis pace_ms);
  /// Ends what is still there of them. Any thread.
  void cut_off(const Endpoint& endpoint);
  /// Ends the client's connection at once, without a word. Any thread; `done` tells whether it was here, in
  /// any case: a thread that has died has no clients.
  void cut(std::string client, std::function<void(bool)> done);
  /// Runs `visit` for each session, on the shard's thread, then `done`, in any case. Any thread.
  void for_each_session(std::function<void(Session&)> visit, std::function<void()> done);

  // A takeover. Between hold() and the point's release nothing runs here.

  /// Reads nothing more, waits up to `answers_ms` for answers that sessions wait for, and stops at `point`.
  /// Any thread.
  void hold(std::shared_ptr<HoldPoint> point, Millis answers_ms);
  /// The point has let it stop: another turn, in which it does.
  void stop_soon() {
    shard().post([] {});
  }
  /// Writes down every connection that can be moved; `left_behind` are the clients of the others. While held.
  void save(GatewayState& state, std::vector<int>& descriptors, std::vector<std::string>& left_behind) {
    loop_->save(state.connections, descriptors, left_behind);
  }
  /// A saved connection goes on here. Before start(), with the shard bound to this thread.
  void restore(const ConnectionState& state, Descriptor descriptor, Endpoint& endpoint);
  /// Closes what was restored, without a word: the other process goes on with it. Instead of start().
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
  std::shared_ptr<Io> io_;  // gone once stopped; a late wake-up then finds nobody
  EpollSockets sockets_;
  std::unique_ptr<Flush> flush_;
  std::unique_ptr<EventLoop> loop_;
  bool is_turn_posted_ = false;
  std::optional<Millis> sweep_due_ms_;  // what the timer of swept channels waits for
  std::shared_ptr<HoldPoint> hold_;     // asked to stop
  Millis answers_until_ms_ = 0;
  bool is_unarmed_ = false;  // events came meanwhile, and are not waited for
  std::thread thread_;
};

}  // namespace carillon
