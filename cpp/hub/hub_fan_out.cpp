// Members, what is written into their inboxes, and which strategy a channel has.
#include <algorithm>
#include <utility>

#include "hub/hub.hpp"
#include "hub/receipt.hpp"

namespace carillon {

// ---- members

void Hub::add_members(std::string_view name, std::span<const std::string> users, MembersDone done) {
  const auto channel = hold(name);
  if (!channel->options().has_history()) return done(FanOutError::no_history, {});
  // From now on who publishes waits for inboxes: those of the first members, too.
  channel->fan_out.joins.fetch_add(1);
  store_.add_members(name, users, [channel, done = std::move(done)](const MembersResult& result) {
    const bool is_full = result.error == StoreError::full;  // some have become members
    if (result.error == StoreError::none || is_full) channel->fan_out.members = result.members;
    channel->fan_out.joins.fetch_sub(1);
    if (is_full) return done(FanOutError::inboxes_full, result);
    done(result.error == StoreError::none ? FanOutError::none : FanOutError::unavailable, result);
  });
}

void Hub::remove_members(std::string_view name, std::span<const std::string> users, MembersDone done) {
  const auto channel = hold(name);
  store_.remove_members(name, users, [channel, done = std::move(done)](const MembersResult& result) {
    if (result.error == StoreError::none) channel->fan_out.members = result.members;
    done(result.error == StoreError::none ? FanOutError::none : FanOutError::unavailable, result);
  });
}

void Hub::members(std::string_view name, std::string_view after, std::size_t limit, MembersDone done) {
  store_.members(name, after, limit, [done = std::move(done)](const MembersResult& result) {
    done(result.error == StoreError::none ? FanOutError::none : FanOutError::unavailable, result);
  });
}

// ---- the strategy

FanOutError Hub::set_fan_out(std::string_view name, std::optional<FanOut> strategy,
                             std::optional<std::size_t> threshold) {
  const auto channel = follow_channel(name);
  const ChannelOptions& options = channel->options();
  // Each of them keeps its channel in memory.
  const bool is_new = strategy && !channel->fan_out.is_chosen();
  if (is_new && chosen_fan_outs_.load(std::memory_order_relaxed) >= limits_.chosen_fan_outs)
    return FanOutError::too_many;
  count_chosen(channel->fan_out.choose(strategy.value_or(options.fan_out),
                                       threshold.value_or(options.fan_out_threshold), strategy.has_value()),
               strategy.has_value());
  channel->fan_out.decide(channel->options(), adaptive_.factor());
  return FanOutError::none;
}

void Hub::count_chosen(bool was_chosen, bool is_chosen) {
  if (was_chosen == is_chosen) return;
  chosen_fan_outs_.fetch_add(is_chosen ? 1 : ~std::size_t{0}, std::memory_order_relaxed);
}

FanOutState Hub::fan_out(std::string_view name) {
  const auto channel = follow_channel(name);
  channel->fan_out.decide(channel->options(), adaptive_.factor());
  return channel->fan_out.state(adaptive_.factor());
}

// ---- writing: a cursor that walks over the members with what is new, a bounded number of them per turn

Hub::PublishDone Hub::after_inboxes(const std::shared_ptr<Channel>& channel, PublishDone done) {
  return [this, channel, done = std::move(done)](const AppendResult& result) {
    const auto tell = [this, done, result](bool is_entered) {
      AppendResult told = result;
      if (!is_entered) note_unknown_inboxes(told);
      done(told);
    };
    bool is_entered = true;
    {
      const std::lock_guard lock(channel->mutex);
      InboxWalk* walk = channel->walk.get();
      const Offset offset = result.position.offset;
      if (result.error == StoreError::none && walk != nullptr && walk->epoch == result.position.epoch &&
          offset > walk->entered_to) {
        if (walk->is_running) {
          walk->waiters.push_back({offset, clock_.now_ms(), tell});
          return;
        }
        is_entered = !walk->is_given_up;
      }
    }
    tell(is_entered);
  };
}

void Hub::note_unknown_inboxes(AppendResult& result) {
  // It is stored: whoever repeats it without a key would double it.
  result.error = StoreError::outcome_unknown;
  inbox_timeouts_.fetch_add(1, std::memory_order_relaxed);
}

Hub::PublishDone Hub::enter_inboxes(std::string_view name, PublishDone done) {
  return [this, name = std::string(name), done = std::move(done)](const AppendResult& result) {
    const bool is_stored = result.error == StoreError::none && result.position.offset != 0;
    if (!is_stored || result.members == 0) return done(result);
    if (is_closed_) {  // it is stored, and nobody here walks any more
      AppendResult told = result;
      note_unknown_inboxes(told);
      return done(told);
    }
    const auto channel = find_or_add(name);
    channel->fan_out.members = result.members;
    bool is_walk_due = false;
    std::vector<InboxWalk::Waiter> told;
    {
      const std::lock_guard lock(channel->mutex);
      is_walk_due = add_to_walk(*channel, result.position, told);
    }
    if (is_walk_due) post_walk(channel);
    for (const auto& waiter : told) waiter.then(false);
    after_inboxes(channel, done)(result);
  };
}

bool Hub::add_to_walk(Channel& channel, const Position& position, std::vector<InboxWalk::Waiter>& told) {
  if (!channel.walk) {
    channel.walk = std::make_unique<InboxWalk>();
    channel.walk->number = walks_.fetch_add(1, std::memory_order_relaxed);
  }
  InboxWalk& walk = *channel.walk;
  if (walk.epoch != position.epoch) {
    told.swap(walk.waiters);  // what they wait for is gone
    walk.epoch = position.epoch;
    walk.entered_to = 0;
  }
  if (position.offset <= walk.entered_to) return false;
  walk.has_news = true;
  walk.is_given_up = false;
  return !std::exchange(walk.is_running, true);
}

void Hub::post_walk(const std::shared_ptr<Channel>& channel) {
  Shard* shard = nullptr;
  {
    const std::lock_guard lock(shards_mutex_);
    if (!shards_.empty()) shard = shards_[channel->walk->number % shards_.size()];
  }
  if (shard == nullptr) return end_walk(*channel);
  auto receipt = std::make_shared<Receipt>([this, channel](bool has_run) {
    if (!has_run) return end_walk(*channel);
    try {
      walk(channel);
    } catch (...) {  // the thread dies of it: whoever waits hears so first
      end_walk(*channel);
      throw;
    }
  });
  shard->post([receipt = std::move(receipt)] { receipt->give(true); });
}

void Hub::walk(const std::shared_ptr<Channel>& channel) {
  Epoch epoch;
  {
    const std::lock_guard lock(channel->mutex);
    channel->walk->has_news = false;
    epoch = channel->walk->epoch;
  }
  const std::int64_t begin = clock_.now_ns();
  store_.enter(
      channel->name, limits_.inbox_members_per_turn,
      [this, channel, begin, epoch](const EnterResult& result) {
        if (result.step.entered > 0) {  // else it was a question: another gateway walks, or nothing is left
          adaptive_.count_write(clock_.now_ns() - begin, channel->fan_out.strategy() == FanOut::adaptive);
        }
        if (result.error != StoreError::none) {
          inbox_entries_.fetch_add(result.step.entered, std::memory_order_relaxed);
        } else if (result.step.entered > 0) {
          count_entered(result.step.entered);
        }
        on_entered(channel, epoch, result);
      });
}

void Hub::on_entered(const std::shared_ptr<Channel>& channel, const Epoch& epoch, const EnterResult& result) {
  std::vector<InboxWalk::Waiter> entered;
  bool has_more = true;
  {
    const std::lock_guard lock(channel->mutex);
    InboxWalk& walk = *channel->walk;
    if (result.error != StoreError::none) {
      // keep_house asks again, the longer the later; some of many channels a little earlier than others.
      const Millis delay = InboxWalk::kRetryMs << std::min(walk.failures, InboxWalk::kDoublings);
      const auto spread = static_cast<Millis>(retries_.fetch_add(7, std::memory_order_relaxed) % 16);
      walk.retry_ms = clock_.now_ms() + delay - delay * spread / 32;
      ++walk.failures;
      has_more = false;
    } else {
      walk.failures = 0;
      const bool is_further = walk.epoch == epoch && result.step.entered_to > walk.entered_to;
      if (is_further) walk.entered_to = result.step.entered_to;
      const bool has_moved = result.step.is_held && result.step.held_at != walk.held_at;
      if (has_moved) walk.held_at = result.step.held_at;
      if (is_further || has_moved || result.step.entered > 0) walk.moved_ms = clock_.now_ms();
      // Another gateway walks: publishers are answered when it has come so far, or has died and this one goes
      // on.
      const bool is_waiting = result.step.is_held && walk.has_waiter_behind(walk.entered_to);
      if (is_waiting) walk.retry_ms = clock_.now_ms() + InboxWalk::kRetryMs;  // keep_house asks again
      has_more = !is_waiting && (!result.step.is_done || walk.has_news);
      walk.is_running = is_waiting || has_more;
      if (walk.epoch == epoch) {
        const auto later = std::partition(walk.waiters.begin(), walk.waiters.end(), [&](const auto& waiter) {
          // Where nothing is left, it had no members, or was read mode's.
          return waiter.offset <= walk.entered_to || !walk.is_running;
        });
        entered.assign(std::make_move_iterator(walk.waiters.begin()), std::make_move_iterator(later));
        walk.waiters.erase(walk.waiters.begin(), later);
      }
    }
  }
  if (has_more) post_walk(channel);
  for (const auto& waiter : entered) waiter.then(true);
}

void Hub::end_walk(Channel& channel) {
  std::vector<InboxWalk::Waiter> told;
  {
    const std::lock_guard lock(channel.mutex);
    if (!channel.walk || !std::exchange(channel.walk->is_running, false)) return;
    InboxWalk& walk = *channel.walk;
    walk.is_given_up = true;
    told.swap(walk.waiters);
  }
  for (const auto& waiter : told) waiter.then(false);
}

}  // namespace carillon
