#include "metrics/exposition.hpp"

#include <gtest/gtest.h>

#include <array>

namespace carillon::testing {
namespace {

TEST(Exposition, AFamilyHasItsHelpItsTypeAndItsSamples) {
  Exposition page;
  page.counter("a_total", "Things.")
      .sample(std::uint64_t{3}, {{"kind", "x"}})
      .sample(std::uint64_t{4}, {{"kind", "y"}});
  page.gauge("b", "Level.").sample(std::int64_t{-1});
  EXPECT_EQ(page.take(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{kind=\"x\"} 3\na_total{kind=\"y\"} 4\n"
            "# HELP b Level.\n# TYPE b gauge\nb -1\n");
}

TEST(Exposition, WhatStandsInAConfigurationCannotEndALabel) {
  Exposition page;
  page.gauge("a", "A.").sample(std::uint64_t{1}, {{"name", "x\"} 9\n\\"}});
  EXPECT_NE(page.take().find("a{name=\"x\\\"} 9\\n\\\\\"} 1\n"), std::string::npos);
}

TEST(Exposition, BucketsAreCumulativeInSecondsAndEndWithAllOfThem) {
  static constexpr std::array<std::uint64_t, 2> kBounds{50'000, 2'500'000'000};
  Histogram histogram(kBounds);
  histogram.observe_ns(1'000, 2);
  histogram.observe_ns(1'000'000'000);
  histogram.observe_ns(3'000'000'000);
  Exposition page;
  page.histogram("t_seconds", "T.")
      .sample(histogram.counts(), Exposition::Unit::nanoseconds, {{"call", "read"}});
  EXPECT_EQ(page.take(),
            "# HELP t_seconds T.\n# TYPE t_seconds histogram\n"
            "t_seconds_bucket{call=\"read\",le=\"5e-05\"} 2\nt_seconds_bucket{call=\"read\",le=\"2.5\"} 3\n"
            "t_seconds_bucket{call=\"read\",le=\"+Inf\"} 4\nt_seconds_sum{call=\"read\"} 4.000002\n"
            "t_seconds_count{call=\"read\"} 4\n");
}

}  // namespace
}  // namespace carillon::testing
