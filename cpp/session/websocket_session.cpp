#include "session/websocket_session.hpp"

#include <algorithm>
#include <utility>

#include "protocol/utf8.hpp"
#include "requests/checks.hpp"
#include "requests/since.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {
/// A client may repeat a command that is refused as fast as it can send it.
constexpr std::uint8_t kRefusalsLogged = 10;
}  // namespace

struct WebSocketSession::Subscription {
  enum class State : std::uint8_t {
    asked,      // its hook or the store has still to answer
    cancelled,  // the same, and the client has unsubscribed
    started,    // its reply has been written
    ending      // once what is under way has been sent
  };
  /// The cursor's mark: does it take join and leave?
  Subscription(WebSocketSession& session, std::string_view name, const ChannelOptions& options,
               bool wants_notices, Lanes::Ticket its_ticket)
      : channel(name),
        cursor(session, options.join_leave && wants_notices ? 1 : 0),
        ticket(its_ticket),
        has_notices(options.join_leave),
        has_presence(options.presence) {}
  Subscription(WebSocketSession& session, const WebSocketState::Subscription& saved)
      : channel(saved.channel),
        cursor(session, saved.wants_notices ? 1 : 0),
        state(saved.is_ending ? State::ending : State::started),
        has_notices(saved.has_notices),
        has_presence(saved.has_presence) {}
  const std::string channel;
  Cursor cursor;
  const Lanes::Ticket ticket = 0;  // of the answer that it waits for
  State state = State::asked;
  const bool has_notices;  // its coming and going is announced
  const bool has_presence;
};

WebSocketSession::WebSocketSession(SessionContext& context, Outlet& outlet, const CentrifugeCodec& codec,
                                   Settings settings)
    : Session(context, outlet),
      codec_(codec),
      parser_(static_cast<std::size_t>(context.limits.message_bytes)),
      has_native_pings_(settings.has_native_pings),
      phase_due_ms_(context.clock.now_ms() + context.limits.handshake_timeout_ms),
      claimed_user_(std::make_unique<std::string>(std::move(settings.claimed_user))),
      request_(std::move(settings.request)),
      lanes_(context.counters.commands_under_way, context.limits.concurrency) {
  context_.counters.websocket.fetch_add(1, std::memory_order_relaxed);
}

WebSocketSession::WebSocketSession(SessionContext& context, Outlet& outlet, const CentrifugeCodec& codec,
                                   const WebSocketState& state)
    : Session(context, outlet),
      codec_(codec),
      parser_(static_cast<std::size_t>(context.limits.message_bytes)),
      phase_(static_cast<Phase>(state.phase)),
      has_native_pings_(state.has_native_pings),
      is_ping_due_(state.is_ping_due),
      next_ping_ms_(deadline_in(state.ping_left_ms, context.clock.now_ms())),
      pong_due_ms_(deadline_in(state.pong_left_ms, context.clock.now_ms())),
      phase_due_ms_(deadline_in(state.phase_left_ms, context.clock.now_ms())),
      user_(state.user),
      client_(state.client),
      conn_info_json_(state.conn_info_json),
      lanes_(context.counters.commands_under_way, context.limits.concurrency) {
  context_.counters.websocket.fetch_add(1, std::memory_order_relaxed);
  if (state.request) request_ = std::make_shared<const ClientRequest>(*state.request);
  if (!state.claimed_user.empty()) claimed_user_ = std::make_unique<std::string>(state.claimed_user);
  if (!state.skipped.empty()) skipped_ = std::make_unique<Skipped>(state.skipped);
  if (state.pong) pong_ = std::make_unique<std::string>(*state.pong);
  for (const WebSocketState::Subscription& saved : state.subscriptions) {
    Subscription& subscription = *subscriptions_.emplace_back(std::make_unique<Subscription>(*this, saved));
    ending_ += saved.is_ending ? 1 : 0;
    context_.hub.restore(context_.shard, subscription.cursor, subscription.channel, saved.cursor);
  }
  if (state.has_queued_input) {
    queued_ = std::make_unique<QueuedMessages>();
    queued_->add(state.queued_commands);
    queued_->is_begun = true;
  }
  std::string input = state.unfinished + state.queued_input;
  read_frames(input);
}

std::optional<SessionState::Kind> WebSocketSession::save_kind() const {
  if (lanes_.size() > 0) return std::nullopt;  // an answer has still to come
  const Millis now = context_.clock.now_ms();
  WebSocketState state;
  state.phase = static_cast<std::uint8_t>(phase_);
  state.has_native_pings = has_native_pings_;
  state.is_ping_due = is_ping_due_;
  state.ping_left_ms = left_until(next_ping_ms_, now);
  state.pong_left_ms = left_until(pong_due_ms_, now);
  state.phase_left_ms = left_until(phase_due_ms_, now);
  state.user = user_;
  state.client = client_;
  state.conn_info_json = conn_info_json_;
  state.claimed_user = claimed_user();
  if (request_) state.request = *request_;
  if (pong_) state.pong = *pong_;
  if (skipped_) state.skipped = *skipped_;
  if (queued_) save_queued(state);
  (queued_ ? state.queued_input : state.unfinished) += parser_.unfinished();
  for (const auto& subscription : subscriptions_) {
    state.subscriptions.push_back({subscription->channel, Shard::save(subscription->cursor),
                                   subscription->cursor.mark() != 0, subscription->has_notices,
                                   subscription->has_presence,
                                   subscription->state == Subscription::State::ending});
  }
  return state;
}

WebSocketSession::~WebSocketSession() { context_.counters.websocket.fetch_sub(1, std::memory_order_relaxed); }

// ---- output

void WebSocketSession::on_outlet_empty() {
  settle_under_way();
  if (phase_ == Phase::closing || phase_ == Phase::closed) return;
  if (pong_) send_pong();
  if (std::exchange(is_ping_due_, false)) send_ping();
  for (const auto& subscription : subscriptions_) context_.shard.resume(subscription->cursor);
  read_on();
}

void WebSocketSession::settle_under_way() {
  for (const auto& subscription : subscriptions_) subscription->cursor.count_under_way_delivered();
  std::erase_if(subscriptions_, [this](const std::unique_ptr<Subscription>& subscription) {
    if (subscription->state != Subscription::State::ending) return false;
    context_.shard.unsubscribe(subscription->cursor);
    --ending_;
    return true;
  });
}

template <typename Encode>
void WebSocketSession::reply(Encode&& encode) {
  if (phase_ == Phase::closing || phase_ == Phase::closed) return;
  std::string& payload = context_.output.scratch();
  payload.clear();
  std::forward<Encode>(encode)(payload);
  std::string header;
  append_ws_header(header, codec_.is_text() ? WsOpcode::text : WsOpcode::binary, payload.size());
  payload.insert(0, header);
  context_.output.add(outlet_, payload);
}

void WebSocketSession::reply_error(std::uint32_t id, const ErrorCode& error) {
  reply([&](std::string& out) { codec_.encode_error(out, id, error); });
}

void WebSocketSession::reply_rpc(std::uint32_t id, std::string_view data) {
  reply([&](std::string& out) { codec_.encode_rpc(out, id, data); });
}

void WebSocketSession::reply_close(std::uint16_t code) {
  std::string frame;
  append_ws_close(frame, code, "");
  context_.output.add(outlet_, frame);
}

void WebSocketSession::send_pong() {
  if (outlet_.is_clogged || phase_ == Phase::closing || phase_ == Phase::closed) return;
  std::string frame;
  append_ws_frame(frame, WsOpcode::pong, *pong_);
  pong_.reset();
  context_.output.add(outlet_, frame);
}

void WebSocketSession::send_ping() {
  if (outlet_.is_clogged) {  // a client that cannot read would look dead
    is_ping_due_ = true;
    return;
  }
  const Millis now = context_.clock.now_ms();
  next_ping_ms_ = now + context_.heartbeat.ping_interval_ms;
  if (context_.heartbeat.pong_timeout_ms > 0) pong_due_ms_ = now + context_.heartbeat.pong_timeout_ms;
  if (has_native_pings_) {
    std::string frame;
    append_ws_frame(frame, WsOpcode::ping, "");
    context_.output.add(outlet_, frame);
  } else {
    reply([this](std::string& out) { codec_.encode_heartbeat(out); });
  }
  context_.host.reschedule(outlet_);
}

bool WebSocketSession::disconnect_with(const DisconnectCode& code) {
  if (code.code == kDisconnectBadRequest.code) {
    context_.counters.bad_requests.fetch_add(1, std::memory_order_relaxed);
  }
  disconnect(code.code, code.reason);
  return false;
}

void WebSocketSession::disconnect(std::uint16_t code, std::string_view reason) {
  if (phase_ == Phase::closing || phase_ == Phase::closed) return;
  std::string frame;
  append_ws_close(frame, code, reason);
  context_.output.add(outlet_, frame);
  note_goodbye(code, reason);
  phase_ = Phase::closing;
  phase_due_ms_ = context_.clock.now_ms() + context_.limits.close_timeout_ms;
  next_ping_ms_ = pong_due_ms_ = kNoDeadline;
  for (const auto& subscription : subscriptions_) {
    if (subscription->cursor.is_open()) context_.shard.park(subscription->cursor);
  }
  context_.host.reschedule(outlet_);
  lanes_.clear();
  if (const std::unique_ptr<QueuedMessages> queued =
          std::move(queued_)) {  // its commands are void, but a close counts
    context_.host.pause_reading(outlet_, false);
    if (queued->close_code != 0) on_peer_close(queued->close_code);
  }
}

void WebSocketSession::end_connection() {
  phase_ = Phase::closed;
  lanes_.clear();
  next_ping_ms_ = pong_due_ms_ = phase_due_ms_ = kNoDeadline;
  context_.host.close(outlet_);
}

// ---- time

Millis WebSocketSession::deadline() const { return std::min({next_ping_ms_, pong_due_ms_, phase_due_ms_}); }

void WebSocketSession::on_deadline(Millis now_ms) {
  if (phase_due_ms_ <= now_ms) {
    if (phase_ == Phase::closing) return end_connection();
    context_.counters.handshake_timeouts.fetch_add(1, std::memory_order_relaxed);
    disconnect_with(kDisconnectStale);
    return;
  }
  if (pong_due_ms_ <= now_ms && (outlet_.is_clogged || queued_)) {
    // The ping may still wait here, or the pong behind commands that are not read: who is dead takes no byte,
    // and that has a limit of its own.
    pong_due_ms_ = now_ms + context_.heartbeat.pong_timeout_ms;
  }
  if (pong_due_ms_ <= now_ms) {
    pong_due_ms_ = kNoDeadline;
    context_.counters.no_pong.fetch_add(1, std::memory_order_relaxed);
    disconnect_with(kDisconnectNoPong);
    return end_connection();  // it does not answer: its close is not waited for
  }
  if (next_ping_ms_ <= now_ms) {
    next_ping_ms_ = now_ms + context_.heartbeat.ping_interval_ms;
    send_ping();
  }
}

void WebSocketSession::on_closed() {
  phase_ = Phase::closed;
  lanes_.clear();
  queued_.reset();
  for (const auto& subscription : subscriptions_) end_subscription(*subscription);
  subscriptions_.clear();
  ending_ = 0;
  log_close(Transport::websocket, claimed_user());
}

// ---- entries

bool WebSocketSession::stage(Cursor& cursor, const Batch& batch) {
  if (outlet_.is_clogged || phase_ != Phase::connected) return false;
  if (cursor.mark() == 0) return context_.output.add(outlet_, cursor, batch, kWsJson);
  return context_.output.add(outlet_, cursor, batch, kWsJsonNotices);
}

void WebSocketSession::on_gap(Cursor& cursor, const Gap& gap) {
  // Told as "insufficient state": the SDK subscribes again with its position and learns that it is not
  // recovered.
  for (const auto& subscription : subscriptions_) {
    if (&subscription->cursor != &cursor) continue;
    if (gap.is_skip) {  // the log may still have it all: it would only be sent after all
      if (!skipped_) skipped_ = std::make_unique<Skipped>();
      if (skipped_->size() >= static_cast<std::size_t>(context_.limits.channels_per_connection))
        skipped_->erase(skipped_->begin());
      skipped_->push_back({subscription->channel, gap.position});
    }
    reply([&](std::string& out) {
      codec_.encode_push_unsubscribe(out, subscription->channel, kUnsubscribeInsufficientState.code,
                                     kUnsubscribeInsufficientState.reason);
    });
    end_later(*subscription);  // the pump still looks at the cursor, and a page of it may be on its way
    outlet_.wants_empty_notice = true;
    return;
  }
}

void WebSocketSession::on_slow(Cursor& /*cursor*/) {
  context_.counters.slow.fetch_add(1, std::memory_order_relaxed);
  disconnect_with(kDisconnectSlow);
}

// ---- commands

bool WebSocketSession::handle(const Command& command) {
  if (command.kind == CommandKind::pong) {
    pong_due_ms_ = kNoDeadline;  // one that nobody asked for does no harm
    context_.host.reschedule(outlet_);
    return true;
  }
  const bool is_connect = command.kind == CommandKind::connect;
  if (!is_connect && phase_ != Phase::connected) return disconnect_with(kDisconnectBadRequest);
  if (command.is_too_deep && command.id != 0) {
    reply_error(command.id, kErrorTooDeep);
    return true;
  }
  if (is_connect) return handle_connect(command);
  switch (command.kind) {
    case CommandKind::subscribe:
      return handle_subscribe(command);
    case CommandKind::unsubscribe:
      return handle_unsubscribe(command);
    case CommandKind::publish:
      return handle_publish(command);
    case CommandKind::presence:
    case CommandKind::presence_stats:
      return handle_presence(command);
    case CommandKind::history:
      return handle_history(command);
    case CommandKind::ping:
      reply([&](std::string& out) { codec_.encode_ping_reply(out, command.id); });
      return true;
    case CommandKind::send:
      return disconnect_with(kDisconnectNotAvailable);
    case CommandKind::rpc:
      return handle_rpc(command);
    case CommandKind::refresh:
    case CommandKind::sub_refresh:
      reply_error(command.id, kErrorNotAvailable);
      return true;
    case CommandKind::pong:
    case CommandKind::connect:
      break;
  }
  return true;
}

bool WebSocketSession::handle_connect(const Command& command) {
  if (phase_ != Phase::waiting) return disconnect_with(kDisconnectBadRequest);
  Question asked = question(Operation::connect, {}, command.data);
  asked.token = command.token;
  asked.claimed_user = claimed_user();
  if (request_ && asked.token.empty()) asked.token = request_->token();
  if (request_ && asked.data.empty()) asked.data = request_->parameter("data");
  if (const auto verdict = context_.access.answer(asked)) {
    on_identified(command.id, *verdict);
    return phase_ == Phase::connected;
  }
  phase_ = Phase::connecting;
  ask(asked, [this, id = command.id](const Verdict& verdict) {
    if (phase_ != Phase::connecting) return;
    on_identified(id, verdict);
    read_on();
  });
  return true;
}

void WebSocketSession::on_identified(std::uint32_t id, const Verdict& verdict) {
  if (!verdict.is_allowed) {
    phase_ = Phase::waiting;
    if (verdict.is_undecided) {
      log_refusal(Transport::websocket, {}, claimed_user(), kDisconnectServerError.code, verdict.reason);
      disconnect_with(kDisconnectServerError);  // SDKs come back by themselves, with delays that grow
      return;
    }
    const std::uint32_t code = verdict.code != 0 ? verdict.code : kDisconnectPermissionDenied.code;
    const std::string_view reason =
        verdict.reason.empty() ? kDisconnectPermissionDenied.reason : std::string_view(verdict.reason);
    log_refusal(Transport::websocket, {}, claimed_user(), code, reason);
    if (code < 3000) return reply_error(id, {code, reason});
    return disconnect(static_cast<std::uint16_t>(code), reason);
  }
  phase_ = Phase::connected;
  phase_due_ms_ = kNoDeadline;
  claimed_user_.reset();
  if (!context_.access.has_hook(Operation::subscribe) && !context_.access.has_hook(Operation::publish))
    request_.reset();
  user_ = verdict.identity.user;
  conn_info_json_ = verdict.identity.info_json;
  client_ = make_client_id(context_.random);
  log_connect(Transport::websocket);
  const Millis interval = context_.heartbeat.ping_interval_ms;
  if (interval >
      0) {  // the first one after a random part, so that a storm of connects makes no storm of pings
    next_ping_ms_ =
        context_.clock.now_ms() + interval / 2 +
        static_cast<Millis>(context_.random.below(static_cast<std::uint64_t>(interval - interval / 2)));
  }
  ConnectResult result;
  result.client = client_;
  result.version = context_.version;
  if (!has_native_pings_ && interval > 0) {
    result.ping_s = static_cast<std::uint32_t>(std::max<Millis>(1, (interval + 999) / 1000));
    result.is_pong_expected = context_.heartbeat.pong_timeout_ms > 0;
  }
  reply([&](std::string& out) { codec_.encode_connect(out, id, result); });
  context_.host.reschedule(outlet_);
}

Question WebSocketSession::question(Operation operation, std::string_view channel,
                                    std::string_view data) const {
  return {operation, Transport::websocket, client_, user_, channel, data, {}, {}, {}, request_};
}

std::string_view WebSocketSession::claimed_user() const {
  return claimed_user_ ? std::string_view(*claimed_user_) : std::string_view();
}

void WebSocketSession::deny(std::uint32_t id, Operation operation, std::string_view channel,
                            const Verdict& verdict) {
  if (verdict.is_undecided) {
    log_refused(operation, channel, {kErrorInternal.code, verdict.reason}, {});
    return reply_error(id, kErrorInternal);  // temporary: it may ask again
  }
  ErrorCode error = kErrorPermissionDenied;
  if (verdict.code != 0) error.code = verdict.code;
  if (!verdict.reason.empty()) error.message = verdict.reason;
  log_refused(operation, channel, error,
              verdict.option.empty() ? "" : "set " + std::string(verdict.option) + " to allow it");
  if (error.code < 3000) return reply_error(id, error);
  disconnect(static_cast<std::uint16_t>(error.code), error.message);
}

void WebSocketSession::refuse_subscribe(const Command& command, const ErrorCode& error,
                                        std::string_view remedy) {
  log_refused(Operation::subscribe, command.channel, error, remedy);
  reply_error(command.id, error);
}

void WebSocketSession::log_refused(Operation operation, std::string_view channel, const ErrorCode& error,
                                   std::string_view remedy) {
  if (refusals_logged_ == kRefusalsLogged) return;
  std::string reason(name_of(operation));
  reason.append(" ").append(in_quotes(channel)).append(": ").append(error.message);
  if (!remedy.empty()) reason.append("; ").append(remedy);
  if (++refusals_logged_ == kRefusalsLogged)
    reason.append(" (further refusals of this client are not logged)");
  log_refusal(Transport::websocket, user_, {}, error.code, reason, channel);
}

bool WebSocketSession::check_channel(const Command& command, bool is_available) {
  if (!is_channel_name(command.channel, context_.limits)) {
    reply_error(command.id, kErrorBadRequest);
    return false;
  }
  if (!context_.hub.is_known(command.channel)) {
    reply_error(command.id, kErrorUnknownChannel);
    return false;
  }
  if (!is_available) {
    reply_error(command.id, kErrorNotAvailable);
    return false;
  }
  return true;
}

namespace {

/// Where the command's subscription starts. False: its fields contradict each other, or one is not valid.
bool read_start(const Command& command, std::optional<Since>& since) {
  if (command.is_recover) {
    since = Since::from(command.epoch, command.offset);
    return command.since.empty() && !command.last;
  }
  if (command.last) {
    since = Since::last(*command.last);
    return command.since.empty();
  }
  if (command.since.empty()) return true;
  since = parse_since(command.since);
  return since.has_value();
}

}  // namespace

bool WebSocketSession::handle_subscribe(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest);
  if (!command.delta.empty() && command.delta != "fossil") return disconnect_with(kDisconnectBadRequest);
  if (!is_channel_name(command.channel, context_.limits)) {
    refuse_subscribe(command, kErrorBadRequest,
                     "a name is UTF-8 without control characters, 1 to limits.channel_name_bytes long");
    return true;
  }
  if (!context_.hub.is_known(command.channel)) {
    refuse_subscribe(command, kErrorUnknownChannel, "its namespace is not in channel.namespaces");
    return true;
  }
  if (lanes_.is_cancelled(command.channel)) return true;  // as one that is under way would be
  if (find(command.channel) != nullptr) {
    refuse_subscribe(command, kErrorAlreadySubscribed);
    return true;
  }
  if (subscriptions_.size() - ending_ >= static_cast<std::size_t>(context_.limits.channels_per_connection)) {
    refuse_subscribe(command, kErrorLimitExceeded, "raise limits.channels_per_connection");
    return true;
  }
  if (command.type != 0 || command.has_tags_filter) {
    refuse_subscribe(command, command.type != 0 ? kErrorPermissionDenied : kErrorBadRequest,
                     "only the normal stream, without a tags filter, is available");
    return true;
  }
  std::optional<Since> since;
  if (!read_start(command, since)) {
    reply_error(command.id,
                {kErrorBadRequest.code,
                 "bad request: give one of recover, since (epoch:offset or \"oldest\") and last", false});
    return true;
  }
  if (take_skipped(command.channel, since)) since = Since{};  // it matches no epoch: not recovered
  const bool must_recover = (command.flag & 2U) != 0;
  Question asked = question(Operation::subscribe, command.channel, command.data);
  asked.token = command.token;
  const std::optional<Verdict> verdict = context_.access.answer(asked);
  if (verdict && !verdict->is_allowed) {
    deny(command.id, Operation::subscribe, command.channel, *verdict);
    return phase_ == Phase::connected;
  }
  const Lanes::Ticket ticket = lanes_.defer();
  Subscription& subscription = *subscriptions_.emplace_back(std::make_unique<Subscription>(
      *this, command.channel, context_.hub.options_for(command.channel), command.is_join_leave, ticket));
  if (verdict) {
    open_subscription(command.id, subscription, since, must_recover);
    return true;
  }
  // It stays until it is answered, or the session is closed: nobody answers then.
  ask(asked, [this, id = command.id, &subscription, since, must_recover](const Verdict& later) {
    const bool is_wanted = lanes_.is_wanted(subscription.ticket);
    if (is_wanted && later.is_allowed) return open_subscription(id, subscription, since, must_recover);
    if (is_wanted) deny(id, Operation::subscribe, subscription.channel, later);
    end_attempt(subscription);
  });
  return true;
}

bool WebSocketSession::take_skipped(std::string_view channel, const std::optional<Since>& since) {
  if (!skipped_) return false;
  const auto skipped = std::find_if(skipped_->begin(), skipped_->end(),
                                    [&](const auto& each) { return each.channel == channel; });
  if (skipped == skipped_->end()) return false;
  const Position goes_on = skipped->position;
  skipped_->erase(skipped);
  if (skipped_->empty()) skipped_.reset();
  return since && since->is_position() && since->accepts(goes_on.epoch) && since->offset < goes_on.offset;
}

void WebSocketSession::open_subscription(std::uint32_t id, Subscription& subscription,
                                         const std::optional<Since>& since, bool must_recover) {
  context_.hub.subscribe(context_.shard, subscription.cursor, subscription.channel, since,
                         [this, id, &subscription, must_recover](const SubscribeOutcome& outcome) {
                           on_subscribed(id, subscription, outcome, must_recover);
                         });
}

void WebSocketSession::end_attempt(Subscription& subscription) {
  const Lanes::Ticket ticket = subscription.ticket;
  if (subscription.state == Subscription::State::cancelled) --ending_;
  end_subscription(subscription);
  erase(subscription);
  finish(ticket);
}

void WebSocketSession::cancel_subscribe(std::string_view channel) {
  Subscription* const subscription = find(channel);
  if (subscription == nullptr || subscription->state != Subscription::State::asked) return;
  subscription->state = Subscription::State::cancelled;
  ++ending_;
  lanes_.release(subscription->ticket);
}

void WebSocketSession::on_subscribed(std::uint32_t id, Subscription& subscription,
                                     const SubscribeOutcome& outcome, bool must_recover) {
  if (!lanes_.is_wanted(subscription.ticket)) return end_attempt(subscription);
  const auto refuse = [&](const ErrorCode& error) {
    reply_error(id, error);
    end_attempt(subscription);
  };
  if (outcome.error != StoreError::none) return refuse(kErrorInternal);
  if (must_recover && outcome.was_recovering && !outcome.is_recovered)
    return refuse(kErrorUnrecoverablePosition);

  SubscribeResult result;
  std::string publications;
  if (outcome.has_history) {
    result.is_recoverable = result.is_positioned = true;
    result.epoch = outcome.start.epoch.text();
    result.offset = outcome.start.offset;
    result.is_recovered = outcome.is_recovered;
    if (outcome.start.offset < outcome.top && !outlet_.is_clogged) {
      // The first page of what is there already stands in the reply, as SDKs of this family know it; the pump
      // brings the rest.
      publications = take_page(subscription);
      result.publications = publications;
    }
  }
  result.was_recovering = outcome.was_recovering;
  result.is_conflated = context_.hub.options_for(subscription.channel).conflate;
  subscription.state = Subscription::State::started;
  reply([&](std::string& out) { codec_.encode_subscribe(out, id, result); });

  if (subscription.has_presence)
    context_.hub.add_presence(subscription.channel, {client_, user_, conn_info_json_});
  if (subscription.has_notices) context_.hub.announce(subscription.channel, EntryKind::join, info_json());
  finish(subscription.ticket);
}

std::string WebSocketSession::take_page(Subscription& subscription) {
  std::string page;
  const std::unique_ptr<Batch> batch = context_.shard.take_page(
      subscription.cursor, static_cast<std::size_t>(context_.limits.history_publications),
      static_cast<std::size_t>(context_.limits.recovery_bytes));
  if (!batch) return page;
  std::uint32_t listed = 0;
  std::string object;
  for (std::uint32_t i = 0; i < batch->size(); ++i) {
    const EntryRef& entry = batch->entries()[i];
    if (batch->is_conflated(i)) {
      subscription.cursor.count_conflated(1);
      continue;
    }
    if (entry->kind != EntryKind::publication) {
      subscription.cursor.count_dropped(DropReason::filtered, 1);
      continue;
    }
    object.clear();
    codec_.encode_publication(object, view_of(*entry, batch->epoch()));
    codec_.append_listed(page, object);
    ++listed;
  }
  subscription.cursor.set_under_way(subscription.cursor.under_way() + listed);
  outlet_.wants_empty_notice = true;
  return page;
}

bool WebSocketSession::handle_unsubscribe(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest);
  if (Subscription* const subscription = find(command.channel)) {
    if (subscription->cursor.under_way() > 0) {  // a page or a cut frame of it is still to be sent
      end_later(*subscription);
    } else {
      end_subscription(*subscription);
      erase(*subscription);
    }
  }
  reply([&](std::string& out) { codec_.encode_unsubscribe(out, command.id); });
  return true;
}

bool WebSocketSession::handle_publish(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest);
  if (command.data.empty() || command.type != 0 ||
      command.data.size() > static_cast<std::size_t>(context_.limits.publication_bytes)) {
    reply_error(command.id, kErrorBadRequest);
    return true;
  }
  if (!check_channel(command, true)) return true;
  Question asked = question(Operation::publish, command.channel, command.data);
  const Lanes::Ticket ticket = lanes_.defer();
  if (const auto verdict = context_.access.answer(asked)) {
    publish(command.id, ticket, command.channel, command.data, *verdict);
    return phase_ == Phase::connected;
  }
  asked.own_data = std::make_shared<const std::string>(command.data);
  ask(asked, [this, id = command.id, ticket, channel = std::string(command.channel), data = asked.own_data](
                 const Verdict& verdict) { publish(id, ticket, channel, *data, verdict); });
  return true;
}

void WebSocketSession::publish(std::uint32_t id, Lanes::Ticket ticket, std::string_view channel,
                               std::string_view data, const Verdict& verdict) {
  if (!lanes_.is_wanted(ticket)) return;  // the connection has ended
  if (!verdict.is_allowed) {
    deny(id, Operation::publish, channel, verdict);
    return finish(ticket);
  }
  Publication publication;
  publication.data = verdict.data ? *verdict.data : data;
  publication.info_json = info_json();
  context_.hub.publish(channel, std::move(publication), {},
                       answer_with(ticket, [id](WebSocketSession& session, const AppendResult& result) {
                         if (result.error != StoreError::none) return session.reply_error(id, kErrorInternal);
                         session.reply([&](std::string& out) { session.codec_.encode_publish(out, id); });
                       }));
}

bool WebSocketSession::is_allowed(const Command& command, Operation operation) {
  // No hook decides on these: the rules know at once.
  const std::optional<Verdict> verdict = context_.access.answer(question(operation, command.channel));
  if (verdict && verdict->is_allowed) return true;
  deny(command.id, operation, command.channel, verdict.value_or(Verdict{}));
  return false;
}

bool WebSocketSession::handle_presence(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest);
  if (!check_channel(command, context_.hub.options_for(command.channel).presence)) return true;
  if (!is_allowed(command, Operation::presence)) return true;
  if (command.kind == CommandKind::presence_stats) {
    const auto answer = [id = command.id](WebSocketSession& session, const PresenceCounts& counts) {
      if (counts.error != StoreError::none) return session.reply_error(id, kErrorInternal);
      session.reply([&](std::string& out) {
        session.codec_.encode_presence_stats(out, id, counts.clients, counts.users);
      });
    };
    context_.hub.presence_counts(command.channel, answer_with(lanes_.defer(), answer));
    return true;
  }
  const auto answer = [id = command.id](WebSocketSession& session, const PresenceResult& found) {
    if (found.error != StoreError::none) return session.reply_error(id, kErrorInternal);
    session.reply([&](std::string& out) {
      session.codec_.encode_presence(out, id, views_of(found.members), found.has_more);
    });
  };
  context_.hub.presence(command.channel, {command.after, context_.limits.reply_bytes()},
                        answer_with(lanes_.defer(), answer));
  return true;
}

bool WebSocketSession::handle_history(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest);
  if (!check_channel(command, context_.hub.options_for(command.channel).has_history())) return true;
  if (!is_allowed(command, Operation::history)) return true;
  HistoryQuery query;
  query.limit = command.limit < 0 ? context_.limits.history_publications
                                  : std::min(command.limit, context_.limits.history_publications);
  query.bytes_max = context_.limits.reply_bytes();
  if (command.has_since) query.since = Since::from(command.epoch, command.offset);
  query.is_reverse = command.is_reverse;
  if (query.is_reverse && query.since && query.since->offset == 0) {
    reply_error(command.id, kErrorBadRequest);
    return true;
  }
  const auto answer = [id = command.id](WebSocketSession& session, const HistoryResult& found) {
    if (found.error == HistoryError::epoch_differs)
      return session.reply_error(id, kErrorUnrecoverablePosition);
    if (found.error != HistoryError::none) return session.reply_error(id, kErrorInternal);
    const std::string list = list_of(found, session.codec_, session.context_.limits.reply_bytes());
    session.reply([&](std::string& out) {
      session.codec_.encode_history(out, id, list, found.top.epoch.text(), found.top.offset);
    });
  };
  context_.hub.history(command.channel, query, answer_with(lanes_.defer(), answer));
  return true;
}

// ---- subscriptions

WebSocketSession::Subscription* WebSocketSession::find(std::string_view channel) {
  for (const auto& subscription : subscriptions_) {
    const bool is_there = subscription->state == Subscription::State::asked ||
                          subscription->state == Subscription::State::started;
    if (is_there && subscription->channel == channel) return subscription.get();
  }
  return nullptr;
}

void WebSocketSession::leave(const Subscription& subscription) {
  if (subscription.state != Subscription::State::started) return;
  if (subscription.has_presence) context_.hub.remove_presence(subscription.channel, client_);
  if (subscription.has_notices) context_.hub.announce(subscription.channel, EntryKind::leave, info_json());
}

void WebSocketSession::end_later(Subscription& subscription) {
  leave(subscription);
  context_.shard.park(subscription.cursor);
  subscription.state = Subscription::State::ending;
  ++ending_;
}

void WebSocketSession::end_subscription(Subscription& subscription) {
  subscription.cursor.cancel();
  context_.shard.unsubscribe(subscription.cursor);
  leave(subscription);
}

void WebSocketSession::erase(const Subscription& subscription) {
  std::erase_if(subscriptions_,
                [&](const std::unique_ptr<Subscription>& each) { return each.get() == &subscription; });
}

const std::string& WebSocketSession::info_json() {
  if (info_json_.empty()) codec_.encode_client_info(info_json_, {user_, client_, conn_info_json_});
  return info_json_;
}

}  // namespace carillon
