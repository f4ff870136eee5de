// What random numbers cost, counted in calls of the kernel, and that no two processes draw the same ones.
#include "env/random.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>

namespace {
std::atomic<int> g_calls{0};
}

// In the place of the C library's: the calls are counted.
extern "C" int getentropy(void* buffer, std::size_t length) {
  ++g_calls;
  return syscall(SYS_getrandom, buffer, length, 0) == static_cast<long>(length) ? 0 : -1;
}

namespace carillon {
namespace {

TEST(SystemRandom, AsksTheKernelOnceForManyNumbers) {
  SystemRandom random;
  std::set<std::uint64_t> numbers;
  const int before = g_calls;
  for (int i = 0; i < 3'200; ++i) numbers.insert(random.next());
  EXPECT_EQ(numbers.size(), 3'200U);
  EXPECT_GE(g_calls - before, 1);
  EXPECT_LE(g_calls - before, 101);
}

TEST(SystemRandom, ThreadsDrawDifferentNumbers) {
  std::array<std::set<std::uint64_t>, 2> numbers;
  const auto draw = [&numbers](std::size_t index) {
    SystemRandom random;
    for (int i = 0; i < 100; ++i) numbers.at(index).insert(random.next());
  };
  std::thread first(draw, 0);
  std::thread second(draw, 1);
  first.join();
  second.join();
  numbers[0].merge(numbers[1]);
  EXPECT_EQ(numbers[0].size(), 200U);
}

TEST(SystemRandom, AForkedChildDoesNotRepeatItsParent) {
  SystemRandom random;
  static_cast<void>(random.next());  // the stock is not empty
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(pipe(pipe_ends.data()), 0);
  const auto draw = [&random] {
    std::array<std::uint64_t, 64> numbers{};
    for (std::uint64_t& number : numbers) number = random.next();
    return numbers;
  };
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto numbers = draw();
    _exit(write(pipe_ends[1], numbers.data(), sizeof numbers) == sizeof numbers ? 0 : 1);
  }
  close(pipe_ends[1]);
  const auto mine = draw();
  std::array<std::uint64_t, 64> its{};
  EXPECT_EQ(read(pipe_ends[0], its.data(), sizeof its), static_cast<ssize_t>(sizeof its));
  close(pipe_ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  std::set<std::uint64_t> all(mine.begin(), mine.end());
  all.insert(its.begin(), its.end());
  EXPECT_EQ(all.size(), mine.size() + its.size());
}

}  // namespace
}  // namespace carillon
