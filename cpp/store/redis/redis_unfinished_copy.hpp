#pragma once

#include <string>

#include "store/redis/redis_options.hpp"

namespace carillon {

/// The command of a shell that removes all keys with the prefix. It has no password.
[[nodiscard]] std::string redis_removal_command(const RedisOptions& options);

/// What to do where RedisKeys::copying() is there.
[[nodiscard]] std::string redis_unfinished_copy(const RedisOptions& options);

}  // namespace carillon
