#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "env/clock.hpp"
#include "store/position.hpp"

namespace carillon {

/// A channel whose members get what is new written into their inboxes: the store knows how far it has come.
/// Guarded by the channel's lock.
struct InboxWalk {
  struct Waiter {
    Offset offset = 0;
    std::function<void(bool)> then;  ///< true: it is in all inboxes; false: that is not known
  };
  std::uint32_t number = 0;                     ///< selects the shard that writes, in turn
  static constexpr unsigned kTriesAwaited = 4;  ///< failures of the store after which publishers are answered
  static constexpr unsigned kHeldAwaited =
      60;                                  ///< answers that another one walks, and is not further; the same
  static constexpr Millis kRetryMs = 250;  ///< doubled with each failure in a row
  static constexpr unsigned kDoublings = 5;

  Epoch epoch;            ///< of all offsets here
  Offset entered_to = 0;  ///< what is above it is not known to be in the inboxes
  bool is_running = false;
  bool has_news = false;     ///< something has been appended since the store was asked last
  bool is_given_up = false;  ///< no thread was left to go on
  unsigned failures = 0;     ///< of the store, in a row
  unsigned held = 0;         ///< answers in a row that another gateway walks and has come no further
  Millis retry_ms = 0;       ///< time of the next attempt; 0: nothing has failed
  std::vector<Waiter> waiters;

  [[nodiscard]] bool has_waiter_behind(Offset offset) const {
    return std::any_of(waiters.begin(), waiters.end(),
                       [offset](const Waiter& waiter) { return waiter.offset > offset; });
  }
};

}  // namespace carillon
