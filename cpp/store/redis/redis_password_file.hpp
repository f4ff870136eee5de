#pragma once

#include <optional>
#include <string>

#include "store/redis/redis_options.hpp"

namespace carillon {

/// The first line of the file. Nothing: it cannot be read, or is empty.
[[nodiscard]] std::optional<std::string> redis_password_in(const std::string& path);

/// The password for a new connection: what the file has now, because passwords are changed while servers run.
/// The last one if that cannot be read, or is no file that can be read twice.
[[nodiscard]] std::string current_password_of(const RedisLogin& login);

}  // namespace carillon
