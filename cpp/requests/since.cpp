#include "requests/since.hpp"

#include <vector>

#include "protocol/json_span.hpp"

namespace carillon {

std::optional<Since> since_of(const TokenPart& part) {
  if (part.is_oldest) return Since::oldest();
  if (!part.has_position()) return std::nullopt;
  Since since = Since::from(part.epoch, part.offset);
  since.takes_what_is_kept = true;
  return since;
}

std::optional<Since> parse_since(std::string_view text) {
  std::vector<TokenPart> parts;
  if (!parse_position_token(text, parts) || parts.size() != 1) return std::nullopt;
  return since_of(parts.front());
}

std::optional<Since> parse_last(std::string_view text) {
  const std::optional<std::uint64_t> count = json_uint64(text);
  if (!count) return std::nullopt;
  return Since::last(*count);
}

}  // namespace carillon
