// Members, what is written into their inboxes, and which strategy a channel has.
#include <algorithm>
#include <utility>

#include "hub/hub.hpp"
#include "hub/receipt.hpp"

namespace carillon {

// ---- members

void Hub::add_members(std::string_view name, std::span<const std::string> users, MembersDone done) {
  const auto channel = open_channel(name);
  if (!channel->options.has_history()) return done(FanOutError::no_history, {});
  // From now on who publishes waits for inboxes: those of the first members, too.
  channel->fan_out.joins.fetch_add(1);
  store_.add_members(name, users, [channel, done = std::move(done)](const MembersResult& result) {
    if (result.error == StoreError::none) channel->fan_out.members = result.members;
    channel->fan_out.joins.fetch_sub(1);
    done(result.error == StoreError::none ? FanOutError::none : FanOutError::unavailable, result);
  });
}

void Hub::remove_members(std::string_view name, std::span<const std::string> users, MembersDone done) {
  const auto channel = open_channel(name);
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

void Hub::set_fan_out(std::string_view name, std::optional<FanOut> strategy,
                      std::optional<std::size_t> threshold) {
  const auto channel = open_channel(name);
  const ChannelOptions& options = channel->options;
  channel->fan_out.choose(strategy.value_or(options.fan_out), threshold.value_or(options.fan_out_threshold),
                          strategy.has_value());
  channel->fan_out.decide(channel->options, adaptive_.factor());
}

FanOutState Hub::fan_out(std::string_view name) {
  const auto channel = open_channel(name);
  channel->fan_out.decide(channel->options, adaptive_.factor());
  return channel->fan_out.state(adaptive_.factor());
}

// ---- writing: a cursor that walks over the members with what is new, a bounded number of them per turn

Hub::PublishDone Hub::after_inboxes(const std::shared_ptr<Channel>& channel, PublishDone done) {
  return [channel, done = std::move(done)](const AppendResult& result) {
    const Offset offset = result.position.offset;
    const auto tell = [done, result](bool is_entered) {
      AppendResult told = result;
      if (!is_entered) told.error = StoreError::unavailable;
      done(told);
    };
    bool is_entered = true;
    {
      const std::lock_guard lock(channel->mutex);
      InboxWalk* walk = channel->walk.get();
      if (result.error == StoreError::none && walk != nullptr && offset > walk->entered) {
        if (walk->is_running && offset <= walk->ranges.back().last) {
          walk->waiters.push_back({offset, tell});
          return;
        }
        is_entered = offset > walk->given_up;
      }
    }
    tell(is_entered);
  };
}

bool Hub::add_to_walk(Channel& channel, Offset offset) {
  if (!channel.walk) {
    channel.walk = std::make_unique<InboxWalk>();
    channel.walk->number = walks_.fetch_add(1, std::memory_order_relaxed);
  }
  InboxWalk& walk = *channel.walk;
  // The range under way is what the store has begun with: it no longer grows.
  const std::size_t under_way = walk.is_running ? 1 : 0;
  if (walk.ranges.size() > under_way && walk.ranges.back().last + 1 == offset) {
    walk.ranges.back().last = offset;
  } else {
    walk.ranges.push_back({offset, offset});
  }
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
  InboxWalk::Range range;
  {
    const std::lock_guard lock(channel->mutex);
    range = channel->walk->ranges.front();
  }
  const std::int64_t begin = clock_.now_ns();
  store_.enter(channel->name, range.first, range.last, limits_.inbox_members_per_turn,
               [this, channel, begin, range](const EnterResult& result) {
                 adaptive_.count_write(clock_.now_ns() - begin,
                                       channel->fan_out.strategy() == FanOut::adaptive);
                 inbox_entries_.fetch_add(result.step.entered * (range.last + 1 - range.first),
                                          std::memory_order_relaxed);
                 on_entered(channel, result);
               });
}

void Hub::on_entered(const std::shared_ptr<Channel>& channel, const EnterResult& result) {
  std::vector<InboxWalk::Waiter> told;
  bool has_more = true;
  if (result.error == StoreError::none && result.step.is_done) {
    const std::lock_guard lock(channel->mutex);
    InboxWalk& walk = *channel->walk;
    walk.entered = walk.ranges.front().last;
    walk.ranges.pop_front();
    has_more = walk.is_running = !walk.ranges.empty();
    const auto later = std::partition(walk.waiters.begin(), walk.waiters.end(),
                                      [&](const auto& waiter) { return waiter.offset <= walk.entered; });
    told.assign(std::make_move_iterator(walk.waiters.begin()), std::make_move_iterator(later));
    walk.waiters.erase(walk.waiters.begin(), later);
  }
  if (has_more) post_walk(channel);
  for (const auto& waiter : told) waiter.then(true);
}

void Hub::end_walk(Channel& channel) {
  std::vector<InboxWalk::Waiter> told;
  {
    const std::lock_guard lock(channel.mutex);
    if (!std::exchange(channel.walk->is_running, false)) return;
    channel.walk->given_up = channel.walk->ranges.back().last;
    channel.walk->ranges.clear();
    told.swap(channel.walk->waiters);
  }
  for (const auto& waiter : told) waiter.then(false);
}

}  // namespace carillon
