#pragma once

#include <cstdint>

#include "env/random.hpp"

namespace carillon {

/// Heartbeats, as both sides see them. 0 switches a timer off.
struct Heartbeat {
  std::int64_t ping_interval_ms = 25'000;     ///< WebSocket: `{}` to the client
  std::int64_t pong_timeout_ms = 8'000;       ///< no answer to a ping: closed with 3012
  std::int64_t comment_interval_ms = 15'000;  ///< SSE: a comment when nothing else was written
  std::int64_t sse_retry_ms = 2'000;          ///< reconnection delay sent to EventSource
};

/// What is sent to one EventSource, with a random part: those that a server sends away at the same time do
/// not come back at the same time.
[[nodiscard]] inline std::uint64_t jittered_retry_ms(const Heartbeat& heartbeat, RandomSource& random) {
  const auto retry = static_cast<std::uint64_t>(heartbeat.sse_retry_ms);
  return retry + random.below(retry + 1);
}

}  // namespace carillon
