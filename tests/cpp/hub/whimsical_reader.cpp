#include <gtest/gtest.h>

#include <utility>

#include "hub/hub_world.hpp"

namespace carillon {

WhimsicalReader::WhimsicalReader(HubWorld& world, std::size_t shard, std::size_t channel)
    : world_(world), shard_(shard), channel_(channel), cursor_(*this), journal_(*world.truths_[channel]) {}

WhimsicalReader::~WhimsicalReader() { EXPECT_FALSE(cursor_.is_open()); }

bool WhimsicalReader::stage(Cursor& cursor, const Batch& batch) {
  EXPECT_EQ(&cursor, &cursor_);
  EXPECT_EQ(batch.channel(), world_.truths_[channel_]->name);
  EXPECT_GT(batch.size(), 0U);
  if (is_clogged_) return false;
  if (!world_.is_calm_ && staged_.empty()) {
    switch (world_.random_.below(40)) {
      case 0:  // its buffer is full
        is_clogged_ = true;
        return false;
      case 1:  // a reader in memory: takes at once, and wants no more for now
        take_all(batch);
        world_.shards_[shard_]->park(cursor_);
        is_clogged_ = true;
        return true;
      case 2:
        take_all(batch);
        close();
        return true;
      case 3:
        world_.shards_[shard_]->rewind(cursor_, batch.begin(), batch.offset_before(0));
        close();
        return false;
      default:
        break;
    }
  }
  staged_.push_back(&batch);
  return true;
}

void WhimsicalReader::on_gap(Cursor& /*cursor*/, const Gap& gap) {
  EXPECT_TRUE(staged_.empty());
  ++world_.counts.gaps;
  journal_.gap(gap);
  if (gap.is_skip) {
    ++world_.counts.skipped;
    EXPECT_EQ(world_.truths_[channel_]->options.slow_consumer, SlowConsumer::skip);
  }
  if (world_.is_calm_) return;
  switch (world_.random_.below(6)) {
    case 0:
      return close();
    case 1:
      world_.shards_[shard_]->park(cursor_);
      is_clogged_ = true;
      return;
    default:
      return;
  }
}

void WhimsicalReader::on_slow(Cursor& /*cursor*/) {
  EXPECT_TRUE(staged_.empty());
  EXPECT_EQ(world_.truths_[channel_]->options.slow_consumer, SlowConsumer::disconnect);
  ++world_.counts.slow;
  switch (world_.random_.below(3)) {
    case 0:
      if (!world_.is_calm_) close();
      return;
    case 1:
      if (world_.is_calm_) return;
      world_.shards_[shard_]->park(cursor_);
      is_clogged_ = true;
      return;
    default:
      return;  // as a reader without a connection: it catches up
  }
}

void WhimsicalReader::take(const Entry& entry) {
  journal_.take(entry);
  if (entry.kind != EntryKind::publication && !wants_notices_) {
    cursor_.count_dropped(DropReason::filtered, 1);
    ++world_.counts.filtered;
  } else {
    cursor_.count_delivered(1);
    ++world_.counts.delivered;
  }
}

void WhimsicalReader::take_all(const Batch& batch) {
  for (const EntryRef& entry : batch.entries()) take(*entry);
}

void WhimsicalReader::flush() {
  if (staged_.empty()) return;
  std::uint32_t entries = 0;
  for (const Batch* batch : staged_) entries += batch->size();
  const bool is_cut = !world_.is_calm_ && world_.random_.chance(15);
  std::uint64_t left = is_cut ? world_.random_.below(entries + 1) : entries;
  for (const Batch* batch : staged_) {
    if (Shard::stands_before(cursor_, batch->end())) continue;  // given back already
    for (std::uint32_t i = 0; i < batch->size(); ++i) {
      if (left > 0) {
        --left;
        take(*batch->entries()[i]);
        continue;
      }
      std::uint32_t next = i;
      if (world_.random_.chance(50)) {  // a part of this frame has left, and the rest of it will leave first
        half_ = batch->entries()[next++];
        cursor_.set_under_way(1);
      }
      world_.shards_[shard_]->rewind_to(cursor_, batch->begin() + next, batch->offset_before(next));
      break;
    }
  }
  staged_.clear();
  if (is_cut) {
    world_.shards_[shard_]->park(cursor_);
    is_clogged_ = true;
  }
}

void WhimsicalReader::unclog() {
  if (!is_clogged_) return;
  is_clogged_ = false;
  if (half_) {
    cursor_.set_under_way(0);
    take(*std::exchange(half_, nullptr));
  }
  world_.shards_[shard_]->resume(cursor_);
}

void WhimsicalReader::subscribe(const std::optional<Since>& since) {
  is_waiting_ = true;
  is_clogged_ = false;
  wants_notices_ = world_.random_.chance(70);
  Truth& truth = *world_.truths_[channel_];
  const bool must_recover = since && world_.must_recover(truth, *since);
  world_.hub_->subscribe(*world_.shards_[shard_], cursor_, truth.name, since,
                         [this, since, must_recover](const SubscribeOutcome& outcome) {
                           EXPECT_TRUE(is_waiting_) << "answered after it was cancelled";
                           is_waiting_ = false;
                           EXPECT_EQ(cursor_.is_open(), outcome.error == StoreError::none);
                           if (outcome.error != StoreError::none) {
                             EXPECT_EQ(world_.kind_, HubWorld::Kind::late);
                             ++world_.counts.failed;
                             return;
                           }
                           ++(outcome.is_recovered ? world_.counts.recovered : world_.counts.told);
                           // Also now: the store may have begun another log meanwhile.
                           if (must_recover && world_.must_recover(*world_.truths_[channel_], *since) &&
                               since->accepts(outcome.start.epoch)) {
                             EXPECT_TRUE(outcome.is_recovered) << "the store holds everything";
                           }
                           journal_.start(outcome, since, world_.clock_.now_ms());
                         });
}

void WhimsicalReader::close() {
  EXPECT_TRUE(staged_.empty());
  if (is_waiting_) {
    cursor_.cancel();
    is_waiting_ = false;
  }
  if (!cursor_.is_open()) return;
  half_.reset();
  world_.shards_[shard_]->unsubscribe(cursor_);
  world_.counts.published += journal_.published();
}

void WhimsicalReader::expect_complete() {
  EXPECT_FALSE(is_clogged_);
  EXPECT_TRUE(cursor_.is_live());
  journal_.expect_complete();
  EXPECT_EQ(cursor_.offset(), world_.truths_[channel_]->top);
  EXPECT_EQ(Shard::position_of(cursor_), journal_.position());
}

}  // namespace carillon
