// Files that the store does not open, and what it says then.
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "store/sqlite/sqlite_copy.hpp"
#include "store/sqlite/sqlite_lock_file.hpp"
#include "store/sqlite/sqlite_schema.hpp"
#include "store/sqlite_world.hpp"

namespace carillon {
namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
int sql(const std::string& path, const std::string& statements) {
  sqlite3* database = nullptr;
  int code = sqlite3_open(path.c_str(), &database);
  if (code == SQLITE_OK) code = sqlite3_exec(database, statements.c_str(), nullptr, nullptr, nullptr);
  sqlite3_close(database);
  return code;
}

struct SqliteRefusals : SqliteWorld {
  SqlitePlace copy_of_crash;
  /// The file is refused with a sentence that has `words`, and is as before.
  void expect_refused(const std::string& words) {
    const std::string before = content_of(place.file());
    const std::string said = refusal();
    EXPECT_NE(said.find(words), std::string::npos) << said;
    EXPECT_EQ(said.rfind("sqlite:" + place.file() + ": ", 0), 0U) << said;
    EXPECT_TRUE(content_of(place.file()) == before) << "never overwritten";
  }
};

TEST_F(SqliteRefusals, AFileThatIsNoDatabase) {
  write_file(place.file(), "Dear diary,");
  expect_refused("is not a database of Carillon; it was left as it is. Name another path");
  write_file(place.file(), std::string(8'192, 'x'));
  expect_refused("is not a database of Carillon");
}

TEST_F(SqliteRefusals, AnotherProgramsDatabase) {
  ASSERT_EQ(sql(place.file(), "CREATE TABLE photos (name TEXT); PRAGMA user_version = 1"), SQLITE_OK);
  expect_refused("is another program's database");
}

TEST_F(SqliteRefusals, ANewerVersionsDatabase) {
  open()->append("a");
  ASSERT_EQ(sql(place.file(), "PRAGMA user_version = 99"), SQLITE_OK);
  expect_refused("a newer Carillon wrote the file (its tables have version 99, this program knows 1)");
}

TEST_F(SqliteRefusals, ADamagedDatabase) {
  for (int i = 0; i < 3; ++i) {
    auto store = open();
    for (int each = 0; each < 200; ++each) store->append("c" + std::to_string(each), std::string(300, 'x'));
  }
  const std::string sound = content_of(place.file());
  ASSERT_GT(sound.size(), 20U * 4'096);
  std::string damaged = sound;
  // A page of entries, which opening the database has no need of.
  std::fill_n(damaged.end() - 3 * 4'096, 4'096, '\x5a');
  write_file(place.file(), damaged);
  expect_refused("the file is damaged");
  write_file(place.file(), sound.substr(0, sound.size() / 2));
  expect_refused("Restore a backup with `carillon store restore`");
  write_file(place.file(), sound);
  EXPECT_EQ(refusal(), "");
}

TEST_F(SqliteRefusals, ADatabaseWithoutItsTables) {
  open()->append("a");
  ASSERT_EQ(sql(place.file(), "DROP TABLE entries"), SQLITE_OK);
  expect_refused("the file is damaged (no such table: entries)");
}

TEST_F(SqliteRefusals, ADatabaseThatAnotherProgramHasLocked) {
  open()->append("a");
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(place.file().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(
      sqlite3_exec(other, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE", nullptr, nullptr, nullptr),
      SQLITE_OK);
  const std::string said = refusal();
  EXPECT_NE(said.find("another program has locked the file"), std::string::npos) << said;
  sqlite3_close(other);
  EXPECT_EQ(refusal(), "");
}

TEST_F(SqliteRefusals, ASecondServer) {
  const auto first = open();
  const std::string said = refusal();
  EXPECT_NE(said.find("another server (process " + std::to_string(::getpid()) + ") uses this file"),
            std::string::npos)
      << said;
  EXPECT_EQ(first->append("a").error, StoreError::none) << "the first one goes on";
  const pid_t child = ::fork();
  if (child == 0) {
    // In another process as well, where POSIX locks would differ.
    std::string text;
    try {
      SqliteLockFile lock(place.file());
    } catch (const std::runtime_error& error) {
      text = error.what();
    }
    ::_exit(text.find("another server") != std::string::npos ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(SqliteRefusals, AFolderThatIsNotThere) {
  SqliteOptions options = place.options();
  options.path = place.folder() + "/nowhere/carillon.db";
  EXPECT_NE(refusal(options).find("the directory does not exist; create it"), std::string::npos);
  options.path = place.folder();
  EXPECT_NE(refusal(options).find("it is not a file"), std::string::npos);
}

TEST_F(SqliteRefusals, WhatThisUserMayNotWrite) {
  open()->append("a");
  ASSERT_EQ(::chmod(place.file().c_str(), 0444), 0);
  ASSERT_EQ(::chmod(place.folder().c_str(), 0777), 0);
  const std::string lock = place.file() + "-lock";
  ASSERT_EQ(::chmod(lock.c_str(), 0666), 0);
  const auto said_by_child = [&](const std::string& words) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) ::_exit(3);
      ::_exit(refusal().find(words) != std::string::npos ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(said_by_child("the file is read-only"), 0);
  ASSERT_EQ(::chmod(place.folder().c_str(), 0555), 0);
  ASSERT_EQ(::unlink(lock.c_str()), 0);
  EXPECT_EQ(said_by_child("this user may not write in its directory"), 0);
}

TEST(SqliteFileSystems, ThoseOnAnotherMachineAreKnown) {
  EXPECT_EQ(network_file_system(0x6969), "NFS");
  EXPECT_EQ(network_file_system(0xff534d42), "SMB");
  EXPECT_EQ(network_file_system(0xef53), "") << "ext4";
  EXPECT_EQ(network_file_system(0x01021994), "") << "tmpfs";
}

// ---- what is made, and brought up to date

TEST_F(SqliteRefusals, FilesAreForTheirOwnerOnly) {
  const auto store = open();
  store->append("a");
  for (const char* const suffix : {"", "-wal", "-shm", "-lock"}) {
    struct stat status{};
    ASSERT_EQ(::stat((place.file() + suffix).c_str(), &status), 0) << suffix;
    EXPECT_EQ(status.st_mode & 0777, 0600U) << suffix;
  }
}

TEST_F(SqliteRefusals, AFileOfVersionZeroIsMigrated) {
  ASSERT_EQ(sql(place.file(), "PRAGMA application_id = " + std::to_string(kSqliteApplicationId) +
                                  "; CREATE TABLE t (x); DROP TABLE t"),
            SQLITE_OK);
  EXPECT_EQ(open()->append("a").position.offset, 1U);
  EXPECT_EQ(open()->calls.top("a").top.offset, 1U);
  EXPECT_EQ(check_sqlite_file(place.file()), "");
}

TEST_F(SqliteRefusals, AnEmptyFileIsBegunAnewAndNoOtherOneIsTouched) {
  write_file(place.file(), "");
  write_file(place.file() + "-new", "somebody's backup");
  EXPECT_EQ(open()->append("a").position.offset, 1U);
  EXPECT_EQ(std::filesystem::file_size(place.file() + "-new"), 17U);
  std::set<std::string> names;
  for (const auto& each : std::filesystem::directory_iterator(place.folder()))
    names.insert(each.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"carillon.db", "carillon.db-lock", "carillon.db-new"}))
      << "nothing of its own is left over";
}

TEST_F(SqliteRefusals, WhatADatabaseLeftBehindIsNotAppliedToANewOne) {
  SqlitePlace copy;
  auto store = open();
  const Position old = store->append("a").position;
  copy_sqlite_file(place.file(), copy.file());
  place.copy_to(copy_of_crash);  // with its log, as it is
  store.reset();
  std::filesystem::remove(place.file());
  std::filesystem::copy_file(copy_of_crash.file() + "-wal", place.file() + "-wal");
  EXPECT_NE(refusal().find("move it as well"), std::string::npos) << refusal();
  EXPECT_THROW(copy_sqlite_file(copy.file(), place.file()), std::runtime_error);
  EXPECT_TRUE(std::filesystem::exists(place.file() + "-wal")) << "it may be all that there is";
  std::filesystem::remove(place.file() + "-wal");
  copy_sqlite_file(copy.file(), place.file());
  const Position next = open()->append("a").position;
  EXPECT_EQ(next.offset, 2U);
  EXPECT_NE(next.epoch, old.epoch);
}

TEST_F(SqliteRefusals, NothingIsLeftOfABackupThatIsInterrupted) {
  struct Interrupted {};
  auto store = open();
  const std::string text(5'000, 'x');
  for (int i = 0; i < 2'000; ++i) store->append("a", text);
  SqlitePlace copy;
  int steps = 0;
  EXPECT_THROW(copy_sqlite_file(place.file(), copy.file(),
                                [&] {
                                  if (++steps == 2) throw Interrupted();
                                }),
               Interrupted);
  std::set<std::string> names;
  for (const auto& each : std::filesystem::directory_iterator(copy.folder()))
    names.insert(each.path().filename());
  EXPECT_EQ(names, std::set<std::string>{"carillon.db-lock"});
  // What is written meanwhile is not in it: all steps are of one moment.
  copy_sqlite_file(place.file(), copy.file(), [&] { store->append("a", text); });
  store.reset();
  EXPECT_EQ(check_sqlite_file(copy.file()), "");
}

TEST_F(SqliteRefusals, ASecondNameOfTheFileIsRefused) {
  open()->append("a");
  std::filesystem::create_hard_link(place.file(), place.folder() + "/other.db");
  EXPECT_NE(refusal().find("second name"), std::string::npos) << refusal();
}

TEST_F(SqliteRefusals, WithoutItsLockAServerStopsWriting) {
  for (const bool is_replaced : {false, true}) {
    auto store = open();
    EXPECT_EQ(store->append("a").error, StoreError::none);
    const std::string lock = place.file() + "-lock";
    std::filesystem::rename(lock, place.folder() + "/moved-lock");
    if (is_replaced)
      std::filesystem::copy_file(place.folder() + "/moved-lock", lock);  // as a second server would
    store->store.keep_house();
    EXPECT_EQ(store->append("a").error, StoreError::unavailable);
    EXPECT_NE(store->store.figures().trouble.find("-lock was removed"), std::string::npos);
  }
}

TEST_F(SqliteRefusals, WithoutItsFileAServerStopsWriting) {
  for (const bool is_moved : {true, false}) {
    auto store = open();
    EXPECT_EQ(store->append("a").error, StoreError::none);
    store->store.keep_house();
    EXPECT_EQ(store->append("a").error, StoreError::none);
    const std::string moved = place.folder() + "/moved.db";
    std::filesystem::rename(place.file(), moved);
    if (!is_moved) std::filesystem::copy_file(moved, place.file());  // another file with that name
    store->store.keep_house();
    EXPECT_EQ(store->append("a").error, StoreError::unavailable);
    EXPECT_NE(store->store.figures().trouble.find("was removed, moved or replaced"), std::string::npos);
    store.reset();
    std::filesystem::rename(moved, place.file());
    EXPECT_EQ(open()->append("a").position.offset, is_moved ? 3U : 6U) << "nothing is lost";
  }
}

TEST_F(SqliteRefusals, ACheckInTheServersOwnProcessLeavesItsLocks) {
  auto store = open();
  store->append("a");
  EXPECT_EQ(check_sqlite_file(place.file()), "");
  SqlitePlace copy;
  copy_sqlite_file(place.file(), copy.file());
  // Another process that thinks it is alone would take the log away when it closes the file.
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c",
            ("exec python3 -c \"import sqlite3; c = sqlite3.connect('" + place.file() +
             "'); c.execute('select count(*) from meta').fetchall(); c.close()\"")
                .c_str(),
            nullptr);
    ::_exit(1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(std::filesystem::exists(place.file() + "-wal"));
  EXPECT_EQ(store->append("a").position.offset, 2U);
  store.reset();
  EXPECT_EQ(open()->calls.top("a").top.offset, 2U);
}

TEST_F(SqliteRefusals, AForkedChildLeavesTheDatabaseAlone) {
  auto store = open();
  store->append("a");
  const pid_t child = ::fork();
  if (child == 0) {
    bool is_closed = store->append("a").error == StoreError::closed;
    is_closed = is_closed && store->calls.read("a", {1, 1}).error == StoreError::closed;
    store->store.keep_house();
    store.reset();  // must neither wait for threads that are not here nor close the parent's file
    ::_exit(is_closed ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(store->append("a").position.offset, 2U);
}

TEST_F(SqliteRefusals, AForkedChildDoesNotKeepTheLock) {
  auto store = open();
  int pipe_of_child[2];
  ASSERT_EQ(::pipe(pipe_of_child), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    ::close(pipe_of_child[1]);
    static_cast<void>(::read(pipe_of_child[0], &byte, 1));
    ::_exit(0);
  }
  store.reset();
  EXPECT_EQ(refusal(), "") << "the child lives on";
  ::close(pipe_of_child[0]);
  ::close(pipe_of_child[1]);
  ::waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace carillon
