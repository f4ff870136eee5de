#include "hub/channel_rules.hpp"

#include <gtest/gtest.h>

namespace carillon {
namespace {

TEST(MatchesPattern, AStarStandsForAnyRunOfCharacters) {
  EXPECT_TRUE(matches_pattern("*", ""));
  EXPECT_TRUE(matches_pattern("*", "news"));
  EXPECT_TRUE(matches_pattern("news:*", "news:"));
  EXPECT_TRUE(matches_pattern("news:*", "news:a:b"));
  EXPECT_TRUE(matches_pattern("*:b", "a:b"));
  EXPECT_TRUE(matches_pattern("a*b*c", "abc"));
  EXPECT_TRUE(matches_pattern("a*b*c", "a-b-b-c"));
  EXPECT_TRUE(matches_pattern("*ab", "aab"));
  EXPECT_TRUE(matches_pattern("a**", "a"));
}

TEST(MatchesPattern, EverythingElseIsLiteral) {
  EXPECT_TRUE(matches_pattern("", ""));
  EXPECT_FALSE(matches_pattern("", "a"));
  EXPECT_FALSE(matches_pattern("a", ""));
  EXPECT_FALSE(matches_pattern("news:*", "news"));
  EXPECT_FALSE(matches_pattern("news", "newspaper"));
  EXPECT_FALSE(matches_pattern("*:b", "a:bc"));
  EXPECT_FALSE(matches_pattern("a*b*c", "a-c-b"));
  EXPECT_FALSE(matches_pattern("a?c", "abc"));
  EXPECT_TRUE(matches_pattern("a?c", "a?c"));
}

TEST(MatchesPattern, ManyStarsDoNotTakeForEver) {
  const std::string stars = "a*a*a*a*a*a*a*a*a*a*a*a*a*a*b";
  EXPECT_FALSE(matches_pattern(stars, std::string(10'000, 'a')));
}

TEST(ChannelRules, TheLongestPatternThatMatchesWins) {
  ChannelOptions any, news, exact;
  any.history_size = 1;
  news.history_size = 2;
  exact.history_size = 3;
  const ChannelRules rules({{"*", any}, {"news:today", exact}, {"news:*", news}});
  EXPECT_EQ(rules.options_for("chat").history_size, 1U);
  EXPECT_EQ(rules.options_for("news:x").history_size, 2U);
  EXPECT_EQ(rules.options_for("news:today").history_size, 3U);
  EXPECT_EQ(rules.options_for("news:today2").history_size, 2U);
}

TEST(ChannelRules, OfTwoPatternsOfOneLengthTheFirstWins) {
  ChannelOptions first, second;
  first.history_size = 1;
  second.history_size = 2;
  const ChannelRules rules({{"a*", first}, {"*b", second}});
  EXPECT_EQ(rules.options_for("ab").history_size, 1U);
}

TEST(ChannelRules, WithoutAMatchTheDefaultsHold) {
  ChannelOptions news;
  news.history_size = 0;
  const ChannelRules rules({{"news:*", news}});
  const ChannelOptions& options = rules.options_for("chat");
  EXPECT_EQ(options.history_size, 1'000U);
  EXPECT_EQ(options.history_ttl_ms, 300'000);
  EXPECT_EQ(options.history_bytes, 4U * 1024 * 1024);
  EXPECT_EQ(options.live_window_entries, 64U);
  EXPECT_EQ(options.live_window_bytes, 256U * 1024);
  EXPECT_FALSE(options.allow_publish);
}

TEST(ChannelOptions, HistoryNeedsBothASizeAndAnAge) {
  ChannelOptions options;
  EXPECT_TRUE(options.has_history());
  options.history_size = 0;
  EXPECT_FALSE(options.has_history());
  options.history_size = 1;
  options.history_ttl_ms = 0;
  EXPECT_FALSE(options.has_history());
}

}  // namespace
}  // namespace carillon
