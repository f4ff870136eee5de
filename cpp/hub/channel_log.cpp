#include "hub/channel_log.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace carillon {

void ChannelLog::reserve_one() {
  if (size_ < ring_.size()) return;
  std::vector<Slot> wider(std::max<std::size_t>(4, ring_.size() * 2));
  for (std::size_t i = 0; i < size_; ++i) wider[i] = std::move(slot(i));
  ring_ = std::move(wider);
  head_ = 0;
}

void ChannelLog::append(EntryRef entry, Millis now_ms, const ChannelOptions& options, Seq taken,
                        Millis age_ms) {
  assert(!entry->is_stored() || entry->offset == top_ + 1);
  reserve_one();
  const std::size_t cost = entry->cost_bytes();
  Slot& place = slot(size_);
  place.seq = end_seq_++;
  place.offset_before = top_;
  // Ages ascend towards the front, or a young entry would keep the older ones behind it.
  place.announced_ms =
      age_ms > 0 && size_ > 0 ? std::max(now_ms - age_ms, slot(size_ - 1).announced_ms) : now_ms - age_ms;
  if (entry->is_stored()) {
    top_ = entry->offset;
    history_bytes_ += cost;
  } else {
    ++ephemeral_;
    ephemeral_bytes_ += cost;
  }
  place.entry = std::move(entry);
  bytes_ += cost;
  ++size_;
  ++dense_;
  trim(now_ms, options, taken);
}

void ChannelLog::trim(Millis now_ms, const ChannelOptions& options, Seq taken) {
  // First the history's start moves up, then whatever lies before it and outside of the live window goes.
  if (!options.has_history()) history_from_ = top_ + 1;
  while (outside_ < size_) {
    const Slot& oldest = slot(outside_);
    if (oldest.entry->is_stored()) {
      const bool is_over =
          oldest.entry->offset < history_from_ || top_ - oldest.entry->offset >= options.history_size ||
          history_bytes_ > options.history_bytes || now_ms - oldest.announced_ms >= options.history_ttl_ms;
      if (!is_over) break;
      history_bytes_ -= oldest.entry->cost_bytes();
      history_from_ = std::max(history_from_, oldest.entry->offset + 1);
    }
    ++outside_;
  }
  while (outside_ > 0) {
    const Slot& oldest = slot(0);
    const bool is_over = size_ > options.live_window_entries || bytes_ > options.live_window_bytes ||
                         now_ms - oldest.announced_ms >= kLiveWindowMs;
    // The newest entry waits for its readers whatever its size.
    const bool is_burst =
        oldest.seq >= taken && (size_ == 1 || (size_ <= kBurstEntries && bytes_ <= kBurstBytes));
    if (!is_over || is_burst) break;
    drop_front();
  }
  thin_out(options, taken);
  if (size_ == 0 && !ring_.empty()) {
    ring_ = {};
    head_ = 0;
  }
}

void ChannelLog::thin_out(const ChannelOptions& options, Seq taken) {
  // Ephemeral entries between publications that stay: they go in strokes, so that each costs a constant on
  // average.
  const bool is_due =
      ephemeral_ > 2 * options.live_window_entries + (size_ - ephemeral_) / 4 + ephemeral_kept_ ||
      ephemeral_bytes_ > 2 * options.live_window_bytes + ephemeral_kept_bytes_;
  if (!is_due || outside_ == size_) return;
  std::size_t window = size_;  // index where the live window begins, or what a shard has not seen
  std::size_t window_bytes = 0;
  for (; window > outside_; --window) {
    const Slot& next = slot(window - 1);
    const std::size_t entries = size_ - window + 1;
    window_bytes += next.entry->cost_bytes();
    const bool is_live = entries <= options.live_window_entries && window_bytes <= options.live_window_bytes;
    const bool is_burst =
        next.seq >= taken && (entries == 1 || (entries <= kBurstEntries && window_bytes <= kBurstBytes));
    if (!is_live && !is_burst) break;
  }
  std::size_t kept = outside_;
  for (std::size_t i = outside_; i < size_; ++i) {
    Slot& each = slot(i);
    if (i < window && !each.entry->is_stored()) {
      const std::size_t cost = each.entry->cost_bytes();
      bytes_ -= cost;
      ephemeral_bytes_ -= cost;
      --ephemeral_;
      each.entry.reset();
    } else {
      if (kept != i) slot(kept) = std::exchange(each, Slot{});
      ++kept;
    }
  }
  size_ = kept;
  ephemeral_kept_ = ephemeral_;
  ephemeral_kept_bytes_ = ephemeral_bytes_;
  dense_ = 0;
  while (dense_ < size_ && slot(size_ - 1 - dense_).seq == end_seq_ - 1 - dense_) ++dense_;
}

void ChannelLog::drop_front() {
  Slot& front = ring_[head_];
  const std::size_t cost = front.entry->cost_bytes();
  bytes_ -= cost;
  if (!front.entry->is_stored()) {
    --ephemeral_;
    ephemeral_bytes_ -= cost;
  }
  front.entry.reset();
  head_ = (head_ + 1) & (ring_.size() - 1);
  --size_;
  --outside_;
  dense_ = std::min(dense_, size_);
}

void ChannelLog::reset(Offset top) {
  ring_ = {};
  head_ = size_ = dense_ = outside_ = 0;
  bytes_ = history_bytes_ = 0;
  ephemeral_ = ephemeral_bytes_ = ephemeral_kept_ = ephemeral_kept_bytes_ = 0;
  start_after(top);
}

LogState ChannelLog::save(Millis now_ms) const {
  LogState state;
  state.slots.reserve(size_);
  for (std::size_t i = 0; i < size_; ++i) {
    const Slot& each = slot(i);
    state.slots.push_back({each.entry, each.seq, each.offset_before, now_ms - each.announced_ms});
  }
  state.ephemeral_kept = ephemeral_kept_;
  state.ephemeral_kept_bytes = ephemeral_kept_bytes_;
  state.end_seq = end_seq_;
  state.top = top_;
  state.history_from = history_from_;
  return state;
}

void ChannelLog::restore(const LogState& state, Millis now_ms) {
  *this = {};
  end_seq_ = state.end_seq;
  top_ = state.top;
  history_from_ = state.history_from;
  ephemeral_kept_ = state.ephemeral_kept;
  ephemeral_kept_bytes_ = state.ephemeral_kept_bytes;
  for (const LogState::Slot& saved : state.slots) {
    reserve_one();
    slot(size_) = {saved.entry, saved.seq, saved.offset_before, now_ms - saved.age_ms};
    const std::size_t cost = saved.entry->cost_bytes();
    bytes_ += cost;
    if (!saved.entry->is_stored()) {
      ++ephemeral_;
      ephemeral_bytes_ += cost;
    } else {
      history_bytes_ += cost;  // the next trim finds those outside of the history
    }
    ++size_;
  }
  while (dense_ < size_ && slot(size_ - 1 - dense_).seq == end_seq_ - 1 - dense_) ++dense_;
}

std::size_t ChannelLog::index_of(Seq seq) const {
  if (seq >= end_seq_) return size_;
  if (end_seq_ - seq <= dense_) return size_ - static_cast<std::size_t>(end_seq_ - seq);
  std::size_t low = 0;
  std::size_t high = size_ - dense_;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (slot(middle).seq < seq) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

Seq ChannelLog::next_seq(Seq seq) const {
  const std::size_t index = index_of(seq);
  return index < size_ ? slot(index).seq : end_seq_;
}

std::optional<Seq> ChannelLog::seq_below(Seq seq) const {
  const std::size_t index = index_of(seq);
  if (index == 0) return std::nullopt;
  return slot(index - 1).seq;
}

Offset ChannelLog::offset_before(Seq seq) const {
  const std::size_t index = index_of(seq);
  return index < size_ ? slot(index).offset_before : top_;
}

std::optional<Seq> ChannelLog::seq_after(Offset offset) const {
  if (offset > top_) return std::nullopt;
  if (offset == top_)
    return end_seq_;  // ephemeral entries behind the newest stored one are no part of a resume
  if (offset + 1 < history_from_) return std::nullopt;
  // The first slot behind which the newest stored offset is more than `offset`: it holds publication offset
  // + 1.
  std::size_t low = outside_;
  std::size_t high = size_;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    const Offset with_it = middle + 1 < size_ ? slot(middle + 1).offset_before : top_;
    if (with_it > offset) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return slot(low).seq;
}

}  // namespace carillon
