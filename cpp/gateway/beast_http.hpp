#pragma once

#include "session/http_message.hpp"

namespace carillon {

/// HTTP with Beast: its parser reads the requests that are not in the plain form
/// (gateway/request_reader.hpp), its WebSocket handshake answers upgrades. Thread-safe.
class BeastHttp final : public HttpLibrary {
 public:
  [[nodiscard]] std::unique_ptr<HttpReader> make_reader(std::size_t header_bytes_max,
                                                        std::size_t body_bytes_max) const override;
  [[nodiscard]] bool is_websocket_upgrade(const HttpRequest& request) const override;
  [[nodiscard]] Upgrade upgrade(const HttpRequest& request, std::string_view subprotocol,
                                std::string_view extensions) const override;
};

}  // namespace carillon
