// The hub written down, and made again from that: for another process that goes on with it.
#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

#include "hub/hub.hpp"

namespace carillon {

std::vector<EntryRef> Hub::entries() const {
  std::vector<EntryRef> entries;
  for (const Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    for (const auto& [name, channel] : stripe.channels) {
      const std::lock_guard channel_lock(channel->mutex);
      const ChannelLog& log = channel->log;
      for (Seq seq = log.begin_seq(); seq < log.end_seq(); seq = log.next_seq(seq + 1))
        entries.push_back(log.at(seq));
    }
  }
  return entries;
}

HubState Hub::save() {
  const Millis now = clock_.now_ms();
  HubState state;
  // All stripes at once: no channel may go dormant between two of them and be counted twice, or not at all.
  std::vector<std::unique_lock<std::mutex>> locks;
  for (Stripe& stripe : stripes_) locks.emplace_back(stripe.mutex);
  for (const Stripe& stripe : stripes_) {
    for (const auto& [name, channel] : stripe.channels) {
      const std::lock_guard lock(channel->mutex);
      ChannelState& saved = state.channels.emplace_back();
      saved.name = name;
      saved.epoch = channel->epoch;
      saved.log = channel->log.save(now);
      saved.needs_unfollow = channel->needs_unfollow;
      saved.resets = channel->resets;
      saved.epoch_resets = channel->epoch_resets;
      saved.announced = channel->announced;
      saved.unbalanced = channel->unbalanced;
      saved.ended = channel->ended;
      const ChannelFanOut& fan_out = channel->fan_out;
      saved.has_chosen_fan_out = fan_out.is_chosen();
      saved.fan_out = fan_out.strategy();
      saved.fan_out_threshold = fan_out.threshold();
      saved.fan_out_mode = fan_out.mode();
      saved.fan_out_switches = fan_out.switches();
    }
  }
  state.published = published();
  state.adaptive_permille = static_cast<std::uint64_t>(std::lround(adaptive_.factor() * 1'000));
  const std::lock_guard lock(forgotten_mutex_);
  state.forgotten = forgotten_.account;
  state.forgotten_unbalanced = forgotten_.unbalanced;
  return state;
}

void Hub::restore(const HubState& state) {
  const Millis now = clock_.now_ms();
  for (const ChannelState& saved : state.channels) {
    const std::shared_ptr<Channel> channel = find_or_add(saved.name);
    {
      const std::lock_guard lock(channel->mutex);
      for (const LogState::Slot& slot : saved.log.slots) {
        std::const_pointer_cast<Entry>(slot.entry)->count_into(gauge_);  // nobody shares it yet
      }
      channel->epoch = saved.epoch;
      channel->log.restore(saved.log, now);
      channel->resets = saved.resets;
      channel->epoch_resets = saved.epoch_resets;
      channel->announced = saved.announced;
      channel->unbalanced = saved.unbalanced;
      channel->ended = saved.ended;
      channel->is_follow_asked = saved.needs_unfollow;
      if (saved.has_chosen_fan_out && saved.fan_out <= FanOut::adaptive)
        count_chosen(channel->fan_out.choose(saved.fan_out, saved.fan_out_threshold, true), true);
      channel->fan_out.restore(saved.fan_out_mode, saved.fan_out_switches);
    }
    if (saved.needs_unfollow) follow(channel);
  }
  published_ += state.published;
  adaptive_.restore(static_cast<double>(state.adaptive_permille) / 1'000);
  const std::lock_guard lock(forgotten_mutex_);
  forgotten_.account += state.forgotten;
  forgotten_.unbalanced += state.forgotten_unbalanced;
}

void Hub::restore(Shard& shard, Cursor& cursor, std::string_view name, const CursorState& state) {
  if (!state.is_open) return;
  const std::shared_ptr<Channel> channel = follow_channel(name);
  const std::lock_guard lock(channel->mutex);
  shard.restore(cursor, channel, state);
}

}  // namespace carillon
