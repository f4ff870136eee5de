#include "protocol/position_token.hpp"

#include <gtest/gtest.h>

namespace carillon {
namespace {

std::vector<TokenPart> parsed(std::string_view token) {
  std::vector<TokenPart> parts;
  EXPECT_TRUE(parse_position_token(token, parts)) << token;
  return parts;
}

TEST(PositionToken, ReadsEpochAndOffsetOfEachChannel) {
  EXPECT_EQ(parsed("kQwZabcd:12"), (std::vector<TokenPart>{{"kQwZabcd", 12}}));
  EXPECT_EQ(parsed("a-b_c.9:0,Z:18446744073709551615"),
            (std::vector<TokenPart>{{"a-b_c.9", 0}, {"Z", 18446744073709551615u}}));
}

TEST(PositionToken, EmptyOrDashIsNoPosition) {
  EXPECT_EQ(parsed(""), (std::vector<TokenPart>{{}}));
  EXPECT_EQ(parsed("-"), (std::vector<TokenPart>{{}}));
  EXPECT_EQ(parsed("a:1,,b:2,-"), (std::vector<TokenPart>{{"a", 1}, {}, {"b", 2}, {}}));
  EXPECT_FALSE(parsed("-")[0].has_position());
}

TEST(PositionToken, OldestIsTheStartOfTheLog) {
  EXPECT_EQ(parsed("oldest"), (std::vector<TokenPart>{{.is_oldest = true}}));
  EXPECT_EQ(parsed("a:1,oldest,-"), (std::vector<TokenPart>{{"a", 1}, {.is_oldest = true}, {}}));
  EXPECT_EQ(parsed("oldest:3"), (std::vector<TokenPart>{{"oldest", 3}})) << "an epoch as any other";
}

TEST(PositionToken, RefusesAnythingElse) {
  std::vector<TokenPart> parts;
  for (const char* token : {"a",
                            "a:",
                            ":1",
                            "a:-1",
                            "a:+1",
                            "a:01",
                            "a:1x",
                            "a: 1",
                            " a:1",
                            "a:1 ",
                            "a:1:2",
                            "a:1;b:2",
                            "a:18446744073709551616",
                            "a\n:1",
                            "a b:1",
                            "\xC3\xA9:1",
                            "a:1,b",
                            "a\"b:1",
                            ":",
                            "--",
                            "Oldest",
                            "oldest "}) {
    EXPECT_FALSE(parse_position_token(token, parts)) << token;
    EXPECT_TRUE(parts.empty());
  }
  std::string longest(kTokenEpochBytesMax, 'e');
  EXPECT_TRUE(parse_position_token(longest + ":1", parts));
  EXPECT_FALSE(parse_position_token(longest + "e:1", parts));
}

TEST(PositionToken, WritesWhatItReads) {
  for (const char* token : {"a:1", "-", "a:1,-,b:0", "-,-", "oldest", "a:1,oldest,-"}) {
    std::string out;
    append_position_token(out, parsed(token));
    EXPECT_EQ(out, token);
  }
  std::string out;
  append_position_token(out, parsed(",a:3"));
  EXPECT_EQ(out, "-,a:3");
}

}  // namespace
}  // namespace carillon
