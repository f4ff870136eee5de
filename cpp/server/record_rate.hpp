#pragma once

#include <cstdint>
#include <limits>
#include <utility>

#include "env/clock.hpp"

namespace carillon {

/// Limits the records of one event: at most a number of them in each second. Not thread-safe.
class RecordRate {
 public:
  static constexpr Millis kWindowMs = 1'000;
  static constexpr Millis kReportMs = 10'000;  ///< least time between two reports of suppressed records

  /// May a record be written now? `per_s` 0: always.
  [[nodiscard]] bool takes(Millis now_ms, std::int64_t per_s) {
    if (now_ms >= window_end_ms_) {
      window_end_ms_ = now_ms + kWindowMs;
      written_ = 0;
    }
    if (per_s == 0 || written_ < per_s) {
      ++written_;
      return true;
    }
    ++suppressed_;
    return false;
  }
  /// Number of records to report as suppressed now, since the last report; 0: none. `is_last`: now or never.
  [[nodiscard]] std::uint64_t take_suppressed(Millis now_ms, bool is_last) {
    if (suppressed_ == 0 || (now_ms < report_ms_ && !is_last)) return 0;
    report_ms_ = now_ms + kReportMs;
    return std::exchange(suppressed_, 0);
  }

 private:
  Millis window_end_ms_ = std::numeric_limits<Millis>::min();
  Millis report_ms_ = std::numeric_limits<Millis>::min();
  std::int64_t written_ = 0;
  std::uint64_t suppressed_ = 0;
};

}  // namespace carillon
