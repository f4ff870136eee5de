#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/centrifuge_codes.hpp"
#include "session/session_context.hpp"
#include "session/session_state.hpp"

namespace carillon {

inline constexpr Millis kNoDeadline = std::numeric_limits<Millis>::max();
/// A deadline in its saved form, for another `now`.
[[nodiscard]] constexpr Millis left_until(Millis deadline, Millis now_ms) {
  return deadline == kNoDeadline ? kNoDeadline : deadline - now_ms;
}
[[nodiscard]] constexpr Millis deadline_in(Millis left, Millis now_ms) {
  return left == kNoDeadline ? kNoDeadline : left + now_ms;
}

/// A new end of a connection, by the server.
struct Renewal {
  std::int64_t at_s = 0;  ///< seconds since 1970-01-01 UTC, in the future; 0: never
  std::string info_json;  ///< in place of the client's; empty: as it was
};

/// What became of a subscription that the server wanted for a client.
enum class SubscribeAnswer : std::uint8_t {
  subscribed,
  already_subscribed,
  limit_exceeded,  ///< the client has limits.channels_per_connection
  failed,          ///< the store did not answer, or the client has gone
  not_applicable   ///< the transport has the channels that its request names, or is not connected yet
};

/// The decisions of a connection, as a machine without I/O: bytes, time and entries in, slices out. Belongs
/// to its shard's thread.
class Session : public Sink {
 public:
  Session(SessionContext& context, Outlet& outlet) : context_(context), outlet_(outlet) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() override {
    if (self_) *self_ = nullptr;
    context_.output.forget(*this);
  }

  void on_live(Cursor& /*cursor*/) override { context_.host.note_live(outlet_); }

  /// Bytes from the peer, which may be changed in place. Valid for the call.
  virtual void on_bytes(std::span<char> bytes) = 0;
  /// Continues with input that it has put aside, if there still is any.
  virtual void read_on() {}
  /// The peer sends nothing more, and all its input has been read. By default the connection ends.
  virtual void on_end_of_input() { context_.host.close(outlet_); }
  /// The peer sends nothing more, but its earlier input is not read while reading is paused.
  virtual void on_hang_up() {}
  /// The outlet has sent everything, after it was clogged or because wants_empty_notice was set.
  virtual void on_outlet_empty() = 0;
  /// Requested with TurnOutput::finish_later: all batches of the turn are staged, the flush is next.
  virtual void finish_turn() {}
  /// When on_deadline is due, ms of the clock.
  [[nodiscard]] virtual Millis deadline() const = 0;
  virtual void on_deadline(Millis now_ms) = 0;
  /// The connection has gone: the session releases everything, and pending answers no longer reach it. It may
  /// exist for a while, without effect.
  void let_go() {
    if (self_) *self_ = nullptr;
    on_closed();
  }
  /// A drain asks the client to disconnect, in the way that makes it reconnect elsewhere.
  virtual void drain() = 0;
  /// Closes the connection, with a Centrifuge disconnect code where the transport has one.
  virtual void disconnect(std::uint16_t code, std::string_view reason) = 0;
  /// Id of the client, or empty.
  [[nodiscard]] std::string_view client_id() const override { return {}; }
  [[nodiscard]] virtual std::string_view user() const { return {}; }
  /// By which a client over HTTP sends its commands, or empty.
  [[nodiscard]] virtual std::string_view client_session() const { return {}; }
  /// The server subscribes the client to a channel. `done` is called once, on this thread, unless the client
  /// goes before.
  virtual void subscribe(const SubscriptionGrant& /*grant*/, const std::optional<Since>& /*since*/,
                         std::function<void(SubscribeAnswer)> done) {
    done(SubscribeAnswer::not_applicable);
  }
  /// The server moves the end of the connection. False: the transport has none.
  virtual bool refresh(const Renewal& /*renewal*/) { return false; }
  /// The server ends a subscription of the client. False: there is none.
  virtual bool unsubscribe(std::string_view /*channel*/, const UnsubscribeCode& /*code*/) { return false; }
  /// Does it wait for an answer that can only arrive in this process?
  [[nodiscard]] bool has_open_question() const {
    return self_ && self_.use_count() > 1 && !can_ask_again();  // a continuation leads back here
  }
  /// Its state, for restore_session(). Nothing: has_open_question().
  [[nodiscard]] std::optional<SessionState> save() const;
  /// let_go(), because another process has the connection now: the client is still connected.
  void give_away() {
    connected_ms_ = 0;
    end_.reset();
    let_go();
  }
  /// Notes why the connection ends, for its record; the first reason counts.
  void note_end(std::uint16_t code, std::string_view reason) {
    if (!end_) end_ = std::make_unique<End>(End{code, std::string(reason), false});
  }

 protected:
  /// Called by let_go(): releases the session's resources.
  virtual void on_closed() = 0;
  /// If it waits for an answer: would its restored state ask for it again?
  [[nodiscard]] virtual bool can_ask_again() const { return false; }
  /// save(), without the part that all sessions share.
  [[nodiscard]] virtual std::optional<SessionState::Kind> save_kind() const = 0;
  /// Leads a continuation back to this session; null once the session has gone. Only on the shard's thread.
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
  /// note_end() of a goodbye that has just been written: it counts as delivered once all bytes have been
  /// sent.
  void note_goodbye(std::uint16_t code, std::string_view reason) {
    if (!end_) end_ = std::make_unique<End>(End{code, std::string(reason), true});
  }
  /// Must the client read replies before its next command is read? on_outlet_empty() ends that.
  [[nodiscard]] bool must_read_first() const {
    return outlet_.pending_bytes() > static_cast<std::size_t>(context_.limits.backlog_bytes) ||
           (outlet_.is_clogged && context_.unsent.is_exceeded());
  }
  /// The client is identified from now on. `request`: id of the HTTP request that it came with, or empty.
  void log_connect(Transport transport, std::string_view request = {});
  /// Channels of a client that ends: the first ones, and how many there are.
  struct ChannelsAtEnd {
    std::vector<std::string_view> names = {};
    std::uint64_t count = 0;

    void add(std::string_view channel) {
      if (++count <= kChannelsLogged) names.push_back(channel);
    }
  };
  /// The client has gone. If it was never accepted, and has been disconnected, that is a refusal.
  void log_close(Transport transport, const ChannelsAtEnd& channels, std::string_view claimed_user = {},
                 std::string_view request = {});
  /// The client, its request or its command was refused.
  void log_refusal(Transport transport, std::string_view user, std::string_view claimed_user,
                   std::uint32_t code, std::string_view reason, std::string_view channel = {},
                   std::string_view request = {});
  /// The client has been told that a subscription has lost something.
  void log_gap(Transport transport, std::string_view channel, const Gap& gap, std::string_view request = {});
  /// The same at the begin of a subscription, which is not recovered and goes on behind `start`.
  void log_not_recovered(Transport transport, std::string_view channel, const SubscribeOutcome& outcome,
                         std::string_view request = {});
  /// A subscription of the client is too far behind.
  void log_slow(Transport transport, std::string_view channel);

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
  Millis connected_ms_ = 0;  // 0: not identified, or gone
  bool is_refusal_logged_ = false;

  void log_loss(ConnectionRecord record);
};

/// Makes a session from the result of save(), on the current shard.
[[nodiscard]] std::unique_ptr<Session> restore_session(SessionContext& context, Outlet& outlet,
                                                       const SessionState& state);

/// A version 4 UUID.
[[nodiscard]] std::string make_client_id(RandomSource& random);

}  // namespace carillon
