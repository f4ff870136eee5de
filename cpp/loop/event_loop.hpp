#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "hub/hub.hpp"
#include "loop/admission.hpp"
#include "loop/connection.hpp"
#include "loop/connection_state.hpp"
#include "loop/connections_over_limit.hpp"
#include "loop/endpoint.hpp"
#include "loop/flush.hpp"
#include "loop/loop_metrics.hpp"
#include "loop/sockets.hpp"
#include "loop/timer_wheel.hpp"
#include "session/session.hpp"

namespace carillon {

/// What all event loops of a server share.
struct LoopShared {
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
  OtherGateways* others = nullptr;  ///< set before the first connection
  std::string token_cookie;         ///< name of the cookie that may have a client's token; empty: none
  TransportSet switched_off = {};
  bool tells_time = false;  ///< clients get the time of day with the answer to their connect
  DeflateOptions deflate = {};
  Deflation deflation{deflate, limits};
  Admission admission{limits};
  BodyBudget bodies{limits.body_bytes_total};
  UnsentBudget unsent{limits.unsent_bytes_total};
  PersonalChannel personal_channel = {};
  ClientDirectory directory{random};
  ClientDirectory newest_of_user{random};
  UserConnections user_connections{random};
  std::string node = make_client_id(random);  ///< a takeover hands it over
  std::size_t loops = 1;
  std::atomic<std::size_t> connections{0};  ///< open, or accepted and on their way to a loop
  /// Connections closed before a request was read, since the start: no descriptor, or no slot to refuse them.
  std::atomic<std::uint64_t> turned_away{0};
  /// Those of clients that were closed unread because of a limit, and had no answer; since the start.
  std::atomic<std::uint64_t> closed_unread{0};
  std::size_t refusals_per_loop = 32;  ///< maximum number of connections over the limit per loop
};

/// The time of the current turn, read from the machine once and not for each delivery.
class TurnClock final : public Clock {
 public:
  explicit TurnClock(const Clock& machine) : machine_(machine) {}
  [[nodiscard]] Millis now_ms() const override { return now_ms_; }
  [[nodiscard]] Millis wall_ms() const override { return machine_.wall_ms(); }
  [[nodiscard]] std::int64_t now_ns() const override { return machine_.now_ns(); }
  /// The time of the turn, ns.
  std::int64_t refresh() {
    const std::int64_t now_ns = machine_.now_ns();
    now_ms_ = now_ns / 1'000'000;
    return now_ns;
  }

 private:
  const Clock& machine_;
  Millis now_ms_ = machine_.now_ms();
};

/// The connections of one thread and their turns: reads input, lets the hub's shard pump, sends everything in
/// one flush, and settles closed connections. Sockets, flush, clock and random source are parameters, and
/// nothing blocks or waits here, so a thread with epoll, the tests and a simulation drive the same turns.
/// Call everything on the loop's own thread, with its shard bound to it.
class EventLoop final : private ConnectionHost {
 public:
  /// `wake` is called from any thread when there is work: it must lead to a call of turn().
  EventLoop(std::uint32_t index, LoopShared& shared, Sockets& sockets, const Clock& machine,
            TurnLimits turn_limits, Millis tick_ms, std::function<void()> wake);
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  [[nodiscard]] Shard& shard() { return shard_; }
  [[nodiscard]] TurnOutput& output() { return output_; }
  [[nodiscard]] const SessionCounters& counters() const { return counters_; }  // from any thread
  [[nodiscard]] LoopMetrics& metrics() { return metrics_; }                    // read from any thread
  [[nodiscard]] const std::vector<std::unique_ptr<Connection>>& connections() const { return connections_; }
  /// Sets the flush. Before the first turn.
  void set_flush(Flush& flush) { flush_ = &flush; }

  // ---- turns

  /// Handles events, the mailbox, and work that an earlier turn has left.
  void turn();
  /// Runs a turn if sockets have events.
  void take_events();
  /// Call it every `tick_ms`: applies deadlines after all earlier input has been read.
  void tick();
  /// The first part of a turn: reads input for limits.read_ms_per_turn, with an even share for each
  /// connection. Returns the number of events and reads.
  std::size_t read_ready();
  /// Is there work for turn() now?
  [[nodiscard]] bool has_work();
  /// The time at which turn() must be called even without events.
  [[nodiscard]] std::optional<Millis> due_ms() const { return shard_.due_ms(); }
  /// The time of the current turn.
  [[nodiscard]] Millis now_ms() const { return clock_.now_ms(); }

  // ---- connections

  /// Adds an accepted socket, which is counted already, as is its handshake. Null: it cannot be watched.
  Connection* add(int descriptor, bool is_over_limit, Endpoint& endpoint);
  /// Asks every client of the endpoint to disconnect, each at a random moment within `pace_ms`.
  void drain(Endpoint& endpoint, Millis pace_ms);
  /// Closes those that are still open.
  void cut_off(const Endpoint& endpoint);
  /// Closes the client's connection at once, without a close handshake. False: it is not on this loop.
  bool cut(std::string_view client);
  /// Visits every session, a share of them per turn; where others end meanwhile, one may be visited twice.
  /// `done` comes last.
  void for_each_session(std::function<void(Session&)> visit, std::function<void()> done) const;
  /// Tells every session that its connection ends now. No turn does anything afterwards.
  void stop();
  /// The same after an exception, as far as possible: memory may be short, and the interrupted object may be
  /// inconsistent.
  void abandon();
  /// Closes every socket and forgets the connections. May run on another thread once no turn runs any more.
  void release();
  [[nodiscard]] Millis deadline_of(const Connection& connection) const;

  // ---- a takeover

  /// Stops reading and checking deadlines until read_again().
  void stop_reading() { is_reading_ = false; }
  void read_again() { is_reading_ = true; }
  /// Is a batch, a task or output pending? Then another turn must run first.
  [[nodiscard]] bool is_busy();
  /// Does a session wait for an answer that can only arrive in this process?
  [[nodiscard]] bool is_asking() const;
  /// Saves every connection that can be moved; `left_behind` are the clients of the others.
  void save(std::vector<ConnectionState>& states, std::vector<int>& descriptors,
            std::vector<std::string>& left_behind);
  /// The saved connections belong to another process now: closes their descriptors, without a close
  /// handshake. Asks the clients of the others to disconnect.
  void give_away_saved();
  /// The saved connections stay here: the takeover has failed.
  void forget_saved();
  /// Continues a saved connection here. Null: it cannot be watched.
  Connection* restore(const ConnectionState& state, int descriptor, Endpoint& endpoint);
  /// Closes the restored connections without a close handshake: the other process keeps them. Call it in
  /// place of the first turn.
  void discard();

 private:
  void close(Outlet& outlet) override;
  void replace(Outlet& outlet, std::unique_ptr<Session> successor) override;
  void pause_reading(Outlet& outlet, bool is_paused) override;
  [[nodiscard]] bool is_time_over() const override { return machine_.now_ns() >= time_until_ns_; }
  void read_on_later(Outlet& outlet) override;
  void reschedule(Outlet& outlet) override;
  void end_handshake(Outlet& outlet) override;
  void note_subscribe(Outlet& outlet) override;
  void note_live(Outlet& outlet) override;
  [[nodiscard]] std::string peer(const Outlet& outlet) const override;

  void on_event(const SocketEvent& event);
  std::size_t read_queued(std::int64_t until_ns);
  void read_one(Connection& connection);
  void read(Connection& connection);
  void read_later(Connection& connection);
  void end_turn();
  void flush();
  void settle_later(Connection& connection);
  void settle();
  void begin_linger(Connection& connection);
  void drop(Connection& connection);
  void drop_broken(Connection& connection);
  void lost(Connection& connection);
  void stalled(Connection& connection);
  bool relieve_unsent();
  void count_clogged(Connection& connection);
  void set_kernel_bytes(Connection& connection, std::uint32_t bytes);
  void measure_some();
  void tick_if_all_is_seen();
  void meet_deadlines();
  void end_handshake(Connection& connection);
  void count_left(Connection& connection);
  [[nodiscard]] SessionContext& context_of(const Endpoint& endpoint);

  LoopShared& shared_;
  Sockets& sockets_;
  Flush* flush_ = nullptr;
  const Clock& machine_;
  TurnClock clock_;
  SessionCounters counters_;
  LoopMetrics metrics_;
  Shard shard_;
  TurnOutput output_;
  std::vector<std::unique_ptr<SessionContext>> contexts_;  // by the endpoint's number, made when needed
  TimerWheel wheel_;
  std::vector<char> buffer_;  // for the socket that is being read
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Connection>> graveyard_;  // dropped in this turn
  std::vector<std::unique_ptr<Session>> replaced_;
  std::size_t next_measured_ = 0;   // of the connections
  std::int64_t turn_began_ns_ = 0;  // 0: it is counted already
  std::vector<Connection*> settling_;
  std::vector<Connection*> read_queue_;  // the first one has waited longest
  std::vector<Connection*> reading_;     // of those, in this turn
  std::int64_t time_until_ns_ = 0;       // of the session that is being read; in the past while there is none
  std::vector<Connection*> due_;
  std::vector<Session*> finishing_;
  ConnectionsOverLimit over_limit_;
  FlushReport report_;
  // While a tick waits: the number of ready connections not looked at yet, then of those not read.
  std::size_t unseen_ = 0;
  std::optional<std::size_t> still_to_read_;
  bool is_tick_waiting_ = false;
  bool is_reading_ = true;
  bool is_stopping_ = false;
};

}  // namespace carillon
