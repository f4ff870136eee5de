#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "hub/hub.hpp"
#include "hub/shard.hpp"
#include "session/access.hpp"
#include "session/body_budget.hpp"
#include "session/http_message.hpp"
#include "session/limits.hpp"
#include "session/origin.hpp"
#include "session/outgoing.hpp"
#include "session/session_state.hpp"
#include "session/unread_budget.hpp"

namespace carillon {

inline constexpr Millis kNoDeadline = std::numeric_limits<Millis>::max();
/// A deadline as it is written down, and read again at another `now`.
[[nodiscard]] constexpr Millis left_until(Millis deadline, Millis now_ms) {
  return deadline == kNoDeadline ? kNoDeadline : deadline - now_ms;
}
[[nodiscard]] constexpr Millis deadline_in(Millis left, Millis now_ms) {
  return left == kNoDeadline ? kNoDeadline : left + now_ms;
}

/// What a session asks of whoever holds its connection. Nothing happens before the session's call has
/// returned.
class ConnectionHost {
 public:
  virtual ~ConnectionHost() = default;
  /// Sends what the outlet holds, then ends the connection.
  virtual void close(Outlet& outlet) = 0;
  /// `successor` takes the connection over, and the bytes that the old session has not read.
  virtual void replace(Outlet& outlet, std::unique_ptr<Session> successor) = 0;
  /// Reading stops, and goes on.
  virtual void pause_reading(Outlet& outlet, bool is_paused) = 0;
  /// Has this turn given the session its time? Then it puts the rest of its input aside and calls
  /// read_on_later().
  [[nodiscard]] virtual bool is_time_over() const = 0;
  /// Session::read_on() in the next turn, before anything more is read from the connection.
  virtual void read_on_later(Outlet& outlet) = 0;
  /// Session::deadline() has changed.
  virtual void reschedule(Outlet& outlet) = 0;
  /// The client is let in, or refused: its handshake is over. May be told again.
  virtual void end_handshake(Outlet& outlet) = 0;
  /// The other end's address as `ip:port`, for records. Empty: it is not known any more.
  [[nodiscard]] virtual std::string peer(const Outlet& outlet) const = 0;
};

enum class ConnectionEvent : std::uint8_t { connect, close, refuse };

[[nodiscard]] std::string_view name_of(ConnectionEvent event);

/// A client has come, has gone, or was not let in.
struct ConnectionRecord {
  ConnectionEvent event = ConnectionEvent::connect;
  Transport transport = Transport::websocket;
  std::string_view client;  ///< its id; refuse: it has none
  std::string_view user;    ///< empty: anonymous, or it was refused before it was known
  std::string_view peer;    ///< its address, `ip:port`
  /// Close: the disconnect code, 0 if there was none or it was not sent; refuse: that, or the HTTP status.
  std::uint16_t code = 0;
  std::string_view reason;  ///< close, refuse
  Millis duration_ms = 0;   ///< close
  /// Refuse: who it says it is, which nobody has proved.
  std::string_view claimed_user;
};

/// Hears of every client that comes and goes and of every request that is refused, but of polls only those
/// that fail: there are too many of them. Thread-safe, must not block.
class ConnectionLog {
 public:
  virtual ~ConnectionLog() = default;
  virtual void write(const ConnectionRecord& record) = 0;
};

/// Counters of a shard's sessions; read from any thread.
struct SessionCounters {
  std::atomic<std::uint64_t> websocket{0};           ///< open now
  std::atomic<std::uint64_t> sse{0};                 ///< open now
  std::atomic<std::uint64_t> polls{0};               ///< waiting or being answered now
  std::atomic<std::uint64_t> clogged{0};             ///< whose kernel buffer is full now
  std::atomic<std::uint64_t> requests{0};            ///< HTTP requests read, ever
  std::atomic<std::uint64_t> commands{0};            ///< Centrifuge commands read, ever
  std::atomic<std::uint64_t> commands_under_way{0};  ///< of them, those that wait for answers now
  /// A client's commands were not read on, because as many as may be were under way, ever.
  std::atomic<std::uint64_t> command_pauses{0};
  std::atomic<std::uint64_t> refused{0};  ///< over the limit of connections, ever
  std::atomic<std::uint64_t> slow{0};     ///< closed with 3008, ever
  std::atomic<std::uint64_t> no_pong{0};  ///< closed with 3012, ever
  /// Dropped since their peer acknowledged nothing in time, ever.
  std::atomic<std::uint64_t> no_ack{0};
  /// In which the kernel holds what peers have not acknowledged, now.
  std::atomic<std::uint64_t> kernel_bytes{0};
  /// No whole request (408) or no connect command (3502) in time, ever.
  std::atomic<std::uint64_t> handshake_timeouts{0};
  /// Requests that are the client's mistake, whoever it is (400, 405, 413, 415, 417, 426, 431, 501),
  /// WebSockets closed for what they sent, ever.
  std::atomic<std::uint64_t> bad_requests{0};
};

/// Everything that the sessions of one shard share.
struct SessionContext {
  Hub& hub;
  Shard& shard;
  TurnOutput& output;
  ConnectionHost& host;
  Access& access;
  const OriginPolicy& origins;
  HttpHandler& handler;
  const HttpLibrary& http;
  const Clock& clock;
  RandomSource& random;
  const Limits& limits;
  const Heartbeat& heartbeat;
  SessionCounters& counters;
  const std::atomic<bool>& is_draining;
  std::string_view version;
  BodyBudget& bodies;
  const UnreadBudget& unread;
  ConnectionLog* log = nullptr;  ///< null: nobody listens
};

/// What a connection decides, as a machine without I/O: bytes, time and entries in, slices out. Lives on its
/// shard's thread.
class Session : public Sink {
 public:
  Session(SessionContext& context, Outlet& outlet) : context_(context), outlet_(outlet) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() override {
    if (self_) *self_ = nullptr;
    context_.output.forget(*this);
  }

  /// Bytes from the peer; may be changed in place. They live for the call.
  virtual void on_bytes(std::span<char> bytes) = 0;
  /// Goes on with input that it has put aside; nothing may be there any more.
  virtual void read_on() {}
  /// The peer sends nothing more, and all that it has sent has been read. By default the connection ends.
  virtual void on_end_of_input() { context_.host.close(outlet_); }
  /// The peer sends nothing more, but what it sent before is not read while reading is paused.
  virtual void on_hang_up() {}
  /// The outlet has sent everything, after it was clogged or because wants_empty_notice was set.
  virtual void on_outlet_empty() = 0;
  /// Asked for with TurnOutput::finish_later: all batches of the turn are staged, the flush is next.
  virtual void finish_turn() {}
  /// When on_deadline is due, ms of the clock.
  [[nodiscard]] virtual Millis deadline() const = 0;
  virtual void on_deadline(Millis now_ms) = 0;
  /// The connection is gone: the session lets go of everything, and no answer under way comes back to it. It
  /// may live on for a while, without effect.
  void let_go() {
    if (self_) *self_ = nullptr;
    on_closed();
  }
  /// A drain asks the client to disconnect, in the way that makes it reconnect elsewhere.
  virtual void drain() = 0;
  /// Closes with a Centrifuge disconnect code where the transport can say it.
  virtual void disconnect(std::uint16_t code, std::string_view reason) = 0;
  /// Id of the client, or empty.
  [[nodiscard]] virtual std::string_view client_id() const { return {}; }
  [[nodiscard]] virtual std::string_view user() const { return {}; }
  /// Has it asked something whose answer is still to come?
  [[nodiscard]] bool has_open_question() const {
    return self_ && self_.use_count() > 1;  // a continuation leads back here
  }
  /// All that it holds, written down, for restore_session(). Nothing: it waits for an answer that can only be
  /// given here.
  [[nodiscard]] std::optional<SessionState> save() const;
  /// let_go(), because another process has the connection now: the client has not gone.
  void give_away() {
    connected_ms_ = 0;
    end_.reset();
    let_go();
  }
  /// Why the connection ends, for its record; the first reason counts.
  void note_end(std::uint16_t code, std::string_view reason) {
    if (!end_) end_ = std::make_unique<End>(End{code, std::string(reason), false});
  }

 protected:
  /// Asked for by let_go(): ends what the session holds.
  virtual void on_closed() = 0;
  /// save(), but for what all sessions have.
  [[nodiscard]] virtual std::optional<SessionState::Kind> save_kind() const = 0;
  /// Leads a continuation back to this session, or to nobody when it has gone. Only on the shard's thread.
  [[nodiscard]] std::shared_ptr<Session*> self() {
    if (!self_) self_ = std::make_shared<Session*>(this);
    return self_;
  }

  /// Asks the seam when the answer is not known at once. `then` must own what it needs: it runs on the
  /// shard's thread later, unless the session has gone by then.
  void ask(const Question& question, std::function<void(const Verdict&)> then) {
    context_.access.ask(question,
                        [shard = &context_.shard, me = self(), then = std::move(then)](Verdict verdict) {
                          shard->run([me, then, verdict = std::move(verdict)] {
                            if (*me != nullptr) then(verdict);
                          });
                        });
  }
  /// note_end() of a goodbye that has just been written: it counts as told once all bytes have left.
  void note_goodbye(std::uint16_t code, std::string_view reason) {
    if (!end_) end_ = std::make_unique<End>(End{code, std::string(reason), true});
  }
  /// Does so much wait for the client that it must read before it may ask on? on_outlet_empty() says when.
  [[nodiscard]] bool must_read_first() const {
    return outlet_.pending_bytes() > static_cast<std::size_t>(context_.limits.backlog_bytes) ||
           (outlet_.is_clogged && context_.unread.is_exceeded());
  }
  /// The client is known from now on.
  void log_connect(Transport transport);
  /// The client has gone. If it was never let in, and has been sent away, that is a refusal.
  void log_close(Transport transport, std::string_view claimed_user = {});
  /// The client was not let in, or its poll failed.
  void log_refusal(Transport transport, std::string_view user, std::string_view claimed_user,
                   std::uint32_t code, std::string_view reason);

  SessionContext& context_;
  Outlet& outlet_;

 private:
  friend std::unique_ptr<Session> restore_session(SessionContext& context, Outlet& outlet,
                                                  const SessionState& state);
  struct End {
    std::uint16_t code;
    std::string reason;
    bool is_goodbye;
  };
  std::shared_ptr<Session*> self_;
  std::unique_ptr<End> end_;
  Millis connected_ms_ = 0;  // 0: not known, or gone
  bool is_refusal_logged_ = false;
};

/// Makes a session of what save() wrote, on the shard that is current.
[[nodiscard]] std::unique_ptr<Session> restore_session(SessionContext& context, Outlet& outlet,
                                                       const SessionState& state);

/// Is this a name that a channel can have: not empty, within the limit, UTF-8 without control characters?
[[nodiscard]] bool is_channel_name(std::string_view name, const Limits& limits);
/// Why a publication with this idempotency key is refused; empty: it is not.
[[nodiscard]] std::string idempotency_key_error(std::string_view key, const Limits& limits);
/// A version 4 UUID.
[[nodiscard]] std::string make_client_id(RandomSource& random);

}  // namespace carillon
