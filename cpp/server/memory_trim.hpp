#pragma once

#include <atomic>
#include <cstdint>

#include "env/clock.hpp"

namespace carillon {

/// Memory of this process.
[[nodiscard]] std::uint64_t resident_bytes();

/// Gives memory back to the system. The allocator keeps what was freed, so that an attack, or a busy hour,
/// would stay in the resident size for ever. Part of the upkeep, on one thread. Measuring costs time if much
/// is free, so it is done only while the process is larger than it was, at most once per kIntervalMs, and
/// less often while there is nothing to give back.
class MemoryTrim {
 public:
  static constexpr Millis kIntervalMs = 10'000;
  static constexpr Millis kLongestIntervalMs = 320'000;
  static constexpr std::uint64_t kWorthBytes = 64 * 1024 * 1024;  ///< less is not worth a trim

  void keep_house(Millis now_ms);
  /// Number of times that memory was given back, ever. Any thread.
  [[nodiscard]] std::uint64_t trims() const { return trims_.load(std::memory_order_relaxed); }

 private:
  Millis interval_ms_ = kIntervalMs;
  Millis looked_ms_ = 0;
  std::uint64_t looked_resident_ = 0;
  std::uint64_t least_resident_ = ~std::uint64_t{0};
  std::uint64_t trimmed_resident_ = 0;  // after the last trim
  std::uint64_t given_back_ = 0;        // free, but no longer resident, after the last trim
  std::atomic<std::uint64_t> trims_{0};
};

}  // namespace carillon
