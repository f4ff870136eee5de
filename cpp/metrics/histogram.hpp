#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace carillon {

/// What a histogram has counted, to be summed over threads.
struct HistogramCounts {
  static constexpr std::size_t kBoundsMax = 18;
  std::span<const std::uint64_t> bounds;                     ///< upper bounds, inclusive, ascending
  std::array<std::uint64_t, kBoundsMax + 1> observations{};  ///< by bucket; the last one has no bound
  /// Of the observed values; of durations microseconds, because nanoseconds overflow within weeks.
  std::uint64_t sum = 0;

  HistogramCounts& operator+=(const HistogramCounts& other);
};

/// Counts values by buckets. Integers only: durations are nanoseconds. Thread-safe.
class Histogram {
 public:
  /// `bounds` outlive it: at most HistogramCounts::kBoundsMax of them.
  constexpr explicit Histogram(std::span<const std::uint64_t> bounds) : bounds_(bounds) {}

  /// Counts a value, `times` times at the cost of once.
  void observe(std::uint64_t value, std::uint64_t times = 1) { count(value, times, value * times); }
  /// A duration; a clock that went backwards counts as none.
  void observe_ns(std::int64_t duration_ns, std::uint64_t times = 1) {
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration_ns));
    count(ns, times, ns * times / 1'000);
  }
  [[nodiscard]] HistogramCounts counts() const;

 private:
  void count(std::uint64_t value, std::uint64_t times, std::uint64_t sum) {
    const auto bucket =
        static_cast<std::size_t>(std::find_if(bounds_.begin(), bounds_.end(),
                                              [value](std::uint64_t bound) { return value <= bound; }) -
                                 bounds_.begin());
    counts_[bucket].fetch_add(times, std::memory_order_relaxed);
    sum_.fetch_add(sum, std::memory_order_relaxed);
  }

  const std::span<const std::uint64_t> bounds_;
  std::array<std::atomic<std::uint64_t>, HistogramCounts::kBoundsMax + 1> counts_{};
  std::atomic<std::uint64_t> sum_{0};
};

/// From 50 µs to 10 s, ns: what a delivery, a turn or a call of a store takes.
inline constexpr std::array<std::uint64_t, 17> kDurationBounds{
    50'000,      100'000,       250'000,       500'000,       1'000'000,     2'500'000,
    5'000'000,   10'000'000,    25'000'000,    50'000'000,    100'000'000,   250'000'000,
    500'000'000, 1'000'000'000, 2'500'000'000, 5'000'000'000, 10'000'000'000};
/// From 1 to 4,096: publications of a batch, members of a walk.
inline constexpr std::array<std::uint64_t, 13> kSizeBounds{1,   2,   4,   8,     16,    32,   64,
                                                           128, 256, 512, 1'024, 2'048, 4'096};

}  // namespace carillon
