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
  Admission admission{limits};
  BodyBudget bodies{limits.body_bytes_total};
  UnsentBudget unsent{limits.unsent_bytes_total};
  std::size_t loops = 1;
  std::atomic<std::size_t> connections{0};  ///< open, or accepted and on their way to a loop
  /// Closed without a word, ever: no descriptor, or no place even to refuse them.
  std::atomic<std::uint64_t> turned_away{0};
  std::size_t refusals_per_loop = 32;  ///< connections over the limit that a loop has, to refuse them
};

/// Time as of the current turn: asked of the machine once, not once per delivery.
class TurnClock final : public Clock {
 public:
  explicit TurnClock(const Clock& machine) : machine_(machine) {}
  [[nodiscard]] Millis now_ms() const override { return now_ms_; }
  [[nodiscard]] Millis wall_ms() const override { return machine_.wall_ms(); }
  void refresh() { now_ms_ = machine_.now_ms(); }

 private:
  const Clock& machine_;
  Millis now_ms_ = machine_.now_ms();
};

/// The connections of one thread and their turns: reads what has come, lets the hub's shard pump, sends
/// everything in one flush, and settles what has ended. Sockets, flush, clock and chance are given, nothing
/// blocks and nobody waits here: a thread with epoll, the tests and a simulator drive the same turns.
/// Everything is for the loop's own thread, with its shard bound to it.
class EventLoop final : private ConnectionHost {
 public:
  /// `wake` is called from any thread when there is something to do: it must lead to turn().
  EventLoop(std::uint32_t index, LoopShared& shared, Sockets& sockets, const Clock& machine,
            TurnLimits turn_limits, Millis tick_ms, std::function<void()> wake);
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  [[nodiscard]] Shard& shard() { return shard_; }
  [[nodiscard]] TurnOutput& output() { return output_; }
  [[nodiscard]] const SessionCounters& counters() const { return counters_; }  // from any thread
  [[nodiscard]] const std::vector<std::unique_ptr<Connection>>& connections() const { return connections_; }
  /// How bytes leave. Before the first turn.
  void set_flush(Flush& flush) { flush_ = &flush; }

  // ---- turns

  /// Whatever waits: events, the mailbox, work that an earlier turn has left.
  void turn();
  /// Sockets have events: a turn, if so.
  void take_events();
  /// To be called every `tick_ms`: meets deadlines, once everything that came before has been read.
  void tick();
  /// The first part of a turn: reads what has come, for limits.read_ms_per_turn, each connection for its
  /// share of that. Returns how much there was: events, and reads.
  std::size_t read_ready();
  /// Is there something to do at once: turn()?
  [[nodiscard]] bool has_work();
  /// When turn() is to be called even if nothing comes.
  [[nodiscard]] std::optional<Millis> due_ms() const { return shard_.due_ms(); }
  /// As of the current turn.
  [[nodiscard]] Millis now_ms() const { return clock_.now_ms(); }

  // ---- connections

  /// Takes over an accepted socket, which is counted and whose handshake counts. Null: it cannot be watched.
  Connection* add(int descriptor, bool is_over_limit, Endpoint& endpoint);
  /// Asks every client of the endpoint to disconnect, each at a random moment within `pace_ms`.
  void drain(Endpoint& endpoint, Millis pace_ms);
  /// Ends what is still there of them.
  void cut_off(const Endpoint& endpoint);
  /// Ends the client's connection at once, without a word. False: it is not here.
  bool cut(std::string_view client);
  /// Visits every session, a share of them per turn; where others end meanwhile, one may be visited twice.
  /// `done` comes last.
  void for_each_session(std::function<void(Session&)> visit, std::function<void()> done) const;
  /// Tells every session that its connection ends now. No turn does anything afterwards.
  void stop();
  /// The same after an exception, as far as it goes: memory may be short, and what was interrupted is not
  /// whole.
  void abandon();
  /// Closes every socket and forgets the connections. Also on another thread, when no turn runs any more.
  void release();
  [[nodiscard]] Millis deadline_of(const Connection& connection) const;

  // ---- a takeover

  /// Reads nothing more, and judges no deadline, until read_again().
  void stop_reading() { is_reading_ = false; }
  void read_again() { is_reading_ = true; }
  /// Is a batch on its way, a task waiting, or something laid out? Then another turn comes first.
  [[nodiscard]] bool is_busy();
  /// Does a session wait for an answer?
  [[nodiscard]] bool is_asking() const;
  /// Writes down every connection that can be moved; `left_behind` are the clients of the others.
  void save(std::vector<ConnectionState>& states, std::vector<int>& descriptors,
            std::vector<std::string>& left_behind);
  /// What was saved belongs to another process now: it is let go of without a word.
  void give_away_saved();
  /// What was saved stays here after all.
  void forget_saved();
  /// A saved connection goes on here. Null: it cannot be watched.
  Connection* restore(const ConnectionState& state, int descriptor, Endpoint& endpoint);
  /// Closes what was restored, without a word: the other process goes on with it. Instead of the first turn.
  void discard();

 private:
  void close(Outlet& outlet) override;
  void replace(Outlet& outlet, std::unique_ptr<Session> successor) override;
  void pause_reading(Outlet& outlet, bool is_paused) override;
  [[nodiscard]] bool is_time_over() const override { return machine_.now_ns() >= time_until_ns_; }
  void read_on_later(Outlet& outlet) override;
  void reschedule(Outlet& outlet) override;
  void end_handshake(Outlet& outlet) override;
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
  Shard shard_;
  TurnOutput output_;
  std::vector<std::unique_ptr<SessionContext>> contexts_;  // by the endpoint's number, made when needed
  TimerWheel wheel_;
  std::vector<char> buffer_;  // lent to whichever socket is read
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Connection>> graveyard_;  // dropped in this turn
  std::vector<std::unique_ptr<Session>> replaced_;
  std::size_t next_measured_ = 0;  // of the connections
  std::vector<Connection*> settling_;
  std::vector<Connection*> read_queue_;  // the first one has waited longest
  std::vector<Connection*> reading_;     // of those, in this turn
  std::int64_t time_until_ns_ = 0;       // of the session that is read; in the past while none is
  std::vector<Connection*> due_;
  std::vector<Session*> finishing_;
  ConnectionsOverLimit over_limit_;
  FlushReport report_;
  // While a tick waits: so many connections may be ready and not looked at yet, then so many not read.
  std::size_t unseen_ = 0;
  std::optional<std::size_t> still_to_read_;
  bool is_tick_waiting_ = false;
  bool is_reading_ = true;
  bool is_stopping_ = false;
};

}  // namespace carillon
