#include "protocol/fossil_delta.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <ctime>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/fossil_oracle.hpp"
#include "protocol/utf8.hpp"

namespace carillon {
namespace {

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all.append(text);
  return all;
}

/// Text without repetitions, the same for the same seed.
std::string noise(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text;
  while (text.size() < bytes) text.push_back(static_cast<char>('a' + random() % 26));
  return text;
}

TEST(FossilDelta, IsAsTheExamplesOfTheProtocol) {
  EXPECT_EQ(fossil_delta("abcdef", "abcdefgh", DeltaCuts::characters), "8\n6@0,2:gh36nCgC;");
  EXPECT_EQ(fossil_delta(R"({"n":1,"text":"hello"})", R"({"n":2,"text":"hello"})", DeltaCuts::characters),
            "M\n5@0,1:2G@6,3JsQ6F;");
}

TEST(FossilDelta, OfNothingAndToNothing) {
  EXPECT_EQ(apply_fossil("", fossil_delta("", "", DeltaCuts::bytes)), "");
  EXPECT_EQ(apply_fossil("", fossil_delta("", "new", DeltaCuts::bytes)), "new");
  EXPECT_EQ(apply_fossil("old", fossil_delta("old", "", DeltaCuts::bytes)), "");
}

TEST(FossilDelta, TwoEditsFarApartMakeAShortDelta) {
  const std::string source = noise(2'000, 1);
  std::string target = source;
  target.replace(300, 10, "0123456789");
  target.replace(1'700, 10, "0123456789ABC");
  const std::string delta = fossil_delta(source, target, DeltaCuts::characters);
  EXPECT_EQ(apply_fossil(source, delta), target);
  EXPECT_LT(delta.size(), 80U);
}

TEST(FossilDelta, PiecesThatMovedAreFound) {
  const std::string first = noise(500, 2);
  const std::string second = noise(500, 3);
  const std::string delta = fossil_delta(first + second, second + first, DeltaCuts::bytes);
  EXPECT_EQ(apply_fossil(first + second, delta), second + first);
  EXPECT_LT(delta.size(), 80U);
}

TEST(FossilDelta, RandomEditsComeBack) {
  for (std::uint64_t seed = 0; seed < 3'000; ++seed) {
    std::mt19937_64 random(seed);
    const bool is_text = seed % 2 == 0;
    static const std::vector<std::string> kCharacters{"a", "b", "\"", "\n", "é", "中", "中", "🔔", "0", "{"};
    const auto piece = [&](std::size_t most) {
      std::string text;
      for (std::size_t i = random() % (most + 1); i > 0; --i) {
        if (is_text) {
          text += kCharacters[random() % kCharacters.size()];
        } else {
          text.push_back(static_cast<char>(random() % (seed % 3 == 0 ? 256 : 2)));
        }
      }
      return text;
    };
    std::vector<std::string> pieces;
    for (std::size_t i = random() % 8; i > 0; --i) pieces.push_back(piece(100));
    std::string source;
    std::string target;
    for (const std::string& each : pieces) source += each;
    for (std::size_t i = random() % 8; i > 0; --i) {
      const bool is_known = !pieces.empty() && random() % 4 != 0;
      target += is_known ? pieces[random() % pieces.size()] : piece(30);
    }
    const std::string delta =
        fossil_delta(source, target, is_text ? DeltaCuts::characters : DeltaCuts::bytes);
    ASSERT_EQ(apply_fossil(source, delta), target) << "seed " << seed;
    ASSERT_LE(delta.size(), target.size() + 20) << "seed " << seed;
    ASSERT_TRUE(!is_text || is_utf8(delta)) << "seed " << seed;
  }
}

// What is cut are characters that begin or end with the same bytes.
TEST(FossilDelta, OfTextIsText) {
  const std::string source =
      "0123456789abcdef"
      "\xF0\x9F\x94\x94"
      "0123456789abcdef";
  const std::string target =
      "0123456789abcdef"
      "\xF0\x9F\x94\x95"
      "0123456789abcdef";
  EXPECT_TRUE(is_utf8(fossil_delta(source, target, DeltaCuts::characters)));
  EXPECT_FALSE(is_utf8(fossil_delta(source, target, DeltaCuts::bytes)));
}

// Texts of one block over and over, and of blocks that are nearly the same: each place has many candidates.
// Time for 16 times the size: 16 times as much would be linear, 256 times quadratic.
TEST(FossilDelta, TakesLinearTime) {
  const auto ticks = [](std::size_t blocks, int times) {
    double worst = 0;
    for (const std::string_view unit : {"0123456789abcdef", "aaaaaaaaaaaaaaaa", "0123456789abcde", "ab"}) {
      const std::string source = repeated(unit, blocks * 16 / unit.size());
      std::string target;
      for (std::size_t i = 0; target.size() < source.size(); ++i)
        target += std::string(unit) + (i % 3 == 0 ? "x" : "") + (i % 7 == 0 ? noise(9, i) : "");
      const std::clock_t begin = std::clock();  // of the processor: others may have it in between
      std::size_t bytes = 0;
      for (int i = 0; i < times; ++i) bytes += fossil_delta(source, target, DeltaCuts::characters).size();
      EXPECT_GT(bytes, 0U);
      worst = std::max(worst, static_cast<double>(std::clock() - begin));
    }
    return worst;
  };
  EXPECT_LT(ticks(16 * 4'096, 1), 10 * ticks(4'096, 16));
}

}  // namespace
}  // namespace carillon
