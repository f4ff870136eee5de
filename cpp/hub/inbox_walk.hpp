#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "env/clock.hpp"
#include "hub/offset_ranges.hpp"
#include "store/position.hpp"

namespace carillon {

/// The progress of writing a channel's inboxes. Guarded by the channel's lock. Announcements may come in any
/// order, repeatedly, and in a new epoch, so it keeps offsets rather than a watermark.
struct InboxWalk {
  struct Waiter {
    Offset offset = 0;
    std::function<void(bool)> then;  ///< true: it is in all inboxes; false: that is not known
  };
  std::uint32_t number = 0;                     ///< selects the shard that writes, in turn
  static constexpr unsigned kTriesAwaited = 4;  ///< failures of the store after which publishers are answered
  static constexpr Millis kRetryMs = 250;       ///< doubled with each failure in a row
  static constexpr unsigned kDoublings = 5;

  Epoch epoch;             ///< of all offsets here
  OffsetRanges announced;  ///< given to the walk since the start
  OffsetRanges waiting;
  OffsetRange under_way;  ///< begun by the store, so it no longer grows
  OffsetRange given_up;   ///< in no inbox, because no thread was left to enter it
  bool is_running = false;
  unsigned failures = 0;  ///< of the store, in a row
  Millis retry_ms = 0;    ///< time of the next attempt; 0: nothing has failed
  std::vector<Waiter> waiters;

  [[nodiscard]] bool is_pending(Offset offset) const {
    return is_running && (under_way.contains(offset) || waiting.contains(offset));
  }
};

}  // namespace carillon
