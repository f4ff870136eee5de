#include "loop/timer_wheel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>

namespace carillon {
namespace {

constexpr Millis kStart = 123'456;

std::vector<Connection*> due_at(TimerWheel& wheel, Millis now_ms) {
  std::vector<Connection*> due;
  wheel.advance(now_ms, due);
  return due;
}

TEST(TimerWheel, LooksAtAConnectionInTheTickBehindItsDeadlineAndNeverBefore) {
  for (const Millis delay : {1, 49, 50, 51, 100, 1'000, 50'000}) {
    TimerWheel wheel(kStart);
    Connection connection;
    wheel.schedule(connection, kStart + delay);
    EXPECT_TRUE(due_at(wheel, kStart + delay - 1).empty()) << delay;
    EXPECT_EQ(due_at(wheel, kStart + delay + TimerWheel::kTickMs), std::vector<Connection*>{&connection})
        << delay;
    EXPECT_TRUE(due_at(wheel, kStart + 200'000).empty()) << delay;
  }
}

TEST(TimerWheel, ADeadlineThatHasPassedIsMetInTheNextTick) {
  TimerWheel wheel(kStart);
  Connection connection;
  wheel.schedule(connection, 5);
  EXPECT_EQ(due_at(wheel, kStart + TimerWheel::kTickMs).size(), 1U);
}

TEST(TimerWheel, AnEarlierDeadlineWinsAndALaterOneWaitsForTheFirstLook) {
  TimerWheel wheel(kStart);
  Connection connection;
  wheel.schedule(connection, kStart + 5'000);
  wheel.schedule(connection, kStart + 1'000);
  EXPECT_EQ(due_at(wheel, kStart + 1'100).size(), 1U);
  EXPECT_TRUE(due_at(wheel, kStart + 10'000).empty());
  wheel.schedule(connection, kStart + 11'000);
  wheel.schedule(connection, kStart + 20'000);
  EXPECT_EQ(due_at(wheel, kStart + 11'100).size(), 1U);
}

TEST(TimerWheel, NoDeadlineIsNoTimer) {
  TimerWheel wheel(kStart);
  Connection connection;
  wheel.schedule(connection, kNoDeadline);
  EXPECT_LT(connection.wheel_slot, 0);
  wheel.schedule(connection, kStart + 100);
  wheel.schedule(connection, kNoDeadline);
  EXPECT_EQ(due_at(wheel, kStart + 1'000).size(), 1U) << "what was scheduled is looked at";
}

TEST(TimerWheel, BeyondTheHorizonTheConnectionIsLookedAtAgain) {
  TimerWheel wheel(kStart);
  Connection connection;
  const Millis deadline = kStart + 200'000;
  wheel.schedule(connection, deadline);
  int looks = 0;
  for (Millis now = kStart; now <= deadline + 100; now += TimerWheel::kTickMs) {
    for (Connection* each : due_at(wheel, now)) {
      ++looks;
      if (now < deadline) wheel.schedule(*each, deadline);
    }
  }
  EXPECT_EQ(looks, 4);
  EXPECT_LT(connection.wheel_slot, 0);
}

TEST(TimerWheel, AfterALongPauseEverythingIsDueOnce) {
  TimerWheel wheel(kStart);
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < 100; ++i) {
    connections.push_back(std::make_unique<Connection>());
    wheel.schedule(*connections.back(), kStart + i * 500);
  }
  EXPECT_EQ(due_at(wheel, kStart + 100'000'000).size(), 100U);
  EXPECT_TRUE(due_at(wheel, kStart + 200'000'000).empty());
}

TEST(TimerWheel, KeepsItsListsWholeUnderRandomUse) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::mt19937_64 random(seed);
    TimerWheel wheel(kStart);
    Millis now = kStart;
    std::vector<std::unique_ptr<Connection>> connections;
    for (int i = 0; i < 40; ++i) connections.push_back(std::make_unique<Connection>());
    std::map<Connection*, Millis> wanted;  // earliest deadline asked for since the last look
    for (int step = 0; step < 2'000; ++step) {
      Connection& connection = *connections[random() % connections.size()];
      if (random() % 10 < 6) {
        const Millis deadline =
            now - 200 + static_cast<Millis>(random() % (random() % 5 == 0 ? 90'000 : 3'000));
        wheel.schedule(connection, deadline);
        const Millis earliest = std::max(deadline, now);  // one that has passed is met in the next tick
        const auto [known, is_new] = wanted.emplace(&connection, earliest);
        if (!is_new) known->second = std::min(known->second, earliest);
      } else if (random() % 4 == 0) {
        wheel.remove(connection);
        wanted.erase(&connection);
      } else {
        now += static_cast<Millis>(random() % 400);
        for (Connection* each : due_at(wheel, now)) {
          ASSERT_EQ(wanted.count(each), 1U) << "nobody asked";
          const Millis deadline = wanted[each];
          wanted.erase(each);
          if (deadline > now) {  // beyond the horizon
            ASSERT_GE(deadline, now + 40'000 - 3'000) << seed;
            wheel.schedule(*each, deadline);
            wanted[each] = deadline;
          }
        }
        for (const auto& [each, deadline] : wanted)
          ASSERT_GT(deadline + 2 * TimerWheel::kTickMs, now) << seed;
      }
    }
    for (const auto& connection : connections) wheel.remove(*connection);
    EXPECT_TRUE(due_at(wheel, now + 100'000).empty());
  }
}

}  // namespace
}  // namespace carillon
