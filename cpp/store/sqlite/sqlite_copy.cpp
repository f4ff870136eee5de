#include "store/sqlite/sqlite_copy.hpp"

#include <sqlite3.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>

#include "store/sqlite/sqlite_lock_file.hpp"
#include "store/sqlite/sqlite_schema.hpp"
#include "store/sqlite/sqlite_unfinished_file.hpp"

namespace carillon {

namespace {

[[noreturn]] void refuse_copy(const std::string& path, const std::string& text) {
  throw std::runtime_error("sqlite:" + path + ": " + text);
}

constexpr int kPagesAtOnce = 1'000;

struct EndOfBackup {
  void operator()(sqlite3_backup* backup) const { sqlite3_backup_finish(backup); }
};

void copy_pages(SqliteConnection& from, SqliteConnection& to, const std::string& path,
                const std::function<void()>& between) {
  // Within one transaction all steps are of one moment. The writer goes on beside it; its log grows
  // meanwhile.
  if (from.execute("BEGIN; SELECT count(*) FROM sqlite_schema") != SQLITE_OK)
    refuse_copy(path, "cannot be read (" + from.message() + ")");
  std::unique_ptr<sqlite3_backup, EndOfBackup> backup(
      sqlite3_backup_init(to.handle(), "main", from.handle(), "main"));
  int code = backup == nullptr ? sqlite3_errcode(to.handle()) : SQLITE_OK;
  while (code == SQLITE_OK) {
    code = sqlite3_backup_step(backup.get(), kPagesAtOnce);
    between();
  }
  const int finished = sqlite3_backup_finish(backup.release());
  if (code == SQLITE_DONE && finished == SQLITE_OK) return;
  refuse_copy(path, std::string("the copy cannot be written (") +
                        sqlite3_errstr(code == SQLITE_DONE ? finished : code) +
                        "); is there room on the disk?");
}

}  // namespace

void copy_sqlite_file(const std::string& from, const std::string& to, const std::function<void()>& between) {
  if (::access(from.c_str(), F_OK) != 0) refuse_copy(from, "there is no such file");
  if (const std::string trouble = check_sqlite_file(from); !trouble.empty())
    refuse_copy(from, "the file is damaged (" + trouble + "); nothing was copied");
  const SqliteLockFile lock(to);  // no server begins there meanwhile
  if (::access(to.c_str(), F_OK) == 0)
    refuse_copy(to,
                "there is a file already; name another path, or move it away, together with " + to + "-wal");
  SqliteUnfinishedFile unfinished(to);
  {
    SqliteConnection source;
    SqliteConnection copy;
    if (source.open(from, SqliteConnection::Access::existing, "") != SQLITE_OK)
      refuse_copy(from, "cannot be opened");
    if (copy.open(unfinished.path(), SqliteConnection::Access::existing, "") != SQLITE_OK)
      refuse_copy(to, "cannot be opened");
    copy_pages(source, copy, to, between);
    // Without a log beside it, so that a copy can be read on a disk that is read-only.
    if (copy.execute("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; "
                     "INSERT OR REPLACE INTO meta (key, value) VALUES ('is_copy', 1)") != SQLITE_OK)
      refuse_copy(to, "the copy cannot be written (" + copy.message() + "); is there room on the disk?");
  }
  if (const std::string trouble = check_sqlite_file(unfinished.path()); !trouble.empty())
    refuse_copy(to, "the copy is damaged (" + trouble + "); try another disk");
  between();
  unfinished.finish();
}

}  // namespace carillon
