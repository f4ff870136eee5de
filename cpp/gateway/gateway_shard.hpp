#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "env/clock.hpp"
#include "gateway/admission.hpp"
#include "gateway/connection.hpp"
#include "gateway/descriptor.hpp"
#include "gateway/entrance.hpp"
#include "gateway/flush.hpp"
#include "gateway/gateway_state.hpp"
#include "gateway/hold_point.hpp"
#include "gateway/operator_log.hpp"
#include "gateway/timer_wheel.hpp"
#include "hub/hub.hpp"
#include "session/session.hpp"

namespace carillon {

/// What all shards of a gateway share.
struct GatewayShared {
  Hub& hub;
  Access& access;
  const OriginPolicy& origins;
  HttpHandler& handler;
  const HttpLibrary& http;
  RandomSource& random;
  const Limits& limits;
  const Heartbeat& heartbeat;
  std::string version;
  ConnectionLog* log = nullptr;
  OperatorLog* operator_log = nullptr;
  std::function<void(Shard&)> on_shard_failed;  ///< on its thread, for others who have cursors there
  std::atomic<bool> is_draining{false};         ///< at every entrance
  Entrance entrance;                            ///< the one that is always there
  Admission admission{limits};
  std::atomic<std::size_t> connections{0};
  std::atomic<std::uint64_t> accepted{0};  ///< connections, ever
  /// For want of a descriptor, or closed without a word: no place even to refuse them, ever.
  std::atomic<std::uint64_t> turned_away{0};
  std::atomic<std::uint64_t> without_descriptor{0};  ///< of them, for want of a descriptor
};

/// Time as of the current turn: asked of the machine once, not once per delivery.
class TurnClock final : public Clock {
 public:
  [[nodiscard]] Millis now_ms() const override { return now_ms_; }
  [[nodiscard]] Millis wall_ms() const override { return machine_.wall_ms(); }
  void refresh() { now_ms_ = machine_.now_ms(); }

 private:
  SystemClock machine_;
  Millis now_ms_ = machine_.now_ms();
};

/// A thread with its connections: reads what has come, lets the hub's shard pump, sends everything in one
/// flush. One turn after another; nothing blocks but the wait for the next event.
class GatewayShard final : private ConnectionHost {
 public:
  /// An exception ends the thread: `failed` hears of it there, while the shard still has what it had.
  using Failed = std::function<void(GatewayShard&, const char* what)>;

  GatewayShard(std::uint32_t index, GatewayShared& shared, TurnLimits turn_limits, Failed failed);
  ~GatewayShard() override;
  GatewayShard(const GatewayShard&) = delete;
  GatewayShard& operator=(const GatewayShard&) = delete;

  [[nodiscard]] Shard& shard() { return shard_; }
  [[nodiscard]] const SessionCounters& counters() const { return counters_; }
  /// On the shard's thread.
  [[nodiscard]] std::size_t connections() const { return connections_.size(); }

  /// With io_uring, if the thread can have it after all.
  void start(bool with_uring);
  /// Closes every connection and ends the thread. Any other thread.
  void stop();
  /// Takes over an accepted socket, whose handshake counts. Any thread.
  void adopt(int descriptor, bool is_over_limit, Entrance& entrance);
  /// Asks every client who came in there to go, each at a random moment within `pace_ms`. Any thread.
  void drain(Entrance& entrance, Millis pace_ms);
  /// Ends what is still there of them. Any thread.
  void cut_off(const Entrance& entrance);
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
    shard_.post([] {});
  }
  /// Writes down every connection that can be moved; `left_behind` are the clients of the others. While held.
  void save(GatewayState& state, std::vector<int>& descriptors, std::vector<std::string>& left_behind);
  /// A saved connection goes on here. Before start(), with the shard bound to this thread.
  void restore(const ConnectionState& state, Descriptor descriptor, Entrance& entrance);
  /// Closes what was restored, without a word: the other process goes on with it. Instead of start().
  void discard();

 private:
  struct Io;  // Asio stays in the source file
  struct Arrival;

  void close(Outlet& outlet) override;
  void replace(Outlet& outlet, std::unique_ptr<Session> successor) override;
  void pause_reading(Outlet& outlet, bool is_paused) override;
  void reschedule(Outlet& outlet) override;
  void end_handshake(Outlet& outlet) override;
  [[nodiscard]] std::string peer(const Outlet& outlet) const override;

  void wait_for_events();
  void wait_for_tick();
  void wait_for_pace();
  void take_events();
  std::size_t read_ready();
  void tick_if_all_is_seen();
  void on_event(Connection& connection, std::uint32_t events);
  void count_clogged(Connection& connection);
  void lost(Connection& connection);
  void stalled(Connection& connection);
  void set_kernel_bytes(Connection& connection, std::uint32_t bytes);
  void measure_some();
  void drop_broken(Connection& connection);
  void read(Connection& connection);
  void read_queued();
  void on_tick();
  void turn();
  void end_turn();
  void post_turn();
  void flush();
  void settle_later(Connection& connection);
  void settle();
  void begin_linger(Connection& connection);
  void drop(Connection& connection);
  [[nodiscard]] Millis deadline_of(const Connection& connection) const;
  [[nodiscard]] SessionContext& context_of(const Entrance& entrance);
  void end_handshake(Connection& connection);
  void count_left(Connection& connection);
  [[nodiscard]] bool watch(Connection& connection);
  void unwatch(const Connection& connection);
  void stop_if_at_rest();
  void give_away_saved();
  void forget_saved();
  void fail(const char* what);
  void release_connections();

  GatewayShared& shared_;
  const Failed failed_;
  TurnClock clock_;
  SessionCounters counters_;
  std::shared_ptr<Io> io_;  // gone once stopped; a late wake-up then finds nobody
  Shard shard_;
  TurnOutput output_;
  std::vector<std::unique_ptr<SessionContext>> contexts_;  // by the entrance's number, made when needed
  std::unique_ptr<Flush> flush_;
  TimerWheel wheel_;
  std::vector<char> buffer_;  // lent to whichever socket is read
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Connection>> graveyard_;  // dropped in this turn
  std::vector<std::unique_ptr<Session>> replaced_;
  std::size_t next_measured_ = 0;  // of the connections
  std::vector<Connection*> settling_;
  std::vector<Connection*> read_queue_;
  std::vector<Connection*> due_;
  std::vector<Session*> finishing_;
  FlushReport report_;
  std::size_t unseen_ = 0;  // while a tick waits: so many connections may be ready and not looked at yet
  bool is_tick_waiting_ = false;
  bool is_turn_posted_ = false;
  std::optional<Millis> paced_until_ms_;  // what the timer of paced channels waits for
  bool is_stopping_ = false;
  std::shared_ptr<HoldPoint> hold_;  // asked to stop: until then nothing is read, and no deadline is judged
  Millis answers_until_ms_ = 0;
  bool is_unarmed_ = false;  // events came meanwhile, and are not waited for
  std::thread thread_;
};

}  // namespace carillon
