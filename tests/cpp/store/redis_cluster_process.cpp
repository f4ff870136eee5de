#include "store/redis_cluster_process.hpp"

#include <algorithm>
#include <chrono>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_slots.hpp"

namespace carillon {

RedisClusterProcess::RedisClusterProcess(std::size_t primaries) : primaries_(primaries) {
  for (std::size_t i = 0; i < primaries; ++i) {
    start_node();
    const std::size_t first = i * kRedisSlots / primaries;
    const std::size_t last = (i + 1) * kRedisSlots / primaries - 1;
    node(i).cli("cluster set-config-epoch " + std::to_string(i + 1));
    node(i).cli("cluster addslotsrange " + std::to_string(first) + ' ' + std::to_string(last));
  }
  join();
}

void RedisClusterProcess::start_node() {
  bus_ports_.push_back(RedisProcess::free_port());
  nodes_.push_back(std::make_unique<RedisProcess>(RedisProcess::Settings{
      {"--cluster-enabled", "yes", "--cluster-port", std::to_string(bus_ports_.back()),
       "--cluster-node-timeout", "1000", "--appendonly", "no", "--repl-diskless-sync-delay", "0"},
      {}}));
}

void RedisClusterProcess::join() {
  for (std::size_t i = 1; i < size(); ++i)
    node(i).cli("cluster meet 127.0.0.1 " + std::to_string(node(0).port()) + ' ' +
                std::to_string(bus_ports_[0]));
  wait_for("join", [](const RedisClusterProcess& cluster) {
    return std::all_of(cluster.nodes_.begin(), cluster.nodes_.end(), [&cluster](const auto& each) {
      const std::string info = each->cli("cluster info");
      return info.find("cluster_state:ok") != std::string::npos &&
             info.find("cluster_known_nodes:" + std::to_string(cluster.size())) != std::string::npos;
    });
  });
}

void RedisClusterProcess::wait_for(const char* what, bool (*is_so)(const RedisClusterProcess&)) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!is_so(*this)) {
    if (std::chrono::steady_clock::now() > end)
      throw std::runtime_error(std::string("the nodes do not ") + what + ": " + node(0).cli("cluster nodes"));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

RedisEndpoint RedisClusterProcess::endpoint() const {
  RedisEndpoint endpoint = node(0).tcp_endpoint();
  for (std::size_t i = 0; i < std::min<std::size_t>(size(), 2); ++i)
    endpoint.cluster_nodes.push_back({"127.0.0.1", node(i).port()});
  return endpoint;
}

std::size_t RedisClusterProcess::home_of(std::uint16_t slot) const {
  std::size_t index = 0;
  while ((index + 1) * kRedisSlots / primaries_ <= slot) ++index;
  return index;
}

std::string RedisClusterProcess::channel_at(std::size_t index, const std::string& prefix,
                                            const std::string& begin) const {
  const RedisKeys keys(prefix);
  for (int i = 0;; ++i) {
    std::string name = begin + std::to_string(i);
    if (home_of(redis_slot_of(keys.channel(name))) == index) return name;
  }
}

std::string RedisClusterProcess::id_of(std::size_t index) const {
  std::string id = node(index).cli("--raw cluster myid");
  id.erase(id.find_last_not_of("\r\n") + 1);
  return id;
}

void RedisClusterProcess::begin_move(std::uint16_t slot, std::size_t from, std::size_t to) {
  const std::string begin = "cluster setslot " + std::to_string(slot);
  node(to).cli(begin + " importing " + id_of(from));
  node(from).cli(begin + " migrating " + id_of(to));
}

void RedisClusterProcess::move_keys(std::uint16_t slot, std::size_t from, std::size_t to) {
  for (;;) {
    std::istringstream keys(node(from).cli("--raw cluster getkeysinslot " + std::to_string(slot) + " 100"));
    std::string all;
    for (std::string key; std::getline(keys, key);) {
      if (!key.empty()) all += " '" + key + "'";
    }
    if (all.empty()) return;
    node(from).cli("migrate 127.0.0.1 " + std::to_string(node(to).port()) + " '' 0 5000 keys" + all);
  }
}

void RedisClusterProcess::end_move(std::uint16_t slot, std::size_t from, std::size_t to) {
  const std::string words = "cluster setslot " + std::to_string(slot) + " node " + id_of(to);
  node(to).cli(words);
  node(from).cli(words);
  for (std::size_t i = 0; i < primaries_; ++i) {
    if (i != from && i != to) node(i).cli(words);
  }
}

std::size_t RedisClusterProcess::add_replica(std::size_t primary) {
  start_node();
  join();
  node(size() - 1).cli("cluster replicate " + id_of(primary));
  wait_for("follow", [](const RedisClusterProcess& cluster) {
    return cluster.nodes_.back()->cli("info replication").find("master_link_status:up") != std::string::npos;
  });
  return size() - 1;
}

void RedisClusterProcess::forget_all() {
  for (const auto& each : nodes_) each->cli("flushall");
}

}  // namespace carillon
