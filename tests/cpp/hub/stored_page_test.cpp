// Cursors that read what only the store has, beside the ring.
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>

#include "hub/hub_fixture.hpp"
#include "hub/late_hub_fixture.hpp"

namespace carillon {
namespace {

ChannelRules little_rings() {
  ChannelOptions little, skip;
  little.history_size = skip.history_size = 5;  // another gateway's bounds are wider, and the store has its
  little.live_window_entries = skip.live_window_entries = 2;
  skip.slow_consumer = SlowConsumer::skip;
  skip.slow_consumer_entries = 10;
  return ChannelRules({{"a", little}, {"skip", skip}});
}

struct StoredPageTest : LateHubTest {
  explicit StoredPageTest(HubLimits limits = {.page_entries = 10}, TurnLimits turns = {.batch_entries = 4})
      : LateHubTest(limits, little_rings(), turns) {}

  /// One after another: the store answers in any order.
  void publish_many(int first, int last, std::string_view channel = "a") {
    for (int i = first; i <= last; ++i) {
      hub.publish(channel, publication_of(std::to_string(i)), {}, [](const AppendResult&) {});
      while (store.run_one()) {
      }
    }
  }
  bool is_balanced() {
    bool answer = false;
    shard.bind_to_this_thread();
    hub.ledger([&](const Ledger& ledger) { answer = ledger.is_balanced(); });
    Shard::unbind_this_thread();
    settle();
    return answer;
  }
  void resume(PlainReader& reader) {
    reader.is_full = false;
    shard.bind_to_this_thread();
    shard.resume(reader.cursor);
    Shard::unbind_this_thread();
    settle();
  }
};

struct OnePageTest : StoredPageTest {
  OnePageTest() : StoredPageTest({.stored_pages = 1, .page_entries = 10}) {}
};

TEST_F(StoredPageTest, AResumeThatDoesNotFitTheRingGetsEverything) {
  fill_store(95);
  std::deque<PlainReader> readers;
  for (int i = 0; i < 20; ++i) {
    const auto answer = std::make_shared<std::optional<SubscribeOutcome>>();
    start_subscribe(readers.emplace_back(shard), Since{epoch, false, static_cast<Offset>(i)}, answer);
  }
  settle();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(readers[i].taken, numbers(i + 1, 95));
    EXPECT_TRUE(readers[i].gaps.empty());
    EXPECT_TRUE(readers[i].cursor.is_live());
  }
  EXPECT_EQ(hub.recovered(), 20U);
  EXPECT_EQ(hub.not_recovered(), 0U);
  EXPECT_EQ(store.entries_read(), 95U) << "each page is read once";
  EXPECT_TRUE(is_balanced());
}

TEST_F(StoredPageTest, PagesThatWereReadAreCounted) {
  fill_store(95);
  EXPECT_EQ(hub.pages().read, 0U);
  PlainReader first(shard), second(shard);
  subscribe(first, Since{epoch, false, 0});
  subscribe(second, Since{epoch, false, 0});
  const Hub::PageFigures pages = hub.pages();
  EXPECT_EQ(pages.read, 10U) << "once for both";
  EXPECT_EQ(pages.publications, 95U);
  EXPECT_EQ(pages.room.under_way, 10U) << "the newest are kept for others";
  EXPECT_EQ(pages.room.waiting, 0U);
  EXPECT_EQ(pages.room.waits, 0U);
}

TEST_F(OnePageTest, PagesThatHadToWaitAreCounted) {
  fill_store(60);
  PlainReader first(shard), second(shard);
  const auto answer = std::make_shared<std::optional<SubscribeOutcome>>();
  start_subscribe(first, Since{epoch, false, 0}, answer);
  start_subscribe(second, Since{epoch, false, 30}, answer);
  while (hub.pages().room.waiting == 0 && store.run_one()) {
    shard.bind_to_this_thread();
    shard.turn();
    Shard::unbind_this_thread();
  }
  EXPECT_EQ(hub.pages().room.under_way, 1U);
  EXPECT_EQ(hub.pages().room.waiting, 1U);
  settle();
  EXPECT_EQ(first.taken, numbers(1, 60));
  EXPECT_EQ(second.taken, numbers(31, 60));
  EXPECT_EQ(hub.pages().room.waiting, 0U);
  EXPECT_GE(hub.pages().room.waits, 1U);
}

TEST_F(StoredPageTest, WhoReadsPagesJoinsTheOthersThoughTheLogMovesOn) {
  fill_store(60);
  PlainReader live(shard), late(shard);
  subscribe(live);
  shard.bind_to_this_thread();
  hub.subscribe(shard, late.cursor, "a", Since{epoch, false, 0}, [](const SubscribeOutcome&) {});
  Shard::unbind_this_thread();
  for (int next = 61; next <= 90; next += 3) {  // the ring is another one after each of its batches
    publish_many(next, next + 2);
    hub.announce("a", EntryKind::join, "{}");
    while (store.run_one()) {
    }
    shard.bind_to_this_thread();
    shard.turn();
    Shard::unbind_this_thread();
  }
  settle();
  std::erase(late.taken, "");  // joins
  EXPECT_EQ(late.taken, numbers(1, 90));
  EXPECT_TRUE(late.gaps.empty());
  EXPECT_TRUE(late.cursor.is_live());
  publish_many(91, 91);
  settle();
  EXPECT_EQ(late.taken.back(), "91");
  EXPECT_TRUE(is_balanced());
}

TEST_F(StoredPageTest, ASlowReaderThatTheRingHasLeftBehindReadsFromTheStore) {
  PlainReader reader(shard);
  subscribe(reader);
  reader.is_full = true;
  publish_many(1, 80);
  resume(reader);
  EXPECT_EQ(reader.taken, numbers(1, 80));
  EXPECT_TRUE(reader.gaps.empty());
  EXPECT_TRUE(is_balanced());
}

TEST_F(StoredPageTest, WithSkipNoPageIsRead) {
  PlainReader reader(shard);
  shard.bind_to_this_thread();
  hub.subscribe(shard, reader.cursor, "skip", std::nullopt, [](const SubscribeOutcome&) {});
  Shard::unbind_this_thread();
  settle();
  reader.is_full = true;
  publish_many(1, 1, "skip");
  settle();  // it has refused one: a slow consumer
  publish_many(2, 40, "skip");
  resume(reader);
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_TRUE(reader.gaps[0].is_skip);
  EXPECT_EQ(store.entries_read(), 0U);
}

TEST_F(StoredPageTest, WhatLeavesTheStoreOnTheWayIsToldOnceAndTheRestComes) {
  fill_store(60);
  PlainReader reader(shard);
  const auto answer = std::make_shared<std::optional<SubscribeOutcome>>();
  reader.on_stage = [&] { store.trim("a", 33); };  // when it has the first page
  start_subscribe(reader, Since{epoch, false, 5}, answer);
  settle();
  ASSERT_TRUE(*answer);
  EXPECT_TRUE((*answer)->is_recovered);
  Taken expected = numbers(6, 10);
  for (const std::string& data : numbers(34, 60)) expected.push_back(data);
  EXPECT_EQ(reader.taken, expected);
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].lost_from, 11U);
  EXPECT_EQ(reader.gaps[0].lost_to, 33U);
  EXPECT_TRUE(is_balanced());
}

TEST_F(StoredPageTest, WhoWantsWhatIsKeptBeginsWithTheOldestOfTheStore) {
  fill_store(60);
  store.trim("a", 33);
  PlainReader reader(shard), strict(shard);
  Since since{epoch, false, 5};
  EXPECT_FALSE(subscribe(strict, since)->is_recovered);
  EXPECT_TRUE(strict.taken.empty());
  since.takes_what_is_kept = true;
  const auto answer = subscribe(reader, since);
  EXPECT_FALSE(answer->is_recovered);
  EXPECT_EQ(answer->start.offset, 33U);
  EXPECT_EQ(reader.taken, numbers(34, 60));
}

TEST_F(StoredPageTest, WhileTheStoreIsAwayAReaderWaitsAndLosesNothing) {
  fill_store(60);
  PlainReader reader(shard);
  reader.on_stage = [&] { store.set_faults({.read_fails = 100}); };
  start_subscribe(reader, Since{epoch, false, 0}, std::make_shared<std::optional<SubscribeOutcome>>());
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 10));
  const auto reads = [&] {
    std::uint64_t sum = 0;
    for (const auto& [range, times] : store.reads()) sum += times;
    return sum;
  };
  const std::uint64_t before = reads();
  for (int i = 0; i < 40; ++i) {  // it asks again, in vain, and with pauses that grow
    clock.advance(250);
    hub.keep_house();
    settle();
  }
  EXPECT_EQ(reader.taken, numbers(1, 10));
  EXPECT_GE(reads(), before + 3);
  EXPECT_LE(reads(), before + 12);
  PlainReader other(shard);
  EXPECT_EQ(subscribe(other, Since{epoch, false, 12})->error, StoreError::unavailable)
      << "who subscribes is told at once";
  reader.on_stage = nullptr;
  store.set_faults({});
  clock.advance(10'000);
  hub.keep_house();
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 60));
  EXPECT_TRUE(reader.gaps.empty());
}

TEST_F(StoredPageTest, AnotherEpochOnTheWayIsToldAsAGap) {
  fill_store(60);
  PlainReader reader(shard);
  const Epoch before = epoch;
  reader.on_stage = [&] {
    if (epoch == before) {
      store.renew("a");
      fill_store(7);
    }
  };
  start_subscribe(reader, Since{epoch, false, 0}, std::make_shared<std::optional<SubscribeOutcome>>());
  settle();
  ASSERT_NE(epoch, before);
  EXPECT_EQ(reader.taken, numbers(1, static_cast<int>(reader.taken.size()))) << "of the old one";
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].position.epoch, epoch);
  EXPECT_EQ(reader.gaps[0].position.offset, 7U);
  EXPECT_TRUE(reader.cursor.is_live());
}

TEST_F(StoredPageTest, WhatWasRemovedIsNotShownToWhoComesLater) {
  fill_store(60);
  PlainReader first(shard), second(shard);
  EXPECT_TRUE(subscribe(first, Since{epoch, false, 0})->is_recovered);
  hub.remove_history("a", [](StoreError) {});
  settle();
  EXPECT_FALSE(subscribe(second, Since{epoch, false, 0})->is_recovered);
  EXPECT_TRUE(second.taken.empty());
}

TEST_F(StoredPageTest, APageThatWasOnItsWayWhenTheHistoryWasRemovedIsReadAgain) {
  fill_store(10);
  PlainReader reader(shard);
  subscribe(reader);
  PlainReader late(shard);
  start_subscribe(late, Since{epoch, false, 0}, std::make_shared<std::optional<SubscribeOutcome>>());
  turn();
  ASSERT_EQ(store.reads().size(), 1U);
  hub.on_history_removed("a", epoch, 4);
  settle();
  EXPECT_EQ(store.reads(), (std::map<std::string, std::uint64_t>{{"a 1 10", 2}}));
}

TEST_F(StoredPageTest, WhereTheLogBeginsNoticesBetweenThePublicationsAreNotPassedOver) {
  fill_store(8);
  PlainReader live(shard), late(shard);
  subscribe(live);
  publish_many(9, 9);
  hub.announce("a", EntryKind::join, "{}");
  settle();
  publish_many(10, 10);
  subscribe(late, Since{epoch, false, 6});
  EXPECT_EQ(late.taken, (Taken{"7", "8", "9", "", "10"}));
  EXPECT_TRUE(is_balanced());
}

TEST_F(StoredPageTest, WhoStaysAwayLeavesHisPageToOthersAndOneReadServesAll) {
  fill_store(30);
  PlainReader first(shard), second(shard);
  subscribe(first, Since{epoch, false, 0});
  subscribe(second, Since{epoch, false, 0});
  EXPECT_EQ(store.entries_read(), 30U) << "the pages are kept for a while";
  clock.advance(31'000);
  hub.keep_house();
  settle();
  PlainReader third(shard);
  subscribe(third, Since{epoch, false, 0});
  EXPECT_EQ(third.taken, numbers(1, 30));
  EXPECT_EQ(store.entries_read(), 60U) << "but not for ever";
}

TEST_F(OnePageTest, TheyTakeTurnsAndASlowOneStopsNobody) {
  fill_store(30);
  PlainReader slow(shard), quick(shard);
  slow.is_full = true;  // it has begun, and takes nothing
  ASSERT_TRUE(subscribe(slow, Since{epoch, false, 0})->is_recovered);
  ASSERT_TRUE(subscribe(quick, Since{epoch, false, 0})->is_recovered);
  EXPECT_EQ(quick.taken, numbers(1, 30));
  EXPECT_TRUE(slow.taken.empty());
  resume(slow);
  EXPECT_EQ(slow.taken, numbers(1, 30));
  EXPECT_TRUE(is_balanced());
}

TEST_F(OnePageTest, WhoGoesWhileHeWaitsTakesNoPlaceWithHim) {
  fill_store(30);
  {
    PlainReader gone(shard);
    gone.on_stage = [&] { gone.is_gone = true; };
    start_subscribe(gone, Since{epoch, false, 0}, std::make_shared<std::optional<SubscribeOutcome>>());
    settle();
    EXPECT_FALSE(gone.cursor.is_open());
    PlainReader waiting(shard);
    start_subscribe(waiting, Since{epoch, false, 0}, std::make_shared<std::optional<SubscribeOutcome>>());
    waiting.cursor.cancel();
  }
  settle();
  PlainReader next(shard);
  ASSERT_TRUE(subscribe(next, Since{epoch, false, 0})->is_recovered);
  EXPECT_EQ(next.taken, numbers(1, 30));
}

TEST_F(StoredPageTest, APageIsCutByItsBytesAndReadOnNevertheless) {
  fill_store(25);
  hub.set_limits({.page_entries = 10, .page_bytes = 3 * make_entry(1)->cost_bytes()});
  std::deque<PlainReader> readers;
  for (const Offset offset : {0U, 7U, 4U, 18U}) {
    start_subscribe(readers.emplace_back(shard), Since{epoch, false, offset},
                    std::make_shared<std::optional<SubscribeOutcome>>());
  }
  settle();
  EXPECT_EQ(readers[0].taken, numbers(1, 25));
  EXPECT_EQ(readers[1].taken, numbers(8, 25));
  EXPECT_EQ(readers[2].taken, numbers(5, 25));
  EXPECT_EQ(readers[3].taken, numbers(19, 25));
  EXPECT_GT(store.reads().size(), 8U);
  for (const auto& [range, times] : store.reads()) EXPECT_EQ(times, 1U) << range;
}

TEST_F(StoredPageTest, WhoMissesTheLastOfManyLargeOnesDoesNotReadAllBeforeThem) {
  fill_store(250);
  hub.set_limits({.page_bytes = 3 * make_entry(1)->cost_bytes()});
  PlainReader reader(shard);
  ASSERT_TRUE(subscribe(reader, Since{epoch, false, 240})->is_recovered);
  EXPECT_EQ(reader.taken, numbers(241, 250));
  EXPECT_LE(store.entries_read(), 20U);
}

TEST_F(StoredPageTest, WhereTheStoreHasLostTheChannelEverybodyIsToldAndItGoesOnInANewEpoch) {
  fill_store(60);
  PlainReader live(shard), late(shard);
  subscribe(live);
  store.forget("a");
  const auto answer = subscribe(late, Since{epoch, false, 3});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, StoreError::none);
  EXPECT_FALSE(answer->is_recovered);
  EXPECT_TRUE(answer->start.epoch.is_set());
  EXPECT_EQ(answer->start.epoch, store.top("a").epoch);
  settle();
  ASSERT_EQ(live.gaps.size(), 1U);
  EXPECT_EQ(live.gaps[0].position.epoch, store.top("a").epoch);
  publish_many(1, 1);
  settle();
  EXPECT_EQ(live.taken, (Taken{"1"}));
  EXPECT_EQ(late.taken, (Taken{"1"}));
}

TEST_F(StoredPageTest, ASmallerLimitIsInForceAtOnce) {
  fill_store(60);
  PlainReader first(shard), second(shard);
  subscribe(first, Since{epoch, false, 0});
  hub.set_limits({.stored_pages = 1, .page_entries = 10});
  clock.advance(1);
  ASSERT_TRUE(subscribe(second, Since{epoch, false, 0})) << "what is kept for later stands in nobody's way";
  EXPECT_EQ(second.taken, numbers(1, 60));
}

TEST_F(StoredPageTest, UnderPressureThePagesGoFirst) {
  fill_store(60);
  PlainReader reader(shard);
  subscribe(reader, Since{epoch, false, 0});
  hub.set_limits({.history_bytes_total = 1, .page_entries = 10});
  publish_many(61, 61);
  settle();
  PlainReader again(shard);
  subscribe(again, Since{epoch, false, 0});
  EXPECT_EQ(again.taken, numbers(1, 61));
  EXPECT_GE(store.entries_read(), 120U) << "nobody has kept them";
}

TEST_F(StoredPageTest, TheFirstPageCanBeTakenForAReply) {
  fill_store(30);
  PlainReader reader(shard);
  std::unique_ptr<Batch> page;
  shard.bind_to_this_thread();
  hub.subscribe(shard, reader.cursor, "a", Since{epoch, false, 3}, [&](const SubscribeOutcome& outcome) {
    EXPECT_TRUE(outcome.is_recovered);
    page = shard.take_page(reader.cursor, 100, 1'000'000);
  });
  Shard::unbind_this_thread();
  settle();
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(page->size(), 7U);
  EXPECT_EQ(page->entries()[0]->offset, 4U);
  reader.cursor.count_delivered(page->size());
  EXPECT_EQ(reader.taken, numbers(11, 30)) << "the pump brings the rest";
  EXPECT_TRUE(is_balanced());
}

TEST_F(StoredPageTest, AReaderOnItsWayGoesOnInAnotherProcess) {
  fill_store(40);
  PlainReader before(shard);
  before.on_stage = [&] { before.is_full = before.taken.size() >= 8; };
  start_subscribe(before, Since{epoch, false, 0}, std::make_shared<std::optional<SubscribeOutcome>>());
  settle();
  ASSERT_EQ(before.taken, numbers(1, 8));
  const CursorState saved = Shard::save(before.cursor);
  const HubState state = hub.save();

  Hub next(clock, random, store, little_rings(), {.page_entries = 10});
  Shard other(0, {}, clock, [] {});
  next.set_shards({&other});
  next.restore(state);
  while (store.run_one()) {
  }
  PlainReader after(other);
  other.bind_to_this_thread();
  next.restore(other, after.cursor, "a", saved);
  other.resume(after.cursor);
  for (int i = 0; i < 20; ++i) {
    while (other.turn()) {
    }
    while (store.run_one()) {
    }
  }
  Shard::unbind_this_thread();
  EXPECT_EQ(after.taken, numbers(9, 40));
  EXPECT_TRUE(after.gaps.empty());
  store.set_listener(&hub);
}

TEST_F(StoredPageTest, WhoWaitsForAPageIsNoneThatTakesNothing) {
  fill_store(40);
  PlainReader reader(shard);
  start_subscribe(reader, Since{epoch, false, 0}, std::make_shared<std::optional<SubscribeOutcome>>());
  while (reader.taken.size() < 10) {
    turn();
    if (reader.taken.size() < 10) store.run_one();
  }
  EXPECT_TRUE(reader.cursor.is_open());
  EXPECT_FALSE(Shard::save(reader.cursor).is_parked) << "nobody would call it again in another process";
}

}  // namespace
}  // namespace carillon
