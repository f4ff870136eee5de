#include "client/lanes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "doubles/seeded_random.hpp"

namespace carillon::testing {
namespace {

class LanesTest : public ::testing::Test {
 protected:
  /// A command whose answer comes later.
  Lanes::Ticket start(Lanes& lanes, std::string_view lane, std::size_t bytes = 1) {
    EXPECT_FALSE(lanes.must_wait(lane));
    lanes.begin();
    const Lanes::Ticket ticket = lanes.defer();
    lanes.end(lane, bytes);
    return ticket;
  }

  std::atomic<std::uint64_t> gauge{0};
};

TEST_F(LanesTest, ACommandThatIsAnsweredAtOnceLeavesNoTrace) {
  Lanes lanes(gauge, 0);
  EXPECT_FALSE(lanes.must_wait("a"));
  lanes.begin();
  lanes.end("a", 10);
  EXPECT_FALSE(lanes.must_wait("a"));
  lanes.begin();
  const Lanes::Ticket ticket = lanes.defer();
  EXPECT_TRUE(lanes.is_wanted(ticket));
  lanes.finish(ticket);
  EXPECT_FALSE(lanes.is_wanted(ticket));
  lanes.end("a", 10);
  EXPECT_FALSE(lanes.must_wait("a"));
  EXPECT_EQ(lanes.size(), 0U);
  EXPECT_EQ(gauge, 0U);
}

TEST_F(LanesTest, ALaneGoesOnInOrderOfArrivalAndTheOthersDoNotWaitForIt) {
  Lanes lanes(gauge, 0);
  const Lanes::Ticket first = start(lanes, "a");
  EXPECT_TRUE(lanes.must_wait("a"));
  lanes.wait("a", "a2");
  lanes.wait("a", "a3");
  const Lanes::Ticket other = start(lanes, "b");
  lanes.wait("b", "b2");
  EXPECT_EQ(lanes.next(), std::nullopt);
  EXPECT_EQ(lanes.size(), 5U);
  EXPECT_EQ(gauge, 5U);
  lanes.finish(other);
  EXPECT_EQ(lanes.next(), "b2");
  EXPECT_FALSE(lanes.must_wait("b"));
  lanes.finish(first);
  EXPECT_TRUE(lanes.must_wait("a")) << "those that wait are before a new one";
  EXPECT_EQ(lanes.next(), "a2");
  const Lanes::Ticket second = [&] {
    lanes.begin();
    const Lanes::Ticket ticket = lanes.defer();
    lanes.end("a", 1);
    return ticket;
  }();
  EXPECT_EQ(lanes.next(), std::nullopt);
  lanes.finish(second);
  EXPECT_EQ(lanes.next(), "a3");
  EXPECT_EQ(lanes.size(), 0U);
}

TEST_F(LanesTest, WhileACommandIsCarriedOutNoOtherBegins) {
  Lanes lanes(gauge, 0);
  const Lanes::Ticket first = start(lanes, "a");
  lanes.wait("a", "a2");
  lanes.begin();
  lanes.finish(first);  // an answer may come in the middle of another command
  EXPECT_EQ(lanes.next(), std::nullopt);
  lanes.end("b", 1);
  EXPECT_EQ(lanes.next(), "a2");
}

TEST_F(LanesTest, AReleasedCommandFreesItsLaneAndCountsUntilItIsFinished) {
  Lanes lanes(gauge, 0);
  const Lanes::Ticket first = start(lanes, "a", 7);
  lanes.wait("a", "next");
  lanes.release(first);
  EXPECT_FALSE(lanes.is_wanted(first));
  EXPECT_EQ(lanes.next(), "next");
  EXPECT_FALSE(lanes.must_wait("a"));
  EXPECT_EQ(lanes.size(), 1U);
  EXPECT_EQ(lanes.bytes(), 7U);
  lanes.finish(first);
  EXPECT_EQ(lanes.size(), 0U);
  EXPECT_EQ(gauge, 0U);
}

TEST_F(LanesTest, WhatAWaitingCommandCancelsIsKnownUntilItIsTaken) {
  Lanes lanes(gauge, 0);
  const Lanes::Ticket first = start(lanes, "a");
  lanes.wait("a", "subscribe");
  EXPECT_FALSE(lanes.is_cancelled("a"));
  lanes.wait("a", "unsubscribe", "a");
  EXPECT_TRUE(lanes.is_cancelled("a"));
  EXPECT_FALSE(lanes.is_cancelled("b"));
  EXPECT_FALSE(lanes.is_cancelled(""));
  lanes.finish(first);
  EXPECT_EQ(lanes.next(), "subscribe");
  EXPECT_TRUE(lanes.is_cancelled("a"));
  EXPECT_EQ(lanes.next(), "unsubscribe");
  EXPECT_FALSE(lanes.is_cancelled("a"));
}

TEST_F(LanesTest, WithConcurrency1AllIsOneLane) {
  Lanes lanes(gauge, 1);
  const Lanes::Ticket first = start(lanes, "a");
  EXPECT_TRUE(lanes.must_wait("b"));
  lanes.wait("b", "b1");
  lanes.wait("a", "a2");
  EXPECT_EQ(lanes.next(), std::nullopt);
  lanes.finish(first);
  EXPECT_EQ(lanes.next(), "b1");
  lanes.begin();
  const Lanes::Ticket second = lanes.defer();
  lanes.end("b", 1);
  EXPECT_EQ(lanes.next(), std::nullopt);
  lanes.release(second);
  EXPECT_EQ(lanes.next(), "a2") << "what is not wanted keeps nobody waiting";
}

TEST_F(LanesTest, AfterClearNoAnswerIsWanted) {
  {
    Lanes lanes(gauge, 0);
    const Lanes::Ticket first = start(lanes, "a");
    lanes.wait("a", "a2");
    lanes.begin();
    const Lanes::Ticket second = lanes.defer();
    lanes.clear();
    lanes.end("b", 1);
    EXPECT_EQ(lanes.size(), 0U);
    EXPECT_EQ(gauge, 0U);
    for (const Lanes::Ticket ticket : {first, second}) {
      EXPECT_FALSE(lanes.is_wanted(ticket));
      lanes.finish(ticket);
    }
    EXPECT_EQ(lanes.next(), std::nullopt);
    (void)start(lanes, "a");
    EXPECT_EQ(gauge, 1U);
  }
  EXPECT_EQ(gauge, 0U) << "its owner has gone";
}

/// Commands of several lanes, answered in any order, at once or later.
TEST_F(LanesTest, ARandomStoryKeepsTheOrderOfEveryLaneAndLosesNothing) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SeededRandom random(seed);
    const auto concurrency = static_cast<std::int64_t>(random.below(4));
    Lanes lanes(gauge, concurrency);
    std::map<std::string, std::vector<int>> begun;
    std::map<std::string, std::vector<int>> sent;
    struct UnderWay {
      Lanes::Ticket ticket;
      std::string lane;
    };
    std::vector<UnderWay> under_way;
    const auto carry_out = [&](const std::string& lane, int number) {
      begun[lane].push_back(number);
      EXPECT_TRUE(std::none_of(under_way.begin(), under_way.end(), [&](const UnderWay& each) {
        return each.lane == lane;
      })) << seed;
      lanes.begin();
      if (random.below(3) > 0) {
        const Lanes::Ticket ticket = lanes.defer();
        if (random.below(3) == 0) {
          lanes.finish(ticket);
        } else {
          under_way.push_back({ticket, lane});
        }
      }
      lanes.end(lane, 1);
      EXPECT_TRUE(concurrency == 0 || under_way.size() <= static_cast<std::size_t>(concurrency)) << seed;
    };
    const auto go_on = [&] {
      while (const auto text = lanes.next()) carry_out(text->substr(0, 1), std::stoi(text->substr(1)));
    };
    const auto answer_one = [&] {
      const auto at = under_way.begin() + static_cast<std::ptrdiff_t>(random.below(under_way.size()));
      const Lanes::Ticket ticket = at->ticket;
      EXPECT_TRUE(lanes.is_wanted(ticket)) << seed;
      under_way.erase(at);
      lanes.finish(ticket);
      go_on();
    };
    for (int number = 0; number < 60; ++number) {
      const std::string lane(1, static_cast<char>('a' + random.below(4)));
      sent[lane].push_back(number);
      if (lanes.must_wait(lane)) {
        lanes.wait(lane, lane + std::to_string(number));
      } else {
        carry_out(lane, number);
      }
      if (!under_way.empty() && random.below(2) == 0) answer_one();
    }
    while (!under_way.empty()) answer_one();
    EXPECT_EQ(lanes.size(), 0U) << seed;
    EXPECT_EQ(begun, sent) << seed;
    EXPECT_EQ(gauge, 0U) << seed;
  }
}

}  // namespace
}  // namespace carillon::testing
