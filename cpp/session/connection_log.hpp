#pragma once

#include <cstdint>
#include <string_view>

#include "env/clock.hpp"
#include "session/access.hpp"

namespace carillon {

enum class ConnectionEvent : std::uint8_t { connect, close, refuse };

[[nodiscard]] std::string_view name_of(ConnectionEvent event);

/// A client has come, has gone, or was not let in.
struct ConnectionRecord {
  ConnectionEvent event = ConnectionEvent::connect;
  Transport transport = Transport::websocket;
  std::string_view client;  ///< its id; refuse: it has none
  std::string_view user;    ///< empty: anonymous, or it was refused before it was known
  std::string_view peer;    ///< its address, `ip:port`
  /// Close: the disconnect code, 0 if there was none or it was not sent; refuse: that, or the HTTP status.
  std::uint16_t code = 0;
  std::string_view reason;  ///< close, refuse
  Millis duration_ms = 0;   ///< close
  /// Refuse: who it says it is, which nobody has proved.
  std::string_view claimed_user;
};

/// Hears of every client that comes and goes and of every request that is refused, but of polls only those
/// that fail: there are too many of them. Thread-safe, must not block.
class ConnectionLog {
 public:
  virtual ~ConnectionLog() = default;
  virtual void write(const ConnectionRecord& record) = 0;
};

}  // namespace carillon
