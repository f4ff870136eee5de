#pragma once

#include <optional>
#include <string_view>

#include "hub/hub.hpp"
#include "protocol/position_token.hpp"

namespace carillon {

// `since` and `last` as requests of any protocol write them. Such a subscription starts with the
// oldest publication that is kept if it cannot start behind its position (Since::takes_what_is_kept).

/// Nothing: the part names no start.
[[nodiscard]] std::optional<Since> since_of(const TokenPart& part);
/// Reads `epoch:offset` or `oldest`; nothing on any other text.
[[nodiscard]] std::optional<Since> parse_since(std::string_view text);
/// Reads the number of `last`; nothing on any other text.
[[nodiscard]] std::optional<Since> parse_last(std::string_view text);

}  // namespace carillon
