#pragma once

#include <string>

#include "store/redis/redis_options.hpp"
#include "store/redis_cluster_process.hpp"
#include "store/redis_process.hpp"

namespace carillon {

/// An empty Redis with a prefix of its own. One server serves the whole process of the tests.
class RedisPlace {
 public:
  RedisPlace();

  [[nodiscard]] RedisOptions options() const;
  [[nodiscard]] static const RedisProcess& server();

 private:
  std::string prefix_;
};

/// The same in a cluster.
class RedisClusterPlace {
 public:
  RedisClusterPlace();

  [[nodiscard]] RedisOptions options() const;
  [[nodiscard]] static RedisClusterProcess& cluster();

 private:
  std::string prefix_;
};

}  // namespace carillon
