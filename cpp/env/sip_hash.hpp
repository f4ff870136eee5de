#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace carillon {

/// The key of a SipHash: 16 bytes, read as two little-endian numbers.
struct SipKey {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};

/// SipHash (Aumasson and Bernstein): without the key one cannot construct texts whose hashes collide. 1 and 3
/// rounds are for hash tables; 2 and 4 are those of the paper, which has test vectors.
template <int kCompressionRounds = 1, int kFinalRounds = 3>
[[nodiscard]] inline std::uint64_t sip_hash(const SipKey& key, std::string_view text) noexcept {
  std::uint64_t v0 = key.first ^ 0x736f6d6570736575U;
  std::uint64_t v1 = key.second ^ 0x646f72616e646f6dU;
  std::uint64_t v2 = key.first ^ 0x6c7967656e657261U;
  std::uint64_t v3 = key.second ^ 0x7465646279746573U;
  const auto mix = [&](int rounds) {
    for (; rounds > 0; --rounds) {
      v0 += v1;
      v2 += v3;
      v1 = std::rotl(v1, 13) ^ v0;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 = std::rotl(v0, 32);
      v2 += v1;
      v0 += v3;
      v1 = std::rotl(v1, 17) ^ v2;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 = std::rotl(v2, 32);
    }
  };
  const auto take = [&](std::uint64_t word) {
    v3 ^= word;
    mix(kCompressionRounds);
    v0 ^= word;
  };
  const auto word_at = [](const char* bytes) {
    static_assert(std::endian::native == std::endian::little);
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    return word;
  };
  const char* next = text.data();
  std::size_t left = text.size();
  for (; left >= 8; left -= 8, next += 8) take(word_at(next));
  std::uint64_t last = static_cast<std::uint64_t>(text.size()) << 56U;  // the end: its bytes and the length
  for (std::size_t i = 0; i < left; ++i)
    last |= static_cast<std::uint64_t>(static_cast<unsigned char>(next[i])) << (8 * i);
  take(last);
  v2 ^= 0xff;
  mix(kFinalRounds);
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace carillon
