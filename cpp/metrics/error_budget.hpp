#pragma once

#include <cstdint>
#include <deque>
#include <mutex>

#include "env/clock.hpp"

namespace carillon {

/// How many events have met an objective, and how many have not, since the start.
struct ObjectiveCounts {
  std::uint64_t good = 0;
  std::uint64_t bad = 0;
};

/// The errors that an objective permits, and how fast they are used up. A budget of 99.95 % permits one bad
/// event in 2,000; a burn rate of 1 uses it up exactly. Counts of the last six hours are remembered, one for
/// each kSampleMs. Thread-safe.
class ErrorBudget {
 public:
  static constexpr Millis kSampleMs = 10'000;
  static constexpr Millis kLongestWindowMs = 6LL * 3600 * 1000;

  /// `objective`: the share of events that have to be good, below 1.
  explicit ErrorBudget(double objective) : objective_(objective) {}

  [[nodiscard]] double objective() const { return objective_; }
  /// From time to time, with the counts since the start. Keeps one sample per kSampleMs.
  void sample(Millis now_ms, const ObjectiveCounts& counts);
  /// The share of bad events within the last `window_ms`, in multiples of the share that is permitted. Of a
  /// process that is younger all events count. 0 without events.
  [[nodiscard]] double burn_rate(Millis now_ms, Millis window_ms, const ObjectiveCounts& counts) const;
  /// What is left of the bad events that the events since the start permit: 1 is all, and below 0 it is
  /// spent.
  [[nodiscard]] double remaining(const ObjectiveCounts& counts) const;

 private:
  struct Sample {
    Millis ms = 0;
    ObjectiveCounts counts;
  };
  [[nodiscard]] double burn_rate_of(const ObjectiveCounts& from, const ObjectiveCounts& to) const;

  const double objective_;
  mutable std::mutex mutex_;
  std::deque<Sample> samples_;  // the oldest first
};

}  // namespace carillon
