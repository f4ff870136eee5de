#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/redis/redis_options.hpp"
#include "store/redis_process.hpp"

namespace carillon {

/// A Redis Cluster of a test: primaries that share the slots evenly.
class RedisClusterProcess {
 public:
  /// Waits until every node knows all; throws std::runtime_error when that takes too long.
  explicit RedisClusterProcess(std::size_t primaries = 3);

  /// With addresses of the first two.
  [[nodiscard]] RedisEndpoint endpoint() const;
  [[nodiscard]] RedisProcess& node(std::size_t index) { return *nodes_.at(index); }
  [[nodiscard]] const RedisProcess& node(std::size_t index) const { return *nodes_.at(index); }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  /// The primary that has a slot at first.
  [[nodiscard]] std::size_t home_of(std::uint16_t slot) const;
  /// A name with this beginning whose channel is at home there.
  [[nodiscard]] std::string channel_at(std::size_t index, const std::string& prefix,
                                       const std::string& begin) const;

  /// The steps of a move, as `redis-cli --cluster reshard` does them.
  void begin_move(std::uint16_t slot, std::size_t from, std::size_t to);
  void move_keys(std::uint16_t slot, std::size_t from, std::size_t to);
  void end_move(std::uint16_t slot, std::size_t from, std::size_t to);
  void move(std::uint16_t slot, std::size_t from, std::size_t to) {
    begin_move(slot, from, to);
    move_keys(slot, from, to);
    end_move(slot, from, to);
  }
  /// Its number. It has what `primary` has, and takes over when that dies.
  std::size_t add_replica(std::size_t primary);
  void forget_all();

 private:
  void start_node();
  void join();
  void wait_for(const char* what, bool (*is_so)(const RedisClusterProcess&)) const;
  [[nodiscard]] std::string id_of(std::size_t index) const;

  std::size_t primaries_ = 0;
  std::vector<std::unique_ptr<RedisProcess>> nodes_;
  std::vector<std::uint16_t> bus_ports_;
};

}  // namespace carillon
