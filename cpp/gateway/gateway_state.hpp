#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "loop/connection_state.hpp"

namespace carillon {

/// The saved state of a further listener.
struct ListenerState {
  std::string host;
  std::uint16_t port = 0;
  bool is_internal = false;
};

/// The state that a gateway hands over. The descriptors are sent beside it: the listening socket, then one
/// per connection, then the further listeners.
struct GatewayState {
  std::string host;
  std::uint16_t port = 0;
  std::vector<ConnectionState> connections;
  std::vector<ListenerState> further;
  std::string node;  ///< by which emulated clients name it
};

}  // namespace carillon
