#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/centrifuge_codec.hpp"
#include "protocol/ws_frame.hpp"
#include "requests/refusal.hpp"
#include "session/lanes.hpp"
#include "session/queued_messages.hpp"
#include "session/session.hpp"

namespace carillon {

/// A WebSocket connection after its handshake, speaking the Centrifuge client protocol (protocol.md sections
/// 1 to 12).
class WebSocketSession final : public Session {
 public:
  struct Settings {
    std::string claimed_user;                      ///< the query's `user`, for Access
    std::shared_ptr<const ClientRequest> request;  ///< its upgrade, if hooks want it
    bool has_native_pings = false;  ///< `cf_ws_frame_ping_pong=true`: WebSocket pings instead of `{}`
  };
  WebSocketSession(SessionContext& context, Outlet& outlet, const CentrifugeCodec& codec, Settings settings);
  /// Continues a saved one.
  WebSocketSession(SessionContext& context, Outlet& outlet, const CentrifugeCodec& codec,
                   const WebSocketState& state);
  ~WebSocketSession() override;

  void on_bytes(std::span<char> bytes) override;
  void read_on() override;
  void on_outlet_empty() override;
  [[nodiscard]] Millis deadline() const override;
  void on_deadline(Millis now_ms) override;
  void drain() override { disconnect(kDisconnectShutdown.code, kDisconnectShutdown.reason); }
  void disconnect(std::uint16_t code, std::string_view reason) override;
  [[nodiscard]] std::string_view client_id() const override { return client_; }
  [[nodiscard]] std::string_view user() const override { return user_; }

  bool stage(Cursor& cursor, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override;
  void on_slow(Cursor& cursor) override;

 private:
  void on_closed() override;
  [[nodiscard]] std::optional<SessionState::Kind> save_kind() const override;
  enum class Phase : std::uint8_t { waiting, connecting, connected, closing, closed };
  struct Subscription;
  using Skipped = std::vector<WebSocketState::Skipped>;

  void read_frames(std::span<char> bytes);
  void on_message(std::string_view message);
  /// Takes commands from the front. False: the remaining ones, if any, wait.
  bool read_commands(std::string_view& commands, bool is_new_message);
  void on_peer_close(std::uint16_t code);
  /// Is reading of commands paused?
  [[nodiscard]] bool must_wait();
  [[nodiscard]] bool waits_for_answers() const;
  /// Are as many commands under way as the limits allow?
  [[nodiscard]] bool is_full() const;
  void save_queued(WebSocketState& state) const;

  /// Carries the command out now, or lets it wait in its lane. False: the connection ends.
  bool accept(const Command& command, std::string_view text);
  bool carry_out(const Command& command, std::size_t bytes);
  /// Carries out waiting commands of the lanes, as far as possible, then reads the queued messages.
  void carry_on();
  void finish(Lanes::Ticket ticket);
  /// Leads an answer, from any thread and at any time, back to the command: `then(session, answer…)`, unless
  /// it is no longer pending.
  template <typename Then>
  [[nodiscard]] auto answer_with(Lanes::Ticket ticket, Then then) {
    return [shard = &context_.shard, me = self(), ticket, then = std::move(then)](const auto&... answer) {
      if (shard->is_current()) return give(*me, ticket, then, answer...);
      shard->post([me, ticket, then, ... late = answer] { give(*me, ticket, then, late...); });
    };
  }
  template <typename Then, typename... Answer>
  static void give(Session* session, Lanes::Ticket ticket, const Then& then, const Answer&... answer) {
    if (session == nullptr) return;
    auto& me = static_cast<WebSocketSession&>(*session);
    if (me.lanes_.is_wanted(ticket)) then(me, answer...);
    me.finish(ticket);
  }
  bool handle(const Command& command);
  bool handle_connect(const Command& command);
  void on_identified(std::uint32_t id, const Verdict& verdict);
  bool handle_subscribe(const Command& command);
  /// Has the channel's policy skipped publications behind the position that the client brings? Forgets it.
  [[nodiscard]] bool take_skipped(std::string_view channel, const std::optional<Since>& since);
  void open_subscription(std::uint32_t id, Subscription& subscription, const std::optional<Since>& since,
                         bool must_recover);
  void on_subscribed(std::uint32_t id, Subscription& subscription, const SubscribeOutcome& outcome,
                     bool must_recover);
  /// The subscribe has failed, or was cancelled.
  void end_attempt(Subscription& subscription);
  /// A subscribe that is under way holds its lane up no longer; carry_on() has to follow.
  void cancel_subscribe(std::string_view channel);
  std::string take_page(Subscription& subscription);
  bool handle_unsubscribe(const Command& command);
  bool handle_publish(const Command& command);
  void publish(std::uint32_t id, Lanes::Ticket ticket, std::string_view channel, std::string_view data,
               const Verdict& verdict);
  /// False: denied, and answered.
  bool is_allowed(const Command& command, Operation operation);
  bool handle_presence(const Command& command);
  bool handle_history(const Command& command);
  bool handle_rpc(const Command& command);  // this and the next two: websocket_rpc.cpp
  [[nodiscard]] std::function<void(const Refusal&, std::string)> rpc_answer(std::uint32_t id);
  void mark_read(std::string_view channel, Offset offset,
                 std::function<void(const Refusal&, std::string)> answer);
  /// False: a bad channel, or not available; answered already.
  bool check_channel(const Command& command, bool is_available);
  void deny(std::uint32_t id, Operation operation, std::string_view channel, const Verdict& verdict);
  void refuse_subscribe(const Command& command, const ErrorCode& error, std::string_view remedy = {});
  void log_refused(Operation operation, std::string_view channel, const ErrorCode& error,
                   std::string_view remedy);
  [[nodiscard]] Question question(Operation operation, std::string_view channel,
                                  std::string_view data = {}) const;
  [[nodiscard]] std::string_view claimed_user() const;

  Subscription* find(std::string_view channel);
  void leave(const Subscription& subscription);
  void end_later(Subscription& subscription);
  void end_subscription(Subscription& subscription);
  void erase(const Subscription& subscription);
  void settle_under_way();

  void reply_error(std::uint32_t id, const ErrorCode& error);
  void reply_rpc(std::uint32_t id, std::string_view data);
  template <typename Encode>
  void reply(Encode&& encode);
  void reply_close(std::uint16_t code);
  void send_ping();
  void send_pong();
  bool disconnect_with(const DisconnectCode& code);
  void end_connection();
  const std::string& info_json();

  const CentrifugeCodec& codec_;
  WsParser parser_;
  Phase phase_ = Phase::waiting;
  const bool has_native_pings_;
  bool is_ping_due_ = false;  // waits for a clogged outlet
  Millis next_ping_ms_ = kNoDeadline;
  Millis pong_due_ms_ = kNoDeadline;
  Millis phase_due_ms_ = kNoDeadline;  // of the connect command, or of the closing handshake
  std::string user_;                   // by the answer to its connect; empty before
  std::string client_;
  std::string conn_info_json_;  // from the hook
  std::string info_json_;
  std::unique_ptr<std::string> claimed_user_;     // until the client is identified
  std::shared_ptr<const ClientRequest> request_;  // while a hook may ask for it
  std::unique_ptr<std::string> pong_;             // payload of the newest unanswered ping
  std::unique_ptr<QueuedMessages> queued_;        // messages with commands that have not been read yet
  std::unique_ptr<Skipped>
      skipped_;  // channels in which it has skipped publications, until it subscribes again
  std::vector<std::unique_ptr<Subscription>> subscriptions_;
  std::uint8_t refusals_logged_ = 0;
  std::uint32_t ending_ = 0;  // subscriptions that are ending, cancelled ones included
  Lanes lanes_;
};

}  // namespace carillon
