#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/virtual_time.hpp"

namespace carillon::sim {

/// What can happen in a world, beside what clients and gateways do by themselves.
enum class Happening : std::uint8_t {
  publish,            ///< target: a channel
  client_leaves,      ///< and comes back after `us`
  client_is_cut,      ///< its connection breaks
  client_is_cut_off,  ///< nothing arrives for `us`
  client_is_slow,     ///< it reads nothing for `us`
  client_vanishes,    ///< without a word
  gateway_crashes,    ///< and starts anew after `us`
  gateway_is_replaced,
  gateway_is_taken_over,
  gateway_is_stopped,  ///< for `us`, as by SIGSTOP
  clock_jumps,         ///< time of day of a gateway, by `us` forwards or backwards
  redis_link_is_cut,   ///< of a gateway
  redis_links_are_cut,
  redis_is_cut_off,  ///< from a gateway, for `us`
  redis_is_slow,     ///< it carries nothing out for `us`
  redis_fails_over,  ///< losing `count` changes; the old primary lives for `us`
  redis_restarts,    ///< losing `count` changes
  redis_disk_is_full,
  redis_forgets,  ///< a channel's hash
  // Only where there are members. target: a user and a channel, see user_of().
  member_joins,
  member_leaves,
  inbox_is_read,  ///< of a user, at most `count` items of it, which are then marked as read
  // Only where there is a disk.
  power_is_cut,             ///< of the gateway's machine, which starts anew after `us`
  disk_is_full,             ///< for `us`
  disk_fails,               ///< some writes and syncs, for `us`
  disk_is_slow,             ///< for `us`
  gateway_crashes_at_disk,  ///< after `count` more changes of the disk, and starts anew after `us`
  count                     ///< not a happening
};
inline constexpr std::size_t kHappenings = static_cast<std::size_t>(Happening::count);
[[nodiscard]] std::string_view name_of(Happening happening);

/// One thing that happens. `number` is its place in the plan of its seed, also when others were left out.
struct Act {
  std::size_t number = 0;
  Micros at_us = 0;
  Happening what = Happening::publish;
  std::size_t target = 0;
  Micros us = 0;
  /// Of a publication: 1 if it has an idempotency key, and is tried until it is done; 2 if it is large, too.
  std::size_t count = 0;
};
[[nodiscard]] std::string text_of(const Act& act);

/// A small world, and what happens to it. All of it follows from these values.
struct WorldOptions {
  std::uint64_t seed = 1;
  std::size_t gateways = 3;
  std::size_t clients = 9;  ///< a third each over WebSocket, event streams and polls
  std::size_t channels = 2;
  std::size_t publications = 40;
  std::size_t faults = 10;
  std::size_t members = 0;  ///< users of whom each is a member of some channels, with an inbox; 0: no members
  std::size_t history_size = 1'000;  ///< publications that a channel keeps
  Millis duration_ms = 20'000;       ///< in which the acts happen
  bool has_redis = true;             ///< otherwise one gateway, with its log in memory
  std::string sqlite = {};           ///< one gateway, with an SQLite file of this durability; empty: none
  bool may_lose = true;              ///< Redis may lose what it has acknowledged
  bool keeps_trace = false;
  std::string bug;                ///< name of a planted one (planted_bugs.hpp); empty: none
  std::vector<std::size_t> only;  ///< numbers of the acts that happen; empty: all
};

/// The user whom an act of members concerns, and the channel.
[[nodiscard]] inline std::size_t user_of(const Act& act, const WorldOptions& options) {
  return act.target / options.channels;
}
[[nodiscard]] inline std::size_t channel_of(const Act& act, const WorldOptions& options) {
  return act.target % options.channels;
}

/// The acts of these options, in order of their time; those that are left out by `only` are missing. Faults
/// and publications of a seed have the same numbers whatever else happens.
[[nodiscard]] std::vector<Act> plan_of(const WorldOptions& options);

}  // namespace carillon::sim
