// How announcements become the log of a channel: brought into order, holes filled from the store, unknown
// epochs confirmed by it, and what never came found by comparing tops.
#include <algorithm>
#include <utility>

#include "env/planted_fault.hpp"
#include "hub/hub.hpp"

namespace carillon {

void Hub::on_announced(const Announcement& announcement) {
  const auto found = announcement.handle == nullptr ? find(announcement.channel) : nullptr;
  if (announcement.handle == nullptr && !found) return;  // it is followed no longer
  Channel& channel = found ? *found : static_cast<Channel&>(*announcement.handle);
  // In order, other than the answers to those who add and remove them at the same time.
  if (announcement.entry->is_stored()) channel.fan_out.members = announcement.members;
  bool is_hole = false;
  bool is_walk_due = false;
  bool is_unknown = false;
  std::vector<InboxWalk::Waiter> told;
  {
    const Shard::HeldWakes wakes;
    const std::lock_guard lock(channel.mutex);
    if (channel.epoch.is_set() && channel.epoch != announcement.epoch) [[unlikely]] {
      if (channel.is_replaced(announcement.epoch)) return;
      is_unknown = keep_unconfirmed(channel, announcement.epoch, announcement.entry);
    } else {
      accept(channel, announcement.epoch, announcement.entry, 0);
    }
    if (announcement.members > 0 && announcement.mode == FanOutMode::write)
      is_walk_due = add_to_walk(channel, {announcement.epoch, announcement.entry->offset}, told);
    is_hole = channel.has_hole() && !channel.is_filling;
    if (is_hole) channel.is_filling = true;
  }
  if (is_unknown) check_top(channel.shared_from_this());
  if (is_walk_due) post_walk(channel.shared_from_this());
  if (is_hole && !has_fault<PlantedFault::hole_not_filled>()) fill_hole(channel.shared_from_this());
  for (const auto& waiter : told) waiter.then(false);
}

void Hub::accept(Channel& channel, const Epoch& epoch, const EntryRef& entry, Millis age_ms) {
  count_into_gauge(entry);
  if (!channel.epoch.is_set()) {
    // Nobody can listen before the channel is followed, and only a stored entry tells where its offsets
    // stand.
    if (!entry->is_stored()) return;
    channel.epoch = epoch;
    channel.log.start_after(entry->offset - 1);
  }
  if (!entry->is_stored() || entry->offset == channel.log.top() + 1) {
    append_to_log(channel, entry, age_ms);
    append_early(channel);
  } else if (entry->offset > channel.log.top()) {
    channel.early.emplace(entry->offset, entry);
    if (channel.early.size() > limits_.early_entries) {
      reset(channel, channel.epoch, channel.early.begin()->first - 1);
      append_early(channel);
    }
  }  // else it came before, and came again
  wake_shards(channel);
}

void Hub::append_to_log(Channel& channel, const EntryRef& entry, Millis age_ms) {
  ++channel.announced;
  published_.fetch_add(1, std::memory_order_relaxed);
  channel.log.append(entry, clock_.now_ms(), channel.options(), channel.taken(), age_ms);
}

void Hub::count_into_gauge(const EntryRef& entry) {
  // What this hub has published is counted. What the store has made is shared by nobody yet.
  if (!entry->is_counted()) std::const_pointer_cast<Entry>(entry)->count_into(gauge_);
}

void Hub::append_early(Channel& channel) {
  while (!channel.early.empty()) {
    const auto first = channel.early.begin();
    if (first->first > channel.log.top() + 1) return;
    if (first->first == channel.log.top() + 1) append_to_log(channel, first->second, 0);
    channel.early.erase(first);
  }
}

void Hub::reset(Channel& channel, const Epoch& epoch, Offset top) {
  if (!has_fault<PlantedFault::reset_not_told>()) ++channel.resets;
  if (channel.epoch != epoch) {
    if (channel.replaced_epochs.size() == Channel::kReplacedEpochs)
      channel.replaced_epochs.erase(channel.replaced_epochs.begin());
    channel.replaced_epochs.push_back(channel.epoch);
    channel.early.clear();
    channel.known_top = 0;
    channel.epoch = epoch;
    channel.epoch_resets = channel.resets;
  }
  if (channel.pages) channel.pages->held.clear();
  channel.log.reset(top);
}

void Hub::wake_shards(Channel& channel) {
  for (Channel::Link& link : channel.links) {
    if (link.is_woken) continue;
    link.is_woken = true;
    link.shard->wake(&channel);
  }
}

void Hub::fill_hole(const std::shared_ptr<Channel>& channel) {
  catch_up_.when_there_is_room([this, channel] { read_hole(channel); });
}

void Hub::read_hole(const std::shared_ptr<Channel>& channel) {
  ReadRange range{.entries_max = limits_.page_entries, .bytes_max = limits_.page_bytes};
  bool is_hole = false;
  {
    const std::lock_guard lock(channel->mutex);
    is_hole = channel->has_hole();
    channel->is_filling = is_hole;
    range.first = channel->log.top() + 1;
    range.last = channel->hole_end();
  }
  if (!is_hole) return catch_up_.done();
  read(channel, range, [this, channel, range](const Page& page) {
    on_filled(channel, range, page);
    catch_up_.done();
  });
}

void Hub::on_filled(const std::shared_ptr<Channel>& channel, const ReadRange& range, const Page& page) {
  {
    const std::lock_guard lock(channel->mutex);
    channel->is_filling = false;
    if (page.error != StoreError::none && page.error != StoreError::not_held)
      return;  // keep_house asks again
  }
  // The store has lost the channel: asked for its top, it says in which epoch it goes on.
  if (!page.top.epoch.is_set() && store_.keeps_entries()) return check_top(channel);
  {
    const std::lock_guard lock(channel->mutex);
    if (page.top.epoch != channel->epoch) believe(*channel, page.top);
    accept_read(*channel, page);
    // A read that was asked for in another epoch may begin too late: then it tells nothing.
    const bool is_told = range.first <= channel->log.top() + 1 && !page.has_more;
    if (is_told && channel->log.top() < range.last && channel->has_hole()) {
      // What has left the store nobody can deliver: the hole becomes a gap that every cursor is told of.
      reset(*channel, channel->epoch, channel->hole_end());
      append_early(*channel);
      wake_shards(*channel);
    }
    if (!channel->has_hole()) return;
    channel->is_filling = true;
  }
  fill_hole(channel);
}

void Hub::read(const std::shared_ptr<Channel>& channel, const ReadRange& range,
               std::function<void(const Page&)> then) {
  auto asked = std::make_shared<Channel::RangeRead>(Channel::RangeRead{range, 0, {}});
  {
    const std::lock_guard lock(channel->mutex);
    asked->resets = channel->resets;
    for (const auto& known : channel->reads) {
      if (known->range != range || known->resets != channel->resets) continue;
      known->waiting.push_back(std::move(then));
      return;
    }
    asked->waiting.push_back(std::move(then));
    channel->reads.push_back(asked);
  }
  store_.read(channel->name, range, [channel, asked](const Page& page) {
    std::vector<std::function<void(const Page&)>> waiting;
    {
      const std::lock_guard lock(channel->mutex);
      std::erase(channel->reads, asked);
      waiting.swap(asked->waiting);
    }
    for (const auto& each : waiting) each(page);
  });
}

void Hub::accept_read(Channel& channel, const Page& page) {
  if (page.top.epoch != channel.epoch) return;
  const Millis wall_ms = clock_.wall_ms();
  for (const EntryRef& entry : page.entries)
    accept(channel, channel.epoch, entry, std::max<Millis>(0, wall_ms - entry->wall_ms));
}

// ---- epochs and doubts

bool Hub::keep_unconfirmed(Channel& channel, const Epoch& epoch, const EntryRef& entry) {
  if (!channel.unconfirmed) channel.unconfirmed = std::make_unique<Channel::Unconfirmed>();
  Channel::Unconfirmed& unconfirmed = *channel.unconfirmed;
  if (unconfirmed.epoch != epoch) {
    unconfirmed.epoch = epoch;
    unconfirmed.entries.clear();
  }
  if (unconfirmed.entries.size() < limits_.early_entries) unconfirmed.entries.push_back(entry);
  return !std::exchange(unconfirmed.is_asked, true);
}

void Hub::check_top(const std::shared_ptr<Channel>& channel) {
  catch_up_.when_there_is_room([this, channel] { ask_top(channel); });
}

void Hub::ask_top(const std::shared_ptr<Channel>& channel) {
  store_.top(channel->name, [this, channel](const TopResult& result) {
    bool is_hole = false;
    {
      const std::lock_guard lock(channel->mutex);
      if (channel->unconfirmed) channel->unconfirmed->is_asked = false;
      if (result.error == StoreError::none) {
        believe(*channel, result.top);
      } else {
        channel->check_due_ms = clock_.now_ms();  // keep_house asks again
      }
      is_hole = channel->has_hole() && !channel->is_filling;
      if (is_hole) channel->is_filling = true;
    }
    if (is_hole) fill_hole(channel);
    catch_up_.done();
  });
}

void Hub::believe(Channel& channel, const Position& top) {
  const std::unique_ptr<Channel::Unconfirmed> unconfirmed = std::move(channel.unconfirmed);
  if (!channel.epoch.is_set() || !top.epoch.is_set() || channel.is_replaced(top.epoch)) return;
  if (channel.epoch != top.epoch) {
    // What was announced in it comes; what came before was nobody's here, and every cursor is told.
    Offset begin = top.offset;
    const bool is_announced = unconfirmed && unconfirmed->epoch == top.epoch;
    if (is_announced) {
      for (const EntryRef& entry : unconfirmed->entries)
        if (entry->is_stored()) begin = std::min(begin, entry->offset - 1);
    }
    reset(channel, top.epoch, begin);
    if (is_announced) {
      for (const EntryRef& entry : unconfirmed->entries) accept(channel, top.epoch, entry, 0);
    }
    wake_shards(channel);
  }
  channel.known_top = std::max(channel.known_top, top.offset);
}

void Hub::on_doubt() {
  if (!has_fault<PlantedFault::doubt_ignored>()) doubts_.fetch_add(1, std::memory_order_relaxed);
}

bool Hub::is_check_due(const Channel& channel, Millis now_ms) const {
  if (!store_.keeps_entries() || !channel.is_followed) return false;
  return channel.check_due_ms <= now_ms || channel.doubts != doubts_.load(std::memory_order_relaxed);
}

void Hub::plan_check(Channel& channel) {
  if (!store_.keeps_entries()) return;
  channel.doubts = doubts_.load(std::memory_order_relaxed);
  // Spread: channels that were followed in one moment are not compared in one.
  const Millis spread = limits_.position_check_ms / 4;
  const Millis part = spread > 0 ? static_cast<Millis>(random_.below(static_cast<std::uint64_t>(spread))) : 0;
  channel.check_due_ms = clock_.now_ms() + limits_.position_check_ms - part;
}

}  // namespace carillon
