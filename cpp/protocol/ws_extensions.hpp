#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace carillon {

/// Looks in the value of `Sec-WebSocket-Extensions` for an offer of permessage-deflate (RFC 7692) that suits
/// a server which keeps no window between messages, and whose own window has `window_bits`. The answer to the
/// first such offer; nothing: there is none. Offers that are unknown or not valid are passed over.
[[nodiscard]] std::optional<std::string> accept_permessage_deflate(std::string_view offers, int window_bits);

}  // namespace carillon
