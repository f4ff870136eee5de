#include "server/duration.hpp"

#include <gtest/gtest.h>

namespace carillon {
namespace {

TEST(Duration, NumbersWithUnitsAreRead) {
  EXPECT_EQ(parse_duration_ms("300s"), 300'000);
  EXPECT_EQ(parse_duration_ms("25s"), 25'000);
  EXPECT_EQ(parse_duration_ms("720h"), 720LL * 3'600'000);
  EXPECT_EQ(parse_duration_ms("100ms"), 100);
  EXPECT_EQ(parse_duration_ms("2m"), 120'000);
  EXPECT_EQ(parse_duration_ms("0s"), 0);
  EXPECT_EQ(parse_duration_ms("1h30m"), 5'400'000);
  EXPECT_EQ(parse_duration_ms("1m1s1ms"), 61'001);
  EXPECT_EQ(parse_duration_ms("1.5s"), 1'500);
  EXPECT_EQ(parse_duration_ms("0.25h"), 900'000);
}

TEST(Duration, AnythingElseIsRefused) {
  for (const char* text : {"", "25", "s", "25 s", " 25s", "-1s", "1d", "1s1h", "1s1s", "0.1ms", "1.s", ".5s",
                           "1e3s", "99999999999999999999s", "9999999999999h", "1.1234567s", "25S", "25sec"}) {
    EXPECT_EQ(parse_duration_ms(text), std::nullopt) << text;
  }
}

TEST(Duration, WhatIsWrittenIsReadBack) {
  EXPECT_EQ(format_duration(0), "0s");
  EXPECT_EQ(format_duration(100), "100ms");
  EXPECT_EQ(format_duration(1'500), "1500ms");
  EXPECT_EQ(format_duration(300'000), "300s");
  EXPECT_EQ(format_duration(720LL * 3'600'000), "720h");
  for (std::int64_t duration_ms : {0LL, 1LL, 999LL, 1'000LL, 60'000LL, 3'600'000LL, 86'400'001LL})
    EXPECT_EQ(parse_duration_ms(format_duration(duration_ms)), duration_ms);
}

}  // namespace
}  // namespace carillon
