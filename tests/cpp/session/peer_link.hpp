#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {

/// Transport and encoding of a peer.
enum class Wire : std::uint8_t {
  websocket,
  websocket_protobuf,
  http_stream,
  http_stream_protobuf,
  emulated_sse,
  uni_websocket,
  uni_sse,
  uni_http_stream
};
inline constexpr std::size_t kWires = 8;

[[nodiscard]] constexpr bool is_unidirectional(Wire wire) { return wire >= Wire::uni_websocket; }
[[nodiscard]] constexpr bool has_protobuf(Wire wire) {
  return wire == Wire::websocket_protobuf || wire == Wire::http_stream_protobuf;
}

/// When the server gets a message.
enum class Pace : std::uint8_t {
  at_once,    ///< it reads it before its next turn
  next_turn,  ///< in its next turn
  in_parts    ///< a part of it then, and the rest once send_rest() is called or something else is said
};

/// The far end of a Centrifuge client, over any transport and in any encoding: commands and replies as JSON
/// objects. Pushes of unidirectional clients come as `{"push":…}` as well.
class PeerLink final : public WsClient {
 public:
  PeerLink(World& its_world, Wire its_wire, std::size_t loop);

  /// Asks to connect; `behind`: commands in the same message.
  void open(const Json& connect, const std::vector<Json>& behind);
  /// One message with these commands.
  void say(const std::vector<Json>& commands, Pace pace);
  /// Sends what is still to be sent; not from within a turn, as all that sends.
  void send_rest();
  /// The answer to a ping, as far as the transport has one.
  void answer_ping();
  void on_bytes(std::string_view bytes) override;
  void hang_up();

  [[nodiscard]] bool is_websocket() const {
    return wire == Wire::websocket || wire == Wire::websocket_protobuf || wire == Wire::uni_websocket;
  }
  /// What the server has said at the end: the code of the close frame, or of the disconnect push.
  [[nodiscard]] std::optional<int> goodbye() const {
    if (!is_websocket()) return told_code_;
    return close_code ? std::optional<int>(*close_code) : std::nullopt;
  }
  [[nodiscard]] bool is_over() const { return !is_open() || is_ended || goodbye().has_value(); }

  const Wire wire;
  std::function<void(const Json&)> on_message;  ///< replies and pushes
  std::size_t pings_seen = 0;
  std::vector<std::string> faults;  ///< of the transport

 private:
  [[nodiscard]] std::string encoded(const std::vector<Json>& commands) const;
  void send_message(const std::string& message, Pace pace);
  void put(Client& client, std::string bytes, Pace pace);
  void post_request(const std::string& message, Pace pace);
  void take_stream();
  void take(const Json& message);

  std::string session_;
  std::string node_;
  std::vector<std::string> early_;        // messages, until the connect reply says how to send them
  std::string held_;                      // the rest of a message
  std::unique_ptr<HttpClient> requests_;  // by which commands go to /emulation
  std::size_t requests_answered_ = 0;
  bool is_begun_ = false;
  std::string pending_;
  std::optional<int> told_code_;
};

}  // namespace carillon::testing
