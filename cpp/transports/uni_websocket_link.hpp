#pragma once

#include <string>
#include <utility>

#include "protocol/uni_json.hpp"
#include "transports/websocket_link.hpp"

namespace carillon {

/// A unidirectional client over a WebSocket (protocol.md section 17): its first message is the connect
/// request, unless that came with the URL; each push is a text frame.
class UniWebSocketLink final : public WebSocketLink {
 public:
  /// `session`: a secret that names the client.
  UniWebSocketLink(std::size_t message_bytes_max, std::string session)
      : WebSocketLink(message_bytes_max, Encoding::json, false, nullptr), session_(std::move(session)) {}
  /// Continues a saved one; its `unfinished` bytes are still to be read.
  UniWebSocketLink(std::size_t message_bytes_max, const Deflation& deflation,
                   const UniWebSocketLinkState& state)
      : WebSocketLink(message_bytes_max, Encoding::json, deflation, state.socket), session_(state.session) {}

  [[nodiscard]] Transport transport() const override { return Transport::uni_websocket; }
  [[nodiscard]] const CentrifugeCodec& codec() const override { return uni_json_codec(); }
  [[nodiscard]] bool is_unidirectional() const override { return true; }
  [[nodiscard]] const ClientLayouts& layouts() const override;
  void frame(std::string& message) const override;
  /// Beside the empty push there is a ping of the WebSocket: the peer answers that.
  [[nodiscard]] bool send_ping(CentrifugeClient& client) override;
  [[nodiscard]] std::string_view session() const override { return session_; }
  [[nodiscard]] bool send_goodbye(CentrifugeClient& client, std::uint16_t code,
                                  std::string_view reason) override;
  [[nodiscard]] ClientState::Link save() const override {
    return UniWebSocketLinkState{save_socket(), session_};
  }

 private:
  void on_message(CentrifugeClient& client, std::string_view message) const override;

  const std::string session_;
};

}  // namespace carillon
