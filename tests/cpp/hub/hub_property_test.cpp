// Random interleavings of everything that can happen to a hub, under a virtual clock. Whatever happens is a
// function of the seed (doubles/seeds.hpp).
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "doubles/seeds.hpp"
#include "hub/hub_world.hpp"

namespace carillon {
namespace {

HubWorld::Counts run_seeds(HubWorld::Kind kind) {
  const auto [first, count, is_replay] = seeds_to_play(10'000);
  HubWorld::Counts sum;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("CARILLON_SEED=" + std::to_string(seed));
    HubWorld world(seed, kind);
    world.run(300);
    world.finish();
    sum.delivered += world.counts.delivered;
    sum.recovered += world.counts.recovered;
    sum.told += world.counts.told;
    sum.gaps += world.counts.gaps;
    sum.duplicates += world.counts.duplicates;
    sum.failed += world.counts.failed;
    sum.renewed += world.counts.renewed;
    sum.skipped += world.counts.skipped;
    sum.slow += world.counts.slow;
    sum.switched += world.counts.switched;
    if (testing::Test::HasFailure()) break;
  }
  testing::Test::RecordProperty("delivered", std::to_string(sum.delivered));
  testing::Test::RecordProperty("recovered", std::to_string(sum.recovered));
  testing::Test::RecordProperty("gaps", std::to_string(sum.gaps));
  return sum;
}

TEST(HubProperty, EverySubscriberSeesExactlyWhatWasPublishedOrIsTold) {
  const auto sum = run_seeds(HubWorld::Kind::memory);
  if (testing::Test::HasFailure() || seeds_to_play(1).is_replay) return;
  // The test itself must not have gone quiet.
  EXPECT_GT(sum.delivered, 0U);
  EXPECT_GT(sum.recovered, 0U);
  EXPECT_GT(sum.told, 0U);
  EXPECT_GT(sum.gaps, 0U);
  EXPECT_GT(sum.switched, 0U);
  EXPECT_GT(sum.duplicates, 0U);
  EXPECT_GT(sum.skipped, 0U);
  EXPECT_GT(sum.slow, 0U);
}

TEST(HubProperty, TheSameHoldsOverAStoreThatIsLateOutOfOrderAndSometimesFails) {
  const auto sum = run_seeds(HubWorld::Kind::late);
  if (testing::Test::HasFailure() || seeds_to_play(1).is_replay) return;
  EXPECT_GT(sum.delivered, 0U);
  EXPECT_GT(sum.recovered, 0U);
  EXPECT_GT(sum.gaps, 0U);
  EXPECT_GT(sum.failed, 0U);
  EXPECT_GT(sum.renewed, 0U);
}

}  // namespace
}  // namespace carillon
