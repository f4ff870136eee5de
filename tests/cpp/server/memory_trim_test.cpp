#include "server/memory_trim.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace carillon {
namespace {

/// Much that is freed but for the newest piece: the allocator gives none of it back by itself.
std::unique_ptr<char[]> free_much() {
  std::vector<std::unique_ptr<char[]>> pieces;
  for (int i = 0; i < 100'000; ++i) {
    pieces.push_back(std::make_unique<char[]>(1'000));
    pieces.back()[0] = 'x';
  }
  return std::move(pieces.back());
}

TEST(MemoryTrim, WhatWasFreedComesBackAtMostOncePerInterval) {
#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "another allocator";
#endif
#if defined(__GLIBC__)
  ::malloc_trim(0);  // what the tests before it have freed would be used again, and nothing would grow
#endif
  MemoryTrim trim;
  trim.keep_house(0);
  EXPECT_EQ(trim.trims(), 0U) << "nothing was freed";
  auto kept = free_much();
  const std::uint64_t before = resident_bytes();
  trim.keep_house(MemoryTrim::kIntervalMs);
  EXPECT_EQ(trim.trims(), 1U);
  EXPECT_LT(resident_bytes() + MemoryTrim::kWorthBytes, before);
  auto more = free_much();
  trim.keep_house(2 * MemoryTrim::kIntervalMs - 1);
  EXPECT_EQ(trim.trims(), 1U) << "not yet";
  trim.keep_house(2 * MemoryTrim::kIntervalMs);
  EXPECT_EQ(trim.trims(), 2U) << "what was given back, was used again and is free again";
  trim.keep_house(3 * MemoryTrim::kIntervalMs);
  EXPECT_EQ(trim.trims(), 2U) << "nothing is left to give back";
}

}  // namespace
}  // namespace carillon
