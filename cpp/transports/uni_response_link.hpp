#pragma once

#include <string>
#include <utility>

#include "client/centrifuge_client.hpp"
#include "client/client_link.hpp"
#include "protocol/uni_json.hpp"

namespace carillon {

/// A unidirectional client over HTTP (protocol.md section 17): its request holds the connect request, and the
/// pushes are the endless response.
class UniResponseLink : public ClientLink {
 public:
  [[nodiscard]] const CentrifugeCodec& codec() const override { return uni_json_codec(); }
  [[nodiscard]] bool is_unidirectional() const override { return true; }
  /// Nothing that comes behind the request is read: its response does not end.
  void on_bytes(CentrifugeClient& /*client*/, std::span<char> /*bytes*/) override {}
  [[nodiscard]] bool has_pongs() const override { return false; }
  [[nodiscard]] std::string_view session() const override { return session_; }
  [[nodiscard]] bool send_goodbye(CentrifugeClient& client, std::uint16_t code,
                                  std::string_view reason) override {
    std::string message;
    codec().encode_push_disconnect(message, code, reason);
    frame(message);
    client.write(message);
    return false;
  }

 protected:
  /// `session`: a secret that names the client.
  explicit UniResponseLink(std::string session) : session_(std::move(session)) {}

 private:
  const std::string session_;
};

}  // namespace carillon
