#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "store/redis/redis_carrier.hpp"
#include "store/redis/redis_gateways.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_members.hpp"
#include "store/redis/redis_presence.hpp"

namespace carillon {

/// Clears up behind dead gateways: their entries in presences go, their walks and changes of
/// members are ended. One
/// gateway does it, by a lease in Redis, for one dead gateway at a time and in bounded steps; another goes on
/// when the lease has run out.
///
/// All on the machine's thread.
class RedisClearing {
 public:
  static constexpr std::size_t kChannelsAtOnce = 16;
  static constexpr Millis kLeaseMs = 10'000;

  RedisClearing(const RedisKeys& keys, RedisCarrier& machine, RedisGateways& gateways,
                RedisPresence& presence, RedisMembers& members)
      : keys_(keys), machine_(machine), gateways_(gateways), presence_(presence), members_(members) {}

  /// After each sign of life.
  void on_beat();

 private:
  void go_on();
  void clear_channels(const RedisReply& presence, const RedisReply& walks);
  void take_out(char list, const std::string& channel);

  const RedisKeys& keys_;
  RedisCarrier& machine_;
  RedisGateways& gateways_;
  RedisPresence& presence_;
  RedisMembers& members_;
  std::string gateway_;       // empty: none
  std::string last_gateway_;  // the one before, to which others come first
};

}  // namespace carillon
