#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string_view>

namespace carillon {

// What gateways write into Redis as text are words and numbers, one behind another.

/// Takes the text up to `end` off the front of `rest`, and `end` as well.
inline std::string_view take_word(std::string_view& rest, char end) {
  const std::size_t size = std::min(rest.find(end), rest.size());
  const std::string_view word = rest.substr(0, size);
  rest.remove_prefix(std::min(size + 1, rest.size()));
  return word;
}

/// The number that the text begins with; 0: none.
inline std::uint64_t number_of(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace carillon
