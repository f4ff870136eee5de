#pragma once

#include <cstdint>
#include <string_view>

#include "env/random.hpp"
#include "sim/virtual_time.hpp"

namespace carillon::sim {

/// Chance that repeats itself: a function of its seed and its name alone. Each part of a world has one of its
/// own, so that a world without one of its events goes on as before elsewhere.
class Chance final : public RandomSource {
 public:
  Chance(std::uint64_t seed, std::string_view name) : state_(seed) {
    for (const char letter : name) state_ = (state_ ^ static_cast<unsigned char>(letter)) * 0x100000001b3ULL;
  }
  [[nodiscard]] std::uint64_t next() override {  // SplitMix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
  }
  /// True in `percent` of all cases.
  [[nodiscard]] bool percent(std::uint64_t percent) { return below(100) < percent; }
  /// A number in [first, last].
  [[nodiscard]] std::int64_t between(std::int64_t first, std::int64_t last) {
    return first + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(last - first) + 1));
  }

 private:
  std::uint64_t state_;
};

}  // namespace carillon::sim
