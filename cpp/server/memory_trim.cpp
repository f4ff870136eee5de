#include "server/memory_trim.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "env/descriptor.hpp"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace carillon {

std::uint64_t resident_bytes() {
  const Descriptor statm(
      ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));  // a stream's would be kept by exec
  std::array<char, 128> text{};
  if (::read(statm.get(), text.data(), text.size() - 1) <= 0) return 0;
  const char* second = std::strchr(text.data(), ' ');
  const std::uint64_t pages = second == nullptr ? 0 : std::strtoull(second, nullptr, 10);
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

namespace {

/// Freed by the program and kept by the allocator.
std::uint64_t free_bytes() {
#if !defined(__GLIBC__)
  return 0;
#elif __GLIBC_PREREQ(2, 33)
  return mallinfo2().fordblks;
#else
  return static_cast<unsigned>(mallinfo().fordblks);
#endif
}

void trim() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace

void MemoryTrim::keep_house(Millis now_ms) {
  const std::uint64_t resident = resident_bytes();
  least_resident_ = std::min(least_resident_, resident);
  if (resident < least_resident_ + kWorthBytes) return;
  if (resident > looked_resident_ + kWorthBytes) interval_ms_ = kIntervalMs;
  if (now_ms - looked_ms_ < interval_ms_) return;
  looked_ms_ = now_ms;
  looked_resident_ = resident;
  // What has grown since may be what was given back, in use again.
  const std::uint64_t grown = resident - std::min(resident, trimmed_resident_);
  given_back_ -= std::min(given_back_, grown);
  const std::uint64_t free = free_bytes();
  if (free < given_back_ + kWorthBytes) {
    interval_ms_ = std::min(2 * interval_ms_, kLongestIntervalMs);
    return;
  }
  trim();
  interval_ms_ = kIntervalMs;
  given_back_ = free_bytes();
  trimmed_resident_ = resident_bytes();
  trims_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace carillon
