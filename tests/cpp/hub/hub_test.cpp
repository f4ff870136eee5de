#include "hub/hub.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <set>

#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

struct HubTest : HubFixture {
  using HubFixture::HubFixture;
  Since since(const std::string& channel, Offset offset) {
    return {history(channel, 0).top.epoch, false, offset};
  }
};

/// Room for one dormant channel per stripe of the store.
struct ForgetfulHubTest : HubTest {
  ForgetfulHubTest() : HubTest(2, {}, {}, {.dormant_channels = 16}) {}
};

struct SmallHubTest : HubTest {
  SmallHubTest() : HubTest(2, {}, {.history_bytes_total = 100'000}) {}
};

// ---- epoch and offset

TEST_F(HubTest, TheEpochIsMadeByWhateverTouchesTheChannelFirst) {
  PlainReader reader(*shards[0]);
  const Position start = subscribe(reader, "a").start;
  EXPECT_TRUE(start.epoch.is_set());
  EXPECT_EQ(start.offset, 0U);
  const Position first = publish("a", "1").position;
  EXPECT_EQ(first, (Position{start.epoch, 1}));
  EXPECT_EQ(history("a", 0).top, first);

  const Position read = history("b", 0).top;
  EXPECT_TRUE(read.epoch.is_set());
  EXPECT_NE(read.epoch, start.epoch);
  EXPECT_EQ(publish("b", "1").position, (Position{read.epoch, 1}));
}

TEST_F(HubTest, OffsetsAreOneAfterAnotherPerChannel) {
  for (Offset i = 1; i <= 5; ++i) {
    EXPECT_EQ(publish("a", "x").position.offset, i);
    EXPECT_EQ(publish("b", "x").position.offset, i);
  }
}

TEST_F(HubTest, OffsetAndEpochOutliveExpiryRemovalAndDormancy) {
  const Position first = publish("a", "1").position;
  clock.advance(300'000);
  EXPECT_TRUE(history("a", -1).entries.empty());
  EXPECT_EQ(history("a", 0).top, first);
  EXPECT_EQ(publish("a", "2").position, (Position{first.epoch, 2}));
  hub.remove_history("a", [](StoreError) {});
  EXPECT_TRUE(history("a", -1).entries.empty());
  EXPECT_EQ(history("a", 0).top.offset, 2U);
  EXPECT_EQ(publish("a", "3").position, (Position{first.epoch, 3}));
  sleep();
  EXPECT_EQ(hub.channels_in_use(), 0U);
  EXPECT_EQ(publish("a", "4").position, (Position{first.epoch, 4}));
  EXPECT_EQ(data_of(history("a", -1)), numbers(4, 4));
}

TEST_F(HubTest, AClientThatWasUpToDateResumesOnADormantChannel) {
  const Position first = publish("a", "1").position;
  sleep();
  PlainReader reader(*shards[0]);
  const SubscribeOutcome outcome = subscribe(reader, "a", Since{first.epoch, false, 1});
  EXPECT_TRUE(outcome.is_recovered);
  EXPECT_EQ(outcome.start, first);
  publish("a", "2");
  settle();
  EXPECT_EQ(reader.taken, numbers(2, 2));
}

TEST_F(HubTest, AJoinOnADormantChannelDoesNotLoseItsOffsets) {
  const Position first = publish("a", "1").position;
  sleep();
  hub.announce("a", EntryKind::join, "{}");
  EXPECT_EQ(history("a", 0).top, first);
  EXPECT_EQ(publish("a", "2").position, (Position{first.epoch, 2}));
}

TEST_F(ForgetfulHubTest, BeyondTheLimitTheOldestDormantChannelIsForgottenAndHasANewEpoch) {
  const Position first = publish("a", "1").position;
  for (int i = 0; i < 200; ++i) publish("other" + std::to_string(i), "x");
  sleep();
  EXPECT_LE(store.channels_known(), 16U);
  for (int i = 0; i < 200; ++i) publish("more" + std::to_string(i), "x");
  sleep();
  const Position second = publish("a", "1").position;
  EXPECT_NE(second.epoch, first.epoch);
  EXPECT_EQ(second.offset, 1U);
}

TEST_F(ForgetfulHubTest, AChannelInUseIsNeverForgotten) {
  PlainReader reader(*shards[0]);
  const Position start = subscribe(reader, "a").start;
  for (int i = 0; i < 200; ++i) publish("other" + std::to_string(i), "x");
  sleep();
  EXPECT_EQ(hub.channels_in_use(), 1U);
  EXPECT_EQ(publish("a", "1").position, (Position{start.epoch, 1}));
}

// ---- resume

TEST_F(HubTest, AResumeAtEveryOffsetIsCompleteOrTold) {
  publish_numbers("tiny", 1, 10);  // the history holds 8, 9 and 10
  for (Offset offset = 0; offset <= 12; ++offset) {
    SCOPED_TRACE(offset);
    PlainReader reader(*shards[0]);
    const SubscribeOutcome outcome = subscribe(reader, "tiny", since("tiny", offset));
    EXPECT_TRUE(outcome.was_recovering);
    EXPECT_EQ(outcome.is_recovered, offset >= 7 && offset <= 10);
    EXPECT_EQ(outcome.start.offset, outcome.is_recovered ? offset : 10U);
    EXPECT_EQ(outcome.top, 10U);
    settle();
    EXPECT_EQ(reader.taken, numbers(static_cast<int>(outcome.start.offset) + 1, 10));
    EXPECT_TRUE(reader.gaps.empty()) << "it has been told already";
    EXPECT_TRUE(reader.cursor.is_live());
  }
}

TEST_F(HubTest, AClientThatHadReceivedNothingRecoversEverything) {
  PlainReader reader(*shards[0]);
  const Position start = subscribe(reader, "a").start;
  unsubscribe(reader);
  publish_numbers("a", 1, 3);
  const SubscribeOutcome outcome = subscribe(reader, "a", Since{start.epoch, false, start.offset});
  EXPECT_TRUE(outcome.is_recovered);
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 3));
}

TEST_F(HubTest, AWrongEpochIsNotRecoveredAndAnEmptyOneIsNotCompared) {
  publish_numbers("a", 1, 3);
  PlainReader reader(*shards[0]);
  for (const std::string epoch : {"ABCDEFGH", "short", "tooLongToBe"}) {
    const SubscribeOutcome outcome = subscribe(reader, "a", Since::from(epoch, 1));
    EXPECT_TRUE(outcome.was_recovering);
    EXPECT_FALSE(outcome.is_recovered);
    EXPECT_EQ(outcome.start.offset, 3U);
    unsubscribe(reader);
  }
  EXPECT_TRUE(subscribe(reader, "a", Since::from("", 1)).is_recovered);
  settle();
  EXPECT_EQ(reader.taken, numbers(2, 3));
}

TEST_F(HubTest, ALiveSubscribeRecoversNothing) {
  publish_numbers("a", 1, 3);
  PlainReader reader(*shards[0]);
  const SubscribeOutcome outcome = subscribe(reader, "a");
  EXPECT_FALSE(outcome.was_recovering);
  EXPECT_FALSE(outcome.is_recovered);
  EXPECT_TRUE(outcome.has_history);
  EXPECT_EQ(outcome.start.offset, 3U);
  settle();
  EXPECT_TRUE(reader.taken.empty());
}

TEST_F(HubTest, ExpiredPublicationsAreNotRecovered) {
  const Position first = publish("brief", "1").position;
  clock.advance(999);
  PlainReader reader(*shards[0]);
  EXPECT_TRUE(subscribe(reader, "brief", Since{first.epoch, false, 0}).is_recovered);
  unsubscribe(reader);
  clock.advance(1);
  EXPECT_FALSE(subscribe(reader, "brief", Since{first.epoch, false, 0}).is_recovered);
  unsubscribe(reader);
  EXPECT_TRUE(subscribe(reader, "brief", Since{first.epoch, false, 1}).is_recovered);
}

TEST_F(HubTest, ACancelledSubscribeIsNotAnswered) {
  PlainReader reader(*shards[0]);
  bool is_answered = false;
  // From another thread's view: the answer has to be posted.
  hub.subscribe(*shards[0], reader.cursor, "a", std::nullopt,
                [&](const SubscribeOutcome&) { is_answered = true; });
  reader.cursor.cancel();
  settle();
  EXPECT_FALSE(is_answered);
  EXPECT_FALSE(reader.cursor.is_open());
}

// ---- publish

TEST_F(HubTest, ARetriedPublishIsOnePublication) {
  const AppendResult first = publish("a", "1", {.idempotency_key = "k"});
  const AppendResult again = publish("a", "1", {.idempotency_key = "k"});
  EXPECT_FALSE(first.is_duplicate);
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.position, first.position);
  EXPECT_EQ(publish("b", "1", {.idempotency_key = "k"}).is_duplicate, false) << "keys belong to a channel";
  EXPECT_EQ(publish("a", "2", {.idempotency_key = "l"}).position.offset, 2U);
  EXPECT_EQ(data_of(history("a", -1)), numbers(1, 2));
  clock.advance(300'000);
  EXPECT_EQ(publish("a", "3", {.idempotency_key = "k"}).position.offset, 3U);
}

TEST_F(HubTest, ADuplicateIsNotDelivered) {
  PlainReader reader(*shards[0]);
  subscribe(reader, "live");
  publish("live", "1", {.idempotency_key = "k"});
  publish("live", "1", {.idempotency_key = "k"});
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 1));
  EXPECT_EQ(hub.published(), 1U);
}

TEST_F(HubTest, WithoutHistorySeveralMessagesInOneTurnAllArrive) {
  PlainReader first(*shards[0]), second(*shards[1]);
  const SubscribeOutcome outcome = subscribe(first, "live");
  EXPECT_FALSE(outcome.has_history);
  subscribe(second, "live");
  publish_numbers("live", 1, 1'000);  // the live window holds 4
  settle();
  EXPECT_EQ(first.taken, numbers(1, 1'000));
  EXPECT_EQ(second.taken, numbers(1, 1'000));
  EXPECT_EQ(publish("live", "x").position.offset, 0U);
}

TEST_F(HubTest, SkippedHistoryIsDeliveredInOrderAndNeverReadAgain) {
  PlainReader reader(*shards[0]);
  subscribe(reader, "a");
  publish("a", "1");
  const AppendResult skipped = publish("a", "2", {.skip_history = true});
  publish("a", "3");
  settle();
  EXPECT_EQ(skipped.position.offset, 0U);
  EXPECT_EQ(reader.taken, numbers(1, 3));
  EXPECT_EQ(data_of(history("a", -1)), (Taken{"1", "3"}));
  EXPECT_EQ(history("a", 0).top.offset, 2U);
}

TEST_F(HubTest, EveryShardSeesTheSameOrder) {
  PlainReader first(*shards[0]), second(*shards[1]);
  subscribe(first, "a");
  subscribe(second, "a");
  publish_numbers("a", 1, 20);
  turn(0);
  publish_numbers("a", 21, 40);
  settle();
  EXPECT_EQ(first.taken, numbers(1, 40));
  EXPECT_EQ(second.taken, numbers(1, 40));
}

// ---- history

TEST_F(HubTest, HistoryWithoutALimitIsOnlyThePosition) {
  publish_numbers("a", 1, 3);
  const HistoryResult result = history("a", 0);
  EXPECT_EQ(result.error, HistoryError::none);
  EXPECT_TRUE(result.entries.empty());
  EXPECT_EQ(result.top.offset, 3U);
}

TEST_F(HubTest, HistoryRunsForwardFromTheOldestAndBackwardFromTheNewest) {
  publish_numbers("a", 1, 5);
  EXPECT_EQ(data_of(history("a", -1)), numbers(1, 5));
  EXPECT_EQ(data_of(history("a", 2)), numbers(1, 2));
  EXPECT_EQ(data_of(history("a", 2, std::nullopt, true)), (Taken{"5", "4"}));
  EXPECT_EQ(data_of(history("a", -1, std::nullopt, true)), (Taken{"5", "4", "3", "2", "1"}));
}

TEST_F(HubTest, HistoryEndsAtItsBytesButGivesOnePublicationAtLeast) {
  for (int i = 1; i <= 5; ++i) publish("a", std::string(100, static_cast<char>('0' + i)));
  const auto count = [&](std::size_t bytes_max, bool is_reverse) {
    HistoryResult found;
    hub.history("a", {-1, std::nullopt, is_reverse, bytes_max},
                [&](const HistoryResult& result) { found = result; });
    EXPECT_EQ(found.entries[0]->offset, is_reverse ? 5U : 1U);
    return found.entries.size();
  };
  for (const bool is_reverse : {false, true}) {
    EXPECT_EQ(count(1, is_reverse), 1U);
    EXPECT_EQ(count(299, is_reverse), 2U);
    EXPECT_EQ(count(10'000, is_reverse), 5U);
  }
}

TEST_F(HubTest, HistorySinceGoesUpFromThereOrDownFromThere) {
  publish_numbers("a", 1, 5);
  EXPECT_EQ(data_of(history("a", -1, since("a", 0))), numbers(1, 5));
  EXPECT_EQ(data_of(history("a", -1, since("a", 3))), numbers(4, 5));
  EXPECT_EQ(data_of(history("a", 1, since("a", 3))), numbers(4, 4));
  EXPECT_EQ(data_of(history("a", -1, since("a", 5))), Taken{});
  EXPECT_EQ(data_of(history("a", -1, since("a", 9))), Taken{});
  EXPECT_EQ(data_of(history("a", -1, since("a", 3), true)), (Taken{"2", "1"}));
  EXPECT_EQ(data_of(history("a", 1, since("a", 3), true)), (Taken{"2"}));
  EXPECT_EQ(data_of(history("a", -1, since("a", 1), true)), Taken{});
}

TEST_F(HubTest, HistorySinceWhatIsGoneStartsAtTheOldestForwardAndIsEmptyBackward) {
  publish_numbers("tiny", 1, 10);
  EXPECT_EQ(data_of(history("tiny", -1, since("tiny", 2))), numbers(8, 10));
  EXPECT_EQ(data_of(history("tiny", -1, since("tiny", 8), true)), Taken{});
  EXPECT_EQ(data_of(history("tiny", -1, since("tiny", 9), true)), (Taken{"8"}));
}

TEST_F(HubTest, HistoryOfAForeignEpochAndOfAChannelWithoutHistoryAreErrors) {
  publish("a", "1");
  EXPECT_EQ(history("a", -1, Since::from("ABCDEFGH", 0)).error, HistoryError::epoch_differs);
  EXPECT_EQ(history("a", 0, Since::from("ABCDEFGH", 0)).error, HistoryError::epoch_differs);
  EXPECT_EQ(data_of(history("a", -1, Since::from("", 0))), numbers(1, 1));
  EXPECT_EQ(history("live", -1).error, HistoryError::no_history);
}

TEST_F(HubTest, HistoryShowsNothingThatIsNotStored) {
  publish("a", "1");
  hub.announce("a", EntryKind::join, "{}");
  publish("a", "2", {.skip_history = true});
  publish("a", "3");
  EXPECT_EQ(data_of(history("a", -1)), (Taken{"1", "3"}));
  EXPECT_EQ(data_of(history("a", -1, std::nullopt, true)), (Taken{"3", "1"}));
}

TEST_F(HubTest, AHistoryAnswerMayAskTheHubAgain) {
  publish("a", "1");
  Taken inner;
  hub.history("a", {-1, std::nullopt, false},
              [&](const HistoryResult&) { inner = data_of(history("a", -1)); });
  EXPECT_EQ(inner, numbers(1, 1));
}

// ---- upkeep

TEST_F(SmallHubTest, TheProcessKeepsWithinItsBytes) {
  for (int i = 0; i < 2'000; ++i) {
    publish("channel" + std::to_string(i % 40), std::string(500, 'x'));
    ASSERT_LE(hub.history_bytes(), 102'000);
  }
  EXPECT_GT(hub.history_bytes(), 20'000) << "not everything had to go";
}

TEST_F(SmallHubTest, ChannelsWithoutHistoryAreHeldToItToo) {
  for (int i = 0; i < 2'000; ++i) {
    publish("live" + std::to_string(i % 400), std::string(500, 'x'));
    ASSERT_LE(hub.history_bytes(), 102'000);
  }
}

TEST_F(SmallHubTest, APublishRelievesABoundedNumberOfChannels) {
  const auto bytes_of_one = static_cast<std::int64_t>(Entry::kOverheadBytes + 1);
  std::int64_t most = 0;
  for (int i = 0; i < 3'000; ++i) {
    const std::int64_t before = hub.history_bytes();
    publish("tiny" + std::to_string(i % 1'000), "x");
    most = std::max(most, before - hub.history_bytes());
    ASSERT_LE(hub.history_bytes(), 102'000);
  }
  EXPECT_LT(most, 65 * 2 * bytes_of_one);
}

TEST_F(SmallHubTest, PressureIsToldToThoseWhoComeBack) {
  const Position first = publish("a", "1").position;
  for (int i = 0; i < 300; ++i) publish("other" + std::to_string(i), std::string(500, 'x'));
  PlainReader reader(*shards[0]);
  EXPECT_FALSE(subscribe(reader, "a", Since{first.epoch, false, 0}).is_recovered);
}

TEST_F(HubTest, EncodedFormsCountIntoTheBytesOfTheProcess) {
  {
    auto gauge = std::make_shared<BytesGauge>(0);
    auto entry = make_entry(1, "abc");
    entry->count_into(gauge);
    EXPECT_EQ(gauge->load(), static_cast<std::int64_t>(entry->cost_bytes()));
    const struct SomeKey : FormKey {
    } key, another;
    const std::string& bytes = entry->form(key, [] { return "12345678"; });
    EXPECT_EQ(bytes, "12345678");
    EXPECT_EQ(&entry->form(key, [] { return "other"; }), &bytes) << "made once";
    const std::int64_t form = gauge->load() - static_cast<std::int64_t>(entry->cost_bytes());
    EXPECT_GE(form, static_cast<std::int64_t>(8 + sizeof(EncodedForm)));
    EXPECT_LE(form, static_cast<std::int64_t>(8 + sizeof(EncodedForm) + 48));
    EXPECT_EQ(entry->form(another, [] { return "87654321"; }), "87654321");
    EXPECT_EQ(&entry->form(key, [] { return "other"; }), &bytes) << "the first one stays where it is";
    EXPECT_EQ(gauge->load(), static_cast<std::int64_t>(entry->cost_bytes()) + 2 * form);
    entry.reset();
    EXPECT_EQ(gauge->load(), 0);
  }
  publish("a", "1");
  EXPECT_GT(hub.history_bytes(), 0);
  sleep();
  EXPECT_EQ(hub.history_bytes(), 0);
}

TEST_F(HubTest, UnusedChannelsGoDormantAndTheirAccountsStayInTheLedger) {
  PlainReader reader(*shards[0]);
  subscribe(reader, "a");
  publish("a", "1");
  settle();
  unsubscribe(reader);
  sleep();
  EXPECT_EQ(hub.channels_in_use(), 0U);
  const Ledger found = ledger();
  ASSERT_EQ(found.rows.size(), 1U);
  EXPECT_EQ(found.rows[0].channel, "");
  EXPECT_EQ(found.rows[0].account.delivered, 1);
  EXPECT_TRUE(found.is_balanced());
}

TEST_F(HubTest, HousekeepingIsBoundedPerCallAndReachesEverythingInTheEnd) {
  for (int i = 0; i < 200'000; ++i) hub.remove_history("channel" + std::to_string(i), [](StoreError) {});
  const std::size_t before = hub.channels_in_use();
  EXPECT_EQ(before, 200'000U);
  hub.keep_house();
  EXPECT_GT(hub.channels_in_use(), 0U);
  for (int i = 0; i < 10; ++i) hub.keep_house();
  EXPECT_EQ(hub.channels_in_use(), 0U);
}

TEST_F(HubTest, ChannelsAreThoseWithSubscribers) {
  PlainReader first(*shards[0]), second(*shards[1]), third(*shards[0]);
  subscribe(first, "news:a");
  subscribe(second, "news:a");
  subscribe(third, "chat");
  publish("news:nobody", "x");
  EXPECT_EQ(hub.channels("*"), (std::map<std::string, std::uint64_t>{{"news:a", 2}, {"chat", 1}}));
  EXPECT_EQ(hub.channels("news:*"), (std::map<std::string, std::uint64_t>{{"news:a", 2}}));
}

TEST_F(HubTest, ChannelsAreListedInPiecesWhileOthersComeAndGo) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 4'000; ++i) subscribe(readers.emplace_back(*shards[0]), "live" + std::to_string(i));
  PlainReader other(*shards[0]);
  subscribe(other, "other");
  std::optional<ChannelsPage> found;
  shards[0]->bind_to_this_thread();
  hub.list_channels({}, [&](ChannelsPage page) { found = std::move(page); });
  Shard::unbind_this_thread();
  publish("other", "1");
  turn(0);
  EXPECT_FALSE(found);
  EXPECT_EQ(other.taken, (Taken{"1"})) << "between two pieces";
  for (int i = 0; i < 4'000; i += 3) unsubscribe(readers[static_cast<std::size_t>(i)]);
  turn(0);
  turn(0);
  hub.keep_house();  // their channels have gone, and others have their places
  EXPECT_LT(hub.channels_in_use(), 3'000U);
  for (int turns = 0; !found; ++turns) {
    ASSERT_LT(turns, 100);
    turn(0);
  }
  EXPECT_FALSE(found->has_more);
  for (int i = 0; i < 4'000; ++i) {
    if (i % 3 == 0) continue;
    ASSERT_EQ(found->subscribers.count("live" + std::to_string(i)), 1U) << i;
  }
}

TEST_F(HubTest, APageOfChannelsHasTheFirstNamesWhateverTheyTake) {
  std::deque<PlainReader> readers;
  std::vector<std::string> names;
  for (int i = 0; i < 300; ++i) {
    names.push_back(std::string(1, static_cast<char>('a' + random.below(26))) +
                    std::string(random.below(200), 'x') + std::to_string(i));
    subscribe(readers.emplace_back(*shards[0]), names.back());
  }
  std::sort(names.begin(), names.end());
  for (std::size_t bytes_max = 1; bytes_max < 20'000; bytes_max = 2 * bytes_max + 7) {
    ChannelsQuery query{.bytes_max = bytes_max};
    std::vector<std::string> found;
    for (bool has_more = true; has_more;) {
      hub.list_channels(query, [&](const ChannelsPage& page) {
        has_more = page.has_more;
        ASSERT_FALSE(page.subscribers.empty());
        for (const auto& [name, subscribers] : page.subscribers) found.push_back(name);
      });
      query.after = found.back();
    }
    ASSERT_EQ(found, names) << bytes_max;
  }
}

TEST_F(HubTest, TheLedgerHasARowPerChannelInOrderOfNames) {
  PlainReader first(*shards[0]), second(*shards[1]), third(*shards[0]);
  subscribe(first, "b");
  subscribe(second, "b");
  subscribe(third, "a");
  publish_numbers("b", 1, 3);
  publish_numbers("a", 1, 2);
  settle();
  const Ledger found = ledger();
  ASSERT_EQ(found.rows.size(), 2U);
  EXPECT_EQ(found.rows[0].channel, "a");
  EXPECT_EQ(found.rows[1].channel, "b");
  EXPECT_EQ(found.rows[1].subscriptions, 2U);
  EXPECT_EQ(found.rows[1].account.published, 6);
  EXPECT_EQ(found.rows[1].account.delivered, 6);
  EXPECT_TRUE(found.is_balanced());
}

TEST_F(HubTest, APublishFromWithinATurnIsDeliveredInTheNext) {
  PlainReader reader(*shards[0]);
  subscribe(reader, "a");
  int left = 3;
  reader.on_stage = [&] {
    if (left > 0) publish("a", std::to_string(left--));
  };
  publish("a", "0");
  settle();
  EXPECT_EQ(reader.taken, (Taken{"0", "3", "2", "1"}));
}

}  // namespace
}  // namespace carillon
