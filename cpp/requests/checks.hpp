#pragma once

#include <string>
#include <string_view>

#include "env/limits.hpp"

namespace carillon {

/// Is this a name that a channel can have: not empty, within the limit, UTF-8 without control characters?
[[nodiscard]] bool is_channel_name(std::string_view name, const Limits& limits);
/// Message about a name that is not one.
[[nodiscard]] std::string channel_name_error(std::string_view name, const Limits& limits);
/// Why a publication with this idempotency key is refused; empty: it is not.
[[nodiscard]] std::string idempotency_key_error(std::string_view key, const Limits& limits);

}  // namespace carillon
