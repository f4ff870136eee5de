#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <vector>

#include "process_meter.hpp"

namespace carillon::bench {

struct Settings {
  sockaddr_in server{};
  std::string url, path, channel, api_key;
  std::uint64_t subscribers, in_flight, messages, warmup, payload_bytes;
  double rate_per_s, seconds, timeout_s;
  bool holds, publishes_by_post, sleeps;
};

/// What was delivered, and everything that must be zero.
struct Counts {
  std::uint64_t deliveries = 0, missing = 0, repeated = 0, malformed = 0, changed = 0, refused = 0,
                closed = 0;

  bool is_clean() const { return missing + repeated + malformed + changed + refused + closed == 0; }
};

struct Result {
  double connect_s = 0, window_s = 0, generator_us = 0, server_us = 0, user_share = 0;
  std::uint64_t messages = 0;
  Counts counts;
  std::vector<std::uint64_t> last_subscriber_ns;  // per message: from its publication to the last delivery
  Memory memory_before, memory_after;
};

}  // namespace carillon::bench
