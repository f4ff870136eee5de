#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace carillon {

struct Connection;

/// What has changed at a watched socket, and what it can do now.
struct SocketEvent {
  Connection* connection = nullptr;
  bool is_readable = false;
  bool is_writable = false;
  bool is_hung_up = false;  ///< the peer has closed its sending side
  bool is_broken = false;   ///< the connection is gone
};

/// What an event loop asks of the operating system, beside its flush. One object per loop, on its thread.
/// Nothing here blocks.
class Sockets {
 public:
  static constexpr std::ptrdiff_t kNothing = -1;  ///< receive(): nothing more is there now
  static constexpr std::ptrdiff_t kBroken = -2;   ///< receive(): the connection is gone

  virtual ~Sockets() = default;
  /// Events from now on, one for each change (edge-triggered), the first one for what the socket can do
  /// already. False: it cannot be watched.
  [[nodiscard]] virtual bool watch(Connection& connection) = 0;
  virtual void unwatch(const Connection& connection) = 0;
  /// Takes events that have come, as many as there are and fit. Returns how many.
  virtual std::size_t take_events(std::span<SocketEvent> events) = 0;
  /// Reads what has come; returns the number of bytes, 0 at the peer's end, or kNothing or kBroken.
  virtual std::ptrdiff_t receive(int descriptor, std::span<char> buffer) = 0;
  /// Tells the peer that nothing more comes.
  virtual void end_sending(int descriptor) = 0;
  virtual void close(int descriptor) = 0;

  /// Is the connection gone because the peer acknowledged nothing for too long?
  [[nodiscard]] virtual bool has_timed_out(int descriptor) = 0;
  /// Is the peer's kernel silent, too? It has not answered the last data (sent again and again, if so), while
  /// that of a client that is merely stopped goes on acknowledging probes of its full window.
  [[nodiscard]] virtual bool is_silent(int descriptor) = 0;
  /// Memory in which the kernel holds what the socket has still to send or to hear acknowledged.
  [[nodiscard]] virtual std::uint32_t kernel_bytes(int descriptor) = 0;
  /// The other end's address as `ip:port`. Empty: it is not known any more.
  [[nodiscard]] virtual std::string peer(int descriptor) = 0;
};

}  // namespace carillon
