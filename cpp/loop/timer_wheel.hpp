#pragma once

#include <array>
#include <vector>

#include "loop/connection.hpp"

namespace carillon {

/// Deadlines of a shard's connections, rounded up to ticks: a slot is a list linked through the connections,
/// so that a timer costs no allocation. A deadline beyond the horizon is checked again when its slot
/// comes round.
class TimerWheel {
 public:
  static constexpr Millis kTickMs = 50;
  static constexpr std::size_t kSlots = 1'024;

  explicit TimerWheel(Millis now_ms, Millis tick_ms = kTickMs)
      : tick_ms_(tick_ms), last_tick_(now_ms / tick_ms) {}

  [[nodiscard]] Millis tick_ms() const { return tick_ms_; }

  /// Schedules the connection for `deadline_ms`, unless it is already scheduled earlier.
  void schedule(Connection& connection, Millis deadline_ms);
  void remove(Connection& connection);
  /// Unlinks and returns every connection whose tick has come; the caller checks deadlines and schedules
  /// again.
  void advance(Millis now_ms, std::vector<Connection*>& due);

 private:
  const Millis tick_ms_;
  std::array<Connection*, kSlots> slots_{};
  Millis last_tick_;
};

}  // namespace carillon
