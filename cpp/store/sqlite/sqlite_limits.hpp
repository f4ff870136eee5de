#pragma once

#include <atomic>

#include "env/clock.hpp"
#include "store/store_limits.hpp"

namespace carillon {

/// The limits that the writer's thread follows, and a reload changes.
struct SqliteLimits {
  explicit SqliteLimits(const StoreLimits& limits) { set(limits); }
  void set(const StoreLimits& limits) {
    channel_lifetime_ms = limits.channel_lifetime_ms;
    idempotency_keys = limits.idempotency_keys;
    idempotency_window_ms = limits.idempotency_window_ms;
  }
  std::atomic<Millis> channel_lifetime_ms{0};
  std::atomic<std::size_t> idempotency_keys{0};
  std::atomic<Millis> idempotency_window_ms{0};
};

}  // namespace carillon
