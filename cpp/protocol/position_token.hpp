#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carillon {

// The text of the positions of a plain request, its token: `<epoch>:<offset>` for each channel, in
// the order of the request's channels, joined by ','. It stands in `since`, `Last-Event-ID` and the `id:` of
// events.
//
// A part that is empty or "-" has no position for that channel, so that a client with several channels can
// have a position on only some of them. The writer always uses "-": an empty `id:` line would make an
// EventSource forget its position. The part "oldest" is the start of the log.

/// One channel's position; an empty epoch means that it has none. The view points into the parsed text.
struct TokenPart {
  std::string_view epoch = {};
  std::uint64_t offset = 0;
  bool is_oldest = false;

  bool has_position() const { return !epoch.empty(); }
  bool operator==(const TokenPart&) const = default;
};

/// Longest epoch that is read.
inline constexpr std::size_t kTokenEpochBytesMax = 64;

/// Replaces `parts` by those of `token`; an empty token is one empty part. False (and `parts` empty) on
/// anything malformed: an epoch that is empty beside an offset, longer than the limit or with a character
/// outside A-Z a-z 0-9 - _ . ; an offset that is not a plain decimal of 64 bits without leading zeros; a
/// missing colon.
bool parse_position_token(std::string_view token, std::vector<TokenPart>& parts);

/// Appends one part, preceded by ',' unless `is_first`.
void append_position_token(std::string& out, const TokenPart& part, bool is_first);

/// Appends a whole token.
void append_position_token(std::string& out, const std::vector<TokenPart>& parts);

}  // namespace carillon
