#include "protocol/utf8.hpp"

#include <array>
#include <cstddef>
#include <cstring>

namespace carillon {
namespace {

using State = Utf8Validator::State;
using Transitions = std::array<std::array<State, 256>, 9>;

// The grammar of RFC 3629 section 4 as a table; what it does not name is invalid, and stays so.
constexpr Transitions make_transitions() {
  Transitions table{};
  for (auto& row : table) row.fill(State::invalid);
  const auto allow = [&table](State from, std::size_t first, std::size_t last, State to) {
    for (std::size_t byte = first; byte <= last; ++byte) table[static_cast<std::size_t>(from)][byte] = to;
  };
  allow(State::complete, 0x00, 0x7F, State::complete);
  allow(State::complete, 0xC2, 0xDF, State::one_more);
  allow(State::complete, 0xE1, 0xEF, State::two_more);
  allow(State::complete, 0xF1, 0xF3, State::three_more);
  allow(State::complete, 0xE0, 0xE0, State::after_e0);
  allow(State::complete, 0xED, 0xED, State::after_ed);
  allow(State::complete, 0xF0, 0xF0, State::after_f0);
  allow(State::complete, 0xF4, 0xF4, State::after_f4);
  allow(State::after_e0, 0xA0, 0xBF, State::one_more);
  allow(State::after_ed, 0x80, 0x9F, State::one_more);
  allow(State::after_f0, 0x90, 0xBF, State::two_more);
  allow(State::after_f4, 0x80, 0x8F, State::two_more);
  allow(State::three_more, 0x80, 0xBF, State::two_more);
  allow(State::two_more, 0x80, 0xBF, State::one_more);
  allow(State::one_more, 0x80, 0xBF, State::complete);
  return table;
}

constexpr Transitions kTransitions = make_transitions();

State advance(State state, const char* at, std::size_t bytes) {
  for (const char* const end = at + bytes; at != end; ++at) {
    state = kTransitions[static_cast<std::size_t>(state)][static_cast<std::uint8_t>(*at)];
  }
  return state;
}

}  // namespace

bool Utf8Validator::consume(std::string_view piece) {
  constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
  constexpr std::uint64_t kHighBits = 0x8080808080808080;
  const char* at = piece.data();
  State state = state_;
  for (std::size_t words = piece.size() / kWordBytes; words > 0; --words, at += kWordBytes) {
    std::uint64_t word;
    std::memcpy(&word, at, kWordBytes);
    const bool is_ascii = (word & kHighBits) == 0;
    if (!is_ascii || state != State::complete) state = advance(state, at, kWordBytes);
  }
  state_ = advance(state, at, piece.size() % kWordBytes);
  return state_ != State::invalid;
}

std::size_t utf8_character_bytes(std::string_view text) {
  State state = State::complete;
  for (std::size_t bytes = 1; bytes <= text.size() && state != State::invalid; ++bytes) {
    state = advance(state, &text[bytes - 1], 1);
    if (state == State::complete) return bytes;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  Utf8Validator validator;
  return validator.consume(text) && validator.is_complete();
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kBytesMax = 64;
  std::string out = "'";
  while (!text.empty()) {
    const std::size_t character = utf8_character_bytes(text);
    const bool is_character = character > 0;
    const std::size_t bytes = is_character ? character : 1;
    if (out.size() - 1 + bytes > kBytesMax) {
      out += "…";
      break;
    }
    const auto first = static_cast<std::uint8_t>(text.front());
    const bool is_shown = is_character && first >= 0x20 && first != 0x7F;
    out += is_shown ? text.substr(0, bytes) : "?";
    text.remove_prefix(bytes);
  }
  return out + "'";
}

}  // namespace carillon
