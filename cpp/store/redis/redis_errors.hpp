#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace carillon {

/// What an error reply asks of who has sent the command.
enum class RedisErrorKind : std::uint8_t {
  missing_script,  ///< NOSCRIPT: load the scripts again; it has done nothing
  later,           ///< LOADING, BUSY, TRYAGAIN, CLUSTERDOWN: the same server, after a pause
  not_primary,     ///< READONLY, MASTERDOWN: another server
  no_room,         ///< OOM, MISCONF, NOREPLICAS: reads go on, writes after a pause
  moved,           ///< MOVED, ASK: the slot is on another node
  refused,         ///< NOPERM, NOAUTH, WRONGPASS: the operator has to do something
  other            ///< a mistake, of ours or in the data
};

/// Of the text of an error reply. What is not permitted inside of a script is an `other`: the script has done
/// all that stands before.
[[nodiscard]] RedisErrorKind kind_of_redis_error(std::string_view text);

/// What the ACL of the user lacks, if an error reply says that something is not permitted: "+xadd", "~" (a
/// key) or "&" (a channel); empty: it says something else. Of a command inside of a script the reply has only
/// the line: `script` is its text.
[[nodiscard]] std::string missing_redis_right(std::string_view text, std::string_view script = {});
/// The reply as a sentence for the operator.
[[nodiscard]] std::string explain_redis_error(std::string_view text, std::string_view script = {});

}  // namespace carillon
