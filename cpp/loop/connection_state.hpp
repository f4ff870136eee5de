#pragma once

#include <cstddef>
#include <string>

#include "env/clock.hpp"
#include "session/session_state.hpp"

namespace carillon {

/// The saved state of a connection, without its descriptor.
struct ConnectionState {
  SessionState session;
  std::string unsent;  ///< bytes that the kernel has not taken yet
  bool is_clogged = false;
  bool wants_empty_notice = false;
  bool is_reading_paused = false;
  bool has_peer_closed = false;
  bool is_close_wanted = false;
  bool is_lingering = false;
  Millis stalled_ms = 0;      ///< clogged: since the kernel last took something
  Millis linger_left_ms = 0;  ///< lingering
  std::size_t listener = 0;   ///< 0: the one of the configuration; others follow
};

}  // namespace carillon
