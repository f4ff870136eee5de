#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "env/clock.hpp"

namespace carillon {

/// What becomes of a live subscriber that takes too little and falls behind.
enum class SlowConsumer : std::uint8_t {
  wait,       ///< it catches up from the log; what has left the log meanwhile is told as a gap
  skip,       ///< it goes on at the newest offset, and is told the gap
  disconnect  ///< it is sent away in the way that makes it come back and resume
};
inline constexpr std::array<std::string_view, 3> kSlowConsumerNames{"wait", "skip", "disconnect"};

/// Who does the work of a publication's fan-out, and when (design.md section 4).
enum class FanOut : std::uint8_t {
  write,  ///< the publisher's server, at once: into every member's inbox, and to subscribers in the same turn
  read,   ///< whoever reads: inboxes are merged from the logs, subscribers are served by a sweep
  hybrid,   ///< write up to a number of members, read above it
  adaptive  ///< the same, and the number is moved by what writing and reading have cost
};
inline constexpr std::array<std::string_view, 4> kFanOutNames{"write", "read", "hybrid", "adaptive"};
[[nodiscard]] constexpr std::string_view name_of(FanOut strategy) {
  return kFanOutNames[static_cast<std::size_t>(strategy)];
}

/// What holds for a channel. Defaults are those of a hub without a config.
struct ChannelOptions {
  std::size_t history_size = 1'000;  ///< publications that can be read again; 0: none, and no offsets
  Millis history_ttl_ms = 300'000;   ///< age at which a publication leaves the history
  std::size_t history_bytes = 4 * 1024 * 1024;  ///< of the publications kept
  std::size_t live_window_entries = 64;         ///< kept for live cursors even where there is no history
  std::size_t live_window_bytes = 256 * 1024;
  SlowConsumer slow_consumer = SlowConsumer::wait;
  /// A subscriber that is further behind than this when it can take again is a slow one.
  std::size_t slow_consumer_entries = 500;
  FanOut fan_out = FanOut::write;
  /// Members, or subscribers if there are more: above it a hybrid channel is in read mode.
  std::size_t fan_out_threshold = 10'000;
  std::size_t fan_out_hysteresis = 20;  ///< so many percent below it, it is in write mode again
  Millis sweep_interval_ms = 100;       ///< in read mode subscribers are served at the multiples of this
  Millis batch_interval_ms = 0;         ///< in write mode a subscriber gets one write per interval at most
  bool conflate = false;                ///< in a batch only the newest publication of each key is delivered
  bool presence = true;
  bool join_leave = false;
  bool allow_subscribe = false;
  bool allow_publish = false;
  bool allow_presence = false;
  bool allow_history = false;

  [[nodiscard]] bool has_history() const { return history_size > 0 && history_ttl_ms > 0; }
};

}  // namespace carillon
