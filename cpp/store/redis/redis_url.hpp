#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "store/redis/redis_options.hpp"

namespace carillon {

/// The address of a store as it is compared: schemes are the same in capital letters.
[[nodiscard]] std::string with_lower_scheme(std::string_view url);

/// Does its scheme name Redis? Also where the rest of it is wrong.
[[nodiscard]] bool is_redis_url(std::string_view url);

/// Reads one of
///   redis://[user[:password]@]host[:port][/database]          (rediss://: TLS)
///   redis+unix://[user[:password]@]/path[?db=database]
///   redis+sentinel://[user[:password]@]host[:port][,host[:port]…]/primary[/database]   (rediss+sentinel://)
///   redis+cluster://[user[:password]@]host[:port][,host[:port]…]      (rediss+cluster://)
/// The login is that of Redis, never of the Sentinels. Nothing: see `problem`, which shows nothing of the
/// URL.
[[nodiscard]] std::optional<RedisEndpoint> parse_redis_url(std::string_view url, std::string& problem);

/// The URL as people may see it: "***" in the place of a password, also where the rest of it is wrong.
[[nodiscard]] std::string without_password(std::string_view url);

}  // namespace carillon
