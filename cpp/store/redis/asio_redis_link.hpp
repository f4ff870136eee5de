#pragma once

#include <memory>

#include "env/random.hpp"
#include "store/redis/redis_link.hpp"
#include "store/redis/redis_options.hpp"

namespace boost::asio {
class io_context;  // NOLINT(readability-identifier-naming)
}

namespace carillon {

/// A link on Boost.Redis. It lives on the thread that runs `io`.
[[nodiscard]] std::unique_ptr<RedisLink> make_redis_link(boost::asio::io_context& io,
                                                         const RedisEndpoint& endpoint, RandomSource& random,
                                                         RedisLinkEvents& events);

}  // namespace carillon
