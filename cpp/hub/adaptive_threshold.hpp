#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "env/clock.hpp"

namespace carillon {

/// Moves the threshold of adaptive channels until writing inboxes at publish and merging them at read take
/// about the same time, because their sum is smallest there. Any thread, except adapt().
class AdaptiveThreshold {
 public:
  /// Only the cost of adaptive channels moves their threshold.
  void count_write(std::int64_t ns, bool is_adaptive) {
    write_ns_.fetch_add(ns, std::memory_order_relaxed);
    if (is_adaptive) adaptive_write_ns_.fetch_add(ns, std::memory_order_relaxed);
  }
  void count_read(std::int64_t ns, bool is_adaptive) {
    read_ns_.fetch_add(ns, std::memory_order_relaxed);
    if (is_adaptive) adaptive_read_ns_.fetch_add(ns, std::memory_order_relaxed);
  }
  /// The factor of every adaptive threshold.
  [[nodiscard]] double factor() const { return factor_.load(std::memory_order_relaxed); }
  void restore(double factor) {
    factor_.store(std::clamp(factor, 1 / kMost, kMost), std::memory_order_relaxed);
  }
  /// Of all channels, since the start.
  [[nodiscard]] std::int64_t write_ns() const { return write_ns_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t read_ns() const { return read_ns_.load(std::memory_order_relaxed); }

  static constexpr Millis kWindowMs = 5'000;
  static constexpr std::int64_t kLeastNs =
      1'000'000;  // less time than this in a window does not move the factor
  static constexpr double kStep = 1.5;
  static constexpr double kBand = 2.0;  // a smaller ratio of the two does not move the factor
  static constexpr double kMost = 64.0;

  /// Moves the factor by one step per window. Call it from time to time, from one thread.
  void adapt(Millis now_ms) {
    if (now_ms - window_ms_ < kWindowMs) return;
    window_ms_ = now_ms;
    const auto write = static_cast<double>(adaptive_write_ns_.exchange(0, std::memory_order_relaxed));
    const auto read = static_cast<double>(adaptive_read_ns_.exchange(0, std::memory_order_relaxed));
    if (write + read < static_cast<double>(kLeastNs)) return;
    double factor = this->factor();
    if (write > kBand * read) factor /= kStep;
    if (read > kBand * write) factor *= kStep;
    factor_.store(std::clamp(factor, 1 / kMost, kMost), std::memory_order_relaxed);
  }

 private:
  std::atomic<std::int64_t> write_ns_{0};
  std::atomic<std::int64_t> read_ns_{0};
  std::atomic<std::int64_t> adaptive_write_ns_{0};  // in the window
  std::atomic<std::int64_t> adaptive_read_ns_{0};
  std::atomic<double> factor_{1.0};
  Millis window_ms_ = 0;
};

}  // namespace carillon
