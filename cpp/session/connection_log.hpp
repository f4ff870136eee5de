#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "env/clock.hpp"
#include "session/access.hpp"

namespace carillon {

/// gap: publications were lost for an open subscription, and its client has been told. slow: a client is
/// being closed because a subscription is too far behind. not_recovered: a subscription could not begin at
/// the position that its client gave. Anybody can invent one, so these are limited apart from what was really
/// lost.
enum class ConnectionEvent : std::uint8_t { connect, close, refuse, gap, slow, not_recovered };
inline constexpr std::size_t kConnectionEvents = 6;

[[nodiscard]] std::string_view name_of(ConnectionEvent event);

/// A client was accepted, has gone, or was refused: at connect, or a command of it. Or one of its
/// subscriptions has lost something.
struct ConnectionRecord {
  ConnectionEvent event = ConnectionEvent::connect;
  Transport transport = Transport::websocket;
  std::string_view client;  ///< its id; empty if it was refused before it had one
  std::string_view user;    ///< empty: anonymous, or refused before it was identified
  std::string_view peer;    ///< its address, `ip:port`
  /// Close: the disconnect code, 0 if there was none or it was not sent. Refuse: that, an error code, or the
  /// HTTP status.
  std::uint16_t code = 0;
  std::string_view reason;        ///< close, refuse
  Millis duration_ms = 0;         ///< close
  std::string_view claimed_user;  ///< refuse: the user that it claims to be, unproved
  std::string_view channel;       ///< refuse: the channel that it asked for, if that was refused; gap, slow
  std::string_view request = {};  ///< connect, refuse: id of the HTTP request, if it has one
  std::span<const std::string_view> channels = {};  ///< close: the first kChannelsLogged of its subscriptions
  std::uint64_t subscriptions = 0;                  ///< close: number of them
  std::uint64_t lost_from = 0;                      ///< gap: first offset that was lost; 0: it is not known
  std::uint64_t lost_to = 0;  ///< gap, not_recovered: the subscription goes on behind it
};

/// Number of channels that the record of a close names.
inline constexpr std::size_t kChannelsLogged = 10;

/// Gets a record of every client that connects and disconnects, and of every request or command that is
/// refused. Of polls it gets only those that fail, because there are too many. Thread-safe, must not block.
class ConnectionLog {
 public:
  virtual ~ConnectionLog() = default;
  virtual void write(const ConnectionRecord& record) = 0;
};

}  // namespace carillon
