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
  Millis until_ms =
      0;  // deadline of the current stage: lingering, else being asked by a drain, else the handshake
  bool is_reading_paused = false;
  bool is_read_queued = false;   // stands among those to be read
  bool has_unread = false;       // the socket has more to read
  bool has_input_aside = false;  // the session has: its time was over
  bool has_hangup = false;       // the peer has closed its end: what it sent before is read first
  bool has_peer_closed = false;  // and has been read
  bool is_handshaking = false;   // counts among the handshakes, until until_ms at the longest
  bool is_to_be_asked = false;   // by a drain, to disconnect, at until_ms
  bool is_asked = false;         // counts in its endpoint as asked, until it is gone
  bool is_close_wanted = false;
  bool is_cut = false;        // ended without a word
  bool is_lingering = false;  // closing: waits for the end of the peer, until until_ms at the longest
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
