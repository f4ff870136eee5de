#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace carillon {

/// The scripts that run in Redis. Each is atomic. KEYS[1] is the channel's hash and KEYS[2] its stream;
/// ARGV[1] is the identity of the primary that the caller believes in, ARGV[2] the time (empty: Redis' own),
/// behind a letter in a cluster (s: announce at this node, a: at all of them), ARGV[3] an epoch in case that
/// a new one is needed. A script that finds another identity in the hash does nothing, and answers `adopt`.
/// The scripts behind `standing` neither need nor check an identity, and have keys of their own.
enum class RedisScript : std::uint8_t {
  adopt,           ///< makes the channel one of the primary that runs it
  append,          ///< a group of entries
  top,             ///< makes the channel if it is not known
  tops,            ///< of several channels, as far as nothing has to be written for that
  read,            ///< a page of the stream
  remove_history,  ///< empties the stream
  change_members,  ///< adds or removes some, in the channel's keys
  walk,            ///< the next members to be entered
  walk_step,       ///< they have been entered
  standing,        ///< epoch and top, of a channel that need not exist
  members,         ///< a page of them
  settle_members,  ///< the users' keys have the changes
  user_change,     ///< the same change in a user's keys
  user_enter,      ///< publications into a user's inbox
  user_inbox,      ///< memberships and inbox
  user_mark_read,
  presence_change,  ///< entries of one gateway in a channel
  presence_counts,
  presence_clear,  ///< removes entries of a dead gateway, in steps
  gateway_beat,    ///< a sign of life, and all gateways
  gateway_clear,   ///< what is left of a dead gateway, for one who clears it up
  order,           ///< to all gateways: published and kept
  orders_since,    ///< a page of those that are kept
  count            ///< not a script
};
inline constexpr std::size_t kRedisScripts = static_cast<std::size_t>(RedisScript::count);

[[nodiscard]] std::string redis_script_text(RedisScript script);
[[nodiscard]] std::string_view redis_script_name(RedisScript script);

}  // namespace carillon
