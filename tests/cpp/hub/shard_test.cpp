#include "hub/shard.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <deque>
#include <string>
#include <vector>

#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

struct ShardTest : HubFixture {
  using HubFixture::HubFixture;
  Shard& shard() { return *shards[0]; }
  void resume(PlainReader& reader) {
    reader.is_full = false;
    reader.shard.resume(reader.cursor);
  }
};

/// Four deliveries a turn, two entries a batch: a group of ten takes several turns.
struct SmallQuantumTest : ShardTest {
  SmallQuantumTest() : ShardTest(1, {.deliveries_per_turn = 4, .batch_entries = 2}) {}
};

/// Four deliveries a turn, two of them to a channel.
struct SmallVisitTest : ShardTest {
  SmallVisitTest() : ShardTest(1, {.deliveries_per_turn = 4, .deliveries_per_visit = 2}) {}
};

TEST_F(ShardTest, ALiveSubscriberStandsAtTheTopAndSeesEachEntryOnce) {
  PlainReader reader(shard());
  publish("a", "before");
  subscribe(reader, "a");
  EXPECT_TRUE(reader.cursor.is_live());
  publish_numbers("a", 1, 3);
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 3));
  EXPECT_EQ(reader.batches, (std::vector<std::uint32_t>{3})) << "what waits leaves as one batch";
  EXPECT_TRUE(reader.cursor.is_live());
  EXPECT_EQ(reader.cursor.offset(), 4U);
}

TEST_F(ShardTest, HeldWakesComeAtTheEnd) {
  int woken = 0;
  Shard asleep(7, {}, clock, [&] { ++woken; });
  {
    const Shard::HeldWakes held;
    asleep.wake(nullptr);
    EXPECT_EQ(woken, 0);
  }
  EXPECT_EQ(woken, 1);
  asleep.wake(nullptr);
  EXPECT_EQ(woken, 1) << "it has not looked yet";
  asleep.close();
}

TEST_F(ShardTest, MoreHeldWakesThanThereIsRoomForAreNotLost) {
  int woken = 0;
  std::deque<Shard> asleep;
  for (std::size_t i = 0; i < 20; ++i) asleep.emplace_back(i, TurnLimits{}, clock, [&] { ++woken; });
  {
    const Shard::HeldWakes held;
    for (Shard& shard : asleep) shard.wake(nullptr);
  }
  EXPECT_EQ(woken, 20);
  for (Shard& shard : asleep) shard.close();
}

TEST_F(ShardTest, AShardIsWokenOnceUntilItHasLooked) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  settle();
  const int before = wakes[0];
  publish_numbers("a", 1, 50);
  EXPECT_EQ(wakes[0], before + 1);
  EXPECT_EQ(wakes[1], 0) << "nobody is there";
  settle();
  publish("a", "51");
  EXPECT_EQ(wakes[0], before + 2);
}

TEST_F(ShardTest, ItsOwnThreadIsNotWoken) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  settle();
  const int before = wakes[0];
  shard().bind_to_this_thread();
  publish("a", "1");
  Shard::unbind_this_thread();
  EXPECT_EQ(wakes[0], before);
  EXPECT_TRUE(shard().has_work());
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 1));
}

TEST_F(ShardTest, TasksRunOnTheNextTurnOrAtOnceOnTheShardsOwnThread) {
  int runs = 0;
  shard().post([&] { ++runs; });
  EXPECT_EQ(wakes[0], 1);
  shard().run([&] { ++runs; });
  EXPECT_EQ(wakes[0], 1) << "it has been woken already";
  EXPECT_EQ(runs, 0);
  EXPECT_FALSE(turn());
  EXPECT_EQ(runs, 2);
  shard().bind_to_this_thread();
  shard().run([&] { ++runs; });
  Shard::unbind_this_thread();
  EXPECT_EQ(runs, 3);
}

TEST_F(ShardTest, ATaskThatPostsIsFollowedByAnotherTurn) {
  int runs = 0;
  shard().post([&] { shard().post([&] { ++runs; }); });
  EXPECT_TRUE(turn());
  EXPECT_FALSE(turn());
  EXPECT_EQ(runs, 1);
}

TEST_F(ShardTest, ABatchIsCutAtItsBytesButTakesAtLeastOneEntry) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  publish("a", std::string(100'000, 'x'));
  publish("a", std::string(100'000, 'x'));
  publish("a", std::string(200'000, 'x'));
  publish("a", "small");
  settle();
  EXPECT_EQ(reader.batches, (std::vector<std::uint32_t>{1, 1, 1, 1}));
}

TEST_F(ShardTest, ASinkThatRefusesLagsAndComesBackWithEverything) {
  PlainReader slow(shard()), quick(shard());
  subscribe(slow, "a");
  subscribe(quick, "a");
  slow.is_full = true;
  publish_numbers("a", 1, 2);
  settle();
  publish_numbers("a", 3, 4);
  settle();
  EXPECT_EQ(quick.taken, numbers(1, 4));
  EXPECT_EQ(slow.stages, 1U) << "a sink that is full is left in peace";
  EXPECT_FALSE(slow.cursor.is_live());
  EXPECT_EQ(slow.cursor.offset(), 0U);
  resume(slow);
  settle();
  EXPECT_EQ(slow.taken, numbers(1, 4));
  EXPECT_TRUE(slow.cursor.is_live());
}

TEST_F(ShardTest, AFlushThatGivesPartBackRewindsToTheEntry) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  publish_numbers("a", 1, 4);
  settle();
  // As a flush does: two of four have left.
  const Offset offset = 2;
  shard().rewind_to(reader.cursor, ChannelLog::kFirstSeq + 2, offset);
  EXPECT_FALSE(reader.cursor.is_live());
  EXPECT_TRUE(Shard::stands_before(reader.cursor, ChannelLog::kFirstSeq + 3));
  EXPECT_FALSE(Shard::stands_before(reader.cursor, ChannelLog::kFirstSeq + 2));
  shard().rewind_to(reader.cursor, ChannelLog::kFirstSeq + 3, 3);
  EXPECT_EQ(reader.cursor.offset(), offset)
      << "a later slice of the same turn gives back less than the first";
  resume(reader);
  settle();
  EXPECT_EQ(reader.taken, (Taken{"1", "2", "3", "4", "3", "4"}));
  EXPECT_TRUE(reader.cursor.is_live());
}

TEST_F(ShardTest, AParkedCursorGetsNothingUntilItResumes) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  shard().park(reader.cursor);
  publish("a", "1");
  settle();
  EXPECT_TRUE(reader.taken.empty());
  resume(reader);
  resume(reader);
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 1));
}

TEST_F(ShardTest, ResumeDoesNothingToACursorAtTheTop) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  resume(reader);
  EXPECT_TRUE(reader.cursor.is_live());
  publish("a", "1");
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 1));
}

TEST_F(ShardTest, ASinkMayParkItselfWhileItTakes) {
  PlainReader first(shard()), second(shard()), third(shard());
  for (PlainReader* reader : {&first, &second, &third}) subscribe(*reader, "a");
  first.on_stage = [&] { shard().park(first.cursor); };
  publish("a", "1");
  settle();
  EXPECT_EQ(second.taken, numbers(1, 1))
      << "another takes its place in the group, and must not be passed over";
  EXPECT_EQ(third.taken, numbers(1, 1));
  publish("a", "2");
  settle();
  EXPECT_EQ(first.taken, numbers(1, 1));
  resume(first);  // parks itself again with each batch, also when it lags
  settle();
  EXPECT_EQ(first.taken, numbers(1, 2));
  EXPECT_FALSE(first.cursor.is_live());
}

TEST_F(ShardTest, ASinkMayCloseItselfOnAGap) {
  PlainReader reader(shard());
  subscribe(reader, "tiny");
  reader.is_full = true;
  publish_numbers("tiny", 1, 9);
  settle();
  publish("tiny", "10");
  settle();
  reader.closes_on_gap = true;
  resume(reader);
  settle();
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_TRUE(reader.taken.empty());
  EXPECT_FALSE(reader.cursor.is_open());
  EXPECT_TRUE(ledger().is_balanced());
}

TEST_F(ShardTest, AGapIsToldWithItsRangeAndTheRestFollows) {
  PlainReader reader(shard());
  subscribe(reader, "tiny");
  reader.is_full = true;
  publish_numbers("tiny", 1, 9);
  settle();
  publish("tiny", "10");
  resume(reader);
  settle();
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].lost_from, 1U);
  EXPECT_EQ(reader.gaps[0].lost_to, 7U);
  EXPECT_EQ(reader.gaps[0].position.offset, 7U);
  EXPECT_EQ(reader.taken, numbers(8, 10));
  const Ledger found = ledger();
  ASSERT_EQ(found.rows.size(), 1U);
  EXPECT_EQ(found.rows[0].account.published, 10);
  EXPECT_EQ(found.rows[0].account.delivered, 3);
  EXPECT_EQ(found.rows[0].account.dropped[static_cast<std::size_t>(DropReason::trimmed)], 7);
  EXPECT_EQ(found.rows[0].account.dropped[static_cast<std::size_t>(DropReason::ephemeral)], 0);
}

TEST_F(ShardTest, LostEphemeralEntriesAreCountedAndNotTold) {
  PlainReader reader(shard());
  subscribe(reader, "live");
  reader.is_full = true;
  publish_numbers("live", 1, 9);
  settle();
  publish("live", "10");
  resume(reader);
  settle();
  EXPECT_TRUE(reader.gaps.empty());
  EXPECT_EQ(reader.taken, numbers(7, 10));
  const Ledger found = ledger();
  EXPECT_EQ(found.rows[0].account.dropped[static_cast<std::size_t>(DropReason::ephemeral)], 6);
  EXPECT_TRUE(found.is_balanced());
}

TEST_F(ShardTest, EphemeralEntriesThatWereThinnedOutAreNoGap) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  publish("a", "1");
  settle();
  reader.is_full = true;
  for (int i = 0; i < 2'000; ++i) hub.announce("a", EntryKind::join, {});
  publish("a", "2");
  settle();  // the shard has seen them: they may go
  for (int i = 0; i < 2'000; ++i) hub.announce("a", EntryKind::join, {});
  publish("a", "3");
  settle();
  resume(reader);
  settle();
  EXPECT_TRUE(reader.gaps.empty());
  Taken publications;
  for (const std::string& data : reader.taken) {
    if (!data.empty()) publications.push_back(data);
  }
  EXPECT_EQ(publications, numbers(1, 3));
  EXPECT_TRUE(ledger().is_balanced());
}

TEST_F(SmallQuantumTest, AGroupIsServedOverSeveralTurnsAndNobodyTwice) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 10; ++i) subscribe(readers.emplace_back(shard()), "a");
  publish_numbers("a", 1, 3);
  EXPECT_TRUE(turn());
  std::size_t served = 0;
  for (const PlainReader& reader : readers) served += reader.stages;
  EXPECT_EQ(served, 4U) << "one quantum";
  settle();
  for (const PlainReader& reader : readers) {
    EXPECT_EQ(reader.taken, numbers(1, 3));
    EXPECT_EQ(reader.batches, (std::vector<std::uint32_t>{2, 1}));
  }
}

TEST_F(SmallQuantumTest, WhatIsPublishedWhileABatchIsUnderWayIsNotForgotten) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 6; ++i) subscribe(readers.emplace_back(shard()), "a");
  publish("a", "1");
  EXPECT_TRUE(turn());
  publish("a", "2");  // the wake-up comes while the first batch has not reached everybody
  EXPECT_TRUE(turn());
  settle();
  for (const PlainReader& reader : readers) EXPECT_EQ(reader.taken, numbers(1, 2));
}

TEST_F(SmallVisitTest, ALargeGroupUnderWayHoldsNobodyUpAndIsHeldUpByNobody) {
  std::deque<PlainReader> crowd;
  for (int i = 0; i < 40; ++i) subscribe(crowd.emplace_back(shard()), "crowd");
  std::deque<PlainReader> others;
  for (int i = 0; i < 20; ++i) subscribe(others.emplace_back(shard()), "other" + std::to_string(i));
  const auto served = [&crowd] {
    std::size_t sum = 0;
    for (const PlainReader& reader : crowd) sum += reader.stages;
    return sum;
  };
  settle();
  publish("crowd", "1");
  turn();
  publish("other0", "1");
  turn();
  EXPECT_EQ(others[0].taken, numbers(1, 1)) << "in the turn in which it was published";
  EXPECT_EQ(served(), 4U) << "a visit in each of the two turns";
  for (int i = 1; i < 20; ++i) publish("other" + std::to_string(i), "1");
  turn();
  EXPECT_EQ(served(), 6U) << "one visit, and the rest of the turn is the others'";
  EXPECT_EQ(others[2].taken, numbers(1, 1));
  EXPECT_TRUE(others[3].taken.empty()) << "they were four deliveries";
  settle();
  EXPECT_EQ(served(), 40U);
  for (const PlainReader& reader : others) EXPECT_EQ(reader.taken, numbers(1, 1));
}

TEST_F(SmallQuantumTest, WhoJoinsInMidBatchGetsOnlyWhatComesAfterIt) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 6; ++i) subscribe(readers.emplace_back(shard()), "a");
  publish("a", "1");
  turn();
  PlainReader late(shard());
  subscribe(late, "a");
  EXPECT_TRUE(late.cursor.is_live());
  publish("a", "2");
  settle();
  EXPECT_EQ(late.taken, numbers(2, 2));
  for (const PlainReader& reader : readers) EXPECT_EQ(reader.taken, numbers(1, 2));
}

TEST_F(SmallQuantumTest, WhoComesWhileTheGroupIsBehindWaitsForItAndMissesNothing) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 6; ++i) subscribe(readers.emplace_back(shard()), "a");
  publish("a", "1");
  turn();
  publish("a", "2");
  PlainReader late(shard());
  subscribe(late, "a");
  EXPECT_FALSE(late.cursor.is_live());
  publish("a", "3");
  settle();
  EXPECT_EQ(late.taken, numbers(3, 3));
  EXPECT_TRUE(late.cursor.is_live());
}

// Whoever leaves in mid batch, had it or had it not: everybody else gets it exactly once.
TEST_F(SmallQuantumTest, LeaversInMidBatchCostNobodyAnything) {
  for (std::size_t first = 0; first < 6; ++first) {
    for (std::size_t second = 0; second < 6; ++second) {
      SCOPED_TRACE(std::to_string(first) + " and " + std::to_string(second));
      std::deque<PlainReader> readers;
      for (int i = 0; i < 6; ++i) subscribe(readers.emplace_back(shard()), "a");
      publish("a", "1");
      turn();
      unsubscribe(readers[first]);
      unsubscribe(readers[second]);
      publish("a", "2");
      settle();
      for (std::size_t i = 0; i < 6; ++i) {
        if (i == first || i == second) continue;
        EXPECT_EQ(readers[i].taken, numbers(1, 2)) << i;
      }
      EXPECT_TRUE(ledger().is_balanced());
    }
  }
}

TEST_F(SmallQuantumTest, WhenAllWhoLackTheBatchHaveLeftTheRestMayLeaveToo) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 6; ++i) subscribe(readers.emplace_back(shard()), "a");
  publish("a", "1");
  turn();
  for (PlainReader& reader : readers) {
    if (reader.stages == 0) unsubscribe(reader);
  }
  // Now every cursor of the group has the batch, which still counts as under way.
  std::vector<PlainReader*> left;
  for (PlainReader& reader : readers) {
    if (reader.cursor.is_open()) left.push_back(&reader);
  }
  ASSERT_EQ(left.size(), 4U);
  unsubscribe(*left[0]);
  unsubscribe(*left[3]);  // has taken the first one's place
  publish("a", "2");
  settle();
  EXPECT_EQ(left[1]->taken, numbers(1, 2));
  EXPECT_EQ(left[2]->taken, numbers(1, 2));
}

TEST_F(SmallQuantumTest, AChannelWithManySubscribersDoesNotHoldUpOneWithASingle) {
  std::deque<PlainReader> crowd;
  for (int i = 0; i < 50; ++i) subscribe(crowd.emplace_back(shard()), "crowd");
  PlainReader alone(shard());
  subscribe(alone, "alone");
  settle();
  publish_numbers("crowd", 1, 10);
  publish("alone", "1");
  turn();
  turn();
  EXPECT_EQ(alone.taken, numbers(1, 1));
}

TEST_F(ShardTest, NineteenThousandSubscribersDoNotHoldUpTheOneOfAnotherChannel) {
  constexpr std::size_t kMany = 19'000;
  std::size_t stages = 0;
  std::deque<PlainReader> many;
  for (std::size_t i = 0; i < kMany; ++i) {
    many.emplace_back(shard());
    many.back().on_stage = [&stages] { ++stages; };
    subscribe(many.back(), "big");
  }
  PlainReader single(shard());
  subscribe(single, "small");
  settle();
  const std::size_t visit = TurnLimits{}.deliveries_per_visit;
  for (int round = 1; round <= 5; ++round) {  // the big channel is never through when the next one comes
    publish("big", std::to_string(round));
    turn();
    publish("small", std::to_string(round));
    stages = 0;
    turn();
    EXPECT_EQ(single.taken, numbers(1, round)) << "in the turn in which it comes";
    EXPECT_EQ(stages, visit) << "and the big one goes on by its quantum";
  }
  settle();
  for (const PlainReader& reader : many) EXPECT_EQ(reader.taken, numbers(1, 5));
}

TEST_F(SmallQuantumTest, ThoseThatLagAndTheGroupDoNotStarveEachOther) {
  PlainReader lagging(shard());
  const Position start = publish("a", "1").position;
  publish_numbers("a", 2, 100);
  std::deque<PlainReader> group;
  for (int i = 0; i < 20; ++i) subscribe(group.emplace_back(shard()), "a");
  subscribe(lagging, "a", Since{start.epoch, false, 0});
  for (int i = 0; i < 5; ++i) {
    publish("a", "more");
    turn();
  }
  EXPECT_GE(lagging.taken.size(), 10U);
  settle();
  EXPECT_EQ(lagging.taken.size(), 105U);
  for (const PlainReader& reader : group) EXPECT_EQ(reader.taken.size(), 5U);
}

TEST_F(ShardTest, BytesOfThoseThatLagAreBoundedPerTurn) {
  Shard small(7, {.lagging_bytes_per_turn = 1'000}, clock, [] {});
  hub.set_shards({&small});
  for (int i = 0; i < 5; ++i) publish("a", std::string(600, 'x'));
  const Position top = history("a", 0).top;
  std::deque<PlainReader> readers;
  for (int i = 0; i < 10; ++i) subscribe(readers.emplace_back(small), "a", Since{top.epoch, false, 0});
  small.bind_to_this_thread();
  EXPECT_TRUE(small.turn());
  std::size_t served = 0;
  for (const PlainReader& reader : readers) served += reader.stages;
  EXPECT_EQ(served, 1U);
  while (small.turn()) {
  }
  Shard::unbind_this_thread();
  for (const PlainReader& reader : readers) EXPECT_EQ(reader.taken.size(), 5U);
}

TEST_F(ShardTest, APageIsTakenOnceAndThePumpBringsTheRest) {
  publish_numbers("a", 1, 10);
  const Position top = history("a", 0).top;
  PlainReader reader(shard());
  subscribe(reader, "a", Since{top.epoch, false, 2});
  shard().bind_to_this_thread();
  const auto page = shard().take_page(reader.cursor, 3, 1'000'000);
  Shard::unbind_this_thread();
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(page->size(), 3U);
  EXPECT_EQ(page->offset_before(0), 2U);
  EXPECT_EQ(page->offset_before(3), 5U);
  reader.cursor.count_delivered(page->size());
  settle();
  EXPECT_EQ(reader.taken, numbers(6, 10));
  EXPECT_TRUE(ledger().is_balanced());
  shard().bind_to_this_thread();
  EXPECT_EQ(shard().take_page(reader.cursor, 3, 1'000'000), nullptr) << "it is live";
  Shard::unbind_this_thread();
}

TEST_F(ShardTest, APageIsBoundedByBytes) {
  for (int i = 0; i < 5; ++i) publish("a", std::string(400, 'x'));
  const Position top = history("a", 0).top;
  PlainReader reader(shard());
  subscribe(reader, "a", Since{top.epoch, false, 0});
  shard().bind_to_this_thread();
  const auto page = shard().take_page(reader.cursor, 100, 1'000);
  Shard::unbind_this_thread();
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(page->size(), 2U);
  reader.cursor.count_delivered(page->size());
}

TEST_F(ShardTest, SweptChannelsThatEmptyInOneTurnCostInProportionToTheirNumber) {
  const auto now_ns = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1'000'000'000L + time.tv_nsec;
  };
  int next = 0;
  const auto cost_of = [&](int count) {
    std::deque<PlainReader> readers;
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) {
      names.push_back("read-" + std::to_string(next++));
      subscribe(readers.emplace_back(shard()), names.back());
    }
    settle();
    for (const std::string& name : names) publish(name, "1");
    settle();
    EXPECT_TRUE(shard().due_ms().has_value()) << "all of them wait for the sweep";
    for (auto reader = readers.rbegin(); reader != readers.rend(); ++reader) unsubscribe(*reader);
    const auto began_ns = now_ns();
    turn();
    const auto cost = now_ns() - began_ns;
    EXPECT_FALSE(shard().due_ms().has_value());
    return cost;
  };
  // The least of a few, since a machine has other things to do as well. A square would be 100.
  const auto least_of = [&](int count) { return std::min({cost_of(count), cost_of(count), cost_of(count)}); };
  const auto few = least_of(2'000);
  EXPECT_LT(least_of(20'000), 40 * few);
}

TEST_F(ShardTest, AChannelIsLetGoThoughItsLastSubscriberLeftInMidBatch) {
  Shard small(7, {.deliveries_per_turn = 1}, clock, [] {});
  hub.set_shards({&small});
  {
    PlainReader first(small), second(small);
    subscribe(first, "live");
    subscribe(second, "live");
    publish("live", "1");
    small.bind_to_this_thread();
    EXPECT_TRUE(small.turn());
    small.unsubscribe(first.cursor);
    small.unsubscribe(second.cursor);
    while (small.turn()) {
    }
    Shard::unbind_this_thread();
  }
  sleep();
  EXPECT_EQ(hub.channels_in_use(), 0U);
}

TEST_F(ShardTest, WhoComesAfterAllHaveLeftInMidBatchGetsWhatWokeNobody) {
  for (const bool is_recovering : {true, false}) {
    Shard small(7, {.deliveries_per_turn = 1}, clock, [] {});
    hub.set_shards({&small});
    const std::string channel = is_recovering ? "a" : "live";
    {
      PlainReader first(small), second(small), third(small);
      const SubscribeOutcome begin = subscribe(first, channel);
      subscribe(second, channel);
      publish(channel, "1");
      small.bind_to_this_thread();
      EXPECT_TRUE(small.turn());
      small.unsubscribe(first.cursor);
      small.unsubscribe(second.cursor);
      Shard::unbind_this_thread();
      if (is_recovering) publish(channel, "2");
      subscribe(third, channel,
                is_recovering ? std::optional(Since::from(begin.start.epoch.text(), 1)) : std::nullopt);
      if (!is_recovering) publish(channel, "2");
      small.bind_to_this_thread();
      while (small.turn()) {
      }
      EXPECT_EQ(third.taken, numbers(2, 2)) << channel;
      EXPECT_TRUE(third.cursor.is_live());
      for (PlainReader* reader : {&first, &second, &third}) small.unsubscribe(reader->cursor);
      while (small.turn()) {
      }
      Shard::unbind_this_thread();
    }
  }
  hub.set_shards({});
}

}  // namespace
}  // namespace carillon
