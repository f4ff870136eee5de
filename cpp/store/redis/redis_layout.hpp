#pragma once

#include <string>

#include "store/redis/redis_options.hpp"
#include "store/redis/redis_reply.hpp"

namespace carillon {

/// Why a Redis whose key of the layout has this value cannot be the store; empty: it can. `reply`: of GET.
[[nodiscard]] std::string redis_layout_trouble(const RedisOptions& options, const RedisReply& reply);

}  // namespace carillon
