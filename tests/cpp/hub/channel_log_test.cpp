#include "hub/channel_log.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hub/entries.hpp"

namespace carillon {
namespace {

constexpr Seq kNobodyWaits = ~Seq{0};

/// A log with a hand on its clock, and with all that it is told to append.
struct LogTest : testing::Test {
  ChannelLog log;
  ChannelOptions options;
  Millis now_ms = 0;

  void publish(std::size_t count = 1, std::size_t bytes = 1, Seq taken = kNobodyWaits) {
    for (std::size_t i = 0; i < count; ++i) {
      log.append(make_entry(log.top() + 1, std::string(bytes, 'x')), now_ms, options, taken);
    }
  }
  void notice(std::size_t count = 1, Seq taken = kNobodyWaits, std::size_t bytes = 1) {
    for (std::size_t i = 0; i < count; ++i) {
      log.append(make_entry(0, std::string(bytes, 'n'), EntryKind::join), now_ms, options, taken);
    }
  }
  void trim(Seq taken = kNobodyWaits) { log.trim(now_ms, options, taken); }
  /// Offsets that the ring holds from `seq` on; 0 for an ephemeral entry.
  std::vector<Offset> offsets_from(Seq seq) {
    std::vector<Offset> offsets;
    for (Seq at = log.next_seq(seq); at < log.end_seq(); at = log.next_seq(at + 1)) {
      offsets.push_back(log.at(at)->offset);
    }
    return offsets;
  }
};
using Offsets = std::vector<Offset>;

TEST_F(LogTest, OffsetsBeginAtOneAndHistoryIsEmptyBefore) {
  EXPECT_EQ(log.top(), 0U);
  EXPECT_EQ(log.history_from(), 1U);
  EXPECT_EQ(log.seq_after(0), log.end_seq());
  EXPECT_EQ(log.seq_after(1), std::nullopt);
  publish(3);
  EXPECT_EQ(log.top(), 3U);
  EXPECT_EQ(offsets_from(0), (Offsets{1, 2, 3}));
}

TEST_F(LogTest, OffsetsGoOnAfterWhatTheStoreRemembers) {
  log.start_after(41);
  EXPECT_EQ(log.seq_after(41), log.end_seq());
  EXPECT_EQ(log.seq_after(40), std::nullopt);
  publish();
  EXPECT_EQ(log.at(log.begin_seq())->offset, 42U);
  EXPECT_EQ(log.seq_after(41), log.begin_seq());
  EXPECT_EQ(log.seq_after(40), std::nullopt);
}

TEST_F(LogTest, HistoryIsBoundedByCountToTheEntry) {
  options.history_size = 3;
  options.live_window_entries = 0;
  publish(3);
  EXPECT_EQ(log.history_from(), 1U);
  publish();
  EXPECT_EQ(log.history_from(), 2U);
  EXPECT_EQ(log.size(), 3U);
  EXPECT_EQ(log.seq_after(0), std::nullopt);
  EXPECT_EQ(log.seq_after(1), log.begin_seq());
}

TEST_F(LogTest, HistoryIsBoundedByBytesToTheByte) {
  const std::size_t cost = make_entry(1)->cost_bytes();
  options.history_bytes = 3 * cost;
  options.live_window_entries = 0;
  publish(3);
  EXPECT_EQ(log.history_from(), 1U);
  EXPECT_EQ(log.bytes(), 3 * cost);
  publish();
  EXPECT_EQ(log.history_from(), 2U);
  EXPECT_EQ(log.bytes(), 3 * cost);
  publish(1, 2);
  EXPECT_EQ(log.history_from(), 4U);
}

TEST_F(LogTest, APublicationLargerThanTheHistoryIsDeliveredButNotKept) {
  options.history_bytes = 1'000;
  const Seq taken = log.end_seq();
  publish(1, 2'000, taken);
  EXPECT_EQ(log.history_from(), 2U);
  EXPECT_EQ(offsets_from(taken), (Offsets{1}));
}

TEST_F(LogTest, HistoryIsBoundedByAgeToTheMillisecond) {
  options.history_ttl_ms = 100;
  options.live_window_entries = 0;
  publish();
  now_ms = 50;
  publish();
  now_ms = 99;
  trim();
  EXPECT_EQ(log.history_from(), 1U);
  now_ms = 100;
  trim();
  EXPECT_EQ(log.history_from(), 2U);
  now_ms = 150;
  trim();
  EXPECT_EQ(log.history_from(), 3U);
  EXPECT_EQ(log.top(), 2U);
  EXPECT_TRUE(log.is_empty());
  EXPECT_EQ(log.bytes(), 0U);
}

TEST_F(LogTest, AnAgeWithoutEndDoesNotOverflow) {
  options.history_ttl_ms = INT64_MAX;
  publish(2);
  now_ms = 1LL << 60;
  trim();
  EXPECT_EQ(log.history_from(), 1U);
}

TEST_F(LogTest, WithoutHistoryTheLiveWindowKeepsTheNewest) {
  options.history_size = 0;
  options.live_window_entries = 4;
  notice(10);
  EXPECT_EQ(log.size(), 4U);
  EXPECT_EQ(log.end_seq() - log.begin_seq(), 4U);
  EXPECT_EQ(log.history_from(), 1U);
}

TEST_F(LogTest, TheLiveWindowIsBoundedByBytes) {
  options.history_size = 0;
  const std::size_t cost = make_entry(0, "n", EntryKind::join)->cost_bytes();
  options.live_window_bytes = 2 * cost;
  notice(10);
  EXPECT_EQ(log.size(), 2U);
}

TEST_F(LogTest, TheLiveWindowIsLeftWithAge) {
  options.history_size = 0;
  notice(3);
  now_ms = ChannelLog::kLiveWindowMs - 1;
  trim();
  EXPECT_EQ(log.size(), 3U);
  now_ms = ChannelLog::kLiveWindowMs;
  trim();
  EXPECT_TRUE(log.is_empty());
}

TEST_F(LogTest, ABurstStaysUntilEveryShardHasTakenIt) {
  options.history_size = 0;
  options.live_window_entries = 4;
  const Seq taken = log.end_seq();
  notice(100, taken);
  EXPECT_EQ(log.size(), 100U);
  trim(taken + 60);
  EXPECT_EQ(log.begin_seq(), taken + 60);
  trim(log.end_seq());
  EXPECT_EQ(log.size(), 4U);
}

TEST_F(LogTest, ABurstHasALimit) {
  options.history_size = 0;
  options.live_window_entries = 4;
  notice(ChannelLog::kBurstEntries + 10, log.end_seq());
  EXPECT_EQ(log.size(), ChannelLog::kBurstEntries);
}

TEST_F(LogTest, TheNewestEntryWaitsForItsReadersWhateverItsSize) {
  options.history_size = 0;
  const Seq taken = log.end_seq();
  notice(1, taken, ChannelLog::kBurstBytes + 1);
  EXPECT_EQ(log.size(), 1U);
  trim(log.end_seq());
  EXPECT_TRUE(log.is_empty());
}

TEST_F(LogTest, WhatLeftTheHistoryStaysInTheLiveWindowButIsNeverShownToAResume) {
  options.history_size = 2;
  options.live_window_entries = 8;
  publish(6);
  EXPECT_EQ(log.size(), 6U);
  EXPECT_EQ(log.history_from(), 5U);
  EXPECT_EQ(log.seq_after(3), std::nullopt);
  EXPECT_EQ(log.seq_after(4), log.end_seq() - 2);
}

TEST_F(LogTest, RemovingTheHistoryKeepsTheOffsetsAndTheLiveWindow) {
  publish(5);
  log.remove_history(log.top());
  trim();
  EXPECT_EQ(log.top(), 5U);
  EXPECT_EQ(log.history_from(), 6U);
  EXPECT_EQ(log.seq_after(4), std::nullopt);
  EXPECT_EQ(log.seq_after(5), log.end_seq());
  EXPECT_EQ(log.size(), 5U);
  publish();
  EXPECT_EQ(log.seq_after(5), log.end_seq() - 1);
  EXPECT_EQ(log.top(), 6U);
}

TEST_F(LogTest, TheOlderHalfIsRoundedUpSoThatTheLastOneGoesToo) {
  options.live_window_entries = 0;
  publish(5);
  log.remove_older_half();
  trim();
  EXPECT_EQ(log.history_from(), 4U);
  log.remove_older_half();
  EXPECT_EQ(log.history_from(), 5U);
  log.remove_older_half();
  EXPECT_EQ(log.history_from(), 6U);
  log.remove_older_half();
  EXPECT_EQ(log.history_from(), 6U);
  trim();
  EXPECT_TRUE(log.is_empty());
}

TEST_F(LogTest, AResumeStandsBeforeItsPublicationAndPassesOverNoStoredEntry) {
  notice();
  publish();  // 1
  notice(2);
  publish(2);  // 2, 3
  notice();
  const Seq begin = log.begin_seq();
  EXPECT_EQ(log.seq_after(0), begin + 1);
  EXPECT_EQ(log.seq_after(1), begin + 4);
  EXPECT_EQ(log.seq_after(2), begin + 5);
  EXPECT_EQ(log.seq_after(3), log.end_seq())
      << "the notice behind the newest publication is no part of a resume";
  EXPECT_EQ(log.seq_after(4), std::nullopt);
  for (Seq seq = begin; seq <= log.end_seq(); ++seq) {
    EXPECT_EQ(log.offset_before(seq), seq <= begin + 1   ? 0U
                                      : seq <= begin + 4 ? 1U
                                      : seq == begin + 5 ? 2U
                                                         : 3U);
  }
}

TEST_F(LogTest, EphemeralEntriesLeaveFromBetweenPublicationsThatStay) {
  options.live_window_entries = 8;
  publish();
  for (int i = 0; i < 100'000; ++i) {
    notice();
    ASSERT_LE(log.size(), 32U);
    ASSERT_LE(log.bytes(), 32 * (ChannelLog::kBurstEntries));
  }
  publish();
  EXPECT_EQ(log.seq_after(0), ChannelLog::kFirstSeq);
  EXPECT_EQ(log.end_seq(), ChannelLog::kFirstSeq + 100'002)
      << "a seq is counted whether its entry stays or not";
  EXPECT_EQ(log.at(*log.seq_after(1))->offset, 2U);
}

TEST_F(LogTest, LargeEphemeralEntriesLeaveFromBetweenPublicationsThatStay) {
  options.live_window_bytes = 10'000;
  publish();
  for (int i = 0; i < 1'000; ++i) {
    notice(1, kNobodyWaits, 4'000);
    ASSERT_LE(log.bytes(), 30'000U);
  }
}

TEST_F(LogTest, ThinningKeepsEveryPublicationTheLiveWindowAndWhatNobodyHasTaken) {
  options.live_window_entries = 4;
  for (int i = 0; i < 50; ++i) {
    publish();
    notice(3);
  }
  Offset expected = 1;
  std::size_t notices = 0;
  for (const Offset offset : offsets_from(0)) {
    if (offset == 0) {
      ++notices;
    } else {
      EXPECT_EQ(offset, expected++);
    }
  }
  EXPECT_EQ(expected, 51U);
  EXPECT_LT(notices, 40U);
  EXPECT_EQ(offsets_from(log.end_seq() - 4), (Offsets{50, 0, 0, 0}));
  for (Offset offset = 0; offset < 50; ++offset) {
    const auto seq = log.seq_after(offset);
    ASSERT_TRUE(seq);
    EXPECT_EQ(log.at(*seq)->offset, offset + 1);
    EXPECT_EQ(log.next_seq(*seq), *seq);
    EXPECT_EQ(log.offset_before(*seq), offset);
  }
  const Seq taken = log.end_seq();
  notice(500, taken);
  EXPECT_EQ(offsets_from(taken).size(), 500U);
}

TEST_F(LogTest, AnEntryThatIsReadLateDoesNotBeginItsLifeAgain) {
  options.history_ttl_ms = 100;
  options.live_window_entries = 0;
  now_ms = 1'000;
  log.append(make_entry(1), now_ms, options, kNobodyWaits, 90);
  EXPECT_EQ(log.history_from(), 1U);
  now_ms += 10;
  trim();
  EXPECT_EQ(log.history_from(), 2U);
}

TEST_F(LogTest, AResetGoesOnInSeqsAndForgetsTheRest) {
  publish(3);
  notice();
  const Seq end = log.end_seq();
  log.reset(9);
  EXPECT_EQ(log.begin_seq(), end);
  EXPECT_EQ(log.end_seq(), end);
  EXPECT_EQ(log.top(), 9U);
  EXPECT_EQ(log.history_from(), 10U);
  EXPECT_EQ(log.bytes(), 0U);
  publish();
  EXPECT_EQ(log.at(end)->offset, 10U);
  EXPECT_EQ(log.bytes(), make_entry(10)->cost_bytes());
}

TEST_F(LogTest, BytesComeBackToZeroWhateverTheOrderOfThings) {
  options.history_size = 7;
  options.live_window_entries = 3;
  for (int i = 0; i < 200; ++i) {
    publish(static_cast<std::size_t>(i % 3), static_cast<std::size_t>(i));
    notice(static_cast<std::size_t>(i % 5), i % 2 == 0 ? log.end_seq() : kNobodyWaits, 10);
    if (i % 50 == 0) log.remove_history(log.top());
  }
  now_ms = 1'000'000;
  trim();
  EXPECT_TRUE(log.is_empty());
  EXPECT_EQ(log.bytes(), 0U);
  publish(7, 100);
  EXPECT_EQ(log.history_from(), log.top() - 6) << "the bytes of the history count from zero again";
}

}  // namespace
}  // namespace carillon
