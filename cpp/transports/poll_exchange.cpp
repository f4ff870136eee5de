#include "transports/poll_exchange.hpp"

#include <algorithm>
#include <utility>

#include "protocol/json_writer.hpp"
#include "protocol/poll_reply.hpp"
#include "protocol/position_token.hpp"
#include "session/forms.hpp"

namespace carillon {

struct PollExchange::Subscription {
  Subscription(PollExchange& exchange, std::string name, std::uint32_t index)
      : channel(std::move(name)), cursor(exchange, index) {}
  const std::string channel;
  Cursor cursor;
  Epoch epoch;
  std::optional<Offset> ends_at;  // behind it came a gap: the answer stops here
  bool has_history = false;
  bool had_position = false;  // it was given one
  std::uint32_t in_answer = 0;
  Seq give_back_seq = 0;  // from here on the answer had no room; 0: it had
  Offset give_back_offset = 0;
};

PollExchange::PollExchange(SessionContext& context, PlainRequest request, Millis deadline_ms, Owner owner)
    : context_(context),
      owner_(std::move(owner)),
      deadline_ms_(deadline_ms),
      missing_(request.channels.size()) {
  context_.counters.polls.fetch_add(1, std::memory_order_relaxed);
  for (const PlainRequest::Wanted& wanted : request.channels) {
    subscriptions_.push_back(std::make_unique<Subscription>(
        *this, wanted.channel, static_cast<std::uint32_t>(subscriptions_.size())));
    subscriptions_.back()->had_position = wanted.since && wanted.since->is_position();
  }
  for (std::size_t i = 0; i < subscriptions_.size(); ++i) {
    Subscription& subscription = *subscriptions_[i];
    context_.hub.subscribe(
        context_.shard, subscription.cursor, subscription.channel, request.channels[i].since,
        [this, &subscription](const SubscribeOutcome& outcome) { on_subscribed(subscription, outcome); });
  }
}

PollExchange::PollExchange(SessionContext& context, const PollState& state, Owner owner)
    : context_(context),
      owner_(std::move(owner)),
      deadline_ms_(deadline_in(state.left_ms, context.clock.now_ms())),
      publications_(state.publications),
      statuses_(state.statuses),
      taken_(state.taken),
      has_news_(state.has_news),
      is_answered_(state.is_answered),
      has_failed_(state.has_failed) {
  context_.counters.polls.fetch_add(1, std::memory_order_relaxed);
  for (const PollState::Subscription& saved : state.subscriptions) {
    Subscription& subscription = *subscriptions_.emplace_back(std::make_unique<Subscription>(
        *this, saved.channel, static_cast<std::uint32_t>(subscriptions_.size())));
    subscription.epoch = saved.epoch;
    subscription.ends_at = saved.ends_at;
    subscription.has_history = saved.has_history;
    subscription.in_answer = saved.in_answer;
    context_.hub.restore(context_.shard, subscription.cursor, subscription.channel, saved.cursor);
  }
  if (has_news_ && !is_answered_) owner_.ready_soon();
}

std::optional<PollState> PollExchange::save() const {
  if (missing_ > 0) return std::nullopt;
  PollState state;
  state.left_ms = left_until(deadline_ms_, context_.clock.now_ms());
  state.publications = publications_;
  state.statuses = statuses_;
  state.taken = taken_;
  state.has_news = has_news_;
  state.is_answered = is_answered_;
  state.has_failed = has_failed_;
  for (const auto& subscription : subscriptions_) {
    state.subscriptions.push_back({subscription->channel, Shard::save(subscription->cursor),
                                   subscription->epoch, subscription->ends_at, subscription->has_history,
                                   subscription->in_answer});
  }
  return state;
}

PollExchange::~PollExchange() {
  for (const auto& subscription : subscriptions_) {
    subscription->cursor.cancel();
    context_.shard.unsubscribe(subscription->cursor);
  }
  context_.counters.polls.fetch_sub(1, std::memory_order_relaxed);
}

void PollExchange::on_subscribed(Subscription& subscription, const SubscribeOutcome& outcome) {
  --missing_;
  if (is_answered_) return;
  if (outcome.error != StoreError::none) {
    is_answered_ = has_failed_ = true;
    return owner_.fail();
  }
  subscription.epoch = outcome.start.epoch;
  subscription.has_history = outcome.has_history;
  add_status(subscription, outcome.recovered(), outcome.start.offset);
  if (outcome.recovered() == false) owner_.note_not_recovered(subscription.channel, outcome);
  if (subscription.had_position && !outcome.is_recovered) has_news_ = true;  // a loss is reported at once
  if (has_news_) owner_.ready_soon();
}

void PollExchange::add_status(const Subscription& subscription, std::optional<bool> is_recovered,
                              Offset offset) {
  std::string object;
  append_status_object(object, subscription.channel, is_recovered, subscription.epoch.text(), offset,
                       context_.hub.options_for(subscription.channel).conflate);
  append_list_item(statuses_, object);
}

bool PollExchange::is_full() const {
  return taken_ >= context_.limits.poll_publications ||
         publications_.size() >= static_cast<std::size_t>(context_.limits.poll_bytes);
}

bool PollExchange::stage(Cursor& cursor, const Batch& batch) {
  if (is_answered_ || is_full()) return false;
  Subscription& subscription = *subscriptions_[cursor.mark()];
  if (subscription.ends_at) return false;
  std::uint32_t next = 0;
  for (; next < batch.size() && !is_full(); ++next) {
    if (batch.is_conflated(next)) {
      cursor.count_conflated(1);
      continue;
    }
    const std::string& object = batch.encoded_entry(kPollObjectForm, *batch.entries()[next]);
    if (object.empty()) {
      context_.shard.count_dropped(cursor, DropReason::filtered, 1);
      continue;
    }
    append_list_item(publications_, object);
    ++taken_;
    ++subscription.in_answer;
    has_news_ = true;
  }
  cursor.set_under_way(subscription.in_answer);
  if (next < batch.size()) {
    subscription.give_back_seq = batch.begin() + next;
    subscription.give_back_offset = batch.offset_before(next);
  }
  if (has_news_) owner_.ready_soon();
  return true;
}

void PollExchange::on_gap(Cursor& cursor, const Gap& gap) {
  Subscription& subscription = *subscriptions_[cursor.mark()];
  has_news_ = true;
  owner_.ready_soon();
  if (subscription.in_answer > 0) {
    // A status stands before the publications: the next poll comes with the place before the gap, and is
    // told.
    subscription.ends_at = gap.lost_from - 1;
    return;
  }
  subscription.epoch = gap.position.epoch;
  owner_.note_gap(subscription.channel, gap);
  add_status(subscription, false, gap.position.offset);
}

void PollExchange::finish_turn() {
  if (is_answered_) return;
  for (const auto& subscription : subscriptions_) {  // what did not fit waits for the next poll
    if (subscription->give_back_seq == 0) continue;
    context_.shard.rewind_to(subscription->cursor, subscription->give_back_seq,
                             subscription->give_back_offset);
    subscription->give_back_seq = 0;
  }
  const bool is_all_there =
      std::all_of(subscriptions_.begin(), subscriptions_.end(), [](const auto& subscription) {
        return subscription->cursor.has_read_to_end() || subscription->ends_at;
      });
  // Who waits for the store may wait for long: the next poll goes on from there.
  const bool is_more_at_hand =
      std::any_of(subscriptions_.begin(), subscriptions_.end(), [](const auto& subscription) {
        const Cursor& cursor = subscription->cursor;
        return !cursor.has_read_to_end() && !subscription->ends_at && !cursor.is_waiting();
      });
  if (missing_ == 0 && (is_all_there || is_full() || !is_more_at_hand)) return answer();
  if (missing_ == 0) owner_.ready_soon();  // the next turn brings more
}

void PollExchange::answer_soon() {
  has_news_ = true;
  owner_.ready_soon();
}

void PollExchange::expire() {
  if (is_answered_) return;
  if (missing_ == 0) return answer();
  // Without the store's answer there is no position to give back: it is awaited.
  is_late_ = has_news_ = true;
}

void PollExchange::answer() {
  is_answered_ = true;
  std::string token;
  for (const auto& subscription : subscriptions_) {
    const bool has_position = subscription->epoch.is_set() && subscription->has_history;
    const Offset offset = subscription->ends_at.value_or(subscription->cursor.offset());
    append_position_token(token, {has_position ? subscription->epoch.text() : std::string_view(), offset},
                          subscription == subscriptions_.front());
    if (subscription->cursor.is_open()) context_.shard.park(subscription->cursor);
  }
  std::string body;
  append_poll_reply(body, publications_, token, statuses_);
  bytes_in_answer_ = publications_.size();
  publications_ = {};
  owner_.answer(std::move(body));
}

void PollExchange::on_sent() {
  if (has_failed_) return;  // what was gathered has not been sent: it is returned with the cursors
  std::uint64_t delivered = 0;
  for (const auto& subscription : subscriptions_) {
    delivered += subscription->in_answer;
    subscription->cursor.count_delivered(std::exchange(subscription->in_answer, 0));
    subscription->cursor.set_under_way(0);
  }
  context_.output.deliveries().add(Transport::poll, delivered, std::exchange(bytes_in_answer_, 0));
}

}  // namespace carillon
