// Where a subscription starts: with the oldest publication, with the newest ones, in another log.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/hub_fixture.hpp"
#include "hub/late_store.hpp"

namespace carillon {
namespace {

using StartTest = HubFixture;

TEST_F(StartTest, OldestIsAllThatIsKeptAndThenLive) {
  publish_numbers("a", 1, 5);
  PlainReader reader(*shards[0]);
  const SubscribeOutcome outcome = subscribe(reader, "a", Since::oldest());
  EXPECT_EQ(outcome.recovered(), true);
  EXPECT_EQ(outcome.start.offset, 0U);
  publish_numbers("a", 6, 7);
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 7));
  EXPECT_TRUE(reader.gaps.empty());
  EXPECT_EQ(hub.recovered() + hub.not_recovered(), 0U) << "no position was given";
  EXPECT_TRUE(ledger().is_balanced());
}

TEST_F(StartTest, OldestIsNotRecoveredWhereTheBeginningOfTheLogIsGone) {
  publish_numbers("tiny", 1, 10);  // the history holds 8, 9 and 10
  PlainReader reader(*shards[0]);
  const SubscribeOutcome outcome = subscribe(reader, "tiny", Since::oldest());
  EXPECT_EQ(outcome.recovered(), false);
  EXPECT_EQ(outcome.start.offset, 7U);
  settle();
  EXPECT_EQ(reader.taken, numbers(8, 10));
  EXPECT_TRUE(reader.gaps.empty()) << "nothing is lost to it";
}

TEST_F(StartTest, OldestOfAnEmptyLogIsItsBeginningUnlessItWasRemoved) {
  PlainReader reader(*shards[0]), late(*shards[0]);
  EXPECT_EQ(subscribe(reader, "a", Since::oldest()).recovered(), true);
  publish_numbers("a", 1, 2);
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 2));
  hub.remove_history("a", [](StoreError) {});
  const SubscribeOutcome outcome = subscribe(late, "a", Since::oldest());
  EXPECT_EQ(outcome.recovered(), false);
  EXPECT_EQ(outcome.start.offset, 2U);
  publish("a", "3");
  settle();
  EXPECT_EQ(late.taken, numbers(3, 3));
}

TEST_F(StartTest, LastIsAsManyAsThereAreAndThenLive) {
  publish_numbers("tiny", 1, 10);
  publish_numbers("a", 1, 10);
  const struct {
    std::string channel;
    std::uint64_t last;
    int first;
  } cases[] = {{"a", 3, 8},    {"a", 0, 11},     {"a", 10, 1},   {"a", 11, 1},
               {"tiny", 2, 9}, {"tiny", 100, 8}, {"a", ~0ULL, 1}};
  for (const auto& each : cases) {
    SCOPED_TRACE(each.channel + " " + std::to_string(each.last));
    PlainReader reader(*shards[0]);
    const SubscribeOutcome outcome = subscribe(reader, each.channel, Since::last(each.last));
    EXPECT_EQ(outcome.recovered(), std::nullopt) << "no position was given";
    EXPECT_EQ(outcome.start.offset, static_cast<Offset>(each.first - 1));
    settle();
    EXPECT_EQ(reader.taken, numbers(each.first, 10));
    EXPECT_TRUE(reader.gaps.empty());
    EXPECT_TRUE(reader.cursor.is_live());
  }
  EXPECT_TRUE(ledger().is_balanced());
}

TEST_F(StartTest, AChannelWithoutHistoryStartsLive) {
  publish_numbers("live", 1, 3);
  for (const Since& since : {Since::oldest(), Since::last(2)}) {
    PlainReader reader(*shards[0]);
    const SubscribeOutcome outcome = subscribe(reader, "live", since);
    EXPECT_EQ(outcome.recovered(), std::nullopt);
    EXPECT_FALSE(outcome.has_history);
    publish("live", "4");
    settle();
    EXPECT_EQ(reader.taken, numbers(4, 4));
  }
  PlainReader reader(*shards[0]);
  EXPECT_EQ(subscribe(reader, "live", Since::from("otherone", 1)).recovered(), false);
}

TEST_F(StartTest, APositionInAnotherLogStartsWithTheOldestOfThisOneIfItTakesAnother) {
  publish_numbers("a", 1, 3);
  publish_numbers("tiny", 1, 10);
  Since since = Since::from("otherone", 40);
  since.takes_what_is_kept = true;
  PlainReader reader(*shards[0]), trimmed(*shards[0]);
  const SubscribeOutcome outcome = subscribe(reader, "a", since);
  EXPECT_EQ(outcome.recovered(), false);
  EXPECT_EQ(outcome.start.offset, 0U);
  EXPECT_EQ(subscribe(trimmed, "tiny", since).start.offset, 7U);
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 3));
  EXPECT_EQ(trimmed.taken, numbers(8, 10));
  EXPECT_EQ(hub.not_recovered(), 2U);
}

TEST_F(StartTest, APositionWhoseNextPublicationsAreLostStartsWithTheOldestThatIsKept) {
  publish_numbers("tiny", 1, 10);
  const std::string epoch(history("tiny", 0).top.epoch.text());
  Since since = Since::from(epoch, 2);
  PlainReader live(*shards[0]), reader(*shards[0]), ahead(*shards[0]);
  EXPECT_EQ(subscribe(live, "tiny", since).start.offset, 10U) << "as the Centrifuge protocol has it";
  since.takes_what_is_kept = true;
  const SubscribeOutcome outcome = subscribe(reader, "tiny", since);
  EXPECT_EQ(outcome.recovered(), false);
  EXPECT_EQ(outcome.start.offset, 7U);
  Since later = Since::from(epoch, 40);
  later.takes_what_is_kept = true;
  const SubscribeOutcome unknown = subscribe(ahead, "tiny", later);
  EXPECT_EQ(unknown.recovered(), false);
  EXPECT_EQ(unknown.start.offset, 10U) << "it may have read what is kept";
  settle();
  EXPECT_TRUE(live.taken.empty());
  EXPECT_EQ(reader.taken, numbers(8, 10));
  EXPECT_TRUE(ahead.taken.empty());
}

TEST_F(StartTest, ASweptChannelServesAStartAtOnce) {
  PlainReader group(*shards[0]);
  for (const std::string channel : {"read", "batch"}) {
    subscribe(group, channel);
    publish_numbers(channel, 1, 3);
    settle();
    PlainReader oldest(*shards[0]), last(*shards[0]);
    subscribe(oldest, channel, Since::oldest());
    subscribe(last, channel, Since::last(2));
    settle();
    EXPECT_EQ(oldest.taken, numbers(1, 3)) << channel;
    EXPECT_EQ(last.taken, numbers(2, 3)) << channel;
    unsubscribe(group);
  }
}

TEST_F(StartTest, AConflatedChannelCountsPublicationsAndDeliversTheNewestOfEach) {
  for (const char* text : {"1", "2", "3", "4"}) {
    Publication publication = publication_of(text);
    publication.key = "k";
    hub.publish("ticker", std::move(publication), {}, [](const AppendResult&) {});
  }
  PlainReader oldest(*shards[0]), last(*shards[0]);
  EXPECT_EQ(subscribe(oldest, "ticker", Since::oldest()).start.offset, 0U);
  EXPECT_EQ(subscribe(last, "ticker", Since::last(2)).start.offset, 2U);
  settle();
  EXPECT_EQ(oldest.taken, numbers(4, 4));
  EXPECT_EQ(last.taken, numbers(4, 4));
  const Account account = ledger().rows.at(0).account;
  EXPECT_EQ(account.delivered, 2);
  EXPECT_EQ(account.conflated, 4);
}

TEST_F(StartTest, AClientThatStartsFarBackIsNotSlow) {
  for (const char* channel : {"skip", "disconnect"}) {
    publish_numbers(channel, 1, 50);
    PlainReader reader(*shards[0]);
    subscribe(reader, channel, Since::oldest());
    reader.is_full = true;  // it stalls on its way
    publish_numbers(channel, 51, 90);
    settle();
    reader.is_full = false;
    shards[0]->bind_to_this_thread();
    shards[0]->resume(reader.cursor);
    Shard::unbind_this_thread();
    settle();
    EXPECT_EQ(reader.taken, numbers(1, 90)) << channel;
    EXPECT_TRUE(reader.gaps.empty());
    EXPECT_EQ(reader.slow, 0U);
  }
}

TEST_F(StartTest, HistoryOfTheLastOnesIsInAscendingOrder) {
  publish_numbers("a", 1, 10);
  EXPECT_EQ(data_of(history("a", 0, Since::last(3))), numbers(8, 10));
  EXPECT_EQ(data_of(history("a", 0, Since::last(40))), numbers(1, 10));
  EXPECT_TRUE(history("a", -1, Since::last(0)).entries.empty());
  EXPECT_EQ(data_of(history("a", 4, Since::oldest())), numbers(1, 4));
  EXPECT_EQ(history("live", 0, Since::last(3)).error, HistoryError::no_history);
  HistoryQuery query{.limit = 0, .since = Since::last(10), .is_reverse = false, .bytes_max = 100};
  Taken found;
  hub.history("a", query, [&](const HistoryResult& result) { found = data_of(result); });
  EXPECT_EQ(found, numbers(8, 10)) << "a list that is full has the newest ones";
}

/// Entries that only the store has: as after a restart.
struct StoredStartTest : testing::Test {
  StoredStartTest() {
    struct HubWithoutEars final : StoreListener {
      void on_announced(const Announcement& /*announcement*/) override {}
    } nobody;
    store.set_listener(&nobody);
    for (int i = 1; i <= 20; ++i) {
      store.append("a", make_entry(0, std::to_string(i)), {}, [](const AppendResult&) {});
      while (store.run_one()) {
      }
    }
    store.set_listener(&hub);
    hub.set_shards({&shard});
  }
  SubscribeOutcome subscribe(PlainReader& reader, const Since& since) {
    std::optional<SubscribeOutcome> answer;
    shard.bind_to_this_thread();
    hub.subscribe(shard, reader.cursor, "a", since,
                  [&](const SubscribeOutcome& outcome) { answer = outcome; });
    do {
      while (store.run_one()) {
      }
      while (shard.turn()) {
      }
    } while (store.waiting() > 0);
    Shard::unbind_this_thread();
    EXPECT_TRUE(answer);
    return answer.value_or(SubscribeOutcome{});
  }

  VirtualClock clock;
  SeededRandom random{1};
  LateStore store{random, {}};
  Hub hub{clock, random, store, {}, {}};
  Shard shard{0, {}, clock, [] {}};
};

TEST_F(StoredStartTest, APageOfTheStoreIsReadOnceForAllWhoNeedIt) {
  PlainReader last(shard), oldest(shard);
  EXPECT_EQ(subscribe(last, Since::last(5)).start.offset, 15U);
  EXPECT_EQ(last.taken, numbers(16, 20));
  EXPECT_EQ(subscribe(oldest, Since::oldest()).recovered(), true);
  EXPECT_EQ(oldest.taken, numbers(1, 20));
  EXPECT_EQ(store.reads(), (std::map<std::string, std::uint64_t>{{"a 1 20", 1}}));
}

TEST_F(StoredStartTest, WhatTheStoreHasLostIsNotWaitedFor) {
  store.set_faults({.range_is_gone = 100});
  PlainReader last(shard), oldest(shard);
  EXPECT_EQ(subscribe(last, Since::last(5)).start.offset, 20U);
  EXPECT_EQ(subscribe(oldest, Since::oldest()).recovered(), false);
  store.set_faults({.read_fails = 100});
  PlainReader unlucky(shard);
  EXPECT_EQ(subscribe(unlucky, Since::oldest()).error, StoreError::unavailable);
  EXPECT_FALSE(unlucky.cursor.is_open());
}

TEST_F(StoredStartTest, HistoryOfTheLastOnesReadsThemFromTheStore) {
  Taken found;
  hub.history("a", {.limit = 0, .since = Since::last(3)}, [&](const HistoryResult& result) {
    for (const EntryRef& entry : result.entries) found.push_back(entry->publication.data);
  });
  while (store.run_one()) {
  }
  EXPECT_EQ(found, numbers(18, 20));
  EXPECT_EQ(store.entries_read(), 3U);
  EXPECT_EQ(store.followed_channels(), 0) << "to read is not to follow";
}

}  // namespace
}  // namespace carillon
