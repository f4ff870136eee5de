#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "loop/connection_state.hpp"

namespace carillon {

/// A further listener, written down.
struct ListenerState {
  std::string host;
  std::uint16_t port = 0;
};

/// What a gateway hands over. Descriptors go beside it: that of the listening socket, then one per
/// connection, then those of further listeners.
struct GatewayState {
  std::string host;
  std::uint16_t port = 0;
  std::vector<ConnectionState> connections;
  std::vector<ListenerState> further;
};

}  // namespace carillon
