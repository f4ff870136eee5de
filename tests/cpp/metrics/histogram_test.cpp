#include "metrics/histogram.hpp"

#include <gtest/gtest.h>

#include <array>

namespace carillon::testing {
namespace {

constexpr std::array<std::uint64_t, 3> kBounds{10, 20, 40};

TEST(Histogram, AValueIsInTheFirstBucketWhoseBoundItDoesNotExceed) {
  Histogram histogram(kBounds);
  for (const std::uint64_t value : {0U, 10U, 11U, 20U, 40U, 41U, 1'000U}) histogram.observe(value);
  const HistogramCounts counts = histogram.counts();
  EXPECT_EQ(counts.observations[0], 2U);
  EXPECT_EQ(counts.observations[1], 2U);
  EXPECT_EQ(counts.observations[2], 1U);
  EXPECT_EQ(counts.observations[3], 2U) << "above the last bound";
  EXPECT_EQ(counts.sum, 0U + 10 + 11 + 20 + 40 + 41 + 1'000);
}

TEST(Histogram, ManyTimesAtOnceAreAsManyOneByOne) {
  Histogram at_once(kBounds);
  Histogram one_by_one(kBounds);
  at_once.observe(15, 1'000);
  for (int i = 0; i < 1'000; ++i) one_by_one.observe(15);
  EXPECT_EQ(at_once.counts().observations, one_by_one.counts().observations);
  EXPECT_EQ(at_once.counts().sum, one_by_one.counts().sum);
}

TEST(Histogram, AClockThatWentBackCountsAsNoTime) {
  Histogram histogram(kBounds);
  histogram.observe_ns(-5);
  EXPECT_EQ(histogram.counts().observations[0], 1U);
  EXPECT_EQ(histogram.counts().sum, 0U);
}

TEST(Histogram, SumsOfThreadsAreAddedBucketByBucket) {
  Histogram a(kBounds);
  Histogram b(kBounds);
  a.observe(5);
  b.observe(5, 2);
  b.observe(100);
  HistogramCounts sum;
  sum += a.counts();
  sum += b.counts();
  EXPECT_EQ(sum.observations[0], 3U);
  EXPECT_EQ(sum.observations[3], 1U);
  EXPECT_EQ(sum.sum, 115U);
  EXPECT_EQ(sum.bounds.size(), 3U);
}

}  // namespace
}  // namespace carillon::testing
