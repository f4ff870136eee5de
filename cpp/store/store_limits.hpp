#pragma once

#include <cstddef>

#include "env/clock.hpp"

namespace carillon {

/// What a store keeps at most beside the publications.
struct StoreLimits {
  std::size_t dormant_channels = 1'000'000;          ///< beyond it the oldest is forgotten; in memory only
  Millis channel_lifetime_ms = 720LL * 3600 * 1000;  ///< unused for this time, a channel is forgotten
  std::size_t idempotency_keys = 100'000;            ///< beyond it the oldest is forgotten
  Millis idempotency_window_ms = 300'000;
  std::size_t inbox_entries = 1'000;  ///< beyond it, per user, unread publications are merged from the logs
  std::size_t inbox_bytes_total = 1UL << 30U;  ///< of all inboxes and memberships; MemoryInboxes
};

}  // namespace carillon
