// The database goes from one process to another while clients wait: two stores stand for them.
#include <fcntl.h>

#include <sqlite3.h>

#include <chrono>
#include <utility>

#include "store/conformance.hpp"
#include "store/faulty_vfs.hpp"
#include "store/sqlite_world.hpp"

namespace carillon {
namespace {

struct SqliteHandover : SqliteWorld {
  SqliteHandover() { FaultyVfs::reset(); }
  ~SqliteHandover() override { FaultyVfs::reset(); }

  static OwnedStore::Time soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(10); }
  /// As it arrives in the other process.
  static Descriptor sent(const HeldStore& held) {
    return Descriptor(::fcntl(held.descriptor(), F_DUPFD_CLOEXEC, 0));
  }
  /// A store of the other process.
  struct Other {
    Other(SqliteWorld& world, const SqliteOptions& options)
        : store(options, world.clock, world.random), calls{store} {
      store.set_listener(&journal);
    }
    StoreJournal journal;
    SqliteStore store;
    StoreCalls calls;
  };
};

TEST_F(SqliteHandover, WhatWaitsIsAnsweredAndTheOtherProcessGoesOn) {
  auto first = open();
  const TopResult top = first->calls.follow("a");
  first->store.add_presence("a", {.client = "c", .user = "u", .conn_info_json = ""});
  std::atomic<int> answered{0};
  for (int i = 0; i < 100; ++i)
    first->store.append("a", entry_of("x"), {}, [&](const AppendResult& result) {
      if (result.error == StoreError::none) ++answered;
    });
  Other second(*this, place.options());
  {
    const auto held = first->store.hold_still(soon());
    EXPECT_EQ(answered, 100) << "before it is held";
    second.store.restore(held->save(), sent(*held));
    second.store.begin();
    held->give_away();
  }
  EXPECT_EQ(first->append("a").error, StoreError::closed);
  EXPECT_EQ(second.calls.follow("a").top, (Position{top.top.epoch, 100}));
  EXPECT_EQ(second.calls.append("a", entry_of("y"), {}).position, (Position{top.top.epoch, 101}));
  PresenceCounts counts;
  second.store.presence_counts("a", [&](const PresenceCounts& result) { counts = result; });
  EXPECT_EQ(counts.clients, 1U);
  first.reset();
  EXPECT_NE(refusal().find("another server"), std::string::npos) << "the lock went along: " << refusal();
  second.store.close();
  EXPECT_EQ(refusal(), "");
}

TEST_F(SqliteHandover, WithoutTheOtherProcessItGoesOnAndStillAnnounces) {
  auto store = open();
  const Epoch epoch = store->calls.follow("a").top.epoch;
  store->append("a", "1");
  {
    const auto held = store->store.hold_still(soon());
  }
  EXPECT_EQ(store->append("a", "2").position, (Position{epoch, 2}));
  EXPECT_EQ(store->journal.lines(), (Lines{"a:1", "a:2"}));
  EXPECT_EQ(data_of(store->calls.read("a", {1, 9})), (Lines{"1", "2"}));
  {
    const auto held = store->store.hold_still(soon());
  }
  EXPECT_EQ(store->append("a", "3").position.offset, 3U) << "as often as it is asked";
}

TEST_F(SqliteHandover, WhatIsCalledMeanwhileWaitsAndIsCarriedOutByWhoeverHasIt) {
  auto store = open();
  std::atomic<int> answers{0};
  std::atomic<int> closed{0};
  const auto count = [&](const AppendResult& result) {
    ++answers;
    if (result.error == StoreError::closed) ++closed;
  };
  {
    const auto held = store->store.hold_still(soon());
    store->store.append("a", entry_of("1"), {}, count);
    EXPECT_EQ(answers, 0);
  }
  EXPECT_EQ(store->append("a", "2").position.offset, 2U);
  EXPECT_EQ(answers, 1);
  const auto held = store->store.hold_still(soon());
  store->store.append("a", entry_of("3"), {}, count);
  held->give_away();
  EXPECT_EQ(answers, 2);
  EXPECT_EQ(closed, 1);
}

TEST_F(SqliteHandover, ADiskThatDoesNotWorkKeepsItWhereItIs) {
  SqliteOptions options = place.options();
  options.vfs = FaultyVfs::name();
  auto store = open(options);
  store->append("a", "1");
  FaultyVfs::is_sync_failing = true;
  EXPECT_EQ(store->append("a", "2").error, StoreError::outcome_unknown);
  EXPECT_THROW(static_cast<void>(store->store.hold_still(std::chrono::steady_clock::now() +
                                                         std::chrono::milliseconds(300))),
               StoreRefused);
  FaultyVfs::reset();
  AppendResult result;
  for (int i = 0; i < 500 && result.position.offset == 0; ++i) {
    result = store->append("a", "3");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(result.error, StoreError::none);
}

TEST_F(SqliteHandover, AMarkThatTheDiskRefusesKeepsItWhereItIs) {
  SqliteOptions options = place.options(Durability::async);
  options.vfs = FaultyVfs::name();
  auto store = open(options);
  store->append("a", "1");
  store->calls.read("a", {1, 1});  // it is written
  FaultyVfs::failing_syncs = 1;
  EXPECT_THROW(static_cast<void>(store->store.hold_still(soon())), StoreRefused);
  FaultyVfs::reset();
  // The mark may be in the log all the same: it must not be found there while the file is in use.
  AppendResult result;
  for (int i = 0; i < 500 && result.position.offset == 0; ++i) {
    result = store->append("a", "2");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(place.file().c_str(), &other), SQLITE_OK);
  std::string is_clean;
  sqlite3_exec(
      other, "SELECT value FROM meta WHERE key = 'is_clean'",
      [](void* found, int, char** values, char**) -> int {
        *static_cast<std::string*>(found) = values[0];
        return 0;
      },
      &is_clean, nullptr);
  sqlite3_close(other);
  EXPECT_EQ(is_clean, "0");
}

TEST_F(SqliteHandover, WhileItCannotBeOpenedAgainNothingIsAppendedTwice) {
  SqliteOptions options = place.options();
  options.vfs = FaultyVfs::name();
  auto store = open(options);
  const AppendOptions key{.idempotency_key = "k"};
  EXPECT_EQ(store->append("a", "1", key).position.offset, 1U);
  {
    const auto held = store->store.hold_still(soon());
    FaultyVfs::is_open_failing = true;
  }
  EXPECT_EQ(store->append("a", "1", key).error, StoreError::unavailable);
  EXPECT_FALSE(store->store.figures().trouble.empty());
  FaultyVfs::reset();
  EXPECT_EQ(store->append("new", "1").position.offset, 1U) << "of a channel that is not in memory";
  const AppendResult again = store->append("a", "1", key);
  EXPECT_EQ(again.position.offset, 1U);
  EXPECT_TRUE(again.is_duplicate);
}

TEST_F(SqliteHandover, WhatWasNeverTakenChangesNothing) {
  auto first = open(place.options(Durability::async));
  first->append("a", "1");
  {
    const auto held = first->store.hold_still(soon());
    Other second(*this, place.options(Durability::async));
    second.store.restore(held->save(), sent(*held));
    bool is_answered = false;
    second.store.follow("new", [&](const TopResult& result) {
      is_answered = true;
      EXPECT_EQ(result.error, StoreError::closed);
    });
    EXPECT_FALSE(is_answered);
    second.store.close();
    EXPECT_TRUE(is_answered);
  }
  EXPECT_EQ(first->append("a", "2").position.offset, 2U);
  EXPECT_NE(refusal().find("process " + std::to_string(::getpid())), std::string::npos) << refusal();
}

TEST_F(SqliteHandover, AnotherStoreIsRefused) {
  auto store = open();
  const auto held = store->store.hold_still(soon());
  SqlitePlace elsewhere;
  Other other(*this, elsewhere.options());
  EXPECT_THROW(other.store.restore(held->save(), sent(*held)), StoreRefused);
  Other of_memory(*this, place.options());
  EXPECT_THROW(of_memory.store.restore(StoreState{}, {}), StoreRefused);
}

TEST_F(SqliteHandover, WhatIsNotOpenIsClosed) {
  SqliteStore store(place.options(), clock, random);
  StoreCalls calls{store};
  EXPECT_EQ(calls.append("a", entry_of("x"), {}).error, StoreError::closed);
  EXPECT_EQ(calls.top("a").error, StoreError::closed);
  EXPECT_EQ(store.figures().trouble, "");
  store.close();
}

}  // namespace
}  // namespace carillon
