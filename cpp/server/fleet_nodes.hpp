#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "server/fleet.hpp"

namespace carillon {

/// A gateway, as `info` shows it.
struct NodeInfo {
  std::string uid;
  std::string name;
  std::string version;
  std::string address;  ///< `host:port`; of a gateway that listens everywhere the name of its machine
  std::uint64_t clients = 0;
  std::uint64_t users = 0;
  std::uint64_t subscriptions = 0;
  std::uint64_t channels = 0;
  std::uint64_t uptime_s = 0;
  bool is_draining = false;
};

/// The gateways that share the store: each describes itself.
class FleetNodes {
 public:
  /// Describes this gateway, and calls back with it on any thread.
  using Describe = std::function<void(std::function<void(NodeInfo)>)>;
  /// Sets the topic by which others ask.
  FleetNodes(Fleet& fleet, Describe here);

  /// All that answer in time, by address. This one is among them.
  void list(std::function<void(std::vector<NodeInfo>)> done);

 private:
  Fleet& fleet_;
  const Describe here_;
};

}  // namespace carillon
