#include "load/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>

namespace carillon::load {

namespace {

// Below 2^(kStepBits + 1) every ns has a bucket of its own; each power of two above has 2^kStepBits of them.
constexpr std::uint32_t kStepBits = 7;
constexpr std::uint32_t kSteps = 1U << kStepBits;
constexpr std::uint32_t kBuckets = (64 - kStepBits + 1) * kSteps;

}  // namespace

Histogram::Histogram() : counts_(kBuckets) {}

std::uint32_t Histogram::bucket_of(std::uint64_t ns) {
  if (ns < 2 * kSteps) return static_cast<std::uint32_t>(ns);
  const auto shift = static_cast<std::uint32_t>(std::bit_width(ns)) - 1 - kStepBits;
  return shift * kSteps + static_cast<std::uint32_t>(ns >> shift);
}

std::uint64_t Histogram::bucket_end_ns(std::uint32_t bucket) {
  if (bucket < 2 * kSteps) return bucket;
  const std::uint32_t shift = bucket / kSteps - 1;
  const std::uint64_t first = bucket - shift * kSteps;
  return (first << shift) + ((std::uint64_t{1} << shift) - 1);
}

void Histogram::merge(const Histogram& other) {
  for (std::uint32_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  max_ns_ = std::max(max_ns_, other.max_ns_);
}

std::uint64_t Histogram::percentile_ns(double share) const {
  if (count_ == 0) return 0;
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::uint32_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= rank) return std::min(bucket_end_ns(i), max_ns_);
  }
  return max_ns_;
}

Histogram::Buckets Histogram::buckets() const {
  Buckets filled;
  for (std::uint32_t i = 0; i < kBuckets; ++i) {
    if (counts_[i] > 0) filled.emplace_back(i, counts_[i]);
  }
  return filled;
}

Histogram Histogram::from_buckets(const Buckets& buckets, std::uint64_t max_ns) {
  Histogram histogram;
  for (const auto& [bucket, count] : buckets) {
    if (bucket >= kBuckets) {
      throw std::invalid_argument("buckets: there is no bucket " + std::to_string(bucket) +
                                  "; give what buckets() returned");
    }
    histogram.counts_[bucket] += count;
    histogram.count_ += count;
  }
  histogram.max_ns_ = max_ns;
  return histogram;
}

}  // namespace carillon::load
