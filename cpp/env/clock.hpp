#pragma once

#include <chrono>
#include <cstdint>

namespace carillon {

/// Milliseconds: of a clock's own zero (monotonic) unless a name says wall.
using Millis = std::int64_t;

/// No time of day beyond this one is accepted, seconds since 1970: thirty thousand years, by which no count
/// of milliseconds overflows.
inline constexpr std::int64_t kFarS = 1'000'000'000'000;

/// The source of time. The hub and the sessions never ask the machine, so that tests and a simulation can set
/// the time. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Monotonic time, ms.
  [[nodiscard]] virtual Millis now_ms() const = 0;
  /// Time of day, ms since 1970-01-01 UTC.
  [[nodiscard]] virtual Millis wall_ms() const = 0;
  /// Monotonic time, ns, to measure durations.
  [[nodiscard]] virtual std::int64_t now_ns() const { return now_ms() * 1'000'000; }
};

/// The machine's clocks.
class SystemClock final : public Clock {
 public:
  [[nodiscard]] Millis now_ms() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  [[nodiscard]] Millis wall_ms() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  [[nodiscard]] std::int64_t now_ns() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

}  // namespace carillon
