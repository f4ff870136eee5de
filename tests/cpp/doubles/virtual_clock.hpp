#pragma once

#include <atomic>
#include <cstdint>

#include "env/clock.hpp"

namespace carillon {

/// Time that does not move until a test moves it. Thread-safe.
class VirtualClock final : public Clock {
 public:
  explicit VirtualClock(Millis begin_ms = 1'000) : now_ms_(begin_ms) {}
  [[nodiscard]] Millis now_ms() const override { return now_ms_.load(std::memory_order_relaxed); }
  [[nodiscard]] Millis wall_ms() const override { return 1'700'000'000'000 + now_ms(); }
  void advance(Millis by_ms) { now_ms_.fetch_add(by_ms, std::memory_order_relaxed); }
  /// Moves on to `ms`, unless that is in the past.
  void advance_to(Millis ms) {
    if (ms > now_ms()) now_ms_.store(ms, std::memory_order_relaxed);
  }

 private:
  std::atomic<Millis> now_ms_;
};

}  // namespace carillon
