#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace carillon {

/// Milliseconds of a duration as the Centrifuge family writes it: numbers with the units h, m, s and ms,
/// largest unit first ("25s", "1h30m", "1.5s", "0s"). Nothing if the text is not of this form, negative,
/// finer than 1 ms or too long.
[[nodiscard]] std::optional<std::int64_t> parse_duration_ms(std::string_view text);

/// The shortest text with one unit for a duration of at least 0 ms: "720h", "25s", "100ms", "0s".
[[nodiscard]] std::string format_duration(std::int64_t duration_ms);

}  // namespace carillon
