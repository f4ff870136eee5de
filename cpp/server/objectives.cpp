#include "server/objectives.hpp"

#include <charconv>

namespace carillon {

std::optional<double> parse_share(std::string_view text) {
  if (!text.ends_with('%')) return std::nullopt;
  text.remove_suffix(1);
  if (text.ends_with(' ')) text.remove_suffix(1);
  double percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!(percent > 0 && percent < 100)) return std::nullopt;
  return percent / 100;
}

}  // namespace carillon
