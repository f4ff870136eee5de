// What the hub and its shards count for the operator.
#include <gtest/gtest.h>

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
