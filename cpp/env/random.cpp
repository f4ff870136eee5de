#include "env/random.hpp"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <system_error>
#include <utility>

namespace carillon {

namespace {

std::atomic<std::uint64_t> g_forks{0};  // of this process and those that it was forked from

struct Stock {
  std::array<std::uint64_t, 32> numbers{};  // 256 bytes are the most that getentropy() gives at once
  std::size_t left = 0;
  std::uint64_t forks = 0;  // g_forks when the numbers came
};
thread_local Stock t_stock;

void refill(Stock& stock) {
  // A child has a copy of its parent's stock, so the child must notice that it is one.
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { g_forks.fetch_add(1, std::memory_order_relaxed); });
  if (registered != 0) throw std::system_error(registered, std::generic_category(), "pthread_atfork");
  stock.forks = g_forks.load(std::memory_order_relaxed);
  if (getentropy(stock.numbers.data(), sizeof stock.numbers) != 0)
    throw std::system_error(errno, std::generic_category(), "getentropy");
  stock.left = stock.numbers.size();
}

}  // namespace

std::uint64_t SystemRandom::next() {
  Stock& stock = t_stock;
  if (stock.left == 0 || stock.forks != g_forks.load(std::memory_order_relaxed)) [[unlikely]]
    refill(stock);
  return std::exchange(stock.numbers[--stock.left], 0);  // what was given out can no longer be read here
}

}  // namespace carillon
