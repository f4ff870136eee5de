#pragma once

#include <cstdint>
#include <ctime>

namespace carillon::load {

/// Times of the load generator: by default of CLOCK_MONOTONIC, which all processes of a machine share.
inline constexpr std::uint64_t kNsPerS = 1'000'000'000;

[[nodiscard]] inline std::uint64_t clock_ns(clockid_t clock = CLOCK_MONOTONIC) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNsPerS + static_cast<std::uint64_t>(now.tv_nsec);
}

[[nodiscard]] inline std::uint64_t to_ns(double seconds) { return static_cast<std::uint64_t>(seconds * 1e9); }

}  // namespace carillon::load
