// When epochs go on after the end of a process, and when they must not.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "store/conformance.hpp"
#include "store/sqlite_world.hpp"

namespace carillon {
namespace {

struct SqliteEpochs : SqliteWorld {
  enum class End { clean, killed, power_loss };

  /// Appends once to the channels "a" and "b" in one run, ends it, and opens the database again. Are the
  /// epochs the same?
  bool goes_on(Durability durability, End end) {
    SqlitePlace other;
    SqliteOptions options = place_of(durability);
    auto store = open(options);
    const Epoch a = store->append("a").position.epoch;
    const Epoch b = store->append("b").position.epoch;
    if (durability == Durability::async) store->calls.read("a", {1, 1});  // written now
    SqliteOptions next = options;
    if (end != End::clean) {
      // The files as the kernel has them, without the end of the run.
      for (const char* const suffix : {"", "-wal"})
        if (std::filesystem::exists(options.path + suffix))
          std::filesystem::copy_file(options.path + suffix, other.file() + suffix);
      next.path = other.file();
    }
    store.reset();
    if (end == End::power_loss) next.boot_id = "second boot";
    auto again = open(next);
    const Position top = again->calls.top("a").top;
    EXPECT_EQ(top.offset, 1U) << "offsets go on in any case";
    EXPECT_EQ(again->store.figures().has_new_epochs, top.epoch != a);
    EXPECT_EQ(again->calls.top("b").top.epoch == b, top.epoch == a) << "all channels alike";
    EXPECT_EQ(again->append("a").position, (Position{top.epoch, 2}));
    EXPECT_EQ(again->calls.read("a", {1, 2}).top.epoch, top.epoch);
    again.reset();
    // It is settled then: a clean restart changes nothing.
    again = open(next);
    EXPECT_EQ(again->calls.top("a").top, (Position{top.epoch, 2}));
    EXPECT_EQ(again->calls.read("b", {1, 1}).top, again->calls.top("b").top);
    return top.epoch == a;
  }
  SqliteOptions place_of(Durability durability) {
    places.push_back(std::make_unique<SqlitePlace>());
    SqliteOptions options = places.back()->options(durability);
    options.boot_id = "first boot";
    return options;
  }
  std::vector<std::unique_ptr<SqlitePlace>> places;
};

TEST_F(SqliteEpochs, FullGoesOnAfterAnyEnd) {
  EXPECT_TRUE(goes_on(Durability::full, End::clean));
  EXPECT_TRUE(goes_on(Durability::full, End::killed));
  EXPECT_TRUE(goes_on(Durability::full, End::power_loss));
}

TEST_F(SqliteEpochs, NormalGoesOnUnlessTheMachineWentDown) {
  EXPECT_TRUE(goes_on(Durability::normal, End::clean));
  EXPECT_TRUE(goes_on(Durability::normal, End::killed));
  EXPECT_FALSE(goes_on(Durability::normal, End::power_loss));
}

TEST_F(SqliteEpochs, AsyncGoesOnAfterACleanEndOnly) {
  EXPECT_TRUE(goes_on(Durability::async, End::clean));
  EXPECT_FALSE(goes_on(Durability::async, End::killed));
  EXPECT_FALSE(goes_on(Durability::async, End::power_loss));
}

TEST_F(SqliteEpochs, TheDurabilityOfTheRunThatEndedCounts) {
  SqlitePlace crashed;
  auto store = open(place.options(Durability::async));
  const Epoch epoch = store->append("a").position.epoch;
  store->calls.read("a", {1, 1});
  place.copy_to(crashed);
  EXPECT_NE(open(crashed.options(Durability::full))->calls.top("a").top.epoch, epoch);
}

TEST_F(SqliteEpochs, AReplacedEpochNeverComesBack) {
  std::set<std::string> seen;
  auto current = std::make_unique<SqlitePlace>();
  for (int i = 0; i < 4; ++i) {
    auto store = open(current->options(Durability::async));
    // In every second run the channel is not written to: its row keeps the old epoch.
    const Position top = i % 2 == 0 ? store->append("a").position : store->calls.top("a").top;
    store->append("other");
    store->calls.read("other", {1, 1});
    EXPECT_TRUE(seen.insert(std::string(top.epoch.text())).second);
    auto next = std::make_unique<SqlitePlace>();
    current->copy_to(*next);
    store.reset();
    current = std::move(next);
  }
}

TEST_F(SqliteEpochs, MembersSeeTheNewEpoch) {
  SqlitePlace crashed;
  auto store = open(place.options(Durability::async));
  store->calls.add("a", {"ann"});
  store->append("a");
  store->calls.read("a", {1, 1});
  place.copy_to(crashed);
  auto again = open(crashed.options(Durability::async));
  const InboxContent inbox = again->calls.inbox("ann");
  ASSERT_EQ(inbox.merged.size(), 1U);
  EXPECT_EQ(inbox.merged[0].epoch, again->calls.top("a").top.epoch);
}

TEST_F(SqliteEpochs, WhatWasAcknowledgedSurvivesKill) {
  for (const Durability durability : {Durability::full, Durability::normal}) {
    const SqliteOptions options = place_of(durability);
    int acknowledged[2];
    ASSERT_EQ(::pipe(acknowledged), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto store = open(options);
      for (;;) {
        const Position position = store->append("a").position;
        if (::write(acknowledged[1], &position, sizeof position) < 0) ::_exit(1);
      }
    }
    ::close(acknowledged[1]);
    Position last;
    for (int i = 0; i < 300; ++i)
      ASSERT_EQ(::read(acknowledged[0], &last, sizeof last), ssize_t{sizeof last});
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (Position next; ::read(acknowledged[0], &next, sizeof next) == ssize_t{sizeof next};) last = next;
    ::close(acknowledged[0]);
    auto store = open(options);
    const Position top = store->calls.top("a").top;
    EXPECT_EQ(top.epoch, last.epoch) << name_of(durability);
    EXPECT_GE(top.offset, last.offset);
    EXPECT_LE(top.offset, last.offset + 1) << "one was under way";
    EXPECT_EQ(store->calls.read("a", {1, top.offset}).entries.size(), top.offset);
  }
}

}  // namespace
}  // namespace carillon
