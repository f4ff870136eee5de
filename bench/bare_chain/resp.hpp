#pragma once

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

// As much of Redis' protocol as the chain says and hears.
namespace carillon::bench {

inline void append_command(std::string& out, const std::vector<std::string_view>& words) {
  out.append("*").append(std::to_string(words.size())).append("\r\n");
  for (const std::string_view word : words) {
    out.append("$").append(std::to_string(word.size())).append("\r\n").append(word).append("\r\n");
  }
}

/// One reply at the start of `data`: an array of texts and numbers, or a line, as its items. Returns its
/// bytes, 0 while it is incomplete.
inline std::size_t read_reply(std::string_view data, std::vector<std::string_view>& items) {
  items.clear();
  std::size_t at = 0;
  long left = 1;
  while (left > 0) {
    const std::size_t end = data.find("\r\n", at);
    if (end == std::string_view::npos) return 0;
    const std::string_view rest = data.substr(at + 1, end - at - 1);
    long size = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), size);
    const char kind = data[at];
    at = end + 2;
    --left;
    if (kind == '*') {
      left += std::max(size, 0L);
    } else if (kind == '$') {
      const auto bytes = static_cast<std::size_t>(std::max(size, 0L));
      if (data.size() < at + bytes + 2) return 0;
      items.push_back(data.substr(at, bytes));
      at += bytes + 2;
    } else {
      items.push_back(rest);
    }
  }
  return at;
}

}  // namespace carillon::bench
