#include "hub/stress_reader.hpp"

#include <cstdlib>
#include <utility>

namespace carillon {

bool StressReader::stage(Cursor& /*cursor*/, const Batch& batch) {
  if (is_clogged_) return false;
  if (!is_calm_ && staged_.empty() && random_.chance(2)) {
    is_clogged_ = true;
    return false;
  }
  staged_.push_back(&batch);
  return true;
}

void StressReader::on_gap(Cursor& /*cursor*/, const Gap& gap) {
  ++gaps;
  if (gap.position.epoch != epoch_ || gap.lost_from != offset_ + 1 || gap.lost_to < gap.lost_from) {
    ++failures_.wrong_gap;
  }
  offset_ = gap.position.offset;
  if (!is_calm_ && random_.chance(30)) close();
}

void StressReader::take(const Entry& entry) {
  cursor_.count_delivered(1);
  ++delivered;
  const std::uint64_t id = std::strtoull(entry.publication.data.c_str(), nullptr, 10);
  if (entry.is_stored()) {
    if (entry.offset != offset_ + 1) ++failures_.order;
    offset_ = entry.offset;
    if (!truth_.agrees(entry.offset, id)) ++failures_.disagreement;
  }
  if (!is_publisher_order_known_) return;
  std::uint64_t& newest = newest_[(id >> 48U) % kPublishers];
  if (id <= newest) ++failures_.publisher_order;
  newest = id;
}

void StressReader::flush() {
  if (staged_.empty()) return;
  std::uint32_t entries = 0;
  for (const Batch* batch : staged_) entries += batch->size();
  const bool is_cut = !is_calm_ && random_.chance(10);
  std::uint64_t left = is_cut ? random_.below(entries + 1) : entries;
  for (const Batch* batch : staged_) {
    if (Shard::stands_before(cursor_, batch->end())) continue;
    for (std::uint32_t i = 0; i < batch->size(); ++i) {
      if (left > 0) {
        --left;
        take(*batch->entries()[i]);
        continue;
      }
      std::uint32_t next = i;
      if (random_.chance(50)) {
        half_ = batch->entries()[next++];
        cursor_.set_under_way(1);
      }
      shard_.rewind_to(cursor_, batch->begin() + next, batch->offset_before(next));
      break;
    }
  }
  staged_.clear();
  if (is_cut) {
    shard_.park(cursor_);
    is_clogged_ = true;
  }
}

void StressReader::unclog() {
  if (!is_clogged_) return;
  is_clogged_ = false;
  if (half_) {
    cursor_.set_under_way(0);
    take(*std::exchange(half_, nullptr));
  }
  shard_.resume(cursor_);
}

void StressReader::live() {
  if (is_calm_) return;
  if (is_clogged_ && random_.chance(30)) unclog();
  if (cursor_.is_open()) {
    if (random_.chance(3)) close();
  } else if (!is_waiting_ && random_.chance(50)) {
    subscribe();
  } else if (is_waiting_ && random_.chance(1)) {
    close();
  }
}

void StressReader::calm_down() {
  is_calm_ = true;
  unclog();
  if (!cursor_.is_open() && !is_waiting_) subscribe();
}

void StressReader::close() {
  is_waiting_ = false;
  is_clogged_ = false;
  half_.reset();
  cursor_.cancel();
  shard_.unsubscribe(cursor_);
}

void StressReader::subscribe() {
  std::optional<Since> since;
  if (epoch_.is_set() && random_.chance(85)) since = Since{epoch_, false, offset_};
  is_waiting_ = true;
  newest_ = {};
  hub_.subscribe(shard_, cursor_, truth_.name, since, [this](const SubscribeOutcome& outcome) {
    is_waiting_ = false;
    if (outcome.error != StoreError::none) return;
    if (outcome.is_recovered) {
      ++recovered;
      if (outcome.start.epoch != epoch_ || outcome.start.offset != offset_) ++failures_.wrong_gap;
    }
    epoch_ = outcome.start.epoch;
    offset_ = outcome.start.offset;
  });
}

}  // namespace carillon
