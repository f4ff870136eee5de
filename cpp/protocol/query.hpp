#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace carillon {

/// Most query parameters of one request.
inline constexpr std::size_t kQueryParametersMax = 256;

/// The target of an HTTP request (RFC 9112 section 3.2), decoded.
struct HttpTarget {
  std::string authority;                                        ///< of the absolute form; else empty
  std::string path;                                             ///< percent-decoded, '+' is itself
  std::vector<std::pair<std::string, std::string>> parameters;  ///< in order, repeated names kept

  /// The first value of that name.
  std::optional<std::string_view> find(std::string_view name) const;
  /// All values of that name, in order; the views point into this object.
  std::vector<std::string_view> find_all(std::string_view name) const;
};

/// Reads `/path?name=value&…`, also behind `http://host`, and `*`; in the query '+' is a space (WHATWG URL,
/// application/x-www-form-urlencoded). A part without '=' is a name with an empty value, an empty part is
/// skipped, a fragment is refused. nullopt: none of these forms, a bad escape, a control character (also
/// escaped), invalid UTF-8, or too many parameters.
std::optional<HttpTarget> parse_http_target(std::string_view target);

}  // namespace carillon
