#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace carillon {

/// Edits that make one text of the other.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

/// The one of `names` that `name` is probably a misspelling of; empty: none.
[[nodiscard]] std::string_view nearest_name(std::string_view name, std::span<const std::string_view> names);

/// Message about a name that is not one of `names`: "'chanel': unknown <kind>; did you mean 'channel'?".
[[nodiscard]] std::string unknown_name(std::string_view kind, std::string_view name,
                                       std::span<const std::string_view> names);

}  // namespace carillon
