#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace carillon {

/// Incremental UTF-8 validator (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
/// One byte of state, no allocation. Not thread-safe; distinct objects are independent.
class Utf8Validator {
 public:
  /// Takes the next piece of the text. False if the piece holds a byte that no valid text can have in that
  /// place (so a cut sequence is refused as soon as it is hopeless); from then on the validator stays invalid
  /// until reset().
  bool consume(std::string_view piece);

  /// True where the text may end: everything so far is valid and no sequence is cut.
  bool is_complete() const { return state_ == State::complete; }

  void reset() { state_ = State::complete; }

  /// What may come next (RFC 3629 section 4): any character, so many continuation bytes, or the narrower
  /// range that certain lead bytes leave to the second byte.
  enum class State : std::uint8_t {
    complete,
    one_more,
    two_more,
    three_more,
    after_e0,  // A0..BF: less would be overlong
    after_ed,  // 80..9F: more would be a surrogate
    after_f0,  // 90..BF: less would be overlong
    after_f4,  // 80..8F: more would be above U+10FFFF
    invalid
  };

 private:
  State state_ = State::complete;
};

/// How many bytes the character at the front of `text` has; 0 if there is no valid one.
std::size_t utf8_character_bytes(std::string_view text);

/// True if `text` is valid, complete UTF-8.
bool is_utf8(std::string_view text);

/// A text in quotes, for a message about it, whatever bytes it has: at most 64 of them, cut between two
/// characters, control characters and bytes that are no UTF-8 as '?'.
std::string in_quotes(std::string_view text);

}  // namespace carillon
