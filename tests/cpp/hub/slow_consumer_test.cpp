// What becomes of a subscriber that falls behind, by its channel's policy.
#include <gtest/gtest.h>

#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

std::size_t index_of(DropReason reason) { return static_cast<std::size_t>(reason); }

struct SlowConsumerTest : HubFixture {
  SlowConsumerTest() : HubFixture(1, {.deliveries_per_turn = 100, .batch_entries = 4}) {}
  Shard& shard() { return *shards[0]; }
  /// The reader takes nothing while these are published.
  void fall_behind(PlainReader& reader, const std::string& channel, int first, int last) {
    reader.is_full = true;
    publish_numbers(channel, first, last);
    settle();
  }
  void resume(PlainReader& reader) {
    reader.is_full = false;
    reader.shard.resume(reader.cursor);
    settle();
  }
  LedgerRow row() {
    const Ledger found = ledger();
    EXPECT_TRUE(found.is_balanced());
    return found.rows.empty() ? LedgerRow{} : found.rows[0];
  }
};

TEST_F(SlowConsumerTest, WithWaitItCatchesUpFromTheLogHoweverFarItIs) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  fall_behind(reader, "a", 1, 900);
  resume(reader);
  EXPECT_EQ(reader.taken, numbers(1, 900));
  EXPECT_TRUE(reader.gaps.empty());
  EXPECT_EQ(reader.slow, 0U);
}

TEST_F(SlowConsumerTest, WithSkipItGoesOnAtTheTopAndIsToldTheGapOnce) {
  PlainReader reader(shard());
  subscribe(reader, "skip");
  fall_behind(reader, "skip", 1, 11);
  resume(reader);
  EXPECT_TRUE(reader.taken.empty());
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_TRUE(reader.gaps[0].is_skip);
  EXPECT_EQ(reader.gaps[0].lost_from, 1U);
  EXPECT_EQ(reader.gaps[0].lost_to, 11U);
  EXPECT_EQ(reader.gaps[0].position.offset, 11U);
  EXPECT_TRUE(reader.cursor.is_live());
  publish("skip", "12");
  settle();
  EXPECT_EQ(reader.taken, numbers(12, 12));
  const Account account = row().account;
  EXPECT_EQ(account.dropped[index_of(DropReason::skipped)], 11);
  EXPECT_EQ(account.dropped[index_of(DropReason::trimmed)], 0);
  EXPECT_EQ(account.delivered, 1);
  EXPECT_EQ(account.pending, 0);
}

TEST_F(SlowConsumerTest, UpToItsBoundItCatchesUpWhateverThePolicy) {
  for (const char* channel : {"skip", "disconnect"}) {
    PlainReader reader(shard());
    subscribe(reader, channel);
    fall_behind(reader, channel, 1, 10);
    resume(reader);
    EXPECT_EQ(reader.taken, numbers(1, 10)) << channel;
    EXPECT_TRUE(reader.gaps.empty());
    EXPECT_EQ(reader.slow, 0U);
  }
}

TEST_F(SlowConsumerTest, WhoComesBackFromFarMayCatchUp) {
  // Else a client that is sent away would be sent away again as soon as it resumes.
  for (const char* channel : {"skip", "disconnect"}) {
    publish_numbers(channel, 1, 50);
    PlainReader reader(shard());
    subscribe(reader, channel, Since{{}, true, 0});
    turn();
    reader.is_full = true;  // and it stalls on its way
    publish_numbers(channel, 51, 90);
    settle();
    resume(reader);
    EXPECT_EQ(reader.taken, numbers(1, 90)) << channel;
    EXPECT_TRUE(reader.gaps.empty());
    EXPECT_EQ(reader.slow, 0U);
    fall_behind(reader, channel, 91, 120);  // from here on it is a live subscriber
    resume(reader);
    EXPECT_EQ(reader.gaps.size() + reader.slow, 1U) << channel;
  }
}

TEST_F(SlowConsumerTest, WithDisconnectItIsSentAwayAndReturnsWhatItHasNotTaken) {
  PlainReader reader(shard());
  reader.closes_when_slow = true;
  subscribe(reader, "disconnect");
  publish("disconnect", "1");
  settle();
  fall_behind(reader, "disconnect", 2, 12);
  EXPECT_EQ(reader.slow, 0U) << "it is judged when it can take again";
  resume(reader);
  EXPECT_EQ(reader.slow, 1U);
  EXPECT_FALSE(reader.cursor.is_open());
  const Account account = row().account;
  EXPECT_EQ(account.delivered, 1);
  EXPECT_EQ(account.returned, 11);
  PlainReader again(shard());
  EXPECT_TRUE(subscribe(again, "disconnect", Since{{}, true, 1}).is_recovered);
  settle();
  EXPECT_EQ(again.taken, numbers(2, 12));
}

TEST_F(SlowConsumerTest, ASinkThatCannotBeSentAwayIsAskedOnceAndCatchesUp) {
  PlainReader reader(shard());
  subscribe(reader, "disconnect");
  fall_behind(reader, "disconnect", 1, 40);
  resume(reader);
  EXPECT_EQ(reader.slow, 1U);
  EXPECT_EQ(reader.taken, numbers(1, 40));
}

TEST_F(SlowConsumerTest, WithSkipItJoinsTheGroupAtABatchUnderWay) {
  PlainReader slow(shard());
  subscribe(slow, "skip");
  std::vector<std::unique_ptr<PlainReader>> others;  // more than one turn's quantum
  for (int i = 0; i < 150; ++i) {
    others.push_back(std::make_unique<PlainReader>(shard()));
    subscribe(*others.back(), "skip");
  }
  fall_behind(slow, "skip", 1, 20);
  publish_numbers("skip", 21, 24);
  turn();  // the batch has not reached everybody yet
  slow.is_full = false;
  shard().resume(slow.cursor);
  publish_numbers("skip", 25, 30);
  settle();
  ASSERT_EQ(slow.gaps.size(), 1U);
  const auto goes_on = static_cast<int>(slow.gaps[0].position.offset);
  EXPECT_EQ(slow.taken, numbers(goes_on + 1, 30));
  for (const auto& other : others) EXPECT_EQ(other->taken, numbers(1, 30));
  EXPECT_EQ(row().account.dropped[index_of(DropReason::skipped)], goes_on);
}

TEST_F(SlowConsumerTest, WithSkipItIsNotTakenToAGroupThatHasAGapItself) {
  PlainReader slow(shard()), live(shard());
  subscribe(slow, "skip");
  subscribe(live, "skip");
  fall_behind(slow, "skip", 1, 20);
  std::vector<std::unique_ptr<PlainReader>> others;  // they use up the next turn, before the group is visited
  for (int i = 0; i < 101; ++i) {
    others.push_back(std::make_unique<PlainReader>(shard()));
    subscribe(*others.back(), "a");
  }
  publish("a", "1");
  // More than the log keeps for a shard that has not looked: the group at 20 has a hole before it.
  for (int i = 0; i < 6'000; ++i) publish("skip", "ephemeral", {.skip_history = true});
  slow.is_full = false;
  shard().resume(slow.cursor);
  turn();
  EXPECT_TRUE(slow.gaps.empty()) << "the top of its group is not that of the log";
  EXPECT_EQ(slow.taken, numbers(1, 4));
  settle();
  ASSERT_EQ(slow.gaps.size(), 1U);
  EXPECT_EQ(slow.gaps[0].lost_from, 5U);
  EXPECT_EQ(slow.taken, numbers(1, 4)) << "and now there";
  EXPECT_TRUE(ledger().is_balanced());
}

TEST_F(SlowConsumerTest, WhatHadLeftTheLogCountsAsTrimmedAndTheRestAsSkippedInOneGap) {
  PlainReader reader(shard());
  subscribe(reader, "skip");
  reader.is_full = true;
  publish_numbers("skip", 1, 1'000);
  settle();
  publish_numbers("skip", 1'001, 1'100);  // the history keeps 1,000
  settle();
  resume(reader);
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].lost_from, 1U);
  EXPECT_EQ(reader.gaps[0].lost_to, 1'100U);
  const Account account = row().account;
  EXPECT_EQ(account.dropped[index_of(DropReason::trimmed)], 100);
  EXPECT_EQ(account.dropped[index_of(DropReason::skipped)], 1'000);
}

TEST_F(SlowConsumerTest, AGroupThatItsShardServedTooLateIsNotSlow) {
  PlainReader reader(shard());
  subscribe(reader, "disconnect");
  publish_numbers("disconnect", 1, 6'000);  // more than the log keeps for a shard that has not looked
  settle();
  EXPECT_EQ(reader.slow, 0U);
  EXPECT_EQ(reader.gaps.size(), 1U);
  EXPECT_FALSE(reader.gaps[0].is_skip);
}

TEST_F(SlowConsumerTest, WhoHasCaughtUpIsNotSlowWhenItsShardIsLate) {
  PlainReader reader(shard());
  subscribe(reader, "disconnect");
  fall_behind(reader, "disconnect", 1, 5);
  resume(reader);
  publish_numbers("disconnect", 6, 6'005);
  settle();
  EXPECT_EQ(reader.slow, 0U) << "it has taken whatever it was offered";
}

TEST_F(SlowConsumerTest, ACursorThatIsOpenedAgainBeginsAnew) {
  PlainReader reader(shard());
  subscribe(reader, "disconnect");
  fall_behind(reader, "disconnect", 1, 40);
  unsubscribe(reader);
  reader.is_full = false;
  subscribe(reader, "disconnect", Since{{}, true, 0});
  settle();
  EXPECT_EQ(reader.slow, 0U);
  EXPECT_EQ(reader.taken, numbers(1, 40));
}

TEST_F(SlowConsumerTest, WhereThereAreNoOffsetsWhatIsPassedOverIsOnlyCounted) {
  PlainReader reader(shard());
  subscribe(reader, "skip");
  reader.is_full = true;
  for (int i = 0; i < 20; ++i) publish("skip", std::to_string(i), {.skip_history = true});
  settle();
  resume(reader);
  EXPECT_TRUE(reader.gaps.empty());
  EXPECT_TRUE(reader.taken.empty());
  EXPECT_EQ(row().account.dropped[index_of(DropReason::skipped)], 20);
}

}  // namespace
}  // namespace carillon
