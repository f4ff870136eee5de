#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace carillon::load {

/// The head of an HTTP answer, as it stands in the buffer.
struct HttpHead {
  int status = 0;
  std::size_t bytes = 0;           ///< with the empty line at its end
  std::size_t content_length = 0;  ///< 0 if it is not told
  std::string_view lines;          ///< of the headers

  /// The value of a header, by its name in lower case; empty if it is not there.
  [[nodiscard]] std::string_view value(std::string_view name) const;
};

/// The head at the start of `text`; nothing while it is incomplete.
std::optional<HttpHead> read_http_head(std::string_view text);

}  // namespace carillon::load
