#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "transports/uni_response_link.hpp"

namespace carillon {

/// The response is an event stream: an event per push, for a browser's EventSource.
class UniSseLink final : public UniResponseLink {
 public:
  static constexpr std::string_view kContentType = "text/event-stream; charset=utf-8";
  /// What the response begins with: EventSource is open at once. No "\r\n", see HttpSession::handle_stream().
  static constexpr std::string_view kBeginning = "\n";

  explicit UniSseLink(std::string session) : UniResponseLink(std::move(session)) {}

  [[nodiscard]] Transport transport() const override { return Transport::uni_sse; }
  [[nodiscard]] const ClientLayouts& layouts() const override;
  void frame(std::string& message) const override;
  /// EventSource comes back after whatever end: each one at another moment.
  [[nodiscard]] bool send_goodbye(CentrifugeClient& client, std::uint16_t code,
                                  std::string_view reason) override;
  [[nodiscard]] ClientState::Link save() const override { return UniSseLinkState{std::string(session())}; }
};

}  // namespace carillon
