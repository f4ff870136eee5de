#pragma once

#include <algorithm>
#include <string_view>

namespace carillon {

/// A line of an HTTP head.
struct HttpField {
  std::string_view name;  ///< as written
  std::string_view value;
  bool operator==(const HttpField&) const = default;
};

[[nodiscard]] constexpr char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
/// Are they the same, in upper or lower case (RFC 9110 section 5.1)?
[[nodiscard]] inline bool is_same_name(std::string_view one, std::string_view other) {
  return one.size() == other.size() && std::equal(one.begin(), one.end(), other.begin(), [](char a, char b) {
           return a == b || ascii_lower(a) == ascii_lower(b);
         });
}

}  // namespace carillon
