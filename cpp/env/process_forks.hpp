#pragma once

#include <cstdint>

namespace carillon {

/// How often this process, or one that it comes from, was forked since watch_forks(). A child must not use
/// what threads, locks or connections of its parent are at work with.
[[nodiscard]] std::uint64_t forks_of_process();
/// Any number of times.
void watch_forks();

}  // namespace carillon
