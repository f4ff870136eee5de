#include "protocol/query.hpp"

#include <gtest/gtest.h>

namespace carillon {
namespace {

using Parameters = std::vector<std::pair<std::string, std::string>>;

TEST(HttpTarget, SplitsPathAndParametersInOrder) {
  const auto target = parse_http_target("/sse?channel=a&channel=b&since=ep:1,ep:2");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/sse");
  EXPECT_EQ(target->parameters, (Parameters{{"channel", "a"}, {"channel", "b"}, {"since", "ep:1,ep:2"}}));
  EXPECT_EQ(target->find("channel"), "a");
  EXPECT_EQ(target->find("timeout"), std::nullopt);
  EXPECT_EQ(target->find_all("channel"), (std::vector<std::string_view>{"a", "b"}));
}

TEST(HttpTarget, DecodesEscapesAndPlus) {
  const auto target = parse_http_target("/a+b%20c?x+y=1%2B1%3d2+%26&e=caf%C3%a9");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/a+b c");
  EXPECT_EQ(target->parameters, (Parameters{{"x y", "1+1=2 &"}, {"e", "caf\xC3\xA9"}}));
}

TEST(HttpTarget, TakesNamesWithoutValuesAndSkipsEmptyParts) {
  const auto target = parse_http_target("/?&a&&b=&=c&d=1=2&?");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->parameters, (Parameters{{"a", ""}, {"b", ""}, {"", "c"}, {"d", "1=2"}, {"?", ""}}));
  EXPECT_TRUE(parse_http_target("/?")->parameters.empty());
  EXPECT_TRUE(parse_http_target("/")->parameters.empty());
}

TEST(HttpTarget, RefusesWhatIsMalformed) {
  for (const char* target : {"", "a", "/%", "/%2", "/%zz", "/?a=%4", "/?a=%", "/?%g0=1", "/?a=%00", "/?a=%0A",
                             "/%0d", "/?a=%7f", "/?a=\x01", "/?a=%C3", "/?a=%ff", "/?a=\xC3", "/#a"}) {
    EXPECT_FALSE(parse_http_target(target)) << target;
  }
  EXPECT_FALSE(parse_http_target(std::string_view("/\0", 2)));
}

TEST(HttpTarget, LimitsTheNumberOfParameters) {
  std::string target = "/?";
  for (std::size_t i = 0; i < kQueryParametersMax; ++i) target += "a&";
  EXPECT_EQ(parse_http_target(target)->parameters.size(), kQueryParametersMax);
  EXPECT_FALSE(parse_http_target(target + "a"));
}

}  // namespace
}  // namespace carillon
