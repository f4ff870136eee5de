#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace carillon {

// Base64 (RFC 4648 section 4), as binary payloads travel in JSON.

/// Appends the text for `bytes`, with padding.
void append_base64(std::string& out, std::string_view bytes);

/// The bytes of `text`: padding required, no whitespace, unused bits zero.
std::optional<std::string> from_base64(std::string_view text);

/// The same for the alphabet that is safe in URLs, without padding (RFC 4648 section 5), as in JWTs.
std::optional<std::string> from_base64url(std::string_view text);

/// from_base64(), appended to `out`; on false `out` is unchanged.
bool append_from_base64(std::string& out, std::string_view text);

}  // namespace carillon
