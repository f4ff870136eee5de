// What the hub makes of a store that answers later, in another order, or not at all.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "hub/late_hub_fixture.hpp"

namespace carillon {
namespace {

struct ImpatientHubTest : LateHubTest {
  ImpatientHubTest() : LateHubTest({.early_entries = 3}) {}
};

struct PatientHubTest : LateHubTest {
  PatientHubTest() : LateHubTest({.catching_up_channels = 3}) {}
};

TEST_F(LateHubTest, ASubscribeWaitsForTheStoreAndIsThenLive) {
  PlainReader reader(shard);
  auto answer = std::make_shared<std::optional<SubscribeOutcome>>();
  start_subscribe(reader, std::nullopt, answer);
  turn();
  EXPECT_FALSE(*answer);
  settle();
  ASSERT_TRUE(*answer);
  EXPECT_EQ((*answer)->error, StoreError::none);
  publish("1");
  EXPECT_TRUE(reader.taken.empty());
  settle();
  EXPECT_EQ(reader.taken, (Taken{"1"}));
}

TEST_F(LateHubTest, WhenTheStoreDoesNotOpenTheSubscribeFailsAndTheNextOneTriesAgain) {
  store.set_faults({.follow_fails = 100});
  PlainReader reader(shard);
  auto answer = subscribe(reader);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, StoreError::unavailable);
  EXPECT_FALSE(reader.cursor.is_open());
  store.set_faults({});
  answer = subscribe(reader);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, StoreError::none);
}

TEST_F(LateHubTest, AnnouncementsOutOfOrderAreDeliveredInOrder) {
  fill_store(4);
  store.renew("a");
  epoch = store.top("a").epoch;
  PlainReader reader(shard);
  subscribe(reader);
  announce(2, "2");
  announce(3, "3");
  turn();
  EXPECT_TRUE(reader.taken.empty());
  announce(1, "1");
  announce(2, "2");
  turn();
  EXPECT_EQ(reader.taken, (Taken{"1", "2", "3"}));
  EXPECT_TRUE(reader.gaps.empty());
}

TEST_F(LateHubTest, AHoleIsReadOnceAndFilled) {
  PlainReader reader(shard);
  subscribe(reader);
  store.set_faults({.announcement_is_lost = 100});
  publish("1");
  publish("2");
  settle();
  EXPECT_TRUE(reader.taken.empty());
  store.set_faults({});
  publish("3");
  publish("4");
  settle();
  EXPECT_EQ(reader.taken.size(), 4U);
  EXPECT_TRUE(reader.gaps.empty());
  for (const auto& [range, times] : store.reads()) EXPECT_EQ(times, 1U) << range;
}

TEST_F(LateHubTest, AHoleThatTheStoreCannotFillIsToldAsAGap) {
  PlainReader reader(shard);
  subscribe(reader);
  store.set_faults({.announcement_is_lost = 100});
  publish("1");
  settle();
  store.set_faults({.range_is_gone = 100});
  publish("2");
  settle();
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].lost_from, 1U);
  EXPECT_EQ(reader.gaps[0].lost_to, 1U);
  EXPECT_EQ(reader.taken, (Taken{"2"}));
}

TEST_F(LateHubTest, AHoleWaitsWhileTheStoreIsAwayAndIsAskedForAgain) {
  PlainReader reader(shard);
  subscribe(reader);
  store.set_faults({.announcement_is_lost = 100});
  publish("1");
  settle();
  store.set_faults({.read_fails = 100});
  publish("2");
  settle();
  hub.keep_house();
  settle();
  EXPECT_TRUE(reader.taken.empty());
  store.set_faults({});
  hub.keep_house();
  settle();
  EXPECT_EQ(reader.taken, (Taken{"1", "2"}));
  EXPECT_TRUE(reader.gaps.empty());
}

TEST_F(ImpatientHubTest, TooManyEntriesBehindAHoleTurnItIntoAGap) {
  PlainReader reader(shard);
  subscribe(reader);
  epoch = store.top("a").epoch;
  for (Offset offset = 2; offset <= 5; ++offset) announce(offset, std::to_string(offset));
  turn();
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].lost_to, 1U);
  EXPECT_EQ(reader.taken, (Taken{"2", "3", "4", "5"}));
}

TEST_F(LateHubTest, AJoinThatIsAnnouncedBeforeTheChannelIsFollowedDoesNotHideItsOffsets) {
  fill_store(5);
  PlainReader reader(shard);
  auto answer = std::make_shared<std::optional<SubscribeOutcome>>();
  start_subscribe(reader, std::nullopt, answer);
  hub.on_announced({"a", epoch, make_entry(0, "join", EntryKind::join)});  // faster than the answer to follow
  settle();
  ASSERT_TRUE(*answer);
  EXPECT_EQ((*answer)->start.offset, 5U);
  publish("6");
  settle();
  EXPECT_EQ(reader.taken, (Taken{"6"}));
  EXPECT_TRUE(reader.gaps.empty());
}

TEST_F(LateHubTest, AResumeReadsWhatTheHubDoesNotHaveAndManyShareOneRead) {
  fill_store(20);
  std::deque<PlainReader> readers;
  for (int i = 0; i < 50; ++i) {
    auto answer = std::make_shared<std::optional<SubscribeOutcome>>();
    start_subscribe(readers.emplace_back(shard), Since{epoch, false, 5}, answer);
  }
  settle();
  for (const PlainReader& reader : readers) {
    EXPECT_EQ(reader.taken.size(), 15U);
    EXPECT_EQ(reader.taken.front(), "6");
  }
  EXPECT_EQ(store.reads(), (std::map<std::string, std::uint64_t>{{"a 1 20", 1}}));
}

TEST_F(LateHubTest, AResumeFromFurtherBackDoesNotMakeDoWithTheReadOfAnother) {
  fill_store(20);
  PlainReader near(shard), far(shard), nearest(shard);
  for (const auto& [reader, offset] : {std::pair(&near, 10), {&far, 5}, {&nearest, 15}}) {
    start_subscribe(*reader, Since{epoch, false, static_cast<Offset>(offset)},
                    std::make_shared<std::optional<SubscribeOutcome>>());
  }
  settle();
  EXPECT_EQ(near.taken.size(), 10U);
  EXPECT_EQ(far.taken.size(), 15U);
  EXPECT_EQ(nearest.taken.size(), 5U);
}

TEST_F(LateHubTest, AResumeThatTheStoreCannotServeIsToldAndOneThatItCannotAnswerFails) {
  fill_store(20);
  store.set_faults({.range_is_gone = 100});
  PlainReader reader(shard);
  auto answer = subscribe(reader, Since{epoch, false, 5});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, StoreError::none);
  EXPECT_FALSE(answer->is_recovered);
  EXPECT_EQ(answer->start.offset, 20U);
  store.set_faults({.read_fails = 100});
  PlainReader other(shard);
  answer = subscribe(other, Since{epoch, false, 5});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, StoreError::unavailable);
  EXPECT_FALSE(other.cursor.is_open());
}

TEST_F(LateHubTest, AClientThatIsAheadOfThisHubIsRecoveredOnceTheHubHasCaughtUp) {
  PlainReader first(shard), ahead(shard);
  subscribe(first);
  store.set_faults(
      {.announcement_is_lost = 100});  // another gateway has delivered them to the client already
  publish("1");
  publish("2");
  publish("3");
  settle();
  const auto answer = subscribe(ahead, Since{store.top("a").epoch, false, 2});
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->is_recovered);
  EXPECT_EQ(ahead.taken.size(), 1U);
  EXPECT_EQ(first.taken.size(), 3U);
  EXPECT_TRUE(first.gaps.empty());
  EXPECT_EQ(store.followed_channels(), 1) << "asking for the top follows nothing";
}

TEST_F(LateHubTest, AClientThatIsAheadOfAHubThatHasMissedWhatLeftTheHistoryIsRecovered) {
  PlainReader first(shard), ahead(shard);
  subscribe(first);
  store.set_faults({.announcement_is_lost = 100});
  for (int i = 1; i <= 7; ++i) publish(std::to_string(i));
  settle();
  store.trim("a", 1);  // the hub, which stands at 0, cannot read on from there
  const auto answer = subscribe(ahead, Since{store.top("a").epoch, false, 5});
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->is_recovered);
  EXPECT_EQ(answer->start.offset, 5U);
  EXPECT_EQ(ahead.taken.size(), 2U);
  EXPECT_FALSE(first.gaps.empty()) << "who was behind is told";
  EXPECT_EQ(first.taken.size(), 6U) << "and gets all that is kept";
}

TEST_F(LateHubTest, AClientThatIsAheadOfAHubThatHasMissedAllIsRecovered) {
  PlainReader first(shard), ahead(shard);
  subscribe(first);
  store.set_faults({.announcement_is_lost = 100});
  for (const char* data : {"1", "2", "3"}) publish(data);
  settle();
  store.trim("a", 3);
  const auto answer = subscribe(ahead, Since{store.top("a").epoch, false, 3});
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->is_recovered);
  EXPECT_EQ(answer->start.offset, 3U);
  EXPECT_EQ(first.gaps.size(), 1U) << "who was behind is told, though nothing follows";
}

TEST_F(LateHubTest, AClientThatIsAheadByTheOnlyPublicationIsRecovered) {
  PlainReader first(shard), ahead(shard);
  subscribe(first);
  store.set_faults({.announcement_is_lost = 100});
  publish("1");
  settle();
  const auto answer = subscribe(ahead, Since{store.top("a").epoch, false, 1});
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->is_recovered);
  EXPECT_EQ(answer->start.offset, 1U);
  EXPECT_EQ(first.taken, (Taken{"1"})) << "others get it as well";
}

TEST_F(LateHubTest, WhereTheNewestCountsAClientThatIsAheadOfThisHubGetsNothingOlder) {
  PlainReader first(shard), ahead(shard);
  subscribe(first);
  store.set_faults({.announcement_is_lost = 100});
  for (const char* data : {"1", "2", "3"}) publish(data);
  settle();
  const auto answer = subscribe(ahead, Since::cache(Since{store.top("a").epoch, false, 3}));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->is_recovered);
  EXPECT_EQ(answer->start.offset, 3U);
  EXPECT_TRUE(ahead.taken.empty());
}

TEST_F(LateHubTest, WhatAnotherEpochHasIsNoPartOfAResume) {
  fill_store(20);
  PlainReader live(shard), reader(shard);
  subscribe(live);
  const Epoch before = epoch;
  store.renew("a");
  fill_store(20);
  const auto answer = subscribe(reader, Since{before, false, 5});
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->is_recovered);
  EXPECT_TRUE(reader.taken.empty());
}

TEST_F(LateHubTest, AnEpochOnlyTheClientKnowsIsAskedFor) {
  fill_store(3);
  PlainReader live(shard), reader(shard);
  subscribe(live);
  store.renew("a");
  fill_store(5);  // another gateway has told the client
  const auto answer = subscribe(reader, Since{epoch, false, 2});
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->is_recovered);
  EXPECT_EQ(answer->start.epoch, epoch);
  EXPECT_EQ(reader.taken, (Taken{"3", "4", "5"}));
  ASSERT_EQ(live.gaps.size(), 1U) << "all others hear of it";
  EXPECT_EQ(live.gaps[0].position.epoch, epoch);
}

TEST_F(LateHubTest, AnEpochThatIsAnnouncedIsConfirmedAndAReplacedOneIsNeverBelievedAgain) {
  fill_store(3);
  const Epoch before = epoch;
  PlainReader reader(shard);
  subscribe(reader);
  store.renew("a");
  epoch = store.top("a").epoch;
  publish("1");
  publish("2");
  settle();
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].position, (Position{epoch, 0}));
  EXPECT_EQ(reader.taken, (Taken{"1", "2"})) << "what made it known is part of it";
  hub.on_announced({"a", before, make_entry(4, "late")});
  settle();
  EXPECT_EQ(reader.gaps.size(), 1U);
  publish("3");
  settle();
  EXPECT_EQ(reader.taken, (Taken{"1", "2", "3"}));
}

TEST_F(LateHubTest, AnEpochThatTheStoreDoesNotConfirmIsNotBelieved) {
  PlainReader reader(shard);
  subscribe(reader);
  publish("1");
  settle();
  hub.on_announced({"a", Epoch::from_bits(99), make_entry(7, "forged")});
  settle();
  publish("2");
  settle();
  EXPECT_EQ(reader.taken, (Taken{"1", "2"}));
  EXPECT_TRUE(reader.gaps.empty());
}

TEST_F(LateHubTest, ALostLastAnnouncementIsFoundByTheNextCheck) {
  PlainReader reader(shard);
  subscribe(reader);
  store.set_faults({.announcement_is_lost = 100});
  publish("1");
  publish("2");
  settle();
  store.set_faults({});
  hub.keep_house();
  settle();
  EXPECT_TRUE(reader.taken.empty()) << "it is not asked for all the time";
  clock.advance(HubLimits{}.position_check_ms);
  hub.keep_house();
  settle();
  EXPECT_EQ(reader.taken.size(), 2U);
  EXPECT_TRUE(reader.gaps.empty());
}

TEST_F(LateHubTest, AStoreInDoubtIsAskedForEveryTopAtOnce) {
  PlainReader reader(shard);
  subscribe(reader);
  store.set_faults({.announcement_is_lost = 100});
  publish("1");
  settle();
  store.set_faults({});
  hub.on_doubt();
  hub.keep_house();
  settle();
  EXPECT_EQ(reader.taken, (Taken{"1"}));
}

TEST_F(PatientHubTest, AStoreInDoubtIsAskedForSoManyChannelsAtOneTime) {
  constexpr std::size_t kChannels = 20;
  std::deque<PlainReader> readers;
  for (std::size_t i = 0; i < kChannels; ++i) {
    const std::string channel = "a" + std::to_string(i);
    PlainReader& reader = readers.emplace_back(shard);
    shard.bind_to_this_thread();
    hub.subscribe(shard, reader.cursor, channel, std::nullopt, [](const SubscribeOutcome&) {});
    Shard::unbind_this_thread();
  }
  settle();
  store.set_faults({.announcement_is_lost = 100});
  for (std::size_t i = 0; i < kChannels; ++i)
    hub.publish("a" + std::to_string(i), publication_of("1"), {}, [](const AppendResult&) {});
  settle();
  for (const PlainReader& reader : readers) ASSERT_TRUE(reader.taken.empty());
  store.set_faults({});
  hub.on_doubt();
  hub.keep_house();
  std::size_t most = 0;
  do {
    most = std::max(most, store.waiting());
  } while (store.run_one());
  settle();
  EXPECT_EQ(most, 3U);
  for (const PlainReader& reader : readers) EXPECT_EQ(reader.taken, (Taken{"1"}));
}

TEST_F(LateHubTest, AResetThatNobodyAnnouncesIsFoundByTheNextCheck) {
  PlainReader reader(shard);
  subscribe(reader);
  publish("1");
  settle();
  store.renew("a");
  hub.on_doubt();
  hub.keep_house();
  settle();
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].position, (Position{store.top("a").epoch, 0}));
}

TEST_F(LateHubTest, WhoPublishesWhereNobodyReadsFollowsAndHoldsNothing) {
  for (int i = 0; i < 100; ++i)
    hub.publish("channel" + std::to_string(i), publication_of("1"), {}, [](const AppendResult&) {});
  hub.announce("b", EntryKind::join, {});
  settle();
  EXPECT_EQ(store.followed_channels(), 0);
  EXPECT_EQ(hub.channels_in_use(), 0U);
  EXPECT_EQ(store.top("channel7").offset, 1U);
}

TEST_F(LateHubTest, MembersOfAChannelThatNobodyReadsHaveItInTheirInboxes) {
  hub.add_members("a", std::vector<std::string>{"ann"}, [](FanOutError, const MembersResult&) {});
  settle();
  publish("1");
  settle();
  EXPECT_EQ(store.entered("ann", "a", 1), 1U);
  EXPECT_EQ(store.followed_channels(), 0);
}

TEST_F(LateHubTest, AChannelWithoutReadersIsNotFollowedForLong) {
  PlainReader reader(shard);
  subscribe(reader);
  publish("1");
  settle();
  shard.bind_to_this_thread();
  shard.unsubscribe(reader.cursor);
  Shard::unbind_this_thread();
  settle();
  hub.keep_house();
  EXPECT_EQ(store.followed_channels(), 1) << "its subscriber may be back at once";
  clock.advance(ChannelLog::kLiveWindowMs);
  hub.keep_house();
  EXPECT_EQ(store.followed_channels(), 0);
  EXPECT_EQ(hub.channels_in_use(), 0U);
}

TEST_F(LateHubTest, AResumeOfManyPagesReadsEachOnce) {
  fill_store(1'000);
  std::deque<PlainReader> readers;
  for (int i = 0; i < 20; ++i) {
    start_subscribe(readers.emplace_back(shard), Since{epoch, false, static_cast<Offset>(300 + i)},
                    std::make_shared<std::optional<SubscribeOutcome>>());
  }
  settle();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(readers[i].taken.size(), 700U - i);
  for (const auto& [range, times] : store.reads()) EXPECT_EQ(times, 1U) << range;
  EXPECT_LE(store.entries_read(), 1'000U);
}

TEST_F(LateHubTest, AClientFromTheFutureIsTold) {
  fill_store(3);
  PlainReader reader(shard);
  const auto answer = subscribe(reader, Since{epoch, false, 9});
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->is_recovered);
  EXPECT_EQ(answer->start.offset, 3U);
}

TEST_F(LateHubTest, WhenTheStoreFailsToTellItsTopTheSubscribeFailsAndOpensNothingTwice) {
  PlainReader first(shard), ahead(shard);
  subscribe(first);
  epoch = store.top("a").epoch;
  store.set_faults({.follow_fails = 100});
  const auto answer = subscribe(ahead, Since{epoch, false, 2});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, StoreError::unavailable);
  EXPECT_EQ(store.followed_channels(), 1);
}

TEST_F(LateHubTest, ANewEpochIsToldAndTheStreamGoesOnInIt) {
  PlainReader reader(shard);
  subscribe(reader);
  publish("old");
  settle();
  store.renew("a");
  publish("new");
  settle();
  ASSERT_EQ(reader.gaps.size(), 1U);
  EXPECT_EQ(reader.gaps[0].position.epoch, store.top("a").epoch);
  EXPECT_EQ(reader.gaps[0].position.offset, 0U);
  EXPECT_EQ(reader.taken, (Taken{"old", "new"}));
}

TEST_F(LateHubTest, HistoryIsContinuousOverWhatTheStoreHasAndWhatIsHere) {
  fill_store(5);
  PlainReader reader(shard);
  subscribe(reader);
  publish("6");
  publish("7");
  settle();
  Taken forward, backward;
  hub.history("a", {-1, std::nullopt, false}, [&](const HistoryResult& result) {
    for (const EntryRef& entry : result.entries) forward.push_back(std::to_string(entry->offset));
  });
  hub.history("a", {-1, std::nullopt, true}, [&](const HistoryResult& result) {
    for (const EntryRef& entry : result.entries) backward.push_back(std::to_string(entry->offset));
  });
  settle();
  EXPECT_EQ(forward, (Taken{"1", "2", "3", "4", "5", "6", "7"}));
  EXPECT_EQ(backward, (Taken{"7", "6", "5", "4", "3", "2", "1"}));
}

TEST_F(LateHubTest, HistoryOfAStoreThatIsAwayIsUnavailable) {
  fill_store(5);
  store.set_faults({.follow_fails = 100});
  std::optional<HistoryError> error;
  hub.history("a", {0, std::nullopt, false}, [&](const HistoryResult& result) { error = result.error; });
  settle();
  EXPECT_EQ(error, HistoryError::unavailable);
  store.set_faults({.read_fails = 100});
  hub.history("a", {-1, std::nullopt, false}, [&](const HistoryResult& result) { error = result.error; });
  settle();
  EXPECT_EQ(error, HistoryError::unavailable);
}

TEST_F(LateHubTest, WhatAnotherGatewayRemovesLeavesThisRingToo) {
  PlainReader reader(shard);
  subscribe(reader);
  for (int i = 1; i <= 4; ++i) publish(std::to_string(i));
  settle();
  epoch = store.top("a").epoch;
  store.set_faults({.range_is_gone = 100});
  const auto held = [&] {
    std::size_t entries = 0;
    hub.history("a", {-1, std::nullopt, false},
                [&](const HistoryResult& result) { entries = result.entries.size(); });
    settle();
    return entries;
  };
  EXPECT_EQ(held(), 4U);
  hub.on_history_removed("a", Epoch::from_bits(99), 4);
  hub.on_history_removed("unknown", epoch, 4);
  EXPECT_EQ(held(), 4U) << "of another epoch";
  hub.on_history_removed("a", epoch, 3);
  EXPECT_EQ(held(), 1U) << "what came behind the removal stays";
  hub.on_history_removed("a", epoch, 2);
  EXPECT_EQ(held(), 1U);
}

// The seqs of what was trimmed are used again by what a store puts in front; who stood there must not notice.
TEST_F(LateHubTest, ALaggingCursorSeesNothingTwiceWhenOlderEntriesComeInFront) {
  PlainReader lagging(shard);
  subscribe(lagging);
  epoch = store.top("a").epoch;
  for (int i = 1; i <= 6; ++i) publish(std::to_string(i));
  settle();
  ASSERT_EQ(lagging.taken.size(), 6U);
  lagging.is_full = true;
  for (int i = 0; i < 4; ++i) hub.announce("a", EntryKind::join, {});
  publish("7");
  settle();
  hub.remove_history("a", [](StoreError) {});
  settle();
  clock.advance(400'000);
  hub.keep_house();               // nothing is left here; the store keeps everything but what was removed
  for (int i = 8; i <= 9; ++i) {  // by another gateway, whose clock is ahead: the store keeps them longer
    store.append("a", make_entry(0, std::to_string(i), EntryKind::publication, clock.wall_ms() + 400'000), {},
                 [](const AppendResult&) {});
  }
  settle();
  clock.advance(400'000);
  hub.keep_house();
  PlainReader resumed(shard);
  ASSERT_TRUE(subscribe(resumed, Since{epoch, false, 7})->is_recovered);
  EXPECT_EQ(resumed.taken.size(), 2U);
  lagging.is_full = false;
  shard.resume(lagging.cursor);
  settle();
  EXPECT_EQ(lagging.taken.size(), 8U) << "six, and the two that were put in front";
  ASSERT_EQ(lagging.gaps.size(), 1U);
  EXPECT_EQ(lagging.gaps[0].lost_from, 7U);
  EXPECT_EQ(lagging.gaps[0].lost_to, 7U);
}

TEST_F(LateHubTest, WhatTheStoreMakesIsCountedAndGivenBack) {
  fill_store(20);
  PlainReader reader(shard);
  subscribe(reader, Since{epoch, false, 5});
  EXPECT_GE(hub.history_bytes(), static_cast<std::int64_t>(16 * make_entry(1)->cost_bytes()));
  const std::int64_t before = hub.history_bytes();
  store.renew("a");
  clock.advance(400'000);
  hub.keep_house();
  turn();
  EXPECT_LT(hub.history_bytes(), before - static_cast<std::int64_t>(16 * make_entry(1)->cost_bytes()) + 1);
}

TEST_F(LateHubTest, AHubThatIsClosedAnswersWhoeverWaitsOnce) {
  fill_store(20);
  std::vector<HistoryError> told;
  std::vector<FanOutError> marked;
  const auto ask = [&] {
    hub.history("a", {.limit = -1}, [&](const HistoryResult& result) { told.push_back(result.error); });
    hub.mark_read("ann", "b", 1, [&](FanOutError error, StoreError store_error) {
      marked.push_back(error);
      EXPECT_EQ(error == FanOutError::none, store_error == StoreError::none);
    });
  };
  ask();
  hub.history("c", {.limit = 1}, [&](const HistoryResult& result) { told.push_back(result.error); });
  PlainReader reader(shard);
  auto answer = std::make_shared<std::optional<SubscribeOutcome>>();
  shard.bind_to_this_thread();
  hub.subscribe(shard, reader.cursor, "d", std::nullopt,
                [answer](const SubscribeOutcome& outcome) { *answer = outcome; });
  Shard::unbind_this_thread();
  shard.close();
  hub.close();
  EXPECT_EQ(told, (std::vector{HistoryError::unavailable, HistoryError::unavailable}));
  EXPECT_EQ(marked.size(), 1U);
  ask();
  while (store.run_one()) {
  }
  EXPECT_EQ(told.size(), 3U) << "not again, and what is asked later has its answer, too";
  EXPECT_EQ(marked.size(), 2U);
  EXPECT_FALSE(*answer);
}

}  // namespace
}  // namespace carillon
