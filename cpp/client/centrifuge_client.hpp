#pragma once

#include <cstdint>
#include <forward_list>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/client_link.hpp"
#include "client/lanes.hpp"
#include "client/queued_messages.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "requests/refusal.hpp"
#include "session/client_id.hpp"
#include "session/session.hpp"
#include "session/subscription_terms.hpp"

namespace carillon {

/// The server's side of one client of the Centrifuge protocol (protocol.md sections 1 to 12), whatever its
/// encoding and transport: connect, commands, subscriptions and their cursors, heartbeats, disconnects. It
/// knows nothing of frames, HTTP or sockets: its link does.
class CentrifugeClient final : public Session {
 public:
  /// `claimed_user`: the query's `user`, for Access. `request_id`: of its HTTP request, or empty. `request`:
  /// what it came with, if hooks want it.
  CentrifugeClient(SessionContext& context, Outlet& outlet, std::unique_ptr<ClientLink> link,
                   std::string claimed_user, std::string request_id,
                   std::shared_ptr<const ClientRequest> request);
  /// Continues a saved one. Its link still has to read the bytes that it had.
  CentrifugeClient(SessionContext& context, Outlet& outlet, std::unique_ptr<ClientLink> link,
                   const ClientState& state);
  ~CentrifugeClient() override;

  void on_bytes(std::span<char> bytes) override { link_->on_bytes(*this, bytes); }
  void read_on() override;
  void on_outlet_empty() override;
  [[nodiscard]] Millis deadline() const override;
  void on_deadline(Millis now_ms) override;
  void drain() override { disconnect(kDisconnectShutdown.code, kDisconnectShutdown.reason); }
  void disconnect(std::uint16_t code, std::string_view reason) override;
  [[nodiscard]] std::string_view client_id() const override { return client_.view(); }
  [[nodiscard]] std::string_view user() const override { return user_; }
  [[nodiscard]] std::string_view client_session() const override { return link_->session(); }
  void subscribe(const SubscriptionGrant& grant, const std::optional<Since>& since,
                 std::function<void(SubscribeAnswer)> done) override;
  bool refresh(const Renewal& renewal) override;
  bool unsubscribe(std::string_view channel, const UnsubscribeCode& code) override;

  /// Brings a message with commands from another connection to its client. Any thread; `memory` is given back
  /// when it has been read.
  static void deliver(const ClientDirectory::Place& place, std::string message, BodyBudget::Share memory);

  // ---- for its link

  /// One message with commands.
  void on_message(std::string_view message);
  /// A sign of life, by the transport's own ping.
  void on_pong();
  /// The peer disconnects, or answers the client's goodbye.
  void on_goodbye(std::uint16_t code);
  /// Nothing that comes behind these bytes can be read, not even a goodbye. `remedy` is for the record.
  void on_unreadable_input(std::uint16_t code, std::string_view reason, std::string_view remedy);
  /// Bytes of the transport, as they are.
  void write(std::string_view bytes) { context_.output.add(outlet_, bytes); }
  /// Nothing has been asked yet.
  [[nodiscard]] bool awaits_connect() const { return phase_ == Phase::waiting && !queued_; }
  /// When an EventSource of it is to come back, ms: not all at once.
  [[nodiscard]] std::uint64_t retry_ms() const {
    return jittered_retry_ms(context_.heartbeat, context_.random);
  }
  [[nodiscard]] bool is_clogged() const { return outlet_.is_clogged; }
  /// It has been disconnected, or the peer has gone: nothing more is said.
  [[nodiscard]] bool is_over() const { return phase_ >= Phase::closing; }
  /// The same, and nothing more is read.
  [[nodiscard]] bool is_closed() const { return phase_ == Phase::closed; }

  bool stage(Cursor& cursor, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override;
  void on_slow(Cursor& cursor) override;

 private:
  void on_closed() override;
  /// A hook that decides on a connect or a renewal decides once more, in another process.
  [[nodiscard]] bool can_ask_again() const override;
  [[nodiscard]] std::optional<SessionState::Kind> save_kind() const override;
  void enter_directory();
  enum class Phase : std::uint8_t { waiting, connecting, connected, closing, closed };
  struct Subscription;
  struct Connect;
  struct Newcomer {
    std::string claimed_user;
    std::string request_id = {};
    std::string asked = {};  // its connect command, while a hook decides on it
  };
  class DeltaStart;
  class FilteredPath;
  using Skipped = std::vector<ClientState::Skipped>;

  /// Do its commands come by other connections?
  [[nodiscard]] bool is_emulated() const { return !link_->is_unidirectional() && !link_->session().empty(); }
  /// Takes commands from the front. False: the remaining ones, if any, wait.
  bool read_commands(std::string_view& commands, bool is_new_message);
  /// Is reading of commands paused?
  [[nodiscard]] bool must_wait();
  [[nodiscard]] bool waits_for_answers() const;
  /// Are as many commands under way as the limits allow?
  [[nodiscard]] bool is_full() const;

  /// Carries the command out now, or lets it wait in its lane. False: the connection ends.
  bool accept(const Command& command, std::string_view text);
  bool carry_out(const Command& command, std::string_view text);
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
    auto& me = static_cast<CentrifugeClient&>(*session);
    if (me.lanes_.is_wanted(ticket)) then(me, answer...);
    me.finish(ticket);
  }
  bool handle(const Command& command, std::string_view text);
  /// `text`: the command as it came.
  bool handle_connect(const Command& command, std::string_view text);
  /// `client`: the id that it gets, if one has been named already.
  void on_identified(std::uint32_t id, const Verdict& verdict, std::span<const SubscriptionWish> wishes,
                     std::string_view client = {});

  // Subscriptions that the server makes: server_subscriptions.cpp.
  /// Makes those of the identity and those wished for, then answers the connect.
  void begin_connect(std::uint32_t id, const Identity& identity, std::span<const SubscriptionWish> wishes,
                     std::string_view client);
  /// False: its user has too many connections, and this one is closed.
  bool count_connection();
  /// Nothing: the connect has been refused.
  [[nodiscard]] std::optional<std::vector<SubscriptionGrant>> grants_of(
      std::uint32_t id, const Identity& identity, std::span<const SubscriptionWish> wishes);
  [[nodiscard]] bool may_have(const SubscriptionWish& wish) const;
  void on_connect_subscribed(Subscription& subscription, const SubscribeOutcome& outcome);
  /// All subscriptions are there: the reply, and then what comes in their channels.
  void complete_connect();
  /// Writes the reply; `subscriptions` as CentrifugeCodec::append_subscription() makes them.
  void answer_connect(std::uint32_t id, std::string_view data, std::string_view subscriptions);
  void on_server_subscribed(Subscription& subscription, const SubscribeOutcome& outcome,
                            std::string_view data);
  /// Only the newest connection of a user goes on.
  void end_older_connection();

  bool handle_subscribe(const Command& command);
  /// Has the channel's policy skipped publications behind the position that the client brings? Forgets it.
  [[nodiscard]] bool take_skipped(std::string_view channel, const std::optional<Since>& since);
  /// What a subscribe command asks for, while its answer is awaited.
  struct Wanted {
    std::uint32_t id;
    std::optional<Since> since;
    bool must_recover;
    SubscriptionWishes wishes;
  };
  void open_subscription(Subscription& subscription, const Wanted& wanted, const SubscriptionGrant& grant);
  /// Settles what the subscription is like.
  void accept(Subscription& subscription, const SubscriptionGrant& grant, const SubscriptionWishes& wishes);
  /// Opens it behind `since`, if it can recover. `done` is told of a recovery also where it cannot.
  void open(Subscription& subscription, const std::optional<Since>& since, Hub::SubscribeDone done);
  void on_subscribed(Subscription& subscription, const Wanted& wanted, const SubscribeOutcome& outcome,
                     std::string_view data);
  /// Also moves the first page of at most `page_bytes` into `publications`.
  [[nodiscard]] SubscribeResult result_of(Subscription& subscription, const SubscribeOutcome& outcome,
                                          std::size_t page_bytes, std::string& publications);
  /// The client knows of it: others may know, too.
  void begin(Subscription& subscription);
  /// Adds the client to the presence of the channel, or replaces what is there of the client.
  void show_in_presence(const Subscription& subscription);
  /// The subscribe has failed, or was cancelled.
  void end_attempt(Subscription& subscription);
  /// A subscribe that is under way holds its lane up no longer; carry_on() has to follow.
  void cancel_subscribe(std::string_view channel);
  static constexpr std::string_view kNoChannel = "channel: is missing in a command";
  std::string take_page(Subscription& subscription, std::size_t bytes_max);
  [[nodiscard]] bool has_delta(const Subscription& subscription, const SubscribeOutcome& outcome) const;
  bool handle_unsubscribe(const Command& command);
  bool handle_publish(const Command& command);
  void publish(std::uint32_t id, Lanes::Ticket ticket, std::string_view channel, std::string_view data,
               ContentType content, const Verdict& verdict);
  /// False: denied, and answered.
  bool is_allowed(const Command& command, Operation operation);
  bool handle_presence(const Command& command);
  bool handle_history(const Command& command);
  bool handle_refresh(const Command& command);
  bool handle_sub_refresh(const Command& command);
  /// When it ends what it belongs to, ms of the clock. Who renews it gets `delay_ms` more to do so.
  [[nodiscard]] Millis end_of(const Expiry& expiry, Millis delay_ms) const;
  /// Seconds that are left, for the client; 0: it does not have to renew it.
  [[nodiscard]] std::uint32_t ttl_of(const Expiry& expiry) const;
  /// An expiry has changed.
  void schedule_expiry();
  /// Replaces what others see of the client (`conn_info`), or of one subscription (`chan_info`), in presence
  /// as well. An empty `info` changes nothing.
  void renew_info(const std::string& info);
  void renew_info(Subscription& subscription, const std::string& info);
  void end_expired(Millis now_ms);
  /// Has the connection expired, and is its end left to a hook?
  [[nodiscard]] bool is_renewed_by_hook() const;
  [[nodiscard]] bool is_renewed_by_hook(const Subscription& subscription) const;
  /// What has expired goes on until a hook has answered.
  void ask_to_go_on();
  void ask_to_go_on(Subscription& subscription);
  void on_renewed(const Verdict& verdict, std::int64_t asked_at_s);
  void on_renewed(Subscription& subscription, const Verdict& verdict);
  void end_expired(Subscription& subscription);
  /// When a hook is asked once more that has not decided, seconds since 1970.
  [[nodiscard]] std::int64_t next_try_s() const;
  /// Does a hook want to know what the client came with?
  [[nodiscard]] bool keeps_request() const;
  bool handle_rpc(const Command& command);  // this and the next three: inbox_commands.cpp
  bool ask_rpc(const Command& command);
  [[nodiscard]] std::function<void(const Refusal&, std::string)> rpc_answer(std::uint32_t id);
  void mark_read(std::string_view channel, Offset offset,
                 std::function<void(const Refusal&, std::string)> answer);
  /// False: a bad channel, or not available; answered already.
  bool check_channel(const Command& command, bool is_available);
  void deny(std::uint32_t id, Operation operation, std::string_view channel, const Verdict& verdict);
  void refuse_subscribe(const Command& command, const ErrorCode& error, std::string_view remedy = {});
  void log_refused(Operation operation, std::string_view channel, const ErrorCode& error,
                   std::string_view remedy);
  /// The connect is refused. `user`: as it has been proved; empty: nobody has.
  void log_refused_connect(std::string_view user, std::uint32_t code, std::string reason);
  /// Has the last record been written that refusals of this client may have? Else `reason` is prepared.
  [[nodiscard]] bool count_refusal(std::string& reason);
  [[nodiscard]] Question question(Operation operation, std::string_view channel,
                                  std::string_view data = {}) const;
  [[nodiscard]] std::string_view claimed_user() const;
  /// Of the HTTP request that it came with, until it is identified; or empty.
  [[nodiscard]] std::string_view request_id() const;

  [[nodiscard]] bool is_subscribed(std::string_view channel);
  Subscription* find(std::string_view channel);
  /// Begins an answer of its lane.
  Subscription& add_subscription(std::string_view channel, bool is_by_server);
  /// Has it as many subscriptions as it may have? Those that are ending do not count.
  [[nodiscard]] bool has_all_channels() const;
  void leave(const Subscription& subscription);
  void end_later(Subscription& subscription);
  void end_subscription(Subscription& subscription);
  void erase(const Subscription& subscription);
  void settle_under_way();

  void reply_error(std::uint32_t id, const ErrorCode& error);
  template <typename Encode>
  void reply(Encode&& encode) {
    if (is_over()) return;
    std::string& message = context_.output.scratch();
    message.clear();
    std::forward<Encode>(encode)(message);
    link_->frame(message);
    write(message);
  }
  void send_ping();
  bool disconnect_with(const DisconnectCode& code);
  /// `why`: for the record alone.
  bool disconnect_with(const DisconnectCode& code, std::string_view why);
  void end_connection();
  /// For others; empty: none.
  [[nodiscard]] std::string conn_info() const { return conn_info_json_ ? *conn_info_json_ : std::string(); }
  const std::string& info_json();
  /// The same, with what belongs to a subscription.
  [[nodiscard]] std::string info_json(const Subscription& subscription);
  /// The same for a publication to a channel.
  [[nodiscard]] std::string info_json_in(std::string_view channel);

  // There are many clients: small members come first, into the padding of Session.
  Phase phase_ = Phase::waiting;
  bool is_counted_ = false;   // among the connections of its user
  bool is_ping_due_ = false;  // waits for a clogged outlet
  bool is_renewing_ = false;  // a hook has been asked whether the connection goes on
  std::uint8_t refusals_logged_ = 0;
  const std::unique_ptr<ClientLink> link_;
  const Layout* const layouts_;  // of the link, by the mark of a cursor
  const CentrifugeCodec& codec_;
  Millis next_ping_ms_ = kNoDeadline;
  Millis pong_due_ms_ = kNoDeadline;
  Millis phase_due_ms_ = kNoDeadline;   // of the connect command, or of the closing handshake
  Millis expiry_due_ms_ = kNoDeadline;  // of what expires first: the client or a subscription
  Expiry expiry_;
  std::uint64_t token_channels_ = 0;  // see Identity
  std::string user_;                  // by the answer to its connect; empty before
  ClientId client_;
  std::unique_ptr<const std::string> conn_info_json_;  // from the hook; null: none
  std::unique_ptr<const std::string> info_json_;       // null until it is needed
  std::unique_ptr<Newcomer> newcomer_;                 // until the client is identified
  std::shared_ptr<const ClientRequest> request_;       // while a hook may ask for it
  std::unique_ptr<QueuedMessages> queued_;             // messages with commands that have not been read yet
  std::unique_ptr<Skipped>
      skipped_;  // channels in which it has skipped publications, until it subscribes again
  std::forward_list<Subscription> subscriptions_;  // in order of their beginning
  std::unique_ptr<Connect> connect_;               // while its subscriptions are being made
  Lanes lanes_;
};

}  // namespace carillon
