#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace carillon {

/// Number of a stored publication in its channel: 1, 2, 3 …; 0 means "before the first" and "none".
using Offset = std::uint64_t;

/// The name of a channel's log: eight letters. Offsets of different epochs do not compare; without it a
/// client would silently resume at a wrong place after a restart (protocol.md section 6).
class Epoch {
 public:
  static constexpr std::size_t kLetters = 8;

  Epoch() = default;

  /// Makes an epoch from random bits.
  static Epoch from_bits(std::uint64_t bits) {
    static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    Epoch epoch;
    for (char& letter : epoch.letters_) {
      letter = kAlphabet[bits % kAlphabet.size()];
      bits /= kAlphabet.size();
    }
    return epoch;
  }

  /// Nothing if `text` is not an epoch of this package; it then matches none.
  static std::optional<Epoch> parse(std::string_view text) {
    if (text.size() != kLetters) return std::nullopt;
    Epoch epoch;
    for (std::size_t i = 0; i < kLetters; ++i) epoch.letters_[i] = text[i];
    return epoch;
  }

  [[nodiscard]] std::string_view text() const {
    return is_set() ? std::string_view(letters_.data(), kLetters) : "";
  }
  [[nodiscard]] bool is_set() const { return letters_[0] != '\0'; }
  friend bool operator==(const Epoch&, const Epoch&) = default;

 private:
  std::array<char, kLetters> letters_{};
};

/// A position in a channel: everything up to and including `offset` has been seen.
struct Position {
  Epoch epoch;
  Offset offset = 0;
  friend bool operator==(const Position&, const Position&) = default;
};

}  // namespace carillon
