// What a publish costs, counted in calls and not in time: it is linear in the subscribers of the channel, and
// nothing else in the hub has a part in it.
#include <gtest/gtest.h>

#include <deque>

#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

/// Cursors over sinks in memory, by the thousand.
struct PublishCostTest : HubFixture {
  PublishCostTest() : HubFixture(1) {}

  struct Cost {
    std::size_t stages = 0;  // handed to sinks, all channels together
    int turns = 0;
    int wakes = 0;
    bool operator==(const Cost&) const = default;
  };

  PlainReader& add(const std::string& channel) {
    PlainReader& reader = readers.emplace_back(*shards[0]);
    subscribe(reader, channel);
    return reader;
  }
  void add_many(std::size_t count, const std::string& channel) {
    for (std::size_t i = 0; i < count; ++i) add(channel);
  }
  void add_others(std::size_t channels, std::size_t each) {
    for (std::size_t i = 0; i < channels; ++i) add_many(each, "other-" + std::to_string(i));
  }

  [[nodiscard]] std::size_t stages() const {
    std::size_t sum = 0;
    for (const PlainReader& reader : readers) sum += reader.stages;
    return sum;
  }

  Cost cost_of_a_publish(const std::string& channel) {
    settle();
    const std::size_t stages_before = stages();
    const int wakes_before = wakes[0];
    Cost cost;
    publish(channel, "x");
    while (turn()) ++cost.turns;
    cost.stages = stages() - stages_before;
    cost.wakes = wakes[0] - wakes_before;
    return cost;
  }

  std::deque<PlainReader> readers;
};

TEST_F(PublishCostTest, IsLinearInTheSubscribersOfTheChannel) {
  std::size_t members = 0;
  for (const std::size_t size : {1U, 10U, 100U, 1'000U, 10'000U}) {
    add_many(size - members, "a");
    members = size;
    // A turn hands out 256 deliveries of a channel; the last one finds nothing more.
    const int further_turns = static_cast<int>((size - 1) / TurnLimits{}.deliveries_per_visit);
    EXPECT_EQ(cost_of_a_publish("a"), (Cost{size, further_turns, 1}));
  }
}

TEST_F(PublishCostTest, DoesNotDependOnOtherChannelsAndCursors) {
  add_many(100, "a");
  const Cost alone = cost_of_a_publish("a");
  EXPECT_EQ(alone.stages, 100U);
  add_others(1'000, 1);
  EXPECT_EQ(cost_of_a_publish("a"), alone);
  add_others(100, 100);
  EXPECT_EQ(cost_of_a_publish("a"), alone);
  for (std::size_t other = 100; other < readers.size(); ++other) EXPECT_EQ(readers[other].stages, 0U);
}

TEST_F(PublishCostTest, ABurstCostsEachSubscriberOneCall) {
  add_many(1'000, "a");
  settle();
  publish_numbers("a", 1, 200);
  settle();
  EXPECT_EQ(stages(), 1'000U);
  for (const PlainReader& reader : readers) EXPECT_EQ(reader.taken.size(), 200U);
}

TEST_F(PublishCostTest, SinksThatAreFullCostNothingUntilTheyDrain) {
  add_many(1'000, "a");
  for (std::size_t i = 0; i < 100; ++i) readers[i].is_full = true;
  EXPECT_EQ(cost_of_a_publish("a").stages, 1'000U) << "each is asked once";
  EXPECT_EQ(cost_of_a_publish("a").stages, 900U);
  EXPECT_EQ(cost_of_a_publish("a").stages, 900U);
  EXPECT_EQ(shards[0]->lagging(), 100U);
  for (std::size_t i = 0; i < 100; ++i) {
    readers[i].is_full = false;
    shards[0]->resume(readers[i].cursor);
  }
  settle();
  EXPECT_EQ(shards[0]->lagging(), 0U);
  for (const PlainReader& reader : readers) EXPECT_EQ(reader.taken.size(), 3U);
  EXPECT_EQ(readers.front().stages, 2U) << "all that was missed is handed over at once";
}

TEST_F(PublishCostTest, SinksThatGoWhileTheyAreHandedSomethingCostNothingAfterwards) {
  add_many(1'000, "a");
  for (std::size_t i = 0; i < 1'000; i += 10) readers[i].is_gone = true;
  EXPECT_EQ(cost_of_a_publish("a").stages, 1'000U);
  EXPECT_EQ(cost_of_a_publish("a").stages, 900U);
  for (const PlainReader& reader : readers) {
    EXPECT_EQ(reader.taken.size(), reader.cursor.is_open() ? 2U : 0U) << "whoever stays has missed nothing";
  }
  EXPECT_TRUE(ledger().is_balanced());
}

}  // namespace
}  // namespace carillon
