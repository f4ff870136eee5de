#include "transports/sse_session.hpp"

#include <utility>

#include "protocol/client_info.hpp"
#include "protocol/position_token.hpp"
#include "protocol/sse_event.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {

void append_head(std::string& out, std::string_view extra_headers) {
  // Closed by the end of the connection: chunks would put bytes of their own between shared events.
  out.append(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: "
      "no\r\n"
      "Connection: close\r\n");
  out.append(extra_headers).append("\r\n");
}

/// Stands for an epoch that was asked for and cannot be ours: it matches none.
constexpr std::string_view kUnknownEpoch = "unknown";

/// Between three quarters of the interval and all of it.
Millis some_comment_interval_ms(SessionContext& context) {
  const Millis interval = context.heartbeat.comment_interval_ms;
  return interval - static_cast<Millis>(context.random.below(static_cast<std::uint64_t>(interval / 4) + 1));
}

/// A client that reconnects before the store has answered starts where it wanted to start. `last` has no text
/// in a token: behind "-" the query counts again, which has it.
void append_asked(std::string& out, const Since& asked, bool is_first) {
  TokenPart part;
  if (asked.is_position()) {
    part = {asked.epoch.is_set() ? asked.epoch.text() : kUnknownEpoch, asked.offset};
  } else {
    part.is_oldest = asked.kind == Since::Kind::oldest;
  }
  append_position_token(out, part, is_first);
}

}  // namespace

void append_sse_come_back(std::string& out, SessionContext& context, std::string_view extra_headers) {
  append_head(out, extra_headers);
  append_sse_retry(out, jittered_retry_ms(context.heartbeat, context.random));
}

struct SseSession::Subscription {
  Subscription(SseSession& session, std::string name, std::uint32_t index)
      : channel(std::move(name)), cursor(session, index) {}
  const std::string channel;
  Cursor cursor;
  Epoch epoch;
  std::unique_ptr<const Since> asked;  // until the store has answered
  bool is_not_recoverable = false;     // but it was asked to
  bool has_history = false;
  bool has_presence = false;
  bool has_notices = false;  // its joining and leaving is announced
  SubscriptionTerms terms;
};

SseSession::SseSession(SessionContext& context, Outlet& outlet, PlainRequest request,
                       std::string_view extra_headers, std::string_view request_id)
    : Session(context, outlet),
      identity_(std::move(request.identity)),
      client_(make_client_id(context.random)),
      comment_interval_ms_(some_comment_interval_ms(context)),
      expiry_due_ms_(expiry_ms()) {
  log_connect(Transport::sse, request_id);
  context_.counters.sse.fetch_add(1, std::memory_order_relaxed);
  std::string head;
  append_head(head, extra_headers);
  append_sse_retry(head, static_cast<std::uint64_t>(context_.heartbeat.sse_retry_ms));
  context_.output.add(outlet_, head);
  wrote();
  for (const PlainRequest::Wanted& wanted : request.channels) {
    subscriptions_.push_back(std::make_unique<Subscription>(
        *this, wanted.channel, static_cast<std::uint32_t>(subscriptions_.size())));
    Subscription& subscription = *subscriptions_.back();
    subscription.terms = wanted.terms;
    if (!wanted.since) continue;
    subscription.is_not_recoverable =
        !wanted.terms.is_recoverable && context_.hub.options_for(wanted.channel).has_history();
    if (!subscription.is_not_recoverable) subscription.asked = std::make_unique<const Since>(*wanted.since);
  }
  for (std::size_t i = 0; i < request.channels.size(); ++i) {
    Subscription& subscription = *subscriptions_[i];
    context_.hub.subscribe(
        context_.shard, subscription.cursor, subscription.channel,
        subscription.asked ? request.channels[i].since : std::nullopt,
        [this, &subscription](const SubscribeOutcome& outcome) { on_subscribed(subscription, outcome); });
  }
}

SseSession::SseSession(SessionContext& context, Outlet& outlet, const SseState& state)
    : Session(context, outlet),
      identity_{state.user, state.info_json, {}, state.expiry, {}},
      client_(state.client),
      comment_interval_ms_(some_comment_interval_ms(context)),
      comment_due_ms_(deadline_in(state.comment_left_ms, context.clock.now_ms())),
      expiry_due_ms_(expiry_ms()),
      is_ending_(state.is_ending) {
  context_.counters.sse.fetch_add(1, std::memory_order_relaxed);
  for (const SseState::Subscription& saved : state.subscriptions) {
    Subscription& subscription = *subscriptions_.emplace_back(std::make_unique<Subscription>(
        *this, saved.channel, static_cast<std::uint32_t>(subscriptions_.size())));
    if (saved.gets_notices) {
      subscription.terms.gets_notices = *saved.gets_notices;
    } else {  // the options of the channel decide, without overrides
      Question asked;
      asked.operation = Operation::subscribe;
      asked.transport = Transport::sse;
      asked.user = identity_.user;
      asked.channel = subscription.channel;
      subscription.terms = plain_terms(context_, asked);
    }
    subscription.epoch = saved.epoch;
    subscription.has_history = saved.has_history;
    subscription.has_presence = saved.has_presence;
    subscription.has_notices = saved.has_notices;
    context_.hub.restore(context_.shard, subscription.cursor, subscription.channel, saved.cursor);
  }
}

std::optional<SessionState::Kind> SseSession::save_kind() const {
  SseState state;
  state.user = identity_.user;
  state.info_json = identity_.info_json;
  state.expiry = identity_.expiry;
  state.client = client_;
  state.comment_left_ms = left_until(comment_due_ms_, context_.clock.now_ms());
  state.is_ending = is_ending_;
  for (const auto& subscription : subscriptions_) {
    if (!subscription->cursor.is_open()) return std::nullopt;  // the store has still to answer
    state.subscriptions.push_back({subscription->channel, Shard::save(subscription->cursor),
                                   subscription->epoch, subscription->has_history, subscription->has_presence,
                                   subscription->has_notices, subscription->terms.gets_notices});
  }
  return state;
}

SseSession::~SseSession() { context_.counters.sse.fetch_sub(1, std::memory_order_relaxed); }

void SseSession::on_subscribed(Subscription& subscription, const SubscribeOutcome& outcome) {
  if (outcome.error != StoreError::none) return drain();  // EventSource comes back by itself
  if (outcome.recovered() == false || subscription.is_not_recoverable) {
    SubscribeOutcome lost = outcome;
    lost.is_known = lost.is_known && !subscription.is_not_recoverable;  // nobody has compared it
    log_not_recovered(Transport::sse, subscription.channel, lost);
  }
  subscription.asked.reset();
  subscription.epoch = outcome.start.epoch;
  subscription.has_history = outcome.has_history;
  write_status(subscription, subscription.is_not_recoverable ? std::optional(false) : outcome.recovered(),
               outcome.start.offset, true);
  subscription.has_presence = subscription.terms.has_presence;
  subscription.has_notices = subscription.terms.has_notices;
  show_in_presence(subscription);
  if (subscription.has_notices) context_.hub.announce(subscription.channel, EntryKind::join, info_json());
}

void SseSession::show_in_presence(const Subscription& subscription) {
  if (subscription.has_presence)
    context_.hub.add_presence(subscription.channel, {client_, identity_.user, identity_.info_json});
}

std::string SseSession::info_json() const {
  std::string info;
  append_client_info(info, {identity_.user, client_, identity_.info_json});
  return info;
}

void SseSession::write_status(const Subscription& subscription, std::optional<bool> is_recovered,
                              Offset offset, bool has_id) {
  std::string event;
  if (has_id) {  // a client that has received nothing yet can come back, too
    std::string token;
    append_token(token, &subscription.cursor, offset);
    append_sse_id(event, token);
  }
  append_sse_status(event, subscription.channel, is_recovered, subscription.epoch.text(), offset,
                    context_.hub.options_for(subscription.channel).conflate);
  context_.output.add(outlet_, event);
  wrote();
}

void SseSession::append_token(std::string& out, const Cursor* moving, Offset moving_offset) const {
  for (const auto& subscription : subscriptions_) {
    const bool is_first = subscription == subscriptions_.front();
    if (const auto& asked = subscription->asked) {
      append_asked(out, *asked, is_first);
      continue;
    }
    const bool has_position = subscription->epoch.is_set() && subscription->has_history;
    const Offset offset = &subscription->cursor == moving ? moving_offset : subscription->cursor.offset();
    append_position_token(out, {has_position ? subscription->epoch.text() : std::string_view(), offset},
                          is_first);
  }
}

bool SseSession::stage(Cursor& cursor, const Batch& batch) {
  if (outlet_.is_clogged || is_ending_) return false;
  if (subscriptions_.size() == 1) {
    context_.output.add(outlet_, cursor, batch,
                        kSseEvents[subscriptions_.front()->terms.gets_notices ? 1 : 0]);
  } else {
    stage_with_ids(cursor, batch);
  }
  wrote();
  return true;
}

void SseSession::stage_with_ids(Cursor& cursor, const Batch& batch) {
  EncodedBatch& own = context_.output.own_batch();
  std::string token;
  static const std::string not_shown;
  const bool gets_notices = subscriptions_[cursor.mark()]->terms.gets_notices;
  own.layout = &kSseEvents[gets_notices ? 1 : 0];
  Offset offset = batch.offset_before(0);
  for (std::uint32_t i = 0; i < batch.size(); ++i) {
    const EntryRef& entry = batch.entries()[i];
    const bool is_shown = entry->kind == EntryKind::publication || gets_notices;
    const std::string& data = is_shown ? batch.encoded_entry(kSseDataForm, *entry) : not_shown;
    if (entry->is_stored()) offset = entry->offset;
    if (batch.is_conflated(i)) {
      ++own.conflated;
    } else if (data.empty()) {
      ++own.filtered;
    } else {
      token.clear();
      append_token(token, &cursor, offset);
      append_sse_id(own.storage, token);
      own.storage.append(data);
      ++own.frames;
    }
    own.ends.push_back(static_cast<std::uint32_t>(own.storage.size()));
  }
  own.bytes = own.storage;
  own.batch = &batch;
  context_.output.add(outlet_, cursor, own);
}

void SseSession::on_gap(Cursor& cursor, const Gap& gap) {
  Subscription& subscription = *subscriptions_[cursor.mark()];
  subscription.epoch = gap.position.epoch;
  log_gap(Transport::sse, subscription.channel, gap);
  // Without an id where there are several channels: entries of the others may stand before this event in the
  // turn and go back to their cursors if the kernel does not take them, while this event stays.
  write_status(subscription, false, gap.position.offset, subscriptions_.size() == 1);
}

void SseSession::on_outlet_empty() {
  for (const auto& subscription : subscriptions_) {
    context_.output.deliveries().add(Transport::sse, subscription->cursor.under_way(), 0);
    subscription->cursor.count_under_way_delivered();
    context_.shard.resume(subscription->cursor);
  }
}

Millis SseSession::next_comment_ms() const {
  return comment_interval_ms_ > 0 ? context_.clock.now_ms() + comment_interval_ms_ : kNoDeadline;
}

Millis SseSession::expiry_ms() const {
  if (identity_.expiry.at_s == 0) return kNoDeadline;
  const Millis left = identity_.expiry.at_s * 1'000 - context_.clock.wall_ms();
  return context_.clock.now_ms() + std::max<Millis>(0, left);
}

bool SseSession::refresh(const Renewal& renewal) {
  if (is_ending_) return false;
  identity_.expiry.at_s = renewal.at_s;
  if (!renewal.info_json.empty() && renewal.info_json != identity_.info_json) {
    identity_.info_json = renewal.info_json;
    for (const auto& subscription : subscriptions_) show_in_presence(*subscription);
  }
  expiry_due_ms_ = expiry_ms();
  context_.host.reschedule(outlet_);
  return true;
}

void SseSession::end_expired() {
  expiry_due_ms_ = kNoDeadline;
  if (std::exchange(is_ending_, true)) return;
  note_goodbye(kDisconnectConnectionExpired.code, kDisconnectConnectionExpired.reason);
  std::string event;
  append_sse_retry_line(event, jittered_retry_ms(context_.heartbeat, context_.random));
  append_sse_end(event, kDisconnectConnectionExpired.code, kDisconnectConnectionExpired.reason);
  context_.output.add(outlet_, event);
  context_.host.close(outlet_);
}

void SseSession::on_deadline(Millis now_ms) {
  if (expiry_due_ms_ <= now_ms) {
    expiry_due_ms_ = expiry_ms();  // somebody may have set the time of day
    if (expiry_due_ms_ <= now_ms) return end_expired();
  }
  if (comment_due_ms_ > now_ms) return;
  wrote();
  if (outlet_.is_clogged || is_ending_) return;
  std::string comment;
  append_sse_comment(comment);
  context_.output.add(outlet_, comment);
}

void SseSession::on_closed() {
  is_ending_ = true;
  for (const auto& subscription : subscriptions_) {
    subscription->cursor.cancel();
    context_.shard.unsubscribe(subscription->cursor);
    if (subscription->has_presence) context_.hub.remove_presence(subscription->channel, client_);
    if (subscription->has_notices)
      context_.hub.announce(subscription->channel, EntryKind::leave, info_json());
  }
  ChannelsAtEnd channels;
  for (const auto& subscription : subscriptions_) channels.add(subscription->channel);
  log_close(Transport::sse, channels);
  subscriptions_.clear();
}

void SseSession::drain() { send_away(kDisconnectShutdown); }

void SseSession::on_slow(Cursor& cursor) {
  context_.shard.park(cursor);  // nothing comes behind the goodbye, not even the news of a gap
  if (is_ending_) return;       // another channel of it was slow in the same turn
  context_.counters.slow.fetch_add(1, std::memory_order_relaxed);
  log_slow(Transport::sse, subscriptions_[cursor.mark()]->channel);
  send_away(kDisconnectSlow);
}

void SseSession::send_away(const DisconnectCode& why) {
  if (std::exchange(is_ending_, true)) return;
  note_goodbye(why.code, why.reason);
  end_stream();
}

void SseSession::disconnect(std::uint16_t code, std::string_view reason) {
  if (std::exchange(is_ending_, true)) return;
  note_end(code, reason);
  end_stream();
}

void SseSession::end_stream() {
  std::string goodbye;
  append_sse_retry(goodbye, jittered_retry_ms(context_.heartbeat, context_.random));
  context_.output.add(outlet_, goodbye);
  context_.host.close(outlet_);
}

}  // namespace carillon
