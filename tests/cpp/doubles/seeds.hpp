#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace carillon {

/// The seeds that one property test plays. CARILLON_SEED=n replays one; CARILLON_SEED_BASE=n (of the commit,
/// in `make test`) sets where a run begins, so that every commit plays other worlds; CARILLON_SEED_PERCENT=n
/// sets what share of the usual number is played.
struct Seeds {
  std::uint64_t first = 1;
  std::uint64_t count = 0;
  bool is_replay = false;
};

namespace seeds_detail {
inline std::uint64_t number_of(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}
}  // namespace seeds_detail

// Sanitizers make a world five to ten times slower. One thread has no races, so ThreadSanitizer needs few.
#if defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t kSeedPercent = 5;
#elif defined(__SANITIZE_ADDRESS__)
inline constexpr std::uint64_t kSeedPercent = 10;
#else
inline constexpr std::uint64_t kSeedPercent = 100;
#endif

/// How many of `count` seeds this run plays: at least one.
[[nodiscard]] inline std::uint64_t share_of_seeds(std::uint64_t count) {
  const std::uint64_t percent = seeds_detail::number_of("CARILLON_SEED_PERCENT", 100) * kSeedPercent / 100;
  return std::max<std::uint64_t>(1, count * percent / 100);
}

/// `count` seeds, from `offset` behind the base: tests with different offsets play different worlds.
[[nodiscard]] inline Seeds seeds_to_play(std::uint64_t count, std::uint64_t offset = 0) {
  if (const char* const one = std::getenv("CARILLON_SEED"); one != nullptr) {
    return {std::strtoull(one, nullptr, 10), 1, true};
  }
  return {seeds_detail::number_of("CARILLON_SEED_BASE", 1) + offset, share_of_seeds(count), false};
}

}  // namespace carillon
