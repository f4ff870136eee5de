// When a channel's subscribers are served, by its strategy; the order is always the log's.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "hub/fan_out.hpp"
#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

struct FanOutTest : HubFixture {
  FanOutTest() : HubFixture(1, {.deliveries_per_visit = 4}) {}
  Shard& shard() { return *shards[0]; }
  /// Time passes, and the shard turns whenever it is due.
  void pass(Millis by_ms) {
    for (const Millis end = clock.now_ms() + by_ms;;) {
      settle();
      const std::optional<Millis> due = shard().due_ms();
      if (!due || *due > end) return clock.advance(end - clock.now_ms());
      clock.advance(std::max<Millis>(0, *due - clock.now_ms()));
    }
  }
  LedgerRow row() {
    const Ledger found = ledger();
    EXPECT_TRUE(found.is_balanced());
    return found.rows.empty() ? LedgerRow{} : found.rows[0];
  }
  Position top(const std::string& channel) { return history(channel, 0).top; }
};

TEST_F(FanOutTest, InReadModeSubscribersAreServedAtTheNextTickWithAllThatIsNew) {
  PlainReader reader(shard());
  subscribe(reader, "read");
  publish_numbers("read", 1, 3);
  settle();
  EXPECT_TRUE(reader.taken.empty());
  ASSERT_TRUE(shard().due_ms());
  EXPECT_EQ(*shard().due_ms(), 1'100) << "a multiple of the interval";
  clock.advance(99);
  settle();
  EXPECT_TRUE(reader.taken.empty());
  clock.advance(1);
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 3));
  EXPECT_EQ(reader.batches, (std::vector<std::uint32_t>{3})) << "one write";
  EXPECT_EQ(shard().sweeps(), 1U);
  EXPECT_FALSE(shard().due_ms()) << "nothing waits, so nobody wakes up";
}

TEST_F(FanOutTest, AReadModePublishWakesEachShardOncePerSweep) {
  PlainReader reader(shard());
  subscribe(reader, "read");
  settle();
  const int before = wakes[0];
  for (int i = 0; i < 50; ++i) {
    publish("read", "x");
    turn();
  }
  EXPECT_EQ(wakes[0] - before, 1);
  EXPECT_EQ(reader.stages, 0U);
}

TEST_F(FanOutTest, WhatComesDuringASweepWaitsForTheNext) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 10; ++i) subscribe(readers.emplace_back(shard()), "read");
  settle();
  publish("read", "1");
  turn();
  clock.advance(100);
  turn();  // 4 of 10 have it
  publish("read", "2");
  settle();
  for (const PlainReader& reader : readers) EXPECT_EQ(reader.taken, numbers(1, 1));
  pass(100);
  for (const PlainReader& reader : readers) EXPECT_EQ(reader.taken, numbers(1, 2));
}

TEST_F(FanOutTest, ASweepCatchesUpHoweverMuchIsNew) {
  PlainReader reader(shard());
  subscribe(reader, "read");
  publish_numbers("read", 1, 900);
  settle();
  clock.advance(100);
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 900)) << "in several batches, but in one sweep";
}

TEST_F(FanOutTest, WhoComesToReadIsServedAtOnceAndThenWithTheOthers) {
  PlainReader before(shard()), polls(shard()), live(shard());
  subscribe(before, "read");
  publish_numbers("read", 1, 3);
  settle();
  subscribe(polls, "read", Since{top("read").epoch, false, 1});
  subscribe(live, "read");  // from now: without what the others still wait for
  settle();
  EXPECT_EQ(polls.taken, numbers(2, 3)) << "it read the log directly";
  EXPECT_TRUE(before.taken.empty());
  EXPECT_TRUE(live.taken.empty());
  publish("read", "4");
  settle();
  EXPECT_EQ(polls.taken, numbers(2, 3)) << "it waits like the others now";
  pass(100);
  EXPECT_EQ(before.taken, numbers(1, 4));
  EXPECT_EQ(polls.taken, numbers(2, 4));
  EXPECT_EQ(live.taken, numbers(4, 4));
  EXPECT_EQ(shard().lagging(), 0U);
  EXPECT_EQ(row().account.pending, 0);
}

TEST_F(FanOutTest, AReaderAheadOfItsGroupMayLeaveStallOrOutliveIt) {
  PlainReader group(shard()), ahead(shard()), leaves(shard()), stalls(shard());
  subscribe(group, "read");
  publish_numbers("read", 1, 3);
  settle();
  for (PlainReader* reader : {&ahead, &leaves, &stalls})
    subscribe(*reader, "read", Since{top("read").epoch, false, 0});
  settle();
  shard().bind_to_this_thread();
  shard().park(stalls.cursor);
  Shard::unbind_this_thread();
  unsubscribe(leaves);
  unsubscribe(group);
  publish("read", "4");
  pass(100);
  EXPECT_EQ(ahead.taken, numbers(1, 4));
  EXPECT_EQ(leaves.taken, numbers(1, 3));
  EXPECT_EQ(stalls.taken, numbers(1, 3));
  shard().bind_to_this_thread();
  shard().resume(stalls.cursor);
  Shard::unbind_this_thread();
  settle();
  EXPECT_EQ(stalls.taken, numbers(1, 4));
  EXPECT_EQ(row().account.pending, 0);
}

TEST_F(FanOutTest, AReaderThatLeftAheadOfItsGroupIsServedWhenItComesBack) {
  PlainReader group(shard()), comes_back(shard());
  subscribe(group, "read");
  publish_numbers("read", 1, 3);
  settle();
  subscribe(comes_back, "read", Since{top("read").epoch, false, 0});
  settle();
  unsubscribe(comes_back);
  publish("read", "4");
  subscribe(comes_back, "read", Since{top("read").epoch, false, 3});
  settle();
  EXPECT_EQ(comes_back.taken, numbers(1, 4));
}

TEST_F(FanOutTest, APageReachesPastASweptGroup) {
  PlainReader group(shard()), polls(shard());
  subscribe(group, "read");
  publish_numbers("read", 1, 3);
  settle();
  subscribe(polls, "read", Since{top("read").epoch, false, 0});
  shard().bind_to_this_thread();
  const auto page = shard().take_page(polls.cursor, 10, 1'000);
  polls.cursor.count_delivered(page ? page->size() : 0);
  Shard::unbind_this_thread();
  ASSERT_TRUE(page);
  EXPECT_EQ(page->size(), 3U) << "a poll reads the log directly";
  pass(100);
  EXPECT_EQ(row().account.pending, 0);
}

TEST_F(FanOutTest, AChannelThatAllHaveLeftIsNotWaitedFor) {
  PlainReader reader(shard());
  subscribe(reader, "read");
  publish("read", "1");
  settle();
  ASSERT_TRUE(shard().due_ms());
  unsubscribe(reader);
  settle();
  EXPECT_FALSE(shard().due_ms());
}

TEST_F(FanOutTest, ALiveChannelIsSwitchedBetweenTwoPublications) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  publish("a", "1");
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 1));
  hub.set_fan_out("a", FanOut::read, std::nullopt);
  publish("a", "2");
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 1));
  hub.set_fan_out("a", FanOut::write, std::nullopt);
  publish("a", "3");
  pass(100);
  EXPECT_EQ(reader.taken, numbers(1, 3));
  publish("a", "4");
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 4)) << "at once again";
  EXPECT_EQ(hub.fan_out("a").switches, 2U);
}

TEST_F(FanOutTest, AChoiceOutlivesAChannelThatNobodyUses) {
  hub.set_fan_out("a", FanOut::read, 7);
  sleep();
  EXPECT_EQ(hub.channels_in_use(), 1U);
  EXPECT_EQ(hub.fan_out("a").strategy, FanOut::read);
  EXPECT_EQ(hub.fan_out("a").threshold, 7U);
  hub.set_fan_out("a", std::nullopt, std::nullopt);
  EXPECT_EQ(hub.fan_out("a").strategy, FanOut::write) << "as its options say";
  sleep();
  EXPECT_EQ(hub.channels_in_use(), 0U);
}

TEST_F(FanOutTest, AHybridChannelReadsAboveItsThresholdAndWritesAgainWellBelowIt) {
  std::deque<PlainReader> readers;
  const auto mode_with = [&](std::size_t subscribers) {
    while (readers.size() < subscribers) subscribe(readers.emplace_back(shard()), "hybrid");
    while (readers.size() > subscribers) {
      unsubscribe(readers.back());
      readers.pop_back();
    }
    publish("hybrid", "x");
    return hub.fan_out("hybrid").mode;
  };
  EXPECT_EQ(mode_with(10), FanOutMode::write);
  EXPECT_EQ(mode_with(11), FanOutMode::read);
  EXPECT_EQ(mode_with(8), FanOutMode::read) << "20 % below is not reached yet";
  EXPECT_EQ(mode_with(7), FanOutMode::write);
  EXPECT_EQ(mode_with(10), FanOutMode::write);
  EXPECT_EQ(hub.fan_out("hybrid").switches, 2U);
}

TEST_F(FanOutTest, RateLimitedBatchesBeginAtOnceAndGoOnOncePerInterval) {
  PlainReader reader(shard());
  subscribe(reader, "batch");
  publish("batch", "1");
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 1)) << "nobody waits for a timer after a pause";
  for (int i = 2; i <= 101; ++i) {
    publish("batch", std::to_string(i));
    pass(1);
  }
  pass(100);
  EXPECT_EQ(reader.taken, numbers(1, 101));
  EXPECT_LE(reader.batches.size(), 4U) << "50 ms each";
  publish("batch", "102");
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 102));
  EXPECT_EQ(shard().sweeps(), 0U) << "those are visits in read mode";
}

TEST_F(FanOutTest, ConflationLeavesTheNewestOfEachKeyAndCountsTheRest) {
  PlainReader reader(shard());
  subscribe(reader, "ticker");
  const auto tick = [&](const std::string& key, const std::string& data) {
    Publication publication = publication_of(data);
    publication.key = key;
    hub.publish("ticker", std::move(publication), {}, [](const AppendResult&) {});
  };
  tick("A", "a0");  // leaves at once
  settle();
  tick("A", "a1");
  tick("B", "b1");
  tick("", "plain");  // without a key nothing stands for it
  tick("A", "a2");
  tick("", "plain");
  tick("A", "a3");
  pass(100);
  EXPECT_EQ(reader.taken, (Taken{"a0", "b1", "plain", "plain", "a3"}));
  const Account account = row().account;
  EXPECT_EQ(account.published, 7);
  EXPECT_EQ(account.delivered, 5);
  EXPECT_EQ(account.conflated, 2);
}

TEST_F(FanOutTest, ConflationReachesFurtherThanABatchIsLong) {
  PlainReader reader(shard());
  subscribe(reader, "ticker");
  publish("ticker", "first");
  settle();
  for (int i = 0; i < 900; ++i) {
    Publication publication = publication_of(std::to_string(i));
    publication.key = std::to_string(i % 3);
    hub.publish("ticker", std::move(publication), {}, [](const AppendResult&) {});
  }
  pass(100);
  EXPECT_EQ(reader.taken, (Taken{"first", "897", "898", "899"}));
  EXPECT_EQ(row().account.conflated, 897);
}

TEST_F(FanOutTest, ASlowSubscriberOfAWriteChannelReadsUntilItHasCaughtUp) {
  PlainReader fast(shard()), slow(shard());
  subscribe(fast, "a");
  subscribe(slow, "a");
  slow.is_full = true;
  publish_numbers("a", 1, 500);
  settle();
  EXPECT_EQ(fast.taken, numbers(1, 500));
  EXPECT_EQ(shard().lagging(), 1U) << "it is served when it comes";
  slow.is_full = false;
  shard().bind_to_this_thread();
  shard().resume(slow.cursor);
  Shard::unbind_this_thread();
  settle();
  EXPECT_EQ(slow.taken, numbers(1, 500));
  EXPECT_EQ(shard().lagging(), 0U) << "and pushed to again";
  publish("a", "501");
  settle();
  EXPECT_EQ(slow.taken, numbers(1, 501));
}

TEST(AdaptiveThresholdTest, MovesToWhereWritingAndReadingTakeTheSame) {
  AdaptiveThreshold threshold;
  Millis now = 0;
  const auto window = [&](std::int64_t write_ms, std::int64_t read_ms) {
    threshold.count_write(write_ms * 1'000'000, true);
    threshold.count_read(read_ms * 1'000'000, true);
    threshold.adapt(now += AdaptiveThreshold::kWindowMs);
    return threshold.factor();
  };
  EXPECT_DOUBLE_EQ(window(100, 60), 1.0) << "about the same";
  EXPECT_DOUBLE_EQ(window(300, 100), 1 / 1.5) << "publishing costs more: fewer channels write";
  EXPECT_DOUBLE_EQ(window(100, 300), 1.0);
  EXPECT_DOUBLE_EQ(window(10, 100), 1.5);
  EXPECT_DOUBLE_EQ(window(0, 0), 1.5) << "idle";
  for (int i = 0; i < 30; ++i) window(0, 100);
  EXPECT_DOUBLE_EQ(threshold.factor(), AdaptiveThreshold::kMost);
  threshold.count_write(1'000'000'000, true);
  threshold.adapt(now + 1);
  EXPECT_DOUBLE_EQ(threshold.factor(), AdaptiveThreshold::kMost) << "a step per window";
}

TEST_F(FanOutTest, OnlyWhatAdaptiveChannelsCostMovesTheirThreshold) {
  AdaptiveThreshold threshold;
  threshold.count_write(1'000'000'000, false);
  threshold.adapt(AdaptiveThreshold::kWindowMs);
  EXPECT_DOUBLE_EQ(threshold.factor(), 1.0);
  EXPECT_EQ(threshold.write_ns(), 1'000'000'000) << "it is told all the same";
  threshold.count_write(1'000'000'000, true);
  threshold.adapt(2 * AdaptiveThreshold::kWindowMs);
  EXPECT_DOUBLE_EQ(threshold.factor(), 1 / AdaptiveThreshold::kStep);
}

/// Writing and reading whose cost follows from the threshold: does it settle at the best one?
TEST(AdaptiveThresholdTest, ComesToRestAndTheSumOfCostsIsNearItsLeast) {
  // Channels of 2^k members, one publication each per window; a read costs its channel's members a merge.
  const auto costs = [](double threshold) {
    std::int64_t write = 0;
    std::int64_t read = 0;
    for (int k = 3; k < 20; ++k) {
      const double members = static_cast<double>(1 << k);
      if (members <= threshold) {
        write += static_cast<std::int64_t>(members * 100);
      } else {
        read += 2'000'000;  // readers of a huge channel are few
      }
    }
    return std::pair(write, read);
  };
  AdaptiveThreshold threshold;
  Millis now = 0;
  for (int i = 0; i < 40; ++i) {
    const auto [write, read] = costs(1'000 * threshold.factor());
    threshold.count_write(write, true);
    threshold.count_read(read, true);
    threshold.adapt(now += AdaptiveThreshold::kWindowMs);
  }
  const auto [write, read] = costs(1'000 * threshold.factor());
  std::int64_t least = write + read;
  for (double other = 16; other < 2e6; other *= 2) {
    const auto [w, r] = costs(other);
    least = std::min(least, w + r);
  }
  EXPECT_LE(write + read, 2 * least);
  const double rests_at = threshold.factor();
  threshold.count_write(write, true);
  threshold.count_read(read, true);
  threshold.adapt(now + AdaptiveThreshold::kWindowMs);
  EXPECT_LE(std::abs(threshold.factor() - rests_at), rests_at) << "it does not wander";
}

struct FewOverridesTest : HubFixture {
  FewOverridesTest() : HubFixture(1, {}, {.chosen_fan_outs = 2}) {}
};

TEST_F(FewOverridesTest, StrategiesThatAreChosenByHandAreBounded) {
  EXPECT_EQ(hub.set_fan_out("a", FanOut::read, std::nullopt), FanOutError::none);
  EXPECT_EQ(hub.set_fan_out("b", FanOut::read, std::nullopt), FanOutError::none);
  EXPECT_EQ(hub.set_fan_out("c", FanOut::read, std::nullopt), FanOutError::too_many);
  EXPECT_EQ(hub.fan_out("c").strategy, FanOut::write);
  EXPECT_EQ(hub.set_fan_out("b", FanOut::hybrid, 5), FanOutError::none) << "is one of them already";
  EXPECT_EQ(hub.set_fan_out("b", std::nullopt, std::nullopt), FanOutError::none);
  EXPECT_EQ(hub.set_fan_out("b", std::nullopt, std::nullopt), FanOutError::none);
  EXPECT_EQ(hub.set_fan_out("c", FanOut::read, std::nullopt), FanOutError::none);
  EXPECT_EQ(hub.set_fan_out("d", FanOut::read, std::nullopt), FanOutError::too_many);
  sleep();
  EXPECT_EQ(hub.channels_in_use(), 2U);
}

}  // namespace
}  // namespace carillon
