#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "env/clock.hpp"
#include "session/session_state.hpp"

namespace carillon {

/// A connection, written down, but for its descriptor.
struct ConnectionState {
  SessionState session;
  std::string rest;  ///< of what is to leave
  bool is_clogged = false;
  bool wants_empty_notice = false;
  bool is_reading_paused = false;
  bool has_peer_closed = false;
  bool is_close_wanted = false;
  bool is_lingering = false;
  Millis stalled_ms = 0;      ///< clogged: since the kernel last took something
  Millis linger_left_ms = 0;  ///< lingering
  std::size_t listener = 0;   ///< 0: that of the configuration; then the further ones
};

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
