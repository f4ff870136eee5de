// What every store promises of its logs: offsets, epochs, order, keys, conditions.
#include <atomic>
#include <chrono>
#include <thread>

#include "store/conformance.hpp"
#include "store/store_kinds.hpp"

namespace carillon {
namespace {

struct StoreLog : Conformance {};
INSTANTIATE_TEST_SUITE_P(All, StoreLog, testing::ValuesIn(store_kinds()),
                         [](const auto& info) { return info.param.name; });

/// The listener of a store that keeps no entries follows each channel that it uses.
struct KeptLog : Conformance {};
INSTANTIATE_TEST_SUITE_P(Keeping, KeptLog, testing::ValuesIn(store_kinds_that(&StoreKind::is_keeping)),
                         [](const auto& info) { return info.param.name; });
struct BoundedStore : Conformance {};
INSTANTIATE_TEST_SUITE_P(Bounded, BoundedStore, testing::ValuesIn(store_kinds_that(&StoreKind::is_bounded)),
                         [](const auto& info) { return info.param.name; });

TEST_P(StoreLog, OffsetsAreConsecutivePerChannelAndAnnouncedBeforeTheyAreAnswered) {
  follow("a");
  follow("b");
  for (int i = 0; i < 3; ++i)
    store->append("a", entry_of("x"), {}, [&](const AppendResult& result) {
      journal->note("answer " + std::to_string(result.position.offset));
    });
  ASSERT_TRUE(journal->wait_for(6));
  const Lines lines = journal->lines();
  for (const std::string offset : {"1", "2", "3"}) {
    const auto announced = std::find(lines.begin(), lines.end(), "a:" + offset);
    const auto answered = std::find(lines.begin(), lines.end(), "answer " + offset);
    ASSERT_NE(announced, lines.end());
    ASSERT_NE(answered, lines.end());
    EXPECT_LT(announced - lines.begin(), answered - lines.begin());
  }
  EXPECT_EQ(append("b").position.offset, 1U);
}

TEST_P(StoreLog, AnAnnouncementHasAllThatThePublisherGave) {
  const Epoch epoch = follow("a").top.epoch;
  Publication publication;
  publication.data = std::string("bytes\0and more", 14);
  publication.content = ContentType::binary;
  publication.has_delta = true;
  publication.info_json = R"({"user":"ann"})";
  publication.tags = {{"t", "1"}, {"u", ""}};
  publication.key = "k";
  const auto entry = std::make_shared<Entry>(EntryKind::publication, Publication(publication), 77);
  const AppendResult result = calls->append("a", entry, {.mode = FanOutMode::read});
  EXPECT_EQ(result.position, (Position{epoch, 1}));
  const auto announced = journal->announced();
  ASSERT_EQ(announced.size(), 1U);
  EXPECT_EQ(announced[0].epoch, epoch);
  EXPECT_EQ(announced[0].mode, FanOutMode::read);
  EXPECT_EQ(announced[0].entry->publication.data, publication.data);
  EXPECT_EQ(announced[0].entry->publication.tags, publication.tags);
  EXPECT_EQ(announced[0].entry->wall_ms, 77);
}

TEST_P(StoreLog, AnEphemeralEntryGetsNoOffsetAndUsesNoneUp) {
  follow("a");
  append("a");
  const AppendResult ephemeral = append("a", "e", {.is_ephemeral = true});
  EXPECT_EQ(ephemeral.position.offset, 0U);
  EXPECT_TRUE(ephemeral.position.epoch.is_set());
  EXPECT_EQ(append("a").position.offset, 2U);
  EXPECT_EQ(journal->lines(), (Lines{"a:1", "a:0", "a:2"}));
}

TEST_P(StoreLog, EphemeralEntriesKeepTheirPlaceAmongTheOthers) {
  follow("a");
  std::atomic<int> answers{0};
  for (int i = 0; i < 100; ++i)
    store->append("a", entry_of(std::to_string(i)), {.is_ephemeral = i % 3 == 0},
                  [&](const AppendResult&) { ++answers; });
  append("a", "last");
  ASSERT_TRUE(journal->wait_for(101));
  const auto announced = journal->announced();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(announced[static_cast<std::size_t>(i)].entry->publication.data, std::to_string(i));
    EXPECT_EQ(announced[static_cast<std::size_t>(i)].offset == 0, i % 3 == 0);
  }
  EXPECT_EQ(answers, 100);
}

TEST_P(KeptLog, OnlyWhatIsFollowedIsAnnounced) {
  append("a");
  follow("b");
  append("b");
  store->unfollow("b");
  append("b");
  EXPECT_EQ(journal->lines(), Lines{"b:1"});
}

TEST_P(KeptLog, FollowIsCountedAndTellsWhereAnnouncementsBegin) {
  append("a");
  EXPECT_EQ(follow("a").top.offset, 1U);
  follow("a");
  store->unfollow("a");
  append("a");
  store->unfollow("a");
  store->unfollow("a");
  append("a");
  EXPECT_EQ(journal->lines(), Lines{"a:2"});
}

TEST_P(KeptLog, AFollowAmongAppendsMissesNothingAboveItsTop) {
  for (int round = 0; round < 50; ++round) {
    const std::string channel = "c" + std::to_string(round);
    StoreJournal& own = *journal;
    const std::size_t before = own.lines().size();
    std::atomic<Offset> top{0};
    for (int i = 0; i < 5; ++i) store->append(channel, entry_of(""), {}, [](const AppendResult&) {});
    store->follow(channel, [&](const TopResult& result) { top = result.top.offset; });
    for (int i = 0; i < 5; ++i) store->append(channel, entry_of(""), {}, [](const AppendResult&) {});
    EXPECT_EQ(append(channel).position.offset, 11U);
    Lines expected;
    for (Offset offset = top + 1; offset <= 11; ++offset)
      expected.push_back(channel + ':' + std::to_string(offset));
    const Lines lines = own.lines();
    EXPECT_EQ(Lines(lines.begin() + static_cast<std::ptrdiff_t>(before), lines.end()), expected);
  }
}

TEST_P(StoreLog, TopMakesTheEpochAndFollowsNothing) {
  const TopResult empty = calls->top("a");
  EXPECT_TRUE(empty.top.epoch.is_set());
  EXPECT_EQ(empty.top.offset, 0U);
  EXPECT_EQ(append("a").position, (Position{empty.top.epoch, 1}));
  EXPECT_EQ(calls->top("a").top, (Position{empty.top.epoch, 1}));
  if (keeps()) {
    EXPECT_EQ(journal->lines(), Lines{});
  }
}

TEST_P(StoreLog, EpochsDiffer) {
  EXPECT_NE(follow("a").top.epoch, follow("b").top.epoch);
  EXPECT_EQ(follow("a").top.epoch.text().size(), 8U);
}

// ---- idempotency keys

TEST_P(StoreLog, ADuplicateKeyGetsTheFirstPositionAndIsNotAnnounced) {
  follow("a");
  const AppendResult first = append("a", "", {.idempotency_key = "k"});
  append("a");
  const AppendResult again = append("a", "", {.idempotency_key = "k"});
  EXPECT_FALSE(first.is_duplicate);
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.position, first.position);
  EXPECT_EQ(journal->lines(), (Lines{"a:1", "a:2"}));
  EXPECT_FALSE(append("ak", "", {.idempotency_key = ""}).is_duplicate);
  EXPECT_FALSE(append("b", "", {.idempotency_key = "k"}).is_duplicate);
  EXPECT_FALSE(append("ab", "", {.idempotency_key = "c"}).is_duplicate);
  EXPECT_FALSE(append("a", "", {.idempotency_key = "bc"}).is_duplicate);
}

TEST_P(StoreLog, WhileTheFirstWithAKeyIsUnderWayTheSecondWaitsForIt) {
  follow("a");
  std::mutex mutex;
  std::vector<AppendResult> results;
  for (int i = 0; i < 20; ++i)
    store->append("a", entry_of(""), {.idempotency_key = "k"}, [&](const AppendResult& result) {
      const std::lock_guard lock(mutex);
      results.push_back(result);
    });
  append("a");
  const std::lock_guard lock(mutex);
  ASSERT_EQ(results.size(), 20U);
  std::size_t firsts = 0;
  for (const AppendResult& result : results) {
    EXPECT_EQ(result.error, StoreError::none);
    EXPECT_EQ(result.position.offset, 1U);
    EXPECT_TRUE(result.position.epoch.is_set());
    firsts += result.is_duplicate ? 0 : 1;
  }
  EXPECT_EQ(firsts, 1U);
  EXPECT_EQ(journal->lines(), (Lines{"a:1", "a:2"}));
}

TEST_P(StoreLog, AKeyIsForgottenAfterItsWindowToTheMillisecond) {
  close();
  open({.idempotency_window_ms = 100});
  append("a", "", {.idempotency_key = "k"});
  clock.advance(99);
  EXPECT_TRUE(append("a", "", {.idempotency_key = "k"}).is_duplicate);
  clock.advance(1);
  const AppendResult again = append("a", "", {.idempotency_key = "k"});
  EXPECT_FALSE(again.is_duplicate);
  clock.advance(99);
  EXPECT_EQ(append("a", "", {.idempotency_key = "k"}).position, again.position);
}

TEST_P(StoreLog, AKeyOfAnEphemeralEntryCountsAsWell) {
  follow("a");
  append("a", "", {.is_ephemeral = true, .idempotency_key = "k"});
  const AppendResult again = append("a", "", {.is_ephemeral = true, .idempotency_key = "k"});
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.position.offset, 0U);
  EXPECT_EQ(journal->lines(), Lines{"a:0"});
}

// ---- conditions

TEST_P(StoreLog, AnAppendIsConditionalOnTheTop) {
  follow("a");
  EXPECT_EQ(append("a", "", {.expected_offset = 0}).position.offset, 1U);
  const AppendResult late = append("a", "", {.expected_offset = 0});
  EXPECT_EQ(late.error, StoreError::conflict);
  EXPECT_EQ(late.position, calls->top("a").top);
  EXPECT_EQ(append("a", "", {.expected_offset = 5}).error, StoreError::conflict);
  EXPECT_EQ(append("a", "", {.expected_offset = 1}).position.offset, 2U);
  EXPECT_EQ(journal->lines(), (Lines{"a:1", "a:2"}));
}

TEST_P(StoreLog, OfManyThatExpectTheSameTopOneIsAppended) {
  follow("a");
  std::atomic<int> appended{0};
  std::atomic<int> conflicts{0};
  for (int i = 0; i < 20; ++i)
    store->append("a", entry_of(""), {.expected_offset = 0}, [&](const AppendResult& result) {
      (result.error == StoreError::none ? appended : conflicts) += 1;
      EXPECT_EQ(result.position.offset, 1U);
    });
  EXPECT_EQ(append("a").position.offset, 2U);
  EXPECT_EQ(appended, 1);
  EXPECT_EQ(conflicts, 19);
}

TEST_P(StoreLog, AConflictDoesNotUseTheKeyUp) {
  EXPECT_EQ(append("a", "", {.idempotency_key = "k", .expected_offset = 3}).error, StoreError::conflict);
  const AppendResult next = append("a", "", {.idempotency_key = "k", .expected_offset = 0});
  EXPECT_FALSE(next.is_duplicate);
  EXPECT_EQ(next.position.offset, 1U);
  // A retry is a duplicate, not a conflict.
  EXPECT_TRUE(append("a", "", {.idempotency_key = "k", .expected_offset = 0}).is_duplicate);
}

TEST_P(StoreLog, AVersionMustAscendWithinItsEpoch) {
  follow("a");
  EXPECT_EQ(append("a", "", {.version = {5, "x"}}).error, StoreError::none);
  EXPECT_EQ(append("a", "", {.version = {5, "x"}}).error, StoreError::conflict);
  EXPECT_EQ(append("a", "", {.version = {4, "x"}}).error, StoreError::conflict);
  EXPECT_EQ(append("a").error, StoreError::none) << "without a version";
  EXPECT_EQ(append("a", "", {.version = {6, "x"}}).error, StoreError::none);
  EXPECT_EQ(append("a", "", {.version = {1, "y"}}).error, StoreError::none) << "of another epoch";
  EXPECT_EQ(append("a", "", {.version = {7, "x"}}).error, StoreError::none) << "of another epoch again";
  const AppendResult old = append("a", "", {.version = {7, "x"}});
  EXPECT_EQ(old.error, StoreError::conflict);
  EXPECT_EQ(old.position.offset, 5U);
}

// ---- several threads

TEST_P(StoreLog, ThreadsGetOffsetsWithoutHolesOrDoubles) {
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  follow("a");
  std::mutex mutex;
  Offsets offsets;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i)
        store->append("a", entry_of("x"), {}, [&](const AppendResult& result) {
          const std::lock_guard lock(mutex);
          offsets.push_back(result.position.offset);
        });
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(append("a").position.offset, kThreads * kEach + 1U);
  ASSERT_TRUE(journal->wait_for(kThreads * kEach + 1));
  std::sort(offsets.begin(), offsets.end());
  for (std::size_t i = 0; i < offsets.size(); ++i) ASSERT_EQ(offsets[i], i + 1);
  const auto announced = journal->announced();
  for (std::size_t i = 0; i < announced.size(); ++i)
    ASSERT_EQ(announced[i].offset, i + 1) << "in offset order";
}

// ---- the end

TEST_P(StoreLog, CloseAnswersAllAndLaterCallsAreClosed) {
  follow("a");
  std::atomic<int> answers{0};
  std::atomic<int> appended{0};
  for (int i = 0; i < 500; ++i)
    store->append("a", entry_of("x"), {}, [&](const AppendResult& result) {
      ++answers;
      if (result.error == StoreError::none) ++appended;
    });
  for (int i = 0; i < 50; ++i) store->read("a", {1, 1}, [&](const Page&) { ++answers; });
  store->close();
  EXPECT_EQ(answers, 550);
  const std::size_t announced = journal->lines().size();
  EXPECT_EQ(announced, static_cast<std::size_t>(appended));
  EXPECT_EQ(append("a").error, StoreError::closed);
  EXPECT_EQ(calls->follow("a").error, StoreError::closed);
  EXPECT_EQ(calls->top("a").error, StoreError::closed);
  EXPECT_EQ(calls->read("a", {1, 1}).error, keeps() ? StoreError::closed : StoreError::not_held);
  EXPECT_EQ(calls->add("a", {"ann"}).error, StoreError::closed);
  EXPECT_EQ(calls->remove("a", {"ann"}).error, StoreError::closed);
  EXPECT_EQ(calls->mark_read("ann", "a", 0), StoreError::closed);
  EXPECT_EQ(calls->remove_history("a"), StoreError::closed);
  store->unfollow("a");
  store->keep_house();
  store->close();
  EXPECT_EQ(journal->lines().size(), announced);
}

TEST_P(BoundedStore, AppendsBeyondTheLimitAreRefusedAtOnce) {
  close();
  open({.waiting_appends = 10});
  std::atomic<int> answers{0};
  std::atomic<int> overloaded{0};
  for (int i = 0; i < 5'000; ++i)
    store->append("a", entry_of("x"), {}, [&](const AppendResult& result) {
      if (result.error != StoreError::none) {
        ++overloaded;
        EXPECT_EQ(result.error, StoreError::overloaded);
      }
      ++answers;
    });
  // What was refused has left no trace: as soon as there is room, others come in.
  AppendResult after;
  for (int i = 0; i < 10'000 && answers < 5'000; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (int i = 0; i < 100; ++i) {
    after = append("a");
    ASSERT_EQ(after.error, StoreError::none);
  }
  store->close();
  EXPECT_EQ(answers, 5'000);
  EXPECT_GT(overloaded, 0);
  EXPECT_LT(overloaded, 5'000);
}

// ---- across a restart

struct DurableStore : Conformance {};
INSTANTIATE_TEST_SUITE_P(Durable, DurableStore, testing::ValuesIn(store_kinds_that(&StoreKind::is_durable)),
                         [](const auto& info) { return info.param.name; });

TEST_P(DurableStore, OffsetsAndEpochsGoOnAfterARestart) {
  const Epoch epoch = append("a", "1").position.epoch;
  const Epoch empty = calls->top("b").top.epoch;
  restart();
  EXPECT_EQ(follow("a").top, (Position{epoch, 1}));
  EXPECT_EQ(append("a", "2").position, (Position{epoch, 2}));
  EXPECT_EQ(calls->top("b").top, (Position{empty, 0}));
  restart();
  EXPECT_EQ(data_of(calls->read("a", {1, 9})), (Lines{"1", "2"}));
}

TEST_P(DurableStore, KeysVersionsAndMembersOutliveARestart) {
  const AppendResult first = append("a", "", {.idempotency_key = "k", .version = {7, "x"}});
  calls->add("a", {"ann", "bob"});
  append("a");
  append("a");
  calls->mark_read("ann", "a", 2);
  calls->remove("a", {"bob"});
  append("a");
  restart();
  const AppendResult again = append("a", "", {.idempotency_key = "k"});
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.position, first.position);
  EXPECT_EQ(append("a", "", {.version = {7, "x"}}).error, StoreError::conflict);
  EXPECT_EQ(calls->members("a").users, Lines{"ann"});
  EXPECT_EQ(calls->unread("ann", "a"), 2U) << "3 and 4";
  EXPECT_EQ(calls->unread("bob", "a"), 2U) << "2 and 3, and nothing after the removal";
  const InboxContent inbox = calls->inbox("bob");
  ASSERT_EQ(inbox.merged.size(), 1U);
  EXPECT_EQ(inbox.merged[0].first, 2U);
  EXPECT_EQ(inbox.merged[0].last, 3U);
  EXPECT_EQ(inbox.merged[0].epoch, first.position.epoch);
  append("a");
  calls->enter("a");
  EXPECT_EQ(calls->unread("ann", "a"), 3U);
  EXPECT_EQ(calls->mark_read("ann", "a", 5), StoreError::none);
  restart();
  EXPECT_EQ(calls->unread("ann", "a"), 0U);
}

}  // namespace
}  // namespace carillon
