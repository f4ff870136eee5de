#pragma once

#include <string>
#include <utility>

#include "client/client_link.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "session/framing.hpp"

namespace carillon {

/// A Centrifuge client over HTTP (protocol.md section 16): replies leave in the endless response to its first
/// request, http_stream or an event stream, and its commands come by requests to /emulation.
class StreamLink final : public ClientLink {
 public:
  /// `session`: the secret by which the commands find their client.
  StreamLink(Framing framing, Encoding encoding, std::string session)
      : framing_(framing), encoding_(encoding), session_(std::move(session)) {}

  [[nodiscard]] Transport transport() const override {
    return framing_ == Framing::event ? Transport::emulated_sse : Transport::http_stream;
  }
  [[nodiscard]] const CentrifugeCodec& codec() const override { return codec_of(encoding_); }
  [[nodiscard]] const ClientLayouts& layouts() const override;
  /// Nothing that comes behind the request is read: its response does not end.
  void on_bytes(CentrifugeClient& /*client*/, std::span<char> /*bytes*/) override {}
  void frame(std::string& message) const override { add_frame(message, framing_, encoding_); }
  [[nodiscard]] std::string_view session() const override { return session_; }
  [[nodiscard]] bool send_goodbye(CentrifugeClient& client, std::uint16_t code,
                                  std::string_view reason) override;
  [[nodiscard]] ClientState::Link save() const override { return StreamLinkState{framing_, session_}; }

 private:
  const Framing framing_;
  const Encoding encoding_;
  const std::string session_;
};

}  // namespace carillon
