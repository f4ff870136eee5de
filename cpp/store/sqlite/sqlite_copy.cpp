#include "store/sqlite/sqlite_copy.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "env/descriptor.hpp"
#include "store/sqlite/sqlite_lock_file.hpp"
#include "store/sqlite/sqlite_schema.hpp"

namespace carillon {

namespace {

[[noreturn]] void refuse_copy(const std::string& path, const std::string& text) {
  throw std::runtime_error("sqlite:" + path + ": " + text);
}

/// Removes what is not whole.
class Unfinished {
 public:
  explicit Unfinished(std::string path) : path_(std::move(path)) { remove(); }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished() { remove(); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void remove() const {
    for (const char* const suffix : {"", "-journal", "-wal", "-shm"}) ::unlink((path_ + suffix).c_str());
  }
  const std::string path_;
};

void copy_pages(SqliteConnection& from, SqliteConnection& to, const std::string& path) {
  sqlite3_backup* const backup = sqlite3_backup_init(to.handle(), "main", from.handle(), "main");
  int code = backup == nullptr ? sqlite3_errcode(to.handle()) : SQLITE_OK;
  // All pages in one step are of one moment, and the server's writer does not wait for it.
  if (code == SQLITE_OK) code = sqlite3_backup_step(backup, -1);
  const int finished = sqlite3_backup_finish(backup);
  if (code == SQLITE_DONE && finished == SQLITE_OK) return;
  refuse_copy(path, std::string("the copy cannot be written (") +
                        sqlite3_errstr(code == SQLITE_DONE ? finished : code) +
                        "); is there room on the disk?");
}

void put_on_disk(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open() || ::fsync(file.get()) != 0)
    refuse_copy(path, std::string("cannot be put on disk (") + std::strerror(errno) + ")");
}

}  // namespace

void copy_sqlite_file(const std::string& from, const std::string& to) {
  if (::access(from.c_str(), F_OK) != 0) refuse_copy(from, "there is no such file");
  if (const std::string trouble = check_sqlite_file(from); !trouble.empty())
    refuse_copy(from, "the file is damaged (" + trouble + "); nothing was copied");
  const SqliteLockFile lock(to);  // no server begins there meanwhile
  if (::access(to.c_str(), F_OK) == 0)
    refuse_copy(to, "there is a file already; name another path, or move it away");
  const Unfinished unfinished(to + "-new");
  const Descriptor file(::open(unfinished.path().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.is_open()) refuse_copy(to, std::string("cannot create the file (") + std::strerror(errno) + ")");
  {
    SqliteConnection source;
    SqliteConnection copy;
    if (source.open(from, SqliteConnection::Access::existing, "") != SQLITE_OK)
      refuse_copy(from, "cannot be opened");
    if (copy.open(unfinished.path(), SqliteConnection::Access::existing, "") != SQLITE_OK)
      refuse_copy(to, "cannot be opened");
    copy_pages(source, copy, to);
    if (copy.execute("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; "
                     "INSERT OR REPLACE INTO meta (key, value) VALUES ('is_copy', 1); "
                     "PRAGMA journal_mode = WAL") != SQLITE_OK)
      refuse_copy(to, "the copy cannot be written (" + copy.message() + "); is there room on the disk?");
  }
  if (const std::string trouble = check_sqlite_file(unfinished.path()); !trouble.empty())
    refuse_copy(to, "the copy is damaged (" + trouble + "); try another disk");
  put_on_disk(unfinished.path());
  if (::rename(unfinished.path().c_str(), to.c_str()) != 0)
    refuse_copy(to, std::string("cannot create the file (") + std::strerror(errno) + ")");
  const std::size_t slash = to.rfind('/');
  put_on_disk(slash == std::string::npos ? "." : to.substr(0, slash + 1));
}

}  // namespace carillon
