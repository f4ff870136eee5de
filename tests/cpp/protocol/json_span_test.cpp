#include "protocol/json_span.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "json_oracle.hpp"

namespace carillon {
namespace {

using Json = nlohmann::json;

// Small random documents with all kinds of values, odd strings and odd numbers.
class RandomDocument {
 public:
  explicit RandomDocument(std::uint32_t seed) : random_(seed) {}

  std::string text() {
    std::string out;
    append_value(out, 0);
    return out;
  }

  std::string mutated(std::string text) {
    static constexpr char kBytes[] =
        "\"\\{}[]:,-+.eE0129ntfu/ \n\t\r\x01\x7f\x80\xc3\xa9\xed\xa0\xf0\x9f\xff";
    for (std::size_t count = 1 + below(3); count > 0; --count) {
      const std::size_t at = below(text.size() + 1);
      switch (below(5)) {
        case 0:
          text.insert(at, 1, kBytes[below(sizeof kBytes)]);
          break;
        case 1:
          text.erase(at, 1 + below(3));
          break;
        case 2:
          text.resize(at);
          break;
        case 3:
          text.insert(at, text.substr(below(text.size() + 1), below(12)));
          break;
        default:
          if (at < text.size()) text[at] = kBytes[below(sizeof kBytes)];
      }
    }
    return text;
  }

 private:
  std::size_t below(std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
  }

  template <std::size_t N>
  std::string_view pick(const std::array<std::string_view, N>& choices) {
    return choices[below(N)];
  }

  void append_space(std::string& out) {
    if (below(6) == 0) out.append(pick(std::array<std::string_view, 4>{" ", "\n", "\t ", "\r\n"}));
  }

  void append_string(std::string& out) {
    out.push_back('"');
    for (std::size_t count = below(12); count > 0; --count) {
      out.append(pick(std::array<std::string_view, 14>{
          "a", "plain ascii text, long", "\\n", "\\\"", "\\\\", "\\/", "\\u00e9", "\\ud83d\\ude00", "\\uD83D",
          "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\x7f", "{[,:"}));
    }
    out.push_back('"');
  }

  void append_value(std::string& out, int depth) {
    append_space(out);
    const std::size_t kind = below(depth > 5 ? 4 : 7);
    if (kind == 0) {
      out.append(pick(std::array<std::string_view, 3>{"true", "false", "null"}));
    } else if (kind == 1) {
      out.append(pick(std::array<std::string_view, 10>{"0", "-0", "12", "-7.25", "1e5", "1E+9", "0.5e-3",
                                                       "18446744073709551615", "1e999",
                                                       "123456789012345678901234"}));
    } else if (kind < 4) {
      append_string(out);
    } else {
      const bool is_object = kind != 4;
      out.push_back(is_object ? '{' : '[');
      append_space(out);
      for (std::size_t count = below(5), i = 0; i < count; ++i) {
        if (i > 0) out.push_back(',');
        append_space(out);
        if (is_object) {
          append_string(out);
          append_space(out);
          out.push_back(':');
        }
        append_value(out, depth + 1);
      }
      out.push_back(is_object ? '}' : ']');
    }
    append_space(out);
  }

  std::mt19937 random_;
};

TEST(JsonSpan, AgreesWithAnotherParserOnRandomAndMutatedDocuments) {
  std::size_t well_formed = 0;
  for (std::uint32_t seed = 0; seed < 4000; ++seed) {
    RandomDocument document(seed);
    const std::string original = document.text();
    ASSERT_TRUE(is_json(original)) << "seed " << seed << ": " << original;
    for (int i = 0; i < 10; ++i) {
      const std::string text = document.mutated(original);
      const bool expected = oracle_is_json(text);
      well_formed += expected;
      ASSERT_EQ(is_json(text), expected) << "seed " << seed << ": " << text;
      ASSERT_EQ(walk_is_json(text), expected) << "seed " << seed << ": " << text;
    }
  }
  EXPECT_GT(well_formed, 1000u);
}

TEST(JsonSpan, ObjectReaderGivesTheFieldsThatAnotherParserSees) {
  std::size_t objects = 0;
  for (std::uint32_t seed = 0; seed < 4000; ++seed) {
    const std::string text = RandomDocument(seed).text();
    Json expected = Json::parse(text, nullptr, false);
    if (!expected.is_object()) continue;
    ++objects;
    Json seen = Json::object();
    JsonObjectReader reader(text);
    std::string_view key, value;
    std::string scratch;
    JsonStep step;
    while ((step = reader.next(key, value)) == JsonStep::field) {
      const auto name = json_key(key, scratch);
      ASSERT_TRUE(name);
      seen[std::string(*name)] = Json::parse(value);
      ASSERT_TRUE(value.front() > ' ' && value.back() > ' ');
    }
    ASSERT_EQ(step, JsonStep::end);
    ASSERT_EQ(seen, expected) << text;
  }
  EXPECT_GT(objects, 100u);
}

TEST(JsonSpan, KnowsTheCornersOfTheGrammar) {
  for (const char* text : {"0", "-0", "[]", "{}", " [ ] ", "\"\"", "1e999", "\"\\ud800\"", "[[[[]]]]",
                           "{\"\":{}}", "{\"a\":1,\"a\":2}", "\t\r\n1 "}) {
    EXPECT_TRUE(is_json(text)) << text;
  }
  for (const char* text : {"",
                           " ",
                           "01",
                           "-",
                           "1.",
                           ".5",
                           "1e",
                           "1e+",
                           "+1",
                           "nul",
                           "nulll",
                           "True",
                           "[1,]",
                           "[,1]",
                           "{,}",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{a:1}",
                           "{\"a\":1,}",
                           "[1 2]",
                           "1 2",
                           "\"",
                           "\"\\x\"",
                           "\"\\u12g4\"",
                           "\"\\u123",
                           "\"\n\"",
                           "\"\x80\"",
                           "\"\xC0\xAF\"",
                           "\"\xED\xA0\x80\"",
                           "\"\xF4\x90\x80\x80\"",
                           "\"\xE2\x82\"",
                           "'a'",
                           "[}",
                           "{]",
                           "\xEF\xBB\xBF{}",
                           "NaN",
                           "//"}) {
    EXPECT_FALSE(is_json(text)) << text;
  }
  EXPECT_FALSE(is_json(std::string_view("{}\0", 3)));
  EXPECT_FALSE(is_json(std::string_view()));
}

TEST(JsonSpan, LimitsNestingOnEveryWayOfReading) {
  const auto nested = [](int depth) {
    const auto count = static_cast<std::size_t>(depth);
    return std::string(count, '[') + std::string(count, ']');
  };
  EXPECT_TRUE(is_json(nested(kJsonDepthMax)));
  EXPECT_TRUE(walk_is_json(nested(kJsonDepthMax)));
  EXPECT_FALSE(is_json(nested(kJsonDepthMax + 1)));
  EXPECT_FALSE(walk_is_json(nested(kJsonDepthMax + 1)));
  EXPECT_FALSE(is_json(std::string(1 << 20, '[')));
  EXPECT_TRUE(reader_accepts<JsonArrayReader>("[" + nested(kJsonDepthMax) + "]"))
      << "what it comes in does not count";
}

TEST(JsonSpan, TellsADeepValueFromABrokenOne) {
  const auto nest = [](std::size_t depth, std::string_view open, std::string_view middle,
                       std::string_view close) {
    std::string text;
    for (std::size_t i = 0; i < depth; ++i) text.append(open);
    text.append(middle);
    for (std::size_t i = 0; i < depth; ++i) text.append(close);
    return text;
  };
  for (const std::size_t depth : {std::size_t{65}, std::size_t{100'000}}) {
    for (const std::string& text :
         {nest(depth, "[", "", "]"), nest(depth, "[ 1 ,", " 2 ", ",\n3]"), nest(depth, "{\"a\" :", "{}", "}"),
          nest(depth, "{\"a\":[", "\"x\"", "],\"b\":{}}"), nest(depth, "[[],{},", "null", ",true]")}) {
      EXPECT_EQ(check_json(text), JsonCheck::too_deep);
      EXPECT_EQ(check_json(text + " "), JsonCheck::too_deep);
      EXPECT_EQ(check_json(text + "x"), JsonCheck::malformed);
      EXPECT_EQ(check_json(text.substr(0, text.size() - 1)), JsonCheck::malformed);
    }
    for (const std::string& text :
         {nest(depth, "[", "", "}"), nest(depth, "{", "", "}"), nest(depth, "{\"a\"", "1", "}"),
          nest(depth, "[", "1,", "]"), nest(depth, "[", "01", "]"), nest(depth, "[,", "1", "]"),
          nest(depth, "{\"a\":", "1,", "}"), nest(depth, "[", "1", " ]]")}) {
      EXPECT_EQ(check_json(text), JsonCheck::malformed) << text.substr(0, 10);
    }
  }
  EXPECT_EQ(check_json("1"), JsonCheck::ok);
  EXPECT_EQ(check_json(""), JsonCheck::malformed);
}

TEST(JsonSpan, FindsSpecialBytesAtEveryPlaceOfARun) {
  for (std::size_t length = 0; length < 70; ++length) {
    for (std::size_t at = 0; at < length; ++at) {
      for (const char special : {'"', '\\', '\x1f', '\x80'}) {
        std::string text = '"' + std::string(length, 'x') + '"';
        text[at + 1] = special;
        ASSERT_FALSE(is_json(text)) << length << ' ' << at;
      }
      std::string text = '"' + std::string(length, '~') + '"';
      text.replace(at + 1, 1, "\xC3\xA9");
      ASSERT_TRUE(is_json(text)) << length << ' ' << at;
    }
  }
}

TEST(JsonSpan, StaysMalformedOnceItIs) {
  JsonScanner scanner("[1,]");
  std::string_view raw;
  ASSERT_TRUE(scanner.open_array());
  ASSERT_EQ(scanner.next_item(), JsonStep::field);
  ASSERT_TRUE(scanner.take_value(raw));
  ASSERT_EQ(scanner.next_item(), JsonStep::field);
  EXPECT_FALSE(scanner.take_value(raw));
  EXPECT_FALSE(scanner.take_value(raw));
  EXPECT_EQ(scanner.next_item(), JsonStep::malformed);
  EXPECT_EQ(scanner.next_field(raw), JsonStep::malformed);
  EXPECT_FALSE(scanner.open_array());
  EXPECT_FALSE(scanner.is_at_end());
  EXPECT_EQ(scanner.peek(), '\0');
}

TEST(JsonSpan, RefusesTrailingGarbageAtTheEndOfAnObject) {
  EXPECT_FALSE(reader_accepts<JsonObjectReader>("{\"a\":1} x"));
  EXPECT_FALSE(reader_accepts<JsonObjectReader>("{\"a\":1}}"));
  EXPECT_FALSE(reader_accepts<JsonObjectReader>("[]"));
  EXPECT_TRUE(reader_accepts<JsonObjectReader>(" {\"a\":1} "));
  EXPECT_FALSE(reader_accepts<JsonArrayReader>("[1]]"));
}

TEST(JsonString, IsAViewWithoutEscapesAndDecodedWithThem) {
  std::string scratch;
  const std::string_view plain = "\"caf\xC3\xA9\"";
  EXPECT_EQ(json_string(plain, scratch)->data(), plain.data() + 1);
  EXPECT_TRUE(scratch.empty());
  EXPECT_EQ(json_string(R"("a\"\\\/\b\f\n\r\tz")", scratch), "a\"\\/\b\f\n\r\tz");
  EXPECT_EQ(json_string(R"("\u0041\u00e9\u20AC\ud83d\uDE00!")", scratch),
            "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80!");
  EXPECT_EQ(json_string("\"\"", scratch), "");
}

TEST(JsonString, RefusesLoneSurrogatesAndOtherKinds) {
  std::string scratch;
  for (const char* text : {R"("\ud800")", R"("\ud800x")", R"("\udc00")", R"("\ud800\n")", R"("\ud800\ud800")",
                           "1", "null", "{}", "[]", "\""}) {
    EXPECT_FALSE(json_string(text, scratch)) << text;
  }
}

TEST(JsonString, RoundTripsThroughTheWriterAndAnotherParser) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (auto length = random() % 40; length > 0; --length) {
      const auto choice = random() % 8;
      if (choice == 0)
        text.append("\xE2\x82\xAC");
      else if (choice == 1)
        text.append("\xF0\x9F\x98\x80");
      else
        text.push_back(static_cast<char>(random() % 128));
    }
    std::string out;
    append_json_string(out, text);
    ASSERT_EQ(Json::parse(out).get<std::string>(), text);
    ASSERT_EQ(out.find('\n'), std::string::npos);
    std::string scratch;
    ASSERT_EQ(json_string(out, scratch), text);
    ASSERT_EQ(json_string(Json(text).dump(-1, ' ', true), scratch), text);
  }
}

TEST(JsonNumber, ReadsIntegersInRangeOnly) {
  EXPECT_EQ(json_uint64("0"), 0u);
  EXPECT_EQ(json_uint64("18446744073709551615"), 18446744073709551615u);
  EXPECT_EQ(json_int64("-9223372036854775808"), INT64_MIN);
  for (const char* text : {"18446744073709551616", "-1", "1.0", "1e2", "\"1\"", "true", "", "1 "}) {
    EXPECT_FALSE(json_uint64(text)) << text;
  }
  EXPECT_FALSE(json_int64("9223372036854775808"));
  EXPECT_EQ(json_bool("true"), true);
  EXPECT_EQ(json_bool("false"), false);
  EXPECT_FALSE(json_bool("1"));
  std::string out;
  append_uint(out, UINT64_MAX);
  EXPECT_EQ(out, "18446744073709551615");
}

TEST(JsonNewlines, AreDroppedWhereverTheyAre) {
  for (const auto& [text, expected] : {std::pair{"{\"a\":1}", "{\"a\":1}"},
                                       {"\n", ""},
                                       {"", ""},
                                       {"[1,\r\n2]\n", "[1,2]"},
                                       {"\r[\r]\r", "[]"},
                                       {"\n\n[\n\n]", "[]"}}) {
    std::string out = "x";
    append_without_newlines(out, text);
    EXPECT_EQ(out, std::string("x") + expected);
  }
}

}  // namespace
}  // namespace carillon
