#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/redis/redis_options.hpp"
#include "store/redis/redis_reply.hpp"

namespace carillon {

inline constexpr std::size_t kRedisSlots = 16'384;

/// The slot of a key in a cluster: of the text between its first braces, if there is any.
[[nodiscard]] std::uint16_t redis_slot_of(std::string_view key);

/// Slots from `first` to `last`, and the primary that has them.
struct RedisSlotRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  RedisAddress primary;
};
/// Of the answer to CLUSTER SLOTS. A node that does not know its own host is at `host`, where it was asked.
[[nodiscard]] std::vector<RedisSlotRange> slot_ranges_of(const RedisReply& reply, const std::string& host);

/// Where a slot is (MOVED), or is about to go (ASK).
struct RedisRedirection {
  bool is_asked = false;
  std::uint16_t slot = 0;
  RedisAddress node;
};
[[nodiscard]] std::optional<RedisRedirection> redirection_of(std::string_view error, const std::string& host);

}  // namespace carillon
