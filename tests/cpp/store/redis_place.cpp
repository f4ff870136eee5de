#include "store/redis_place.hpp"

namespace carillon {

const RedisProcess& RedisPlace::server() {
  static const RedisProcess server;
  return server;
}

RedisPlace::RedisPlace() {
  static int places = 0;
  prefix_ = "place" + std::to_string(++places);
  server().cli("flushall");
}

RedisOptions RedisPlace::options() const {
  RedisOptions options;
  options.url = "redis+unix://" + server().unix_socket();
  options.endpoint = server().endpoint();
  options.prefix = prefix_;
  options.uses_own_clock = true;  // the suite's
  return options;
}

RedisClusterProcess& RedisClusterPlace::cluster() {
  static RedisClusterProcess cluster;
  return cluster;
}

RedisClusterPlace::RedisClusterPlace() {
  static int places = 0;
  prefix_ = "place" + std::to_string(++places);
  cluster().forget_all();
}

RedisOptions RedisClusterPlace::options() const {
  RedisOptions options;
  options.url = "redis+cluster://127.0.0.1";
  options.endpoint = cluster().endpoint();
  options.prefix = prefix_;
  options.uses_own_clock = true;
  return options;
}

}  // namespace carillon
