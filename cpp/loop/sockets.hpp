#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace carillon {

struct Connection;

/// An event of a watched socket.
struct SocketEvent {
  Connection* connection = nullptr;
  bool is_readable = false;
  bool is_writable = false;
  bool is_hung_up = false;  ///< the peer has closed its sending side
  bool is_broken = false;   ///< the connection is gone
};

/// The operating system as an event loop sees it, beside its flush. One object per loop, on its thread.
/// Nothing here blocks.
class Sockets {
 public:
  static constexpr std::ptrdiff_t kNothing = -1;  ///< receive(): there is no more input now
  static constexpr std::ptrdiff_t kBroken = -2;   ///< receive(): the connection is gone

  virtual ~Sockets() = default;
  /// Starts events for the socket, one for each change (edge-triggered), the first for its present state.
  /// False: it cannot be watched.
  [[nodiscard]] virtual bool watch(Connection& connection) = 0;
  virtual void unwatch(const Connection& connection) = 0;
  /// Takes pending events, as many as fit. Returns their number.
  virtual std::size_t take_events(std::span<SocketEvent> events) = 0;
  /// Reads input. Returns the number of bytes, 0 if the peer has closed, kNothing or kBroken.
  virtual std::ptrdiff_t receive(int descriptor, std::span<char> buffer) = 0;
  /// Closes the sending side: the peer sees the end.
  virtual void end_sending(int descriptor) = 0;
  virtual void close(int descriptor) = 0;

  /// Is the connection gone because the peer acknowledged nothing for too long?
  [[nodiscard]] virtual bool has_timed_out(int descriptor) = 0;
  /// Is the peer's kernel silent too? Then the last data are being retransmitted without an answer. The
  /// kernel of a client that is merely stopped still acknowledges probes of its full window.
  [[nodiscard]] virtual bool is_silent(int descriptor) = 0;
  /// Memory that the kernel holds for bytes of the socket that are unsent or not acknowledged.
  [[nodiscard]] virtual std::uint32_t kernel_bytes(int descriptor) = 0;
  /// The peer's address as `ip:port`. Empty: it is no longer known.
  [[nodiscard]] virtual std::string peer(int descriptor) = 0;
};

}  // namespace carillon
