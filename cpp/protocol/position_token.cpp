#include "protocol/position_token.hpp"

#include <algorithm>
#include <optional>

#include "protocol/json_span.hpp"

namespace carillon {
namespace {

constexpr std::string_view kOldest = "oldest";

bool is_epoch_char(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == '.';
}

bool parse_part(std::string_view text, TokenPart& part) {
  part = {};
  if (text.empty() || text == "-") return true;
  if (text == kOldest) {
    part.is_oldest = true;
    return true;
  }
  const std::size_t colon = text.find(':');
  if (colon == 0 || colon == std::string_view::npos || colon > kTokenEpochBytesMax) return false;
  part.epoch = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  const std::optional<std::uint64_t> offset = json_uint64(digits);
  if (!offset || (digits.size() > 1 && digits.front() == '0')) return false;
  part.offset = *offset;
  return std::all_of(part.epoch.begin(), part.epoch.end(), is_epoch_char);
}

}  // namespace

bool parse_position_token(std::string_view token, std::vector<TokenPart>& parts) {
  parts.clear();
  for (;;) {
    const std::size_t comma = token.find(',');
    if (!parse_part(token.substr(0, comma), parts.emplace_back())) {
      parts.clear();
      return false;
    }
    if (comma == std::string_view::npos) return true;
    token.remove_prefix(comma + 1);
  }
}

void append_position_token(std::string& out, const TokenPart& part, bool is_first) {
  if (!is_first) out.push_back(',');
  if (part.is_oldest) {
    out.append(kOldest);
    return;
  }
  if (!part.has_position()) {
    out.push_back('-');
    return;
  }
  out.append(part.epoch);
  out.push_back(':');
  append_uint(out, part.offset);
}

void append_position_token(std::string& out, const std::vector<TokenPart>& parts) {
  for (std::size_t i = 0; i < parts.size(); ++i) append_position_token(out, parts[i], i == 0);
}

}  // namespace carillon
