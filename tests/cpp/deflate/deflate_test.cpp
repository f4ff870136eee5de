#include "deflate/deflate.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

namespace carillon {
namespace {

constexpr std::size_t kFar = 1U << 24;

std::string deflated(std::string_view text, int level = 1) {
  std::string out;
  EXPECT_TRUE(deflate(text, level, out)) << text.substr(0, 40);
  return out;
}

/// Letters of a small alphabet with repetitions near and far.
std::string some_text(std::minstd_rand& random, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    if (text.size() > 10 && random() % 3 == 0) {
      const std::size_t from = random() % text.size();
      text += text.substr(from, 3 + random() % 300);
    } else {
      text.push_back(static_cast<char>('a' + random() % 20));
    }
  }
  text.resize(bytes);
  return text;
}

TEST(Deflate, WhatItMakesIsShorterAndInflatesToTheSame) {
  std::minstd_rand random(1);
  std::string inflated;
  for (int round = 0; round < 300; ++round) {
    const std::string text = some_text(random, 200 + random() % 30'000);
    const int level = 1 + static_cast<int>(random() % 9);  // changes between messages
    const std::string compressed = deflated(text, level);
    EXPECT_LT(compressed.size(), text.size());
    ASSERT_EQ(inflate(compressed, text.size(), inflated), InflateResult::whole);
    ASSERT_EQ(inflated, text);
  }
}

TEST(Deflate, DependsOnNoMessageBefore) {
  std::minstd_rand random(2);
  const std::string text = some_text(random, 3'000);
  const std::string first = deflated(text);
  deflated(some_text(random, 60'000));
  EXPECT_EQ(deflated(text), first) << "else it would refer to what others may not have";
  std::string in_another_thread;
  std::thread([&] { in_another_thread = deflated(text); }).join();
  EXPECT_EQ(in_another_thread, first);
}

TEST(Deflate, IsAppended) {
  std::string out = "head ";
  ASSERT_TRUE(deflate(std::string(500, 'x'), 1, out));
  EXPECT_TRUE(out.starts_with("head "));
  std::string inflated;
  EXPECT_EQ(inflate(out.substr(5), 500, inflated), InflateResult::whole);
}

TEST(Deflate, IsRefusedWhereItDoesNotPay) {
  std::minstd_rand random(3);
  std::string noise;
  for (int i = 0; i < 5'000; ++i) noise.push_back(static_cast<char>(random() >> 8));
  std::string out = "as it was";
  EXPECT_FALSE(deflate(noise, 9, out));
  EXPECT_FALSE(deflate("ab", 9, out));
  EXPECT_FALSE(deflate("", 9, out));
  EXPECT_EQ(out, "as it was");
}

// RFC 7692, section 7.2.3: the same message in every way to compress it.
TEST(Inflate, TakesTheExamplesOfTheSpecification) {
  const auto bytes = [](std::initializer_list<int> list) {
    std::string text;
    for (const int byte : list) text.push_back(static_cast<char>(byte));
    return text;
  };
  for (const std::string& compressed : {
           bytes({0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}),
           bytes({0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00}),  // not compressed
           bytes({0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}),                    // a final block
           bytes({0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00}),  // two
       }) {
    std::string text;
    ASSERT_EQ(inflate(compressed, 5, text), InflateResult::whole);
    EXPECT_EQ(text, "Hello");
    EXPECT_EQ(inflate(compressed, 4, text), InflateResult::too_long);
  }
  std::string text = "x";
  EXPECT_EQ(inflate(bytes({0x00}), 5, text), InflateResult::whole);
  EXPECT_EQ(text, "");
}

TEST(Inflate, NeverMakesMoreThanItMay) {
  const std::string bomb = deflated(std::string(8'000'000, '\0'), 9);
  ASSERT_LT(bomb.size(), 20'000U);
  for (const std::size_t bytes_max : {std::size_t{0}, std::size_t{1}, std::size_t{65'536}}) {
    std::string text;
    EXPECT_EQ(inflate(bomb, bytes_max, text), InflateResult::too_long);
    EXPECT_LE(text.capacity(), std::max<std::size_t>(15, 2 * (bytes_max + 1)));
  }
  std::string text;
  EXPECT_EQ(inflate(bomb, 7'999'999, text), InflateResult::too_long);
  EXPECT_EQ(inflate(bomb, 8'000'000, text), InflateResult::whole);
}

TEST(Inflate, WhatIsBrokenDoesNoHarmToTheNext) {
  std::minstd_rand random(4);
  const std::string text = some_text(random, 3'000);
  const std::string good = deflated(text);
  std::string inflated;
  EXPECT_EQ(inflate("\xFF\xFF\xFF\xFF", kFar, inflated), InflateResult::broken);
  int broken = 0;
  for (int round = 0; round < 2'000; ++round) {
    std::string bad = good;
    bad[random() % bad.size()] = static_cast<char>(random() >> 8);
    if (round % 2 == 0) bad.resize(random() % bad.size());
    broken += inflate(bad, kFar, inflated) == InflateResult::broken ? 1 : 0;
    ASSERT_EQ(inflate(good, kFar, inflated), InflateResult::whole);
    ASSERT_EQ(inflated, text);
  }
  EXPECT_GT(broken, 100);
}

}  // namespace
}  // namespace carillon
