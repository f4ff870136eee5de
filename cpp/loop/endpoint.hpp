#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace carillon {

/// An address at which a gateway listens, as its connections see it. Lives as long as the gateway.
struct Endpoint {
  std::size_t number = 0;  ///< 0: the one of the configuration
  std::string host = {};
  std::uint16_t port = 0;
  bool is_internal = false;  ///< of operators: /health and /metrics without a key, and nothing else
  std::atomic<bool> is_draining{false};     ///< its clients are asked to disconnect, and new ones are refused
  std::atomic<std::size_t> connections{0};  ///< open now
  std::atomic<std::size_t> asked{0};  ///< open connections that a drain asks, or has asked, to disconnect
};

}  // namespace carillon
