#include "env/process_forks.hpp"

#include <pthread.h>

#include <atomic>
#include <stdexcept>

namespace carillon {

namespace {
std::atomic<std::uint64_t> g_process_forks{0};
}  // namespace

std::uint64_t forks_of_process() { return g_process_forks.load(std::memory_order_relaxed); }

void watch_forks() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { g_process_forks.fetch_add(1, std::memory_order_relaxed); });
  if (registered != 0) throw std::runtime_error("pthread_atfork failed");
}

}  // namespace carillon
