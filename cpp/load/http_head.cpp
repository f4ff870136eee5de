#include "load/http_head.hpp"

#include <charconv>

namespace carillon::load {

namespace {

bool is_same_name(std::string_view one, std::string_view lower) {
  if (one.size() != lower.size()) return false;
  for (std::size_t i = 0; i < one.size(); ++i) {
    const char c = one[i] >= 'A' && one[i] <= 'Z' ? static_cast<char>(one[i] + ('a' - 'A')) : one[i];
    if (c != lower[i]) return false;
  }
  return true;
}

}  // namespace

std::string_view HttpHead::value(std::string_view name) const {
  std::string_view rest = lines;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find("\r\n"));
    rest.remove_prefix(line.size() + 2);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_same_name(line.substr(0, colon), name)) continue;
    const std::size_t start = line.find_first_not_of(' ', colon + 1);
    return start == std::string_view::npos ? std::string_view() : line.substr(start);
  }
  return {};
}

std::optional<HttpHead> read_http_head(std::string_view text) {
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) return std::nullopt;
  HttpHead head;
  head.bytes = end + 4;
  const std::size_t first_line = text.find("\r\n") + 2;
  head.lines = text.substr(first_line, end + 2 - first_line);
  if (first_line > 12) std::from_chars(text.data() + 9, text.data() + 12, head.status);
  const std::string_view length = head.value("content-length");
  std::from_chars(length.data(), length.data() + length.size(), head.content_length);
  return head;
}

}  // namespace carillon::load
