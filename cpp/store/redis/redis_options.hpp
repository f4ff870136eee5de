#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "env/clock.hpp"
#include "store/store_limits.hpp"

namespace carillon {

struct RedisAddress {
  std::string host;
  std::uint16_t port = 6379;
  friend bool operator==(const RedisAddress&, const RedisAddress&) = default;
};

struct RedisLogin {
  std::string user;  ///< empty: Redis' default user
  std::string password;
  std::string password_file;  ///< it is read again for each connection; empty: there is none
};

/// Where Redis is, and how to come in (docs/redis.md). Which of the addresses counts is told by the others.
struct RedisEndpoint {
  RedisAddress server;
  std::string unix_socket;                  ///< a path; empty: TCP
  std::vector<RedisAddress> sentinels;      ///< empty: no Sentinel
  std::string sentinel_primary;             ///< the name by which the Sentinels know the primary
  std::vector<RedisAddress> cluster_nodes;  ///< some of them: they tell the others; empty: no cluster
  RedisLogin login;
  RedisLogin sentinel_login;
  int database = 0;
  bool uses_tls = false;
  std::string ca_file;           ///< empty: those of the system
  std::string certificate_file;  ///< of this client; empty: none
  std::string key_file;
  Millis connect_timeout_ms = 2'000;
  Millis command_timeout_ms = 5'000;  ///< without any byte from Redis, a link is given up
  Millis retry_pause_ms = 500;        ///< before a link is made again; with jitter of its half
};

/// What to do with a call while Redis is away.
enum class WhileUnavailable : std::uint8_t {
  wait,  ///< up to RedisOptions::wait_ms
  fail   ///< answer `unavailable` at once
};

/// What may be lost when another server becomes the primary, or the same one restarts.
enum class RedisLoss : std::uint8_t {
  possible,  ///< every channel gets a new epoch
  never      ///< the operator's word: one server that writes each command to its disk, and no failover
};

struct RedisOptions {
  std::string url;  ///< as it is shown: without a password
  RedisEndpoint endpoint;
  std::string prefix = "carillon";  ///< of all keys and channels
  WhileUnavailable while_unavailable = WhileUnavailable::wait;
  RedisLoss loss = RedisLoss::possible;
  Millis wait_ms = 10'000;                  ///< for an answer; then `unavailable` or `outcome_unknown`
  std::size_t waiting_appends = 10'000;     ///< beyond it an append is answered `overloaded`
  std::size_t waiting_bytes = 64UL << 20U;  ///< of appends that wait; the same
  std::size_t waiting_calls = 100'000;      ///< other calls that wait; the same
  Millis heartbeat_ms = 3'000;              ///< between two signs of life of a gateway
  Millis dead_ms = 10'000;                  ///< without one for so long, a gateway is dead and stays it
  Millis walk_lease_ms = 10'000;            ///< after each step of a walk over members it is the walker's own
  Millis orders_ms = 60'000;                ///< so long an order to all gateways is kept
  std::size_t orders = 1'000;               ///< that are kept at most; beyond it the oldest are forgotten
  std::size_t orders_bytes = 8UL << 20U;    ///< a large order leaves room for as many of its size
  std::size_t presence_page_entries = 500;  ///< that are read, or cleared, at once
  std::string version;                      ///< of this gateway, as others see it
  StoreLimits limits;
  bool uses_own_clock = false;  ///< instead of Redis' own: for tests under a clock of theirs
};

}  // namespace carillon
