#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace carillon::load {

/// Counts of times in ns, in buckets whose width grows with the time: a percentile is at most 1/128 (0.8 %)
/// too high, from 0 ns to centuries. Histograms of several processes add up. Not thread-safe.
class Histogram {
 public:
  Histogram();

  void record(std::uint64_t ns) {
    ++counts_[bucket_of(ns)];
    ++count_;
    if (ns > max_ns_) max_ns_ = ns;
  }
  void merge(const Histogram& other);

  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t max_ns() const { return max_ns_; }
  /// The least time that at least this share (0 to 1) of all recorded ones does not exceed; 0 if there are
  /// none.
  [[nodiscard]] std::uint64_t percentile_ns(double share) const;

  using Buckets = std::vector<std::pair<std::uint32_t, std::uint64_t>>;
  /// The buckets that hold something, as (index, count): what travels between processes, with max_ns().
  [[nodiscard]] Buckets buckets() const;
  /// Throws std::invalid_argument for an index that no bucket has.
  static Histogram from_buckets(const Buckets& buckets, std::uint64_t max_ns);

  /// The bucket of a time, and the greatest time that a bucket takes.
  static std::uint32_t bucket_of(std::uint64_t ns);
  static std::uint64_t bucket_end_ns(std::uint32_t bucket);

 private:
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t max_ns_ = 0;
};

}  // namespace carillon::load
