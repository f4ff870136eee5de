#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "env/clock.hpp"
#include "hub/offset_ranges.hpp"
#include "store/position.hpp"

namespace carillon {

/// Where the writing of a channel's inboxes stands. Guarded by the channel's lock. Announcements may come in
/// any order, again, and in a new epoch: offsets are remembered, not a watermark.
struct InboxWalk {
  struct Waiter {
    Offset offset = 0;
    std::function<void(bool)> then;  ///< is it in all inboxes? False: it is not known to be
  };
  std::uint32_t number = 0;                     ///< of the shards the one that writes, counted round
  static constexpr unsigned kTriesAwaited = 4;  ///< publishers wait through as many failures of the store
  static constexpr Millis kRetryMs = 250;       ///< doubled with each failure in a row
  static constexpr unsigned kDoublings = 5;

  Epoch epoch;             ///< of all offsets here
  OffsetRanges announced;  ///< given to the walk, ever
  OffsetRanges waiting;
  OffsetRange under_way;  ///< what the store has begun with no longer grows
  OffsetRange given_up;   ///< is in no inbox: no thread was there to enter it
  bool is_running = false;
  unsigned failures = 0;  ///< of the store, in a row
  Millis retry_ms = 0;    ///< when the store is asked again; 0: nothing has failed
  std::vector<Waiter> waiters;

  [[nodiscard]] bool is_pending(Offset offset) const {
    return is_running && (under_way.contains(offset) || waiting.contains(offset));
  }
};

}  // namespace carillon
