#include "client/centrifuge_client.hpp"

#include <algorithm>
#include <utility>

#include "client/client_subscription.hpp"
#include "client/server_subscriptions.hpp"

namespace carillon {

CentrifugeClient::CentrifugeClient(SessionContext& context, Outlet& outlet, std::unique_ptr<ClientLink> link,
                                   std::string claimed_user, std::string request_id,
                                   std::shared_ptr<const ClientRequest> request)
    : Session(context, outlet),
      link_(std::move(link)),
      layouts_(link_->layouts().data()),
      codec_(link_->codec()),
      phase_due_ms_(context.clock.now_ms() + context.limits.handshake_timeout_ms),
      newcomer_(std::make_unique<Newcomer>(Newcomer{std::move(claimed_user), std::move(request_id)})),
      request_(std::move(request)),
      lanes_(context.counters.commands_under_way, context.limits.concurrency) {
  context_.counters.open(link_->transport()).fetch_add(1, std::memory_order_relaxed);
  enter_directory();
}

CentrifugeClient::CentrifugeClient(SessionContext& context, Outlet& outlet, std::unique_ptr<ClientLink> link,
                                   const ClientState& state)
    : Session(context, outlet),
      phase_(static_cast<Phase>(state.phase)),
      is_ping_due_(state.is_ping_due),
      link_(std::move(link)),
      layouts_(link_->layouts().data()),
      codec_(link_->codec()),
      next_ping_ms_(deadline_in(state.ping_left_ms, context.clock.now_ms())),
      pong_due_ms_(deadline_in(state.pong_left_ms, context.clock.now_ms())),
      phase_due_ms_(deadline_in(state.phase_left_ms, context.clock.now_ms())),
      expiry_(state.expiry),
      token_channels_(state.token_channels),
      user_(state.user),
      client_(state.client),
      lanes_(context.counters.commands_under_way, context.limits.concurrency) {
  context_.counters.open(link_->transport()).fetch_add(1, std::memory_order_relaxed);
  enter_directory();
  if (!state.conn_info_json.empty())
    conn_info_json_ = std::make_unique<const std::string>(state.conn_info_json);
  if (state.request) request_ = std::make_shared<const ClientRequest>(*state.request);
  if (phase_ == Phase::waiting || !state.claimed_user.empty())
    newcomer_ = std::make_unique<Newcomer>(Newcomer{state.claimed_user});
  if (!state.skipped.empty()) skipped_ = std::make_unique<Skipped>(state.skipped);
  auto last = subscriptions_.before_begin();
  for (const ClientState::Subscription& saved : state.subscriptions) {
    last = subscriptions_.emplace_after(last, *this, saved);
    context_.hub.restore(context_.shard, last->cursor, last->channel, saved.cursor);
  }
  if (phase_ == Phase::connected) schedule_expiry();
  if (!state.queued) return;
  queued_ = std::make_unique<QueuedMessages>();
  for (const std::string& message : state.queued->messages) queued_->add(message);
  queued_->is_begun = state.queued->is_begun;
  queued_->close_code = state.queued->close_code;
}

void CentrifugeClient::enter_directory() {
  if (phase_ == Phase::connected && context_.personal_channel.is_single_connection && !user_.empty())
    context_.newest_of_user.add(user_, context_.shard, self());
  const bool is_counted = context_.limits.user_connections > 0 && !user_.empty() &&
                          !context_.personal_channel.is_single_connection;
  if (phase_ == Phase::connected && is_counted) {
    context_.user_connections.restore(user_);
    is_counted_ = true;
  }
  if (is_emulated()) context_.directory.add(link_->session(), context_.shard, self());
}

void CentrifugeClient::deliver(const ClientDirectory::Place& place, std::string message,
                               BodyBudget::Share memory) {
  auto kept = std::make_shared<BodyBudget::Share>(std::move(memory));
  place.shard->post([session = place.session, message = std::move(message), kept = std::move(kept)] {
    const std::shared_ptr<Session*> client = session.lock();
    if (client && *client != nullptr) static_cast<CentrifugeClient&>(**client).on_message(message);
  });
}

bool CentrifugeClient::can_ask_again() const {
  if (lanes_.size() > 0) return false;
  if (phase_ == Phase::connecting) return newcomer_ && !newcomer_->asked.empty();
  // Without a command under way, only its renewals have been asked for.
  return phase_ == Phase::connected;
}

std::optional<SessionState::Kind> CentrifugeClient::save_kind() const {
  if (lanes_.size() > 0) return std::nullopt;  // an answer has still to come
  if (phase_ == Phase::connecting && !can_ask_again()) return std::nullopt;
  const Millis now = context_.clock.now_ms();
  ClientState state;
  state.link = link_->save();
  state.encoding = codec_.encoding();
  state.phase = static_cast<std::uint8_t>(phase_);
  state.is_ping_due = is_ping_due_;
  state.ping_left_ms = left_until(next_ping_ms_, now);
  state.pong_left_ms = left_until(pong_due_ms_, now);
  state.phase_left_ms = left_until(phase_due_ms_, now);
  state.expiry = expiry_;
  state.token_channels = token_channels_;
  state.user = user_;
  state.client = client_id();
  state.conn_info_json = conn_info();
  state.claimed_user = claimed_user();
  if (request_) state.request = *request_;
  if (skipped_) state.skipped = *skipped_;
  if (queued_) {
    ClientState::Queued& queued = state.queued.emplace();
    queued.messages.assign(queued_->messages.begin(), queued_->messages.end());
    if (queued_->is_begun) queued.messages.front().erase(0, queued_->read);
    queued.is_begun = queued_->is_begun;
    queued.close_code = queued_->close_code;
  }
  if (phase_ == Phase::connecting) {  // its connect is asked again, and what stands behind it read after that
    state.phase = static_cast<std::uint8_t>(Phase::waiting);
    state.phase_left_ms = context_.limits.handshake_timeout_ms;
    if (!state.queued) state.queued.emplace();
    std::vector<std::string>& messages = state.queued->messages;
    if (!state.queued->is_begun) messages.emplace(messages.begin());
    messages.front().insert(0, newcomer_->asked);
    state.queued->is_begun = false;
  }
  for (const Subscription& subscription : subscriptions_) {
    state.subscriptions.push_back(
        {subscription.channel, Shard::save(subscription.cursor), subscription.takes_notices(),
         subscription.has_notices, subscription.has_presence,
         subscription.state == Subscription::State::ending, subscription.is_by_server,
         std::string(subscription.info()), subscription.expiry(), subscription.has_delta(),
         subscription.has_base(), subscription.filter() ? subscription.filter()->text() : std::string()});
  }
  return state;
}

CentrifugeClient::~CentrifugeClient() {
  context_.counters.open(link_->transport()).fetch_sub(1, std::memory_order_relaxed);
}

// ---- output

void CentrifugeClient::on_outlet_empty() {
  settle_under_way();
  if (is_over()) return;
  link_->on_outlet_empty(*this);
  if (std::exchange(is_ping_due_, false)) send_ping();
  for (Subscription& subscription : subscriptions_) context_.shard.resume(subscription.cursor);
  read_on();
}

void CentrifugeClient::settle_under_way() {
  for (Subscription& subscription : subscriptions_) {
    context_.output.deliveries().add(link_->transport(), subscription.cursor.under_way(), 0);
    subscription.cursor.count_under_way_delivered();
    if (subscription.delta_start && subscription.delta_start->has_base(subscription.cursor))
      subscription.go_on_with_delta(*this);
    if (subscription.state == Subscription::State::ending) context_.shard.unsubscribe(subscription.cursor);
  }
  subscriptions_.remove_if(
      [](const Subscription& subscription) { return subscription.state == Subscription::State::ending; });
}

void CentrifugeClient::reply_error(std::uint32_t id, const ErrorCode& error) {
  if (link_->is_unidirectional()) {  // of its connect: it asks nothing else
    disconnect_with(disconnect_for(error));
    return;
  }
  reply([&](std::string& out) { codec_.encode_error(out, id, error); });
}

void CentrifugeClient::send_ping() {
  if (outlet_.is_clogged) {  // a client that cannot read would look dead
    is_ping_due_ = true;
    return;
  }
  const Millis now = context_.clock.now_ms();
  next_ping_ms_ = now + context_.heartbeat.ping_interval_ms;
  if (context_.heartbeat.pong_timeout_ms > 0 && link_->has_pongs())
    pong_due_ms_ = now + context_.heartbeat.pong_timeout_ms;
  if (!link_->send_ping(*this)) reply([this](std::string& out) { codec_.encode_heartbeat(out); });
  context_.host.reschedule(outlet_);
}

bool CentrifugeClient::disconnect_with(const DisconnectCode& code) {
  if (code.code == kDisconnectBadRequest.code) {
    context_.counters.bad_requests.fetch_add(1, std::memory_order_relaxed);
  }
  disconnect(code.code, code.reason);
  return false;
}

bool CentrifugeClient::disconnect_with(const DisconnectCode& code, std::string_view why) {
  if (!is_over()) note_goodbye(code.code, std::string(code.reason).append(": ").append(why));
  return disconnect_with(code);
}

void CentrifugeClient::disconnect(std::uint16_t code, std::string_view reason) {
  if (is_over()) return;
  const bool is_answered = link_->send_goodbye(*this, code, reason);
  note_goodbye(code, reason);
  phase_ = Phase::closing;
  phase_due_ms_ = context_.clock.now_ms() + context_.limits.close_timeout_ms;
  next_ping_ms_ = pong_due_ms_ = expiry_due_ms_ = kNoDeadline;
  for (Subscription& subscription : subscriptions_) {
    if (subscription.cursor.is_open()) context_.shard.park(subscription.cursor);
  }
  context_.host.reschedule(outlet_);
  lanes_.clear();
  // What has not been read is void, but a goodbye counts.
  const std::unique_ptr<QueuedMessages> queued = std::move(queued_);
  if (queued) context_.host.pause_reading(outlet_, false);
  if (!is_answered) return end_connection();
  if (queued && queued->close_code != 0) on_goodbye(queued->close_code);
}

void CentrifugeClient::end_connection() {
  phase_ = Phase::closed;
  lanes_.clear();
  next_ping_ms_ = pong_due_ms_ = phase_due_ms_ = expiry_due_ms_ = kNoDeadline;
  context_.host.close(outlet_);
}

// ---- time

Millis CentrifugeClient::deadline() const {
  return std::min({next_ping_ms_, pong_due_ms_, phase_due_ms_, expiry_due_ms_});
}

void CentrifugeClient::on_deadline(Millis now_ms) {
  if (phase_due_ms_ <= now_ms) {
    if (phase_ == Phase::closing) return end_connection();
    context_.counters.handshake_timeouts.fetch_add(1, std::memory_order_relaxed);
    disconnect_with(kDisconnectStale);
    return;
  }
  if (expiry_due_ms_ <= now_ms) {
    end_expired(now_ms);
    if (is_over()) return;
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

void CentrifugeClient::on_closed() {
  phase_ = Phase::closed;
  lanes_.clear();
  queued_.reset();
  ChannelsAtEnd channels;
  for (Subscription& subscription : subscriptions_) {
    channels.add(subscription.channel);
    end_subscription(subscription);
  }
  connect_.reset();
  if (context_.personal_channel.is_single_connection && !user_.empty())
    context_.newest_of_user.remove(user_, self());
  if (is_counted_) context_.user_connections.remove(user_);
  if (is_emulated()) context_.directory.remove(link_->session(), self());
  log_close(link_->transport(), channels, claimed_user(), request_id());
  subscriptions_.clear();
}

// ---- entries

bool CentrifugeClient::stage(Cursor& cursor, const Batch& batch) {
  if (outlet_.is_clogged || phase_ != Phase::connected) return false;
  return context_.output.add(outlet_, cursor, batch, layouts_[cursor.mark()]);
}

void CentrifugeClient::on_gap(Cursor& cursor, const Gap& gap) {
  // Told as "insufficient state": the SDK subscribes again with its position and learns that it is not
  // recovered.
  for (Subscription& subscription : subscriptions_) {
    if (&subscription.cursor != &cursor) continue;
    log_gap(link_->transport(), subscription.channel, gap);
    if (subscription.is_by_server) {  // its client cannot subscribe again, but connect again
      disconnect_with(kDisconnectInsufficientState);
      return;
    }
    if (gap.is_skip) {  // the log may still have it all: it would only be sent after all
      if (!skipped_) skipped_ = std::make_unique<Skipped>();
      if (skipped_->size() >= static_cast<std::size_t>(context_.limits.channels_per_connection))
        skipped_->erase(skipped_->begin());
      skipped_->push_back({subscription.channel, gap.position});
    }
    reply([&](std::string& out) {
      codec_.encode_push_unsubscribe(out, subscription.channel, kUnsubscribeInsufficientState.code,
                                     kUnsubscribeInsufficientState.reason);
    });
    end_later(subscription);  // the pump still looks at the cursor, and a page of it may be on its way
    outlet_.wants_empty_notice = true;
    return;
  }
}

void CentrifugeClient::on_slow(Cursor& cursor) {
  for (const Subscription& subscription : subscriptions_) {
    if (&subscription.cursor == &cursor) log_slow(link_->transport(), subscription.channel);
  }
  context_.counters.slow.fetch_add(1, std::memory_order_relaxed);
  disconnect_with(kDisconnectSlow);
}

}  // namespace carillon
