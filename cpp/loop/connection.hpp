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
  Endpoint* endpoint = nullptr;          // the listener's
  Connection* wheel_previous = nullptr;  // neighbours in the timer wheel's slot
  Connection* wheel_next = nullptr;
  Millis scheduled_ms = kNoDeadline;  // when the wheel will look at it
  Millis until_ms =
      0;  // deadline of the current stage: of lingering, else of a drain's request, else of the handshake
  std::int64_t accepted_ns =
      0;  // until a subscription of it is live; 0: one has been, or the process is another
  std::int32_t wheel_slot = -1;
  std::uint32_t index = 0;         // in the list of the loop
  std::uint32_t kernel_bytes = 0;  // held by the kernel until acknowledged, as last measured
  bool is_reading_paused = false;
  bool is_read_queued = false;   // is in the queue of connections to be read
  bool has_unread = false;       // the socket has more to read
  bool has_input_aside = false;  // the session has unread input, because its time was over
  bool has_hangup = false;       // the peer has closed its end; its earlier bytes are read first
  bool has_peer_closed = false;  // and its earlier bytes have been read
  bool is_handshaking = false;   // counts as a handshake, until until_ms at the latest
  bool is_to_be_asked = false;   // to disconnect, by a drain, at until_ms
  bool is_asked = false;         // counts in its endpoint as asked, until it has gone
  bool is_close_wanted = false;
  bool is_cut = false;        // ended without a close handshake
  bool is_lingering = false;  // closing: waits for the peer to close, until until_ms at the latest
  bool is_counted_clogged = false;
  bool is_settling = false;  // is in the list of connections to be settled
  bool is_saved = false;     // saved, for another process to take over
  bool is_gone = false;
};

inline Connection& connection_of(Outlet& outlet) {
  // The outlet is the connection's first member.
  static_assert(offsetof(Connection, outlet) == 0);
  return *reinterpret_cast<Connection*>(&outlet);
}

}  // namespace carillon
