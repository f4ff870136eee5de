#include "protocol/utf8.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace carillon {
namespace {

void append_utf8(std::string& out, std::uint32_t code_point) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

// The slow way: decode by arithmetic, then judge the number. Shares no table or range with the validator.
bool is_utf8_by_decoding(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<std::uint8_t>(text[at]);
    std::size_t length = 0;
    std::uint32_t code_point = 0;
    if (lead < 0x80) {
      length = 1, code_point = lead;
    } else if (lead >> 5 == 0b110) {
      length = 2, code_point = lead & 0x1FU;
    } else if (lead >> 4 == 0b1110) {
      length = 3, code_point = lead & 0x0FU;
    } else if (lead >> 3 == 0b11110) {
      length = 4, code_point = lead & 0x07U;
    } else {
      return false;
    }
    if (text.size() - at < length) return false;
    for (std::size_t i = 1; i < length; ++i) {
      const auto byte = static_cast<std::uint8_t>(text[at + i]);
      if (byte >> 6 != 0b10) return false;
      code_point = code_point << 6 | (byte & 0x3FU);
    }
    const bool is_surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code_point < kSmallest[length] || is_surrogate || code_point > 0x10FFFF) return false;
    at += length;
  }
  return true;
}

// Bytes consumed before the validator, fed one byte at a time, refuses; npos if it never does.
std::size_t refused_at(std::string_view text) {
  Utf8Validator validator;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!validator.consume(text.substr(i, 1))) return i;
  }
  return std::string_view::npos;
}

// Bytes on both sides of every boundary of the grammar: enough to stand for all 256.
const std::vector<std::uint8_t> kTellingBytes = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0,
                                                 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0,
                                                 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFB, 0xFC, 0xFE, 0xFF};

TEST(Utf8, AgreesWithADecoderOnEveryStringOfUpToTwoBytes) {
  EXPECT_TRUE(is_utf8(""));
  for (unsigned a = 0; a < 256; ++a) {
    std::string text(1, static_cast<char>(a));
    ASSERT_EQ(is_utf8(text), is_utf8_by_decoding(text)) << a;
    text.push_back(0);
    for (unsigned b = 0; b < 256; ++b) {
      text[1] = static_cast<char>(b);
      ASSERT_EQ(is_utf8(text), is_utf8_by_decoding(text)) << a << ' ' << b;
    }
  }
}

TEST(Utf8, AgreesWithADecoderOnThreeAndFourBytesAroundEveryBoundary) {
  for (const auto a : kTellingBytes) {
    for (const auto b : kTellingBytes) {
      for (const auto c : kTellingBytes) {
        std::string text{static_cast<char>(a), static_cast<char>(b), static_cast<char>(c)};
        ASSERT_EQ(is_utf8(text), is_utf8_by_decoding(text)) << +a << ' ' << +b << ' ' << +c;
        text.push_back(0);
        for (const auto d : kTellingBytes) {
          text[3] = static_cast<char>(d);
          ASSERT_EQ(is_utf8(text), is_utf8_by_decoding(text)) << +a << ' ' << +b << ' ' << +c << ' ' << +d;
        }
      }
    }
  }
}

TEST(Utf8, TakesEveryCodePointButSurrogates) {
  for (std::uint32_t code_point = 0; code_point <= 0x110010; ++code_point) {
    std::string text;
    append_utf8(text, code_point);
    const bool is_scalar = code_point <= 0x10FFFF && (code_point < 0xD800 || code_point > 0xDFFF);
    ASSERT_EQ(is_utf8(text), is_scalar) << code_point;
  }
}

TEST(Utf8, AgreesWithADecoderOnRandomTextsHoweverTheyAreCut) {
  std::mt19937 random(20260);
  const auto below = [&random](std::size_t end) { return random() % end; };
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    while (below(12) != 0) {
      if (below(3) == 0) {
        text.append(below(20), 'a');
      } else {
        append_utf8(text,
                    static_cast<std::uint32_t>(below(2) == 0 ? below(0xD800) : 0xE000 + below(0x102000)));
      }
    }
    if (!text.empty() && below(2) == 0) {
      text[below(text.size())] = static_cast<char>(kTellingBytes[below(kTellingBytes.size())]);
    }
    if (below(4) == 0) text.resize(below(text.size() + 1));

    const bool expected = is_utf8_by_decoding(text);
    ASSERT_EQ(is_utf8(text), expected) << round;
    Utf8Validator validator;
    bool is_valid = true;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t bytes = std::min(below(24), text.size() - at);
      is_valid = validator.consume(std::string_view(text).substr(at, bytes));
      at += bytes;
    }
    ASSERT_EQ(is_valid && validator.is_complete(), expected) << round;
  }
}

TEST(Utf8, RefusesAtTheFirstByteThatCannotBeRight) {
  EXPECT_EQ(refused_at("ab\xC0\xAF"), 2U);        // overlong, two bytes
  EXPECT_EQ(refused_at("\xE0\x9F\xBF"), 1U);      // overlong, three
  EXPECT_EQ(refused_at("\xF0\x8F\xBF\xBF"), 1U);  // overlong, four
  EXPECT_EQ(refused_at("\xED\xA0\x80"), 1U);      // surrogate
  EXPECT_EQ(refused_at("\xF4\x90\x80\x80"), 1U);  // above U+10FFFF
  EXPECT_EQ(refused_at("\xF5\x80\x80\x80"), 0U);  // far above
  EXPECT_EQ(refused_at("\xE2\x82z"), 2U);         // cut by ASCII
  EXPECT_EQ(refused_at("\xE2\x82"), std::string_view::npos);
}

TEST(Utf8, StaysInvalidUntilReset) {
  Utf8Validator validator;
  EXPECT_FALSE(validator.consume("\xFF"));
  EXPECT_FALSE(validator.consume("a"));
  EXPECT_FALSE(validator.consume("\xFF"));
  EXPECT_FALSE(validator.is_complete());
  validator.reset();
  EXPECT_TRUE(validator.consume("a"));
  EXPECT_TRUE(validator.is_complete());
}

TEST(Utf8, FindsOneBadByteAtEveryPlaceOfALongAsciiRun) {
  for (std::size_t at = 0; at < 67; ++at) {
    std::string text(67, 'x');
    text[at] = '\x80';
    EXPECT_FALSE(is_utf8(text)) << at;
  }
}

TEST(Utf8, AsciiWordsDoNotHideACutSequence) {
  const std::string_view character = "\xF0\x9F\x94\x94";
  for (std::size_t lead = 0; lead < 17; ++lead) {
    for (std::size_t cut = 1; cut < character.size(); ++cut) {
      for (const std::size_t ascii : {1U, 8U, 16U}) {
        std::string text(lead, 'x');
        text.append(character.substr(0, cut)).append(ascii, 'y').append(character.substr(cut));
        EXPECT_FALSE(is_utf8(text)) << lead << ' ' << cut << ' ' << ascii;
        Utf8Validator validator;
        EXPECT_TRUE(validator.consume(character.substr(0, cut)));
        EXPECT_FALSE(validator.consume(std::string(ascii, 'y')));
      }
    }
  }
}

TEST(InQuotes, ShowsAnyTextAsUtf8) {
  EXPECT_EQ(in_quotes(""), "''");
  EXPECT_EQ(in_quotes("a/b \xF0\x9F\x94\x94"), "'a/b \xF0\x9F\x94\x94'");
  EXPECT_EQ(in_quotes(std::string_view("a\0b\n\x7F", 5)),
            "'a?b?"
            "?'");
  EXPECT_EQ(in_quotes("\xFF\xF0\x9F\x94"),
            "'???"
            "?'");
  EXPECT_EQ(in_quotes(std::string(64, 'x')), "'" + std::string(64, 'x') + "'");
  EXPECT_EQ(in_quotes(std::string(65, 'x')), "'" + std::string(64, 'x') + "…'");
}

TEST(InQuotes, CutsBetweenTwoCharacters) {
  std::string bells = "a";
  for (int i = 0; i < 100; ++i) bells += "\xF0\x9F\x94\x94";
  for (std::size_t first = 0; first < bells.size(); ++first)
    EXPECT_TRUE(is_utf8(in_quotes(bells.substr(first)))) << first;
  EXPECT_EQ(in_quotes(bells), "'" + bells.substr(0, 61) + "…'");
}

}  // namespace
}  // namespace carillon
