#pragma once

#include <string>
#include <string_view>

#include "env/limits.hpp"
#include "hub/channel_options.hpp"
#include "store/entry.hpp"

namespace carillon {

/// Is this a name that a channel can have: not empty, within the limit, UTF-8 without control characters?
[[nodiscard]] bool is_channel_name(std::string_view name, const Limits& limits);
/// Message about a name that is not one.
[[nodiscard]] std::string channel_name_error(std::string_view name, const Limits& limits);
/// Why a publication with this idempotency key is refused; empty: it is not.
[[nodiscard]] std::string idempotency_key_error(std::string_view key, const Limits& limits);
/// The same for the epoch of a version, which a channel keeps.
[[nodiscard]] std::string version_epoch_error(std::string_view epoch, const Limits& limits);

/// Why a channel of this format refuses the payload; empty: it does not.
[[nodiscard]] std::string_view format_error(PublicationFormat format, std::string_view data,
                                            ContentType content);

}  // namespace carillon
