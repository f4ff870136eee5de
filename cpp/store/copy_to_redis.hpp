#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "env/random.hpp"
#include "store/redis/redis_options.hpp"

namespace carillon {

/// What was copied.
struct CopyToRedis {
  std::uint64_t channels = 0;
  std::uint64_t publications = 0;
  std::uint64_t keys = 0;
  std::uint64_t members = 0;
  bool has_new_epochs = false;  ///< the last run of the server may have lost something
};

/// Writes what a server has left in an SQLite file into a Redis, where gateways go on with it: positions of
/// clients, idempotency keys, versions, members and read positions stay valid. While it writes, a key marks
/// the target, on which no gateway starts. `between` is called between two steps, and may throw.
///
/// Throws std::runtime_error with a sentence that says what to do: the file is in use, damaged or another
/// program's; Redis has keys with the prefix already, or refuses something.
CopyToRedis copy_sqlite_to_redis(const std::string& path, const RedisOptions& options, RandomSource& random,
                                 const std::function<void()>& between);

}  // namespace carillon
