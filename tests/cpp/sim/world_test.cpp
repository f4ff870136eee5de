#include "sim/world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <utility>

#include "doubles/seeds.hpp"
#include "sim/planted_bugs.hpp"

// Whole worlds, of what ships: gateways, Redis and clients, and what happens to them. CARILLON_SEED=n plays
// one seed of each.

namespace carillon::sim {

namespace {

/// What a failing world is replayed with, and how little of it is needed.
std::string description(const WorldOptions& options, const Report& report) {
  std::string text = "seed " + std::to_string(options.seed) + ": " + report.complaints.front() + "\n";
  const WorldOptions smallest = shrink_world(options);
  for (const std::string& act : run_world(smallest).acts) text += "  " + act + "\n";
  return text + "replay: " + replay_command(smallest);
}

void play(WorldOptions options, std::uint64_t count, std::uint64_t offset) {
  const Seeds seeds = seeds_to_play(count, offset);
  std::uint64_t acknowledged = 0;
  std::uint64_t delivered = 0;
  for (std::uint64_t i = 0; i < seeds.count; ++i) {
    options.seed = seeds.first + i;
    const Report report = run_world(options);
    ASSERT_TRUE(report.complaints.empty()) << description(options, report);
    acknowledged += report.acknowledged;
    delivered += report.delivered;
  }
  EXPECT_GT(acknowledged, seeds.count * options.publications / 4)
      << "worlds in which little happens prove little";
  EXPECT_GT(delivered, acknowledged);
}

WorldOptions small_history() {
  WorldOptions options;
  options.history_size = 6;
  return options;
}

WorldOptions with_members() {
  WorldOptions options;
  options.members = 6;
  return options;
}

/// One gateway with an SQLite file, on a disk that fills, fails, is slow and loses power.
WorldOptions with_sqlite(const std::string& durability) {
  WorldOptions options;
  options.has_redis = false;
  options.gateways = 1;
  options.sqlite = durability;
  return options;
}

TEST(Worlds, OfThreeGatewaysKeepEveryPromise) { play({}, 500, 0); }

TEST(Worlds, WithAShortHistoryKeepEveryPromise) { play(small_history(), 250, 100'000); }

TEST(Worlds, WhoseRedisLosesNothingKeepEveryPromise) {
  WorldOptions options;
  options.may_lose = false;
  options.faults = 14;
  play(options, 250, 200'000);
}

TEST(Worlds, WithTheLogInMemoryKeepEveryPromise) {
  WorldOptions options;
  options.has_redis = false;
  options.gateways = 1;
  play(options, 150, 300'000);
}

TEST(Worlds, WithMembersKeepEveryPromise) { play(with_members(), 250, 400'000); }

// Positions in a log that was lost; a change of members of which a failover has lost the half.
TEST(Worlds, WithMembersThatOnceFailedKeepEveryPromise) {
  for (const std::uint64_t seed : {62U, 474U, 1392U, 2486U, 3404U}) {
    WorldOptions options = with_members();
    options.seed = seed;
    const Report report = run_world(options);
    EXPECT_TRUE(report.complaints.empty()) << "seed " << seed << ": " << report.complaints.front();
  }
}

TEST(Worlds, WithMembersAndAShortHistoryKeepEveryPromise) {
  WorldOptions options = with_members();
  options.history_size = 6;
  play(options, 150, 500'000);
}

TEST(Worlds, WithMembersWhoseRedisLosesNothingKeepEveryPromise) {
  WorldOptions options = with_members();
  options.may_lose = false;
  options.faults = 14;
  play(options, 150, 600'000);
}

TEST(Worlds, WithMembersAndTheLogInMemoryKeepEveryPromise) {
  WorldOptions options = with_members();
  options.has_redis = false;
  options.gateways = 1;
  play(options, 100, 700'000);
}

TEST(Worlds, WithAnSqliteFileOfFullDurabilityKeepEveryPromise) { play(with_sqlite("full"), 60, 800'000); }

TEST(Worlds, WithAnSqliteFileOfNormalDurabilityKeepEveryPromise) { play(with_sqlite("normal"), 60, 900'000); }

TEST(Worlds, WithAnSqliteFileOfAsyncDurabilityKeepEveryPromise) { play(with_sqlite("async"), 60, 1'000'000); }

TEST(WorldTest, EqualSeedsHaveEqualTraces) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    WorldOptions options;
    options.seed = seed;
    options.keeps_trace = true;
    options.members = seed % 2 == 0 ? 6 : 0;
    const Report first = run_world(options);
    const Report second = run_world(options);
    EXPECT_EQ(first.trace, second.trace);
    EXPECT_EQ(first.trace_hash, second.trace_hash);
    EXPECT_GT(first.trace_lines, 100U);
    options.seed = seed + 1'000;
    EXPECT_NE(run_world(options).trace_hash, first.trace_hash);
  }
}

TEST(WorldTest, EqualSeedsWithADiskHaveEqualTraces) {
  for (const char* const durability : {"full", "normal", "async"}) {
    WorldOptions options = with_sqlite(durability);
    options.seed = 3;
    options.keeps_trace = true;
    const Report first = run_world(options);
    EXPECT_EQ(first.trace, run_world(options).trace);
    EXPECT_GT(first.acknowledged, 10U);
  }
}

TEST(WorldTest, LeavingOutActsLeavesTheOthersAsTheyWere) {
  WorldOptions options;
  const Report all = run_world(options);
  options.only = {3, 7};
  const Report some = run_world(options);
  ASSERT_EQ(some.acts.size(), 2U);
  for (const std::string& act : some.acts)
    EXPECT_NE(std::find(all.acts.begin(), all.acts.end(), act), all.acts.end()) << act;
}

TEST(WorldTest, MembersLeaveTheOtherActsAsTheyWere) {
  WorldOptions options;
  const Report without = run_world(options);
  const Report with = run_world(with_members());
  EXPECT_GT(with.acts.size(), without.acts.size());
  for (const std::string& act : without.acts)
    EXPECT_NE(std::find(with.acts.begin(), with.acts.end(), act), with.acts.end()) << act;
}

TEST(WorldTest, AFailingWorldShrinksToAFewActs) {
  WorldOptions options;
  options.bug = "epoch_not_bumped";
  for (options.seed = 1; run_world(options).complaints.empty(); ++options.seed) ASSERT_LT(options.seed, 100U);
  const WorldOptions smallest = shrink_world(options);
  EXPECT_LE(smallest.only.size(), 8U) << "of " << run_world(options).acts.size();
  EXPECT_FALSE(run_world(smallest).complaints.empty());
  EXPECT_NE(replay_command(smallest).find("--bug epoch_not_bumped"), std::string::npos);
}

TEST(WorldTest, OptionsThatMakeNoWorldAreRefusedByName) {
  const auto message_of = [](const WorldOptions& options) -> std::string {
    try {
      static_cast<void>(run_world(options));
    } catch (const std::invalid_argument& refused) {
      return refused.what();
    }
    return {};
  };
  WorldOptions options;
  options.gateways = 0;
  EXPECT_NE(message_of(options).find("gateways"), std::string::npos);
  options = {};
  options.bug = "no such bug";
  EXPECT_NE(message_of(options).find("no such bug"), std::string::npos);
  options = {};
  options.sqlite = "full";
  EXPECT_NE(message_of(options).find("sqlite"), std::string::npos) << "beside Redis";
  options = with_sqlite("half");
  EXPECT_NE(message_of(options).find("durability"), std::string::npos);
  options = {};
  options.has_redis = false;
  EXPECT_NE(message_of(options).find("gateways"), std::string::npos);
}

// ---- the simulator itself: it has to notice what is wrong

class PlantedBugs : public testing::TestWithParam<std::size_t> {};

TEST_P(PlantedBugs, IsNoticed) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the rarest need more worlds than a sanitizer has time for";
#endif
  const PlantedBug& bug = planted_bugs()[GetParam()];
  constexpr std::uint64_t kSeeds = 10'000;
  // Without the bug the text must be there, or nothing is planted.
  WorldOptions options = world_of(bug.name);
  for (options.seed = 1; options.seed <= share_of_seeds(kSeeds); ++options.seed) {
    const Report report = run_world(options);
    if (report.complaints.empty()) continue;
    std::cout << bug.name << " is noticed in seed " << options.seed << ": " << report.complaints.front()
              << '\n';
    return;
  }
  FAIL() << bug.name << " (" << bug.what << ") is not noticed";
}

INSTANTIATE_TEST_SUITE_P(All, PlantedBugs, testing::Range<std::size_t>(0, planted_bugs().size()),
                         [](const auto& info) { return std::string(planted_bugs()[info.param].name); });

TEST(PlantedBugsTest, AreInTheScriptsThatShip) {
  for (const PlantedBug& bug : planted_bugs()) {
    EXPECT_TRUE(bug.script_text.empty() || is_in_a_script(bug)) << bug.name;
  }
}

}  // namespace

}  // namespace carillon::sim
