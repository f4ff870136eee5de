#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "env/clock.hpp"
#include "session/outgoing.hpp"
#include "session/session.hpp"

namespace carillon {

struct Endpoint;

/// One socket and what belongs to it. Lives on one shard.
struct Connection {
  Outlet outlet;
  std::unique_ptr<Session> session;
  Endpoint* endpoint = nullptr;          // where it came in
  Connection* wheel_previous = nullptr;  // neighbours in the timer wheel's slot
  Connection* wheel_next = nullptr;
  std::int32_t wheel_slot = -1;
  std::uint32_t index = 0;            // in the shard's list
  std::uint32_t kernel_bytes = 0;     // that the kernel holds for it unacknowledged, as last measured
  Millis scheduled_ms = kNoDeadline;  // when the wheel will look at it
  Millis until_ms = 0;                // of the first of these three that holds: lingering, leaving, handshake
  bool is_reading_paused = false;
  bool is_read_queued = false;   // stands among those to be read
  bool has_unread = false;       // the socket has more to read
  bool has_input_aside = false;  // the session has: its time was over
  bool has_hangup = false;       // the peer has closed its end: what it sent before is read first
  bool has_peer_closed = false;  // and has been read
  bool is_handshaking = false;   // counts among the handshakes, at the longest until then
  bool is_leaving = false;       // will be asked to go then
  bool is_asked = false;         // and is waited for
  bool is_close_wanted = false;
  bool is_cut = false;        // ended without a word
  bool is_lingering = false;  // closing: waits for the peer's end, at the longest until then
  bool is_counted_clogged = false;
  bool is_settling = false;  // stands in the list of those to be settled
  bool is_saved = false;     // written down, for another process to take it
  bool is_gone = false;
};

inline Connection& connection_of(Outlet& outlet) {
  // The outlet is the connection's first member.
  static_assert(offsetof(Connection, outlet) == 0);
  return *reinterpret_cast<Connection*>(&outlet);
}

}  // namespace carillon
