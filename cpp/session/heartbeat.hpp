#pragma once

#include <cstdint>

namespace carillon {

/// Heartbeats, as both sides see them. 0 switches a timer off.
struct Heartbeat {
  std::int64_t ping_interval_ms = 25'000;     ///< WebSocket: `{}` to the client
  std::int64_t pong_timeout_ms = 8'000;       ///< no answer to a ping: closed with 3012
  std::int64_t comment_interval_ms = 15'000;  ///< SSE: a comment when nothing else was written
  std::int64_t sse_retry_ms = 2'000;          ///< reconnection delay sent to EventSource
};

}  // namespace carillon
