#include "gateway/turn_away_report.hpp"

#include <gtest/gtest.h>

namespace carillon {
namespace {

using Kind = TurnAwayReport::News::Kind;

TEST(TurnAwayReport, TellsNothingWhileNobodyIsTurnedAway) {
  TurnAwayReport report;
  for (Millis now = 0; now < 60'000; now += 250) EXPECT_EQ(report.look(0, now).kind, Kind::none);
}

TEST(TurnAwayReport, TellsAtOnceThenEveryTenSecondsAndCountsAll) {
  TurnAwayReport report;
  std::uint64_t turned_away = 0;
  std::uint64_t told = 0;
  int lines = 0;
  for (Millis now = 500; now < 60'500; now += 250) {
    const auto news = report.look(turned_away += 3, now);
    ASSERT_NE(news.kind, Kind::over);
    if (news.kind == Kind::none) continue;
    EXPECT_EQ((now - 500) % TurnAwayReport::kIntervalMs, 0);
    told += news.count;
    EXPECT_EQ(told, turned_away);
    ++lines;
  }
  EXPECT_EQ(lines, 6);
}

TEST(TurnAwayReport, TellsOnceThatItIsOver) {
  TurnAwayReport report;
  EXPECT_EQ(report.look(5, 100).kind, Kind::turned_away);
  EXPECT_EQ(report.look(7, 200).kind, Kind::none);
  EXPECT_EQ(report.look(7, 1'199).kind, Kind::none);
  const auto over = report.look(7, 1'200);
  EXPECT_EQ(over.kind, Kind::over);
  EXPECT_EQ(over.count, 2U);
  for (Millis now = 2'000; now < 60'000; now += 250) EXPECT_EQ(report.look(7, now).kind, Kind::none);
}

TEST(TurnAwayReport, OneThatComesAndGoesDoesNotFlood) {
  TurnAwayReport report;
  std::uint64_t turned_away = 0;
  int lines = 0;
  for (Millis now = 0; now < 60'000; now += 2'000) {  // now and then one, with quiet between
    if (report.look(++turned_away, now).kind != Kind::none) ++lines;
    if (report.look(turned_away, now + 1'500).kind != Kind::none) ++lines;
  }
  EXPECT_LE(lines, 12);
}

}  // namespace
}  // namespace carillon
