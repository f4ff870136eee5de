// What the hub and its shards count for the operator.
#include <gtest/gtest.h>

#include <deque>

#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

using Gauges = HubFixture;

TEST_F(Gauges, LaggingCountsThoseWhoCannotTakeUntilTheyHaveCaughtUp) {
  PlainReader fast(*shards[0]);
  PlainReader slow(*shards[0]);
  subscribe(fast, "a");
  subscribe(slow, "a");
  settle();
  EXPECT_EQ(shards[0]->lagging(), 0U);
  slow.is_full = true;
  publish("a", "1");
  settle();
  EXPECT_EQ(shards[0]->lagging(), 1U);
  slow.is_full = false;
  shards[0]->resume(slow.cursor);
  settle();
  EXPECT_EQ(shards[0]->lagging(), 0U);
  slow.is_full = true;
  publish("a", "2");
  settle();
  EXPECT_EQ(shards[0]->lagging(), 1U);
  unsubscribe(slow);
  EXPECT_EQ(shards[0]->lagging(), 0U);
  unsubscribe(fast);
  EXPECT_EQ(shards[0]->lagging(), 0U);
}

TEST_F(Gauges, TheSlowestIsAsFarBehindAsItsOldestPublicationIsOld) {
  PlainReader slow(*shards[0]);
  PlainReader slower(*shards[0]);
  PlainReader fast(*shards[0]);
  subscribe(slow, "a");
  subscribe(slower, "b");
  subscribe(fast, "a");
  settle();
  const auto slowest = [&] {
    for (int i = 0; i < 2; ++i)
      shards[0]->measure_lag(100, clock.wall_ms());  // the walk begins, and is whole
    return shards[0]->slowest();
  };
  slow.is_full = slower.is_full = true;
  for (const char* data : {"1", "2", "3"}) publish("b", data);
  settle();
  clock.advance(3'000);
  publish("a", "1");
  settle();
  clock.advance(500);
  EXPECT_EQ(slowest().publications, 3U);
  EXPECT_EQ(slowest().age_ms, 3'500);
  unsubscribe(slower);
  EXPECT_EQ(slowest().publications, 1U);
  EXPECT_EQ(slowest().age_ms, 500);
  slow.is_full = false;
  shards[0]->resume(slow.cursor);
  settle();
  EXPECT_EQ(slowest().publications, 0U);
  EXPECT_EQ(slowest().age_ms, 0);
}

TEST_F(Gauges, ManyThatLagAreMeasuredAFewAtATime) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 20; ++i) {
    subscribe(readers.emplace_back(*shards[0]), "a");
    readers.back().is_full = true;
  }
  settle();
  publish("a", "1");
  settle();
  shards[0]->measure_lag(5, clock.wall_ms());  // begins
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(shards[0]->slowest().publications, 0U) << "not all have been seen";
    shards[0]->measure_lag(5, clock.wall_ms());
  }
  shards[0]->measure_lag(5, clock.wall_ms());
  EXPECT_EQ(shards[0]->slowest().publications, 1U);
}

TEST_F(Gauges, WhoIsSubscribedIsLiveOnceItHasReadEverything) {
  publish("a", "1");
  PlainReader reader(*shards[0]);
  reader.is_full = true;
  subscribe(reader, "a", Since::oldest());
  settle();
  EXPECT_EQ(reader.times_live, 0U);
  reader.is_full = false;
  shards[0]->resume(reader.cursor);
  settle();
  EXPECT_EQ(reader.times_live, 1U);
  reader.is_full = true;
  publish("a", "2");
  settle();
  reader.is_full = false;
  shards[0]->resume(reader.cursor);
  settle();
  EXPECT_EQ(reader.times_live, 1U) << "it was live before";
}

TEST_F(Gauges, PublicationsCountForTheRuleThatTheirChannelFollows) {
  const auto of = [&](std::string_view name) -> std::uint64_t {
    for (const auto& [rule, count] : hub.publications().sums())
      if (rule == name) return count;
    return 0;
  };
  publish("tiny", "1");
  publish("tiny", "2");
  publish("no rule has this name", "1");
  EXPECT_EQ(of("tiny*"), 2U);
  EXPECT_EQ(of(""), 1U);
  hub.set_rules(ChannelRules({{"tin*", {}}, {"tiny*", {}}}));
  publish("tiny", "3");
  publish("tin", "1");
  EXPECT_EQ(of("tiny*"), 3U) << "what was counted before the reload stays";
  EXPECT_EQ(of("tin*"), 1U);
}

TEST_F(Gauges, RecoveredAndNotRecoveredCountThoseWhoCameWithAPosition) {
  const Position first = publish("tiny", "1").position;
  PlainReader fresh(*shards[0]);
  subscribe(fresh, "tiny");
  EXPECT_EQ(hub.recovered() + hub.not_recovered(), 0U);
  PlainReader back(*shards[1]);
  subscribe(back, "tiny", Since{first.epoch, false, first.offset});
  EXPECT_EQ(hub.recovered(), 1U);
  publish_numbers("tiny", 2, 20);
  settle();
  PlainReader late(*shards[1]);
  subscribe(late, "tiny", Since{first.epoch, false, first.offset});
  EXPECT_EQ(hub.recovered(), 1U);
  EXPECT_EQ(hub.not_recovered(), 1U);
  for (PlainReader* reader : {&fresh, &back, &late}) unsubscribe(*reader);
}

TEST_F(Gauges, AGapThatIsToldIsCounted) {
  PlainReader reader(*shards[0]);
  subscribe(reader, "tiny");
  settle();
  reader.is_full = true;
  publish_numbers("tiny", 1, 20);
  settle();
  EXPECT_EQ(shards[0]->gaps_told(), 0U);
  publish_numbers("tiny", 21, 40);
  reader.is_full = false;
  shards[0]->resume(reader.cursor);
  settle();
  EXPECT_EQ(shards[0]->gaps_told(), reader.gaps.size());
  EXPECT_EQ(shards[0]->gaps_told(), 1U);
  unsubscribe(reader);
}

TEST_F(Gauges, SubscriptionsAndChannelsWithSomeAreCountedAsTheyComeAndGo) {
  std::deque<PlainReader> readers;
  const auto expect = [&](std::uint64_t subscriptions, std::uint64_t channels) {
    EXPECT_EQ(hub.subscriptions(), subscriptions);
    EXPECT_EQ(hub.channels_followed(), channels);
    EXPECT_EQ(hub.channels("*").size(), channels);
  };
  expect(0, 0);
  for (std::size_t i = 0; i < 6; ++i)  // a and b on both shards, c on one
    subscribe(readers.emplace_back(*shards[i % 2]), i < 2 ? "a" : i < 4 ? "b" : i == 4 ? "c" : "b");
  expect(6, 3);
  publish("d", "nobody is there");
  expect(6, 3);
  unsubscribe(readers[0]);
  expect(5, 3);
  unsubscribe(readers[1]);
  expect(4, 2);
  unsubscribe(readers[4]);
  expect(3, 1);
  subscribe(readers[0], "b");
  expect(4, 1);
  settle();
  readers.clear();
  expect(0, 0);
}

TEST_F(Gauges, AClosedShardDropsTasksAndTheLedgerSaysThatItIsMissing) {
  bool has_run = false;
  shards[0]->post([&] { has_run = true; });
  shards[0]->close();
  shards[0]->post([&] { has_run = true; });
  turn();
  EXPECT_FALSE(has_run);
  std::optional<Ledger> ledger;
  hub.ledger([&](Ledger found) { ledger = std::move(found); });
  EXPECT_FALSE(ledger);
  turn(1);
  ASSERT_TRUE(ledger);
  EXPECT_EQ(ledger->missing_shards, 1U);
}

}  // namespace
}  // namespace carillon
