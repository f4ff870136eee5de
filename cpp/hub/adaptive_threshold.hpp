#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "env/clock.hpp"

namespace carillon {

/// Moves the threshold of adaptive channels until entering inboxes at publish and merging them at read take
/// about the same time: that is where their sum is smallest. Any thread but adapt().
class AdaptiveThreshold {
 public:
  /// Only what adaptive channels cost moves their threshold.
  void count_write(std::int64_t ns, bool is_adaptive) {
    write_ns_.fetch_add(ns, std::memory_order_relaxed);
    if (is_adaptive) adaptive_write_ns_.fetch_add(ns, std::memory_order_relaxed);
  }
  void count_read(std::int64_t ns, bool is_adaptive) {
    read_ns_.fetch_add(ns, std::memory_order_relaxed);
    if (is_adaptive) adaptive_read_ns_.fetch_add(ns, std::memory_order_relaxed);
  }
  /// What a channel's threshold is multiplied with.
  [[nodiscard]] double factor() const { return factor_.load(std::memory_order_relaxed); }
  void restore(double factor) {
    factor_.store(std::clamp(factor, 1 / kMost, kMost), std::memory_order_relaxed);
  }
  /// Of all channels, ever.
  [[nodiscard]] std::int64_t write_ns() const { return write_ns_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t read_ns() const { return read_ns_.load(std::memory_order_relaxed); }

  static constexpr Millis kWindowMs = 5'000;
  static constexpr std::int64_t kLeastNs = 1'000'000;  // less than that in a window is no reason to move
  static constexpr double kStep = 1.5;
  static constexpr double kBand = 2.0;  // within it both are about the same
  static constexpr double kMost = 64.0;

  /// From time to time, from one thread: moves a step once per window.
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
