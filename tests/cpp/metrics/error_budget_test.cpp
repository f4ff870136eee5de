#include "metrics/error_budget.hpp"

#include <gtest/gtest.h>

namespace carillon::testing {
namespace {

constexpr Millis kMinute = 60'000;

TEST(ErrorBudget, OneBadEventInTwoThousandUsesUpExactlyWhatThePromisePermits) {
  const ErrorBudget budget(0.9995);
  EXPECT_NEAR(budget.burn_rate(0, 5 * kMinute, {1'999, 1}), 1, 1e-9);
  EXPECT_NEAR(budget.remaining({1'999, 1}), 0, 1e-9);
  EXPECT_NEAR(budget.remaining({3'999, 1}), 0.5, 1e-9);
  EXPECT_NEAR(budget.remaining({999, 1}), -1, 1e-9) << "it is overspent";
}

TEST(ErrorBudget, WithoutEventsNothingIsUsed) {
  const ErrorBudget budget(0.99);
  EXPECT_EQ(budget.burn_rate(0, kMinute, {}), 0);
  EXPECT_EQ(budget.remaining({}), 1);
}

TEST(ErrorBudget, AWindowForgetsWhatCameBeforeIt) {
  ErrorBudget budget(0.99);
  budget.sample(0, {0, 0});
  budget.sample(10 * kMinute, {0, 100});  // ten bad minutes
  for (Millis minute = 11; minute <= 20; ++minute)
    budget.sample(minute * kMinute, {static_cast<std::uint64_t>(minute - 10) * 100, 100});
  const ObjectiveCounts now{1'000, 100};
  EXPECT_EQ(budget.burn_rate(20 * kMinute, 5 * kMinute, now), 0);
  EXPECT_NEAR(budget.burn_rate(20 * kMinute, 60 * kMinute, now), 100.0 / 1'100 / 0.01, 1e-9)
      << "a process that is younger than the window: all events";
}

TEST(ErrorBudget, WhatWasSampledWhenTheWindowBeganIsNotInIt) {
  ErrorBudget budget(0.99);
  budget.sample(0, {0, 0});
  budget.sample(10 * kMinute, {0, 100});
  EXPECT_EQ(budget.burn_rate(15 * kMinute, 5 * kMinute, {100, 100}), 0);
}

TEST(ErrorBudget, SamplesAreBounded) {
  ErrorBudget budget(0.99);
  for (Millis ms = 0; ms <= 24 * 60 * kMinute; ms += 250)
    budget.sample(ms, {static_cast<std::uint64_t>(ms), 0});
  // Of the last six hours all is there: a bad event six hours ago counts, one seven hours ago does not.
  const auto good = static_cast<std::uint64_t>(24 * 60 * kMinute);
  EXPECT_NEAR(budget.burn_rate(24 * 60 * kMinute, ErrorBudget::kLongestWindowMs, {good, 1'000'000}),
              1e6 / (static_cast<double>(ErrorBudget::kLongestWindowMs) + 1e6) / 0.01, 0.1);
}

}  // namespace
}  // namespace carillon::testing
