#include "hub/channel_log.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

namespace carillon {

void ChannelLog::reserve_one() {
  if (size_ < ring_.size()) return;
  std::vector<Slot> wider(std::max<std::size_t>(4, ring_.size() * 2));
  for (std::size_t i = 0; i < size_; ++i) wider[i] = std::move(ring_[(head_ + i) & (ring_.size() - 1)]);
  ring_ = std::move(wider);
  head_ = 0;
}

void ChannelLog::append(EntryRef entry, Millis now_ms, const ChannelOptions& options, Seq taken) {
  assert(!entry->is_stored() || entry->offset == top_ + 1);
  reserve_one();
  const std::size_t cost = entry->cost_bytes();
  Slot& place = ring_[(head_ + size_) & (ring_.size() - 1)];
  place.offset_before = top_;
  place.announced_ms = now_ms;
  if (entry->is_stored()) {
    top_ = entry->offset;
    history_bytes_ += cost;
  }
  place.entry = std::move(entry);
  bytes_ += cost;
  ++size_;
  trim(now_ms, options, taken);
}

bool ChannelLog::prepend(const std::vector<EntryRef>& entries, Millis now_ms, const ChannelOptions& options) {
  if (entries.empty()) return false;
  const Offset next = size_ > 0 ? offset_before(begin_seq_) + 1 : top_ + 1;
  if (entries.back()->offset + 1 != next || history_from_ > next || begin_seq_ <= entries.size()) return false;
  for (auto it = entries.rbegin(); it != entries.rend(); ++it) {
    reserve_one();
    head_ = (head_ + ring_.size() - 1) & (ring_.size() - 1);
    ring_[head_] = Slot{*it, (*it)->offset - 1, now_ms};
    bytes_ += (*it)->cost_bytes();
    history_bytes_ += (*it)->cost_bytes();
    ++size_;
    --begin_seq_;
  }
  history_from_ = entries.front()->offset;
  history_seq_ = begin_seq_;
  trim(now_ms, options, end_seq());
  return true;
}

void ChannelLog::trim(Millis now_ms, const ChannelOptions& options, Seq taken) {
  // First the history's start moves up, then whatever lies below it and outside of the live window goes.
  if (!options.has_history()) history_from_ = top_ + 1;
  const Seq end = end_seq();
  history_seq_ = std::max(history_seq_, begin_seq_);
  while (history_seq_ < end) {
    const Slot& oldest = slot(history_seq_);
    if (oldest.entry->is_stored()) {
      const bool is_over = oldest.entry->offset < history_from_ || top_ - oldest.entry->offset >= options.history_size ||
                           history_bytes_ > options.history_bytes ||
                           oldest.announced_ms + options.history_ttl_ms <= now_ms;
      if (!is_over) break;
      history_bytes_ -= oldest.entry->cost_bytes();
      history_from_ = std::max(history_from_, oldest.entry->offset + 1);
    }
    ++history_seq_;
  }
  while (begin_seq_ < history_seq_) {
    const bool is_over = size_ > options.live_window_entries || bytes_ > options.live_window_bytes ||
                         slot(begin_seq_).announced_ms + kLiveWindowMs <= now_ms;
    const bool is_burst = begin_seq_ >= taken && size_ <= kBurstEntries && bytes_ <= kBurstBytes;
    if (!is_over || is_burst) break;
    drop_front();
  }
  if (size_ == 0 && !ring_.empty()) {
    ring_ = {};
    head_ = 0;
  }
}

void ChannelLog::drop_front() {
  Slot& front = ring_[head_];
  bytes_ -= front.entry->cost_bytes();
  front.entry.reset();
  head_ = (head_ + 1) & (ring_.size() - 1);
  --size_;
  ++begin_seq_;
}

void ChannelLog::reset(Offset top) {
  begin_seq_ = end_seq();
  history_seq_ = begin_seq_;
  ring_ = {};
  head_ = size_ = bytes_ = history_bytes_ = 0;
  top_ = top;
  history_from_ = top + 1;
}

Offset ChannelLog::offset_before(Seq seq) const { return seq >= end_seq() ? top_ : slot(seq).offset_before; }

std::optional<Seq> ChannelLog::seq_after(Offset offset) const {
  if (offset > top_) return std::nullopt;
  if (offset == top_) {
    // Ephemeral entries behind the newest stored one are no part of a resume.
    return end_seq();
  }
  if (offset + 1 < history_from_ || size_ == 0 || offset < slot(begin_seq_).offset_before) return std::nullopt;
  // The first entry after which the newest stored offset is at least offset + 1: it is that publication.
  Seq low = begin_seq_;
  Seq high = end_seq();
  while (low < high) {
    const Seq middle = low + (high - low) / 2;
    if (offset_before(middle + 1) > offset) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace carillon
