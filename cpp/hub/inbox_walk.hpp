#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "env/clock.hpp"
#include "store/position.hpp"

namespace carillon {

/// A channel whose members get what is new written into their inboxes: the store knows how far it has come.
/// Guarded by the channel's lock.
struct InboxWalk {
  struct Waiter {
    Offset offset = 0;
    Millis since_ms = 0;
    std::function<void(bool)> then;  ///< true: it is in all inboxes; false: that is not known
  };
  std::uint32_t number = 0;                ///< selects the shard that writes, in turn
  static constexpr Millis kRetryMs = 250;  ///< doubled with each failure in a row
  static constexpr unsigned kDoublings = 5;

  Epoch epoch;            ///< of all offsets here
  Offset entered_to = 0;  ///< what is above it is not known to be in the inboxes
  bool is_running = false;
  bool has_news = false;     ///< something has been appended since the store was asked last
  bool is_given_up = false;  ///< no thread was left to go on
  unsigned failures = 0;     ///< of the store, in a row
  Millis retry_ms = 0;       ///< time of the next attempt; 0: nothing has failed
  Millis moved_ms = 0;       ///< when it was last seen to come on, whichever gateway walks
  std::string held_at;       ///< the member that the other gateway had come to then
  std::vector<Waiter> waiters;

  [[nodiscard]] bool has_waiter_behind(Offset offset) const {
    return std::any_of(waiters.begin(), waiters.end(),
                       [offset](const Waiter& waiter) { return waiter.offset > offset; });
  }
  /// Takes out those who have waited for so long without a sign that it comes on.
  [[nodiscard]] std::vector<Waiter> take_overdue(Millis now_ms, Millis wait_ms) {
    std::vector<Waiter> overdue;
    if (now_ms - moved_ms < wait_ms) return overdue;
    const auto later = std::partition(waiters.begin(), waiters.end(), [&](const Waiter& waiter) {
      return now_ms - waiter.since_ms >= wait_ms;
    });
    overdue.assign(std::make_move_iterator(waiters.begin()), std::make_move_iterator(later));
    waiters.erase(waiters.begin(), later);
    return overdue;
  }
};

}  // namespace carillon
