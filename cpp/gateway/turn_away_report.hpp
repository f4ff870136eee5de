#pragma once

#include <cstdint>
#include <limits>
#include <utility>

#include "env/clock.hpp"

namespace carillon {

/// When to log that connections are turned away: at once, then every ten seconds while it continues, and at
/// its end.
class TurnAwayReport {
 public:
  static constexpr Millis kIntervalMs = 10'000;
  static constexpr Millis kQuietMs = 1'000;  ///< it has ended if no connection is turned away for this time

  struct News {
    enum class Kind : std::uint8_t { none, turned_away, over };
    Kind kind = Kind::none;
    std::uint64_t count = 0;  ///< turned away since the last record
  };

  /// `turned_away` is a counter that only rises.
  News look(std::uint64_t turned_away, Millis now_ms) {
    if (turned_away != seen_) {
      seen_ = turned_away;
      last_ms_ = now_ms;
    }
    if (seen_ != told_ && now_ms >= next_ms_) {
      const std::uint64_t count = seen_ - told_;
      told_ = seen_;
      next_ms_ = now_ms + kIntervalMs;
      is_going_on_ = true;
      return {News::Kind::turned_away, count};
    }
    if (!is_going_on_ || now_ms - last_ms_ < kQuietMs) return {};
    is_going_on_ = false;
    return {News::Kind::over, seen_ - std::exchange(told_, seen_)};
  }

 private:
  std::uint64_t seen_ = 0;
  std::uint64_t told_ = 0;
  Millis last_ms_ = 0;
  Millis next_ms_ = std::numeric_limits<Millis>::min();
  bool is_going_on_ = false;
};

}  // namespace carillon
