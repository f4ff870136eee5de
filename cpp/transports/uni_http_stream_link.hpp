#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "transports/uni_response_link.hpp"

namespace carillon {

/// The response is a line of JSON per push.
class UniHttpStreamLink final : public UniResponseLink {
 public:
  static constexpr std::string_view kContentType = "application/x-ndjson";

  explicit UniHttpStreamLink(std::string session) : UniResponseLink(std::move(session)) {}

  [[nodiscard]] Transport transport() const override { return Transport::uni_http_stream; }
  [[nodiscard]] const ClientLayouts& layouts() const override;
  void frame(std::string& message) const override;
  [[nodiscard]] ClientState::Link save() const override {
    return UniHttpStreamLinkState{std::string(session())};
  }
};

}  // namespace carillon
