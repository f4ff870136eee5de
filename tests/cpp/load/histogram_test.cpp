#include "load/histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

namespace carillon::load {
namespace {

TEST(Histogram, AnEmptyOneHasZeros) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.max_ns(), 0U);
  EXPECT_EQ(histogram.percentile_ns(0.99), 0U);
  EXPECT_TRUE(histogram.buckets().empty());
}

TEST(Histogram, BucketsFollowOneAnotherWithoutHoleOrOverlap) {
  std::uint64_t next = 0;
  for (std::uint32_t bucket = 0; next < std::uint64_t{1} << 60; ++bucket) {
    ASSERT_EQ(Histogram::bucket_of(next), bucket);
    const std::uint64_t end = Histogram::bucket_end_ns(bucket);
    ASSERT_EQ(Histogram::bucket_of(end), bucket);
    ASSERT_LE(end - next, next / 128) << "no wider than 1/128 of its times";
    next = end + 1;
  }
  EXPECT_NO_THROW(Histogram().record(~std::uint64_t{0}));
}

TEST(Histogram, PercentilesAreThoseOfTheSortedTimesOrAtMostAHundredthMore) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> times(13, 2);
  Histogram histogram;
  std::vector<std::uint64_t> sorted;
  for (int i = 0; i < 100'000; ++i) {
    sorted.push_back(static_cast<std::uint64_t>(times(random)));
    histogram.record(sorted.back());
  }
  std::sort(sorted.begin(), sorted.end());
  for (const double share : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 0.99999}) {
    const auto at = static_cast<std::size_t>(std::max(1.0, std::ceil(share * 100'000))) - 1;
    EXPECT_GE(histogram.percentile_ns(share), sorted[at]) << share;
    EXPECT_LE(histogram.percentile_ns(share), sorted[at] + sorted[at] / 128) << share;
  }
  EXPECT_EQ(histogram.percentile_ns(1), sorted.back());
  EXPECT_EQ(histogram.max_ns(), sorted.back());
}

TEST(Histogram, TwoOfThemAddUpAndTravelAsBuckets) {
  Histogram one;
  Histogram other;
  Histogram both;
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    (i % 3 == 0 ? one : other).record(i * i * 997);
    both.record(i * i * 997);
  }
  one.merge(Histogram::from_buckets(other.buckets(), other.max_ns()));
  EXPECT_EQ(one.buckets(), both.buckets());
  EXPECT_EQ(one.count(), 1'000U);
  EXPECT_EQ(one.max_ns(), both.max_ns());
  EXPECT_THROW(Histogram::from_buckets({{1'000'000, 1}}, 0), std::invalid_argument);
}

}  // namespace
}  // namespace carillon::load
