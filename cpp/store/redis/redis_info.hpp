#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace carillon {

/// The value of a line "name:value" of what INFO answers; empty: there is none.
inline std::string_view redis_info_value(std::string_view info, std::string_view name) {
  for (std::size_t begin = 0; begin < info.size();) {
    const std::size_t end = std::min(info.find('\n', begin), info.size());
    std::string_view line = info.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ':')
      return line.substr(name.size() + 1);
    begin = end + 1;
  }
  return {};
}

}  // namespace carillon
