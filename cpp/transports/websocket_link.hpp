#pragma once

#include <memory>
#include <string>

#include "client/client_link.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "protocol/ws_frame.hpp"
#include "session/deflation.hpp"

namespace carillon {

/// WebSocket frames (RFC 6455), and the closing handshake.
class WebSocketLink : public ClientLink {
 public:
  /// `encoding`: of the messages. `has_own_pings`: `cf_ws_frame_ping_pong=true` asks for WebSocket pings
  /// instead of empty replies. `deflation`: permessage-deflate was negotiated; else null.
  WebSocketLink(std::size_t message_bytes_max, Encoding encoding, bool has_own_pings,
                const Deflation* deflation)
      : parser_(message_bytes_max, deflation != nullptr),
        encoding_(encoding),
        has_own_pings_(has_own_pings),
        deflation_(deflation) {}
  /// Continues a saved one; its `unfinished` bytes are still to be read.
  WebSocketLink(std::size_t message_bytes_max, Encoding encoding, const Deflation& deflation,
                const WebSocketLinkState& state);

  [[nodiscard]] Transport transport() const override { return Transport::websocket; }
  [[nodiscard]] const CentrifugeCodec& codec() const override { return codec_of(encoding_); }
  [[nodiscard]] const ClientLayouts& layouts() const override;
  void on_bytes(CentrifugeClient& client, std::span<char> bytes) override;
  void on_outlet_empty(CentrifugeClient& client) override { send_pong(client); }
  void frame(std::string& message) const override;
  [[nodiscard]] bool send_ping(CentrifugeClient& client) override;
  [[nodiscard]] bool has_own_pings() const override { return has_own_pings_; }
  [[nodiscard]] bool send_goodbye(CentrifugeClient& client, std::uint16_t code,
                                  std::string_view reason) override;
  void answer_goodbye(CentrifugeClient& client, std::uint16_t code) override;
  [[nodiscard]] ClientState::Link save() const override { return save_socket(); }

 protected:
  virtual void on_message(CentrifugeClient& client, std::string_view message) const;
  [[nodiscard]] WebSocketLinkState save_socket() const;

 private:
  void send_pong(CentrifugeClient& client);
  void read_compressed(CentrifugeClient& client, const WsEvent& event);

  [[no_unique_address]] WsParser parser_;  // the next two lie in its padding: there are many links
  const Encoding encoding_;
  const bool has_own_pings_;
  const Deflation* const deflation_;
  std::unique_ptr<std::string> pong_;  // payload of the newest unanswered ping
};

}  // namespace carillon
