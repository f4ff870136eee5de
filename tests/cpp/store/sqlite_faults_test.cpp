// A disk that is full or fails, and groups of which a part cannot be written.
#include <sqlite3.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "store/conformance.hpp"
#include "store/faulty_vfs.hpp"
#include "store/sqlite_world.hpp"

namespace carillon {
namespace {

struct SqliteFaults : SqliteWorld {
  SqliteFaults() { FaultyVfs::reset(); }
  ~SqliteFaults() override { FaultyVfs::reset(); }

  [[nodiscard]] SqliteOptions faulty(Durability durability = Durability::full) const {
    SqliteOptions options = place.options(durability);
    options.vfs = FaultyVfs::name();
    return options;
  }
  /// Repeats an append until it succeeds.
  static AppendResult append_at_last(OpenSqlite& store, const std::string& channel) {
    AppendResult result;
    for (int i = 0; i < 500; ++i) {
      result = store.append(channel);
      if (result.error == StoreError::none) break;
      EXPECT_TRUE(result.error == StoreError::unavailable || result.error == StoreError::overloaded);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return result;
  }
};

TEST_F(SqliteFaults, AFullDiskFailsAppendsForNowReadsGoOnAndItRecoversByItself) {
  auto store = open(faulty());
  store->calls.follow("a");
  store->append("a", "1");
  FaultyVfs::is_full = true;
  for (int i = 0; i < 3; ++i) {
    const AppendResult failed = store->append("a", "lost");
    EXPECT_EQ(failed.error, StoreError::unavailable);
  }
  EXPECT_NE(store->store.figures().trouble.find("full"), std::string::npos) << store->store.figures().trouble;
  EXPECT_EQ(data_of(store->calls.read("a", {1, 9})), Lines{"1"});
  EXPECT_EQ(store->calls.top("a").top.offset, 1U) << "tops advance at the commit";
  const TopResult made = store->calls.follow("new");
  EXPECT_EQ(made.error, StoreError::none) << "a subscribe needs no room on the disk";
  FaultyVfs::is_full = false;
  EXPECT_EQ(store->append("a", "2").position.offset, 2U);
  EXPECT_EQ(store->append("new").position, (Position{made.top.epoch, 1}));
  EXPECT_EQ(store->store.figures().trouble, "");
  EXPECT_EQ(store->journal.lines(), (Lines{"a:1", "a:2", "new:1"}));
  store.reset();
  EXPECT_EQ(data_of(open()->calls.read("a", {1, 9})), (Lines{"1", "2"}));
}

TEST_F(SqliteFaults, AsyncAcknowledgesNothingBeforeTheFileSaysThatItIsInUse) {
  open(faulty(Durability::async))->append("a", "1");
  auto store = open(faulty(Durability::async));
  FaultyVfs::is_full = true;
  EXPECT_EQ(store->append("a", "2").error, StoreError::unavailable);
  EXPECT_EQ(store->append("b", "1").error, StoreError::unavailable);
  FaultyVfs::is_full = false;
  EXPECT_EQ(store->append("a", "2").position.offset, 2U);
}

TEST_F(SqliteFaults, WhatAsyncHasLostIsToldAlsoAfterACleanEnd) {
  auto store = open(faulty(Durability::async));
  const Position kept = store->append("a", "1").position;
  store->calls.read("a", {1, 1});
  FaultyVfs::is_full = true;
  EXPECT_EQ(store->append("a", "acknowledged, and lost").position, (Position{kept.epoch, 2}));
  store.reset();
  FaultyVfs::is_full = false;
  store = open(faulty(Durability::async));
  const Position next = store->append("a", "3").position;
  EXPECT_FALSE(next.epoch == kept.epoch) << "one position, two publications";
}

TEST_F(SqliteFaults, AnAppendThatFailedUsesNeitherItsKeyNorItsVersion) {
  auto store = open(faulty());
  store->append("a");
  FaultyVfs::is_full = true;
  const AppendOptions options{.idempotency_key = "k", .expected_offset = 1, .version = {3, "x"}};
  EXPECT_EQ(store->append("a", "", options).error, StoreError::unavailable);
  FaultyVfs::is_full = false;
  const AppendResult again = store->append("a", "", options);
  EXPECT_EQ(again.error, StoreError::none);
  EXPECT_FALSE(again.is_duplicate);
  EXPECT_EQ(again.position.offset, 2U);
}

TEST_F(SqliteFaults, ChangesOfMembersOnAFullDiskAreWrittenLater) {
  auto store = open(faulty());
  store->calls.add("a", {"ann"});
  store->append("a");
  FaultyVfs::is_full = true;
  EXPECT_EQ(store->calls.add("a", {"bob"}).error, StoreError::outcome_unknown);
  EXPECT_EQ(store->calls.mark_read("ann", "a", 1), StoreError::outcome_unknown);
  FaultyVfs::is_full = false;
  EXPECT_EQ(store->append("a").position.offset, 2U);
  store.reset();
  store = open(faulty());
  EXPECT_EQ(store->calls.members("a").users, (Lines{"ann", "bob"}));
  EXPECT_EQ(store->calls.unread("ann", "a"), 1U);
  EXPECT_EQ(store->calls.unread("bob", "a"), 1U);
}

TEST_F(SqliteFaults, ACommitWhoseSyncFailsHasAnUnknownOutcomeAndWhatIsThereIsAnnounced) {
  auto store = open(faulty());
  store->calls.follow("a");
  store->append("a", "1", {.idempotency_key = "k1"});
  FaultyVfs::failing_syncs = 1;
  const AppendResult unknown = store->append("a", "2", {.idempotency_key = "k2"});
  EXPECT_EQ(unknown.error, StoreError::outcome_unknown);
  // A retry with its key tells the outcome.
  AppendResult retry;
  for (int i = 0; i < 500; ++i) {
    retry = store->append("a", "2", {.idempotency_key = "k2"});
    if (retry.error == StoreError::none) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_EQ(retry.error, StoreError::none);
  EXPECT_EQ(retry.position.offset, 2U);
  EXPECT_EQ(append_at_last(*store, "a").position.offset, 3U);
  EXPECT_EQ(store->journal.lines(), (Lines{"a:1", "a:2", "a:3"})) << "each once";
  EXPECT_EQ(data_of(store->calls.read("a", {1, 9})), (Lines{"1", "2", "x"}));
  store.reset();
  EXPECT_EQ(data_of(open()->calls.read("a", {1, 9})), (Lines{"1", "2", "x"}));
}

TEST_F(SqliteFaults, WhileTheOutcomeIsUnknownNothingIsAppendedAndCloseStillEnds) {
  auto store = open(faulty());
  store->append("a", "1");
  FaultyVfs::is_sync_failing = true;
  EXPECT_EQ(store->append("a", "2").error, StoreError::outcome_unknown);
  EXPECT_EQ(store->append("a", "3").error, StoreError::unavailable);
  EXPECT_FALSE(store->store.figures().trouble.empty());
  store->store.close();
  EXPECT_EQ(store->append("a", "4").error, StoreError::closed);
  store.reset();
  FaultyVfs::reset();
  const Page page = open()->calls.read("a", {1, 9});
  EXPECT_GE(page.entries.size(), 1U);
  EXPECT_LE(page.entries.size(), 2U);
}

TEST_F(SqliteFaults, WhatAnUnknownOutcomeHasLeftInTheDatabaseIsAnnounced) {
  auto store = open(faulty());
  store->calls.follow("a");
  store->append("a", "1");
  // The commit's sync fails, and so does that of the checkpoint which would take the WAL away: what is in it
  // is read back.
  FaultyVfs::failing_syncs = 2;
  EXPECT_EQ(store->append("a", "2").error, StoreError::outcome_unknown);
  EXPECT_EQ(append_at_last(*store, "a").position.offset, 3U);
  EXPECT_EQ(store->journal.lines(), (Lines{"a:1", "a:2", "a:3"}));
  EXPECT_EQ(store->store.figures().trouble, "");
}

TEST_F(SqliteFaults, OneAppendThatCannotBeWrittenDoesNotFailTheOthers) {
  auto store = open();
  store->append("bad");
  store->append("good");
  // An offset that is taken already, which no check of the store foresees.
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(place.file().c_str(), &other), SQLITE_OK);
  sqlite3_busy_timeout(other, 5'000);
  ASSERT_EQ(sqlite3_exec(other, "INSERT INTO entries SELECT id, 2, 0, x'' FROM channels WHERE name = 'bad'",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  std::atomic<int> good{0};
  std::atomic<int> bad{0};
  // A lock of ours lets them gather into one group.
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  for (int i = 0; i < 50; ++i)
    store->store.append(i == 25 ? "bad" : "good", entry_of(""), {}, [&](const AppendResult& result) {
      (result.error == StoreError::none ? good : bad) += 1;
    });
  ASSERT_EQ(sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  EXPECT_EQ(store->append("good").position.offset, 51U);
  EXPECT_EQ(good, 49);
  EXPECT_EQ(bad, 1);
}

TEST_F(SqliteFaults, AGroupIsInTheDatabaseAsAWhole) {
  SqliteOptions options = faulty();
  auto store = open(options);
  store->append("a");
  std::atomic<int> failed{0};
  std::atomic<int> appended{0};
  FaultyVfs::is_full = true;
  for (int i = 0; i < 200; ++i)
    store->store.append("c" + std::to_string(i % 10), entry_of(""), {}, [&](const AppendResult& result) {
      (result.error == StoreError::none ? appended : failed) += 1;
    });
  store->append("a");
  FaultyVfs::is_full = false;
  EXPECT_EQ(failed, 200);
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(store->append("c" + std::to_string(i)).position.offset, 1U)
        << "offsets of the failed are used again";
}

TEST_F(SqliteFaults, AsyncWritesLaterWhatItHasAcknowledgedOnAFullDisk) {
  auto store = open(faulty(Durability::async));
  store->append("a", "1");
  store->calls.read("a", {1, 1});
  FaultyVfs::is_full = true;
  EXPECT_EQ(store->append("a", "2").error, StoreError::none) << "acknowledged before it is written";
  EXPECT_EQ(store->append("a", "3").error, StoreError::unavailable) << "what is unwritten is bounded";
  FaultyVfs::is_full = false;
  EXPECT_EQ(append_at_last(*store, "a").position.offset, 3U);
  EXPECT_EQ(data_of(store->calls.read("a", {1, 9})), (Lines{"1", "2", "x"}));
}

TEST_F(SqliteFaults, AsyncDoesNotReadPastWhatItHasAcknowledgedAndNotWritten) {
  auto store = open(faulty(Durability::async));
  store->append("a", "1");
  store->calls.read("a", {1, 1});
  FaultyVfs::is_full = true;
  EXPECT_EQ(store->append("a", "2").position.offset, 2U);
  EXPECT_EQ(store->calls.read("a", {1, 9}).error, StoreError::unavailable) << "for now: it is not lost";
  FaultyVfs::is_full = false;
  append_at_last(*store, "b");
  EXPECT_EQ(data_of(store->calls.read("a", {1, 9})), (Lines{"1", "2"}));
}

TEST_F(SqliteFaults, AsyncReadsWhatWasAcknowledgedJustBefore) {
  auto store = open(faulty(Durability::async));
  store->append("a", "0");
  for (int round = 0; round < 50; ++round) {
    // All of it gathers into one group.
    std::atomic<int> short_pages{0};
    std::atomic<int> pages{0};
    for (std::uint64_t i = 1; i <= 20; ++i) {
      const Offset offset = static_cast<Offset>(round) * 20 + i + 1;
      store->store.append("a", entry_of("x"), {}, [](const AppendResult&) {});
      store->store.read("a", {offset, offset}, [&](const Page& page) {
        if (page.entries.empty()) ++short_pages;
        ++pages;
      });
    }
    for (int i = 0; i < 500 && pages < 20; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ASSERT_EQ(pages, 20);
    ASSERT_EQ(short_pages, 0);
  }
}

TEST_F(SqliteFaults, AsyncHasNewEpochsIfWhatItHasAcknowledgedCouldNotBeWrittenToTheEnd) {
  Epoch epoch;
  {
    auto store = open(faulty(Durability::async));
    epoch = store->append("a", "1").position.epoch;
    store->calls.read("a", {1, 1});
    FaultyVfs::is_full = true;
    EXPECT_EQ(store->append("a", "2").error, StoreError::none);
  }
  FaultyVfs::reset();
  EXPECT_NE(open()->calls.top("a").top.epoch, epoch);
}

TEST_F(SqliteFaults, AsyncHasNewEpochsIfOneThatItHasAcknowledgedCannotBeWrittenAtAll) {
  Epoch epoch;
  {
    auto store = open(place.options(Durability::async));
    epoch = store->append("a").position.epoch;
    store->calls.read("a", {1, 1});
    sqlite3* other = nullptr;
    ASSERT_EQ(sqlite3_open(place.file().c_str(), &other), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(other, "INSERT INTO entries SELECT id, 2, 0, x'' FROM channels WHERE name = 'a'",
                           nullptr, nullptr, nullptr),
              SQLITE_OK);
    sqlite3_close(other);
    EXPECT_EQ(store->append("a").error, StoreError::none);
  }
  EXPECT_NE(open()->calls.top("a").top.epoch, epoch);
}

TEST_F(SqliteFaults, FullSyncsTheLogAtEachCommitAndNormalDoesNot) {
  auto store = open(faulty(Durability::full));
  store->append("a");
  int before = FaultyVfs::wal_syncs;
  for (int i = 0; i < 10; ++i) store->append("a");
  EXPECT_EQ(FaultyVfs::wal_syncs - before, 10);
  store.reset();
  store = open(faulty(Durability::normal));
  before = FaultyVfs::wal_syncs;
  store->append("a");
  EXPECT_EQ(FaultyVfs::wal_syncs - before, 2) << "the WAL's head, and that the database is in use";
  before = FaultyVfs::wal_syncs;
  for (int i = 0; i < 10; ++i) store->append("a");
  EXPECT_EQ(FaultyVfs::wal_syncs - before, 0);
}

// ---- bounds

TEST_F(SqliteFaults, TheWalIsBoundedWhileAppendsGoOn) {
  SqliteOptions options = place.options(Durability::normal);
  options.wal_bytes = 1UL << 20U;
  auto store = open(options);
  std::uintmax_t largest = 0;
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 50; ++i)
      store->store.append("c" + std::to_string(i), entry_of(std::string(1'000, 'x')),
                          {.retention = {.entries = 10}}, [](const AppendResult&) {});
    store->append("a");
    largest = std::max(largest, std::filesystem::file_size(place.file() + "-wal"));
  }
  EXPECT_GT(largest, options.wal_bytes / 2) << "the test must come to the bound";
  EXPECT_LE(largest, 2 * options.wal_bytes);
}

TEST_F(SqliteFaults, AFileWithABoundedHistoryDoesNotGrow) {
  SqliteOptions options = place.options(Durability::normal);
  options.wal_bytes = 1UL << 20U;
  std::uintmax_t early = 0;
  {
    auto store = open(options);
    for (int round = 0; round < 400; ++round) {
      for (int i = 0; i < 50; ++i)
        store->store.append("a", entry_of(std::string(300, 'x')), {.retention = {.entries = 100}},
                            [](const AppendResult&) {});
      store->append("a", "", {.retention = {.entries = 100}});
      if (round == 100) early = std::filesystem::file_size(place.file());
    }
    EXPECT_GT(early, 0U);
    EXPECT_EQ(store->calls.read("a", {1, 1'000'000}).entries.size(), 100U);
  }
  EXPECT_LE(std::filesystem::file_size(place.file()), std::max<std::uintmax_t>(2 * early, 400'000));
}

std::int64_t count_of(const std::string& path, const std::string& from) {
  sqlite3* database = nullptr;
  sqlite3_open(path.c_str(), &database);
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v2(database, ("SELECT count(*) FROM " + from).c_str(), -1, &statement, nullptr);
  const std::int64_t count = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
  sqlite3_finalize(statement);
  sqlite3_close(database);
  return count;
}

TEST_F(SqliteFaults, HouseKeepingErasesInBoundedStepsWhatHasExpired) {
  SqliteOptions options = place.options(Durability::normal);
  options.limits.channel_lifetime_ms = 10'000;
  options.limits.idempotency_window_ms = 100;
  auto store = open(options);
  const auto keep_house = [&](int times) {
    for (int i = 0; i < times; ++i) {
      store->store.keep_house();
      store->calls.top("followed");  // after it
      store->calls.top("followed");
    }
  };
  store->calls.follow("followed");
  const Epoch epoch = store->append("a").position.epoch;
  for (int i = 0; i < 2'999; ++i)
    store->store.append("a", entry_of(std::to_string(i)),
                        {.idempotency_key = std::to_string(i), .retention = {.ttl_ms = 1'000'000}},
                        [](const AppendResult&) {});
  store->append("followed");
  EXPECT_EQ(count_of(place.file(), "entries"), 3'001);
  EXPECT_EQ(count_of(place.file(), "keys"), 2'999);
  store->calls.remove_history("a");
  keep_house(1);
  EXPECT_GT(count_of(place.file(), "entries"), 1'000) << "a step is bounded";
  keep_house(5);
  EXPECT_EQ(count_of(place.file(), "entries"), 1);
  clock.advance(100);
  keep_house(5);
  EXPECT_EQ(count_of(place.file(), "keys"), 0);
  EXPECT_EQ(store->calls.top("a").top, (Position{epoch, 3'000}));
  clock.advance(10'000);
  keep_house(3);
  EXPECT_EQ(count_of(place.file(), "channels"), 1) << "that which is followed stays";
  const Position reborn = store->append("a").position;
  EXPECT_EQ(reborn.offset, 1U);
  EXPECT_NE(reborn.epoch, epoch);
}

TEST_F(SqliteFaults, ChannelsInMemoryAreBoundedAndReadAgain) {
  SqliteOptions options = place.options(Durability::normal);
  options.cached_channels = 10;
  auto store = open(options);
  std::vector<Position> tops;
  for (int i = 0; i < 50; ++i) tops.push_back(store->append("c" + std::to_string(i)).position);
  store->store.keep_house();
  store->calls.top("c0");
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(store->calls.top("c" + std::to_string(i)).top, tops[static_cast<std::size_t>(i)]);
}

TEST_F(SqliteFaults, IdempotencyKeysAreBoundedInNumber) {
  SqliteOptions options = place.options(Durability::normal);
  options.limits.idempotency_keys = 50;
  auto store = open(options);
  for (int i = 0; i < 200; ++i) store->append("a", "", {.idempotency_key = std::to_string(i)});
  store->store.keep_house();
  store->calls.top("a");
  store->calls.top("a");
  EXPECT_EQ(count_of(place.file(), "keys"), 50);
  EXPECT_TRUE(store->append("a", "", {.idempotency_key = "199"}).is_duplicate);
}

}  // namespace
}  // namespace carillon
