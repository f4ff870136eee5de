// When the log tells of the store, and how often.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/new_epochs_report.hpp"
#include "server/store_trouble_report.hpp"

namespace carillon {
namespace {

using TroubleKind = StoreTroubleReport::News::Kind;

TEST(StoreTroubleReport, TellsTheBeginningAndTheEnd) {
  StoreTroubleReport report;
  EXPECT_EQ(report.look("", 0).kind, TroubleKind::none);
  EXPECT_EQ(report.look("the link is cut", 250).kind, TroubleKind::began);
  EXPECT_EQ(report.look("the link is cut", 60'000).kind, TroubleKind::none);
  EXPECT_EQ(report.look("", 60'250).kind, TroubleKind::over);
  EXPECT_EQ(report.look("", 60'500).kind, TroubleKind::none);
}

TEST(StoreTroubleReport, TellsAReasonOfAnotherKindOnceWhenItIsStillThereAfterAWhile) {
  StoreTroubleReport report;
  EXPECT_EQ(report.look("the link is cut", 0).kind, TroubleKind::began);
  EXPECT_EQ(report.look("the password is wrong", 1'000).kind, TroubleKind::none);
  EXPECT_EQ(report.look("the link is cut", 2'000).kind, TroubleKind::none);
  EXPECT_EQ(report.look("the password is wrong", 1'000 + StoreTroubleReport::kSettledMs).kind,
            TroubleKind::another_reason);
  for (Millis now = 7'000; now < 100'000; now += 250) {
    const bool is_even = now / 250 % 2 == 0;
    EXPECT_EQ(report.look(is_even ? "the link is cut" : "the password is wrong", now).kind,
              TroubleKind::none);
  }
}

TEST(StoreTroubleReport, WhatWasToldOfOneOutageIsToldOfTheNextOne) {
  StoreTroubleReport report;
  for (const Millis begin : {Millis{0}, 10 * StoreTroubleReport::kLinesMs}) {
    EXPECT_EQ(report.look("the link is cut", begin).kind, TroubleKind::began);
    EXPECT_EQ(report.look("the password is wrong", begin + 1).kind, TroubleKind::none);
    EXPECT_EQ(report.look("the password is wrong", begin + 1 + StoreTroubleReport::kSettledMs).kind,
              TroubleKind::another_reason);
    EXPECT_EQ(report.look("", begin + 2 * StoreTroubleReport::kSettledMs).kind, TroubleKind::over);
  }
}

TEST(StoreTroubleReport, NumbersMakeNoOtherKindAndKindsAreBounded) {
  StoreTroubleReport report;
  Millis now = 0;
  EXPECT_EQ(report.look("nothing for 5000 ms from port 7001", now).kind, TroubleKind::began);
  int told = 0;
  for (int i = 0; i < 100; ++i) {
    now += 10 * StoreTroubleReport::kLinesMs;
    EXPECT_EQ(report.look("nothing for 123 ms from port " + std::to_string(i), now).kind, TroubleKind::none);
    const std::string words(static_cast<std::size_t>(i), 'x');
    static_cast<void>(report.look(words + '!', now));
    told += report.look(words + '!', now + StoreTroubleReport::kSettledMs).kind != TroubleKind::none ? 1 : 0;
  }
  EXPECT_EQ(told, static_cast<int>(StoreTroubleReport::kKinds) - 1);
}

TEST(StoreTroubleReport, AStoreThatComesAndGoesIsToldRarelyWithACount) {
  StoreTroubleReport report;
  std::size_t lines = 0;
  std::uint64_t changes = 0;
  std::uint64_t told_changes = 0;
  constexpr Millis kMinutesMs = 600'000;
  for (Millis now = 0; now < kMinutesMs; now += 250) {
    ++changes;
    const auto news = report.look(changes % 2 == 1 ? "OOM" : "", now);
    lines += news.kind != TroubleKind::none ? 1U : 0U;
    told_changes += news.changes;
  }
  EXPECT_LE(lines, StoreTroubleReport::kLines * kMinutesMs / StoreTroubleReport::kLinesMs);
  EXPECT_GT(lines, 50U);
  EXPECT_GT(told_changes, changes - 100) << "all are counted";
  // The last word is what is true.
  const bool was_down = changes % 2 == 1;
  static_cast<void>(report.look(was_down ? "" : "OOM", kMinutesMs + StoreTroubleReport::kLinesMs));
  EXPECT_EQ(report.look("", kMinutesMs + 3 * StoreTroubleReport::kLinesMs).kind,
            was_down ? TroubleKind::none : TroubleKind::over);
}

TEST(NewEpochsReport, ManyMakeOneLineAndThereIsOneInAMinute) {
  NewEpochsReport report;
  EXPECT_EQ(report.look({}, 0), std::nullopt);
  EXPECT_EQ(report.look({.news = 1, .channels = 1}, 1'000), std::nullopt);
  EXPECT_EQ(report.look({.news = 800, .channels = 800}, 2'000), std::nullopt);
  EXPECT_EQ(report.look({.news = 900, .channels = 900}, 1'000 + NewEpochsReport::kGatherMs), 900U);
  EXPECT_EQ(report.look({.news = 901, .channels = 901}, 10'000), std::nullopt);
  EXPECT_EQ(report.look({.news = 910, .channels = 909}, 60'000), std::nullopt);
  EXPECT_EQ(report.look({.news = 910, .channels = 909}, 4'000 + NewEpochsReport::kIntervalMs), 9U);
  EXPECT_EQ(report.look({.news = 910, .channels = 909}, 400'000), std::nullopt);
  EXPECT_EQ(report.look({.news = 911, .channels = 909}, 500'000), std::nullopt);
  EXPECT_EQ(report.look({.news = 911, .channels = 909}, 500'000 + NewEpochsReport::kGatherMs), 0U)
      << "another Redis, and nobody here follows a channel";
}

}  // namespace
}  // namespace carillon
