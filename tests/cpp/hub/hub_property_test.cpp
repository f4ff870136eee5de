// Random interleavings of everything that can happen to a hub, under a virtual clock. Whatever happens is a
// function of the seed: CARILLON_SEED=n replays one, CARILLON_SEEDS sets how many are tried.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "hub/hub_world.hpp"

namespace carillon {
namespace {

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// One thread has no races: there it is enough to see that nothing is reported.
#ifdef __SANITIZE_THREAD__
constexpr std::uint64_t kSeeds = 500;
#else
constexpr std::uint64_t kSeeds = 10'000;
#endif

HubWorld::Counts run_seeds(HubWorld::Kind kind) {
  const bool is_replay = std::getenv("CARILLON_SEED") != nullptr;
  const std::uint64_t first = number_from_environment("CARILLON_SEED", 1);
  const std::uint64_t seeds = is_replay ? 1 : number_from_environment("CARILLON_SEEDS", kSeeds);
  HubWorld::Counts sum;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
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
  if (testing::Test::HasFailure() || std::getenv("CARILLON_SEED") != nullptr) return;
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
  if (testing::Test::HasFailure() || std::getenv("CARILLON_SEED") != nullptr) return;
  EXPECT_GT(sum.delivered, 0U);
  EXPECT_GT(sum.recovered, 0U);
  EXPECT_GT(sum.gaps, 0U);
  EXPECT_GT(sum.failed, 0U);
  EXPECT_GT(sum.renewed, 0U);
}

}  // namespace
}  // namespace carillon
