#include "store/sqlite/sqlite_schema.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <stdexcept>

#include "store/sqlite/sqlite_lock_file.hpp"
#include "store/sqlite/sqlite_log_rewrite.hpp"
#include "store/sqlite/sqlite_unfinished_file.hpp"

namespace carillon {

namespace {

/// Files below this size are read as a whole when they are opened, at about 1 ms/MiB.
constexpr off_t kCheckedAtOpenBytes = 64L << 20U;

// An entry is where its channel and offset say, so that a page of history is one visit: no rowid, no second
// index. `bytes_before` is the size of all earlier entries of the channel, so that the kept size is one
// subtraction.
constexpr const char* kMigrationTo1 = R"(
  CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
  CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch TEXT NOT NULL,
    generation INTEGER NOT NULL,
    top INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    ttl_ms INTEGER NOT NULL,
    version INTEGER NOT NULL,
    version_epoch TEXT NOT NULL,
    used_ms INTEGER NOT NULL
  );
  CREATE TABLE entries (
    channel INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    bytes_before INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (channel, offset)
  ) WITHOUT ROWID;
  CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    key TEXT NOT NULL,
    offset INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    UNIQUE (channel, key)
  );
  CREATE TABLE members (
    user TEXT NOT NULL,
    channel INTEGER NOT NULL,
    position INTEGER NOT NULL,
    read INTEGER NOT NULL,
    until INTEGER,
    PRIMARY KEY (user, channel, position)
  ) WITHOUT ROWID;
  CREATE INDEX members_of_channel ON members (channel);
  CREATE TABLE incomplete_users (user TEXT PRIMARY KEY) WITHOUT ROWID;
)";
constexpr std::array<const char*, kSqliteSchemaVersion> kMigrations{kMigrationTo1};

std::string sentence(const std::string& path, const std::string& text) {
  return "sqlite:" + path + ": " + text;
}
[[noreturn]] void refuse(const std::string& path, const std::string& text) {
  throw std::runtime_error(sentence(path, text));
}

/// Why SQLite could not work with the file.
[[noreturn]] void refuse(const std::string& path, int code, const std::string& message) {
  switch (code & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      refuse(path, "the file is damaged (" + message +
                       "); it was left as it is. Restore a backup with `carillon store restore`, or move "
                       "the file away, together with " +
                       path + "-wal, to begin anew");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      refuse(path, "another program has locked the file; end it, and try again");
    case SQLITE_READONLY:
      refuse(path, "the file is read-only; the store must write to it and to its directory");
    case SQLITE_FULL:
      refuse(path, "the disk is full; make room, and try again");
    case SQLITE_IOERR:
      refuse(path, "the disk reports an error, or its file system cannot lock files (" + message +
                       "); use a local disk");
    default:
      refuse(path, "cannot be opened (" + message + ")");
  }
}

std::uint32_t big_endian(const unsigned char* bytes) {
  return static_cast<std::uint32_t>(bytes[0]) << 24U | static_cast<std::uint32_t>(bytes[1]) << 16U |
         static_cast<std::uint32_t>(bytes[2]) << 8U | bytes[3];
}

/// Before SQLite sees the file: opening another program's database could change it.
/// Returns its size; 0 if there is none.
off_t check_head(const std::string& path, bool is_to_be_written) {
  static constexpr std::size_t kHead = 100;
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return 0;
    refuse(path, std::string("cannot be opened (") + std::strerror(errno) + ")");
  }
  if (!S_ISREG(status.st_mode)) refuse(path, "it is not a file; name a file for the database");
  if (status.st_size == 0) return 0;
  if (is_to_be_written && status.st_nlink > 1)
    refuse(path,
           "the file has a second name (a hard link), under which another server could use it; remove "
           "one of them");
  if (is_to_be_written && ::access(path.c_str(), W_OK) != 0)
    refuse(path, "the file is read-only for this user; the store must write to it");
  std::array<unsigned char, kHead> head{};
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) refuse(path, std::string("cannot be opened (") + std::strerror(errno) + ")");
  const ssize_t size = ::read(file, head.data(), head.size());
  ::close(file);
  if (size < static_cast<ssize_t>(kHead) || std::memcmp(head.data(), "SQLite format 3", 16) != 0)
    refuse(path, "the file is not a database of Carillon; it was left as it is. Name another path");
  if (big_endian(head.data() + 68) != kSqliteApplicationId)
    refuse(path, "the file is another program's database; it was left as it is. Name another path");
  return status.st_size;
}

void migrate(SqliteConnection& connection, const std::string& path, std::int64_t version) {
  int code = connection.execute("BEGIN IMMEDIATE");
  for (; code == SQLITE_OK && version < kSqliteSchemaVersion; ++version)
    code = connection.execute(kMigrations[static_cast<std::size_t>(version)]);
  if (code == SQLITE_OK)
    code = connection.execute(("PRAGMA user_version = " + std::to_string(kSqliteSchemaVersion)).c_str());
  if (code == SQLITE_OK) code = connection.execute("COMMIT");
  if (code == SQLITE_OK) return;
  const std::string message = connection.message();
  static_cast<void>(connection.execute("ROLLBACK"));
  refuse(path, code, message);
}

void create_at(const std::string& place, const std::string& path, const std::string& vfs) {
  SqliteConnection connection;
  const auto access = place == path ? SqliteConnection::Access::create : SqliteConnection::Access::existing;
  int code = connection.open(place, access, vfs);
  if (code != SQLITE_OK) refuse(path, code, connection.message());
  code = connection.execute("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL");
  if (code == SQLITE_OK)
    code = connection.execute(("PRAGMA application_id = " + std::to_string(kSqliteApplicationId)).c_str());
  if (code != SQLITE_OK) refuse(path, code, connection.message());
  migrate(connection, path, 0);
  if (connection.execute("PRAGMA journal_mode = WAL") != SQLITE_OK)
    refuse(path, "its file system cannot share memory, which SQLite needs; use a local disk");
}

/// Under another name until it is whole: a half-made database would be refused for ever.
void create(const std::string& path, const std::string& vfs) {
  SqliteUnfinishedFile unfinished(path);
  create_at(unfinished.path(), path, vfs);
  unfinished.finish();
}

/// 1 if the VFS knows the file; its size does not matter.
off_t size_in(const std::string& vfs, const std::string& path) {
  sqlite3_vfs* const found = sqlite3_vfs_find(vfs.c_str());
  int is_there = 0;
  if (found != nullptr) found->xAccess(found, path.c_str(), SQLITE_ACCESS_EXISTS, &is_there);
  return is_there;
}

std::string integrity(SqliteConnection& connection, const char* pragma) {
  SqliteStatement check = connection.prepare(pragma);
  const int code = check.step();
  if (code != SQLITE_ROW) return connection.message();
  return check.text(0) == "ok" ? "" : std::string(check.text(0));
}

}  // namespace

void prepare_sqlite_file(const std::string& path, const std::string& vfs, bool is_in_vfs_only) {
  const off_t size = is_in_vfs_only ? size_in(vfs, path) : check_head(path, true);
  if (size == 0) return is_in_vfs_only ? create_at(path, path, vfs) : create(path, vfs);
  SqliteConnection connection;
  int code = connection.open(path, SqliteConnection::Access::existing, vfs);
  if (code != SQLITE_OK) refuse(path, code, "error " + std::to_string(code));
  const std::int64_t version = connection.number("PRAGMA user_version", -1, code);
  if (code != SQLITE_OK) refuse(path, code, connection.message());
  if (version > kSqliteSchemaVersion)
    refuse(path, "a newer Carillon wrote the file (its tables have version " + std::to_string(version) +
                     ", this program knows " + std::to_string(kSqliteSchemaVersion) +
                     "); run that version, or restore a backup of this one");
  // Before it is closed, which copies the log: the last run may have had a failed fsync.
  code = connection.execute("PRAGMA wal_autocheckpoint = 0");
  if (code == SQLITE_OK) code = rewrite_sqlite_log(connection);
  if (code != SQLITE_OK) refuse(path, code, sqlite3_errstr(code));
  if (size <= kCheckedAtOpenBytes) {
    const std::string trouble = integrity(connection, "PRAGMA quick_check(1)");
    if (!trouble.empty()) {
      const int why = sqlite3_extended_errcode(connection.handle());
      refuse(path, (why & 0xff) == SQLITE_BUSY ? why : SQLITE_CORRUPT, trouble);
    }
  }
  if (version < kSqliteSchemaVersion) migrate(connection, path, version);
  for (const char* const table :
       {"SELECT count(*) FROM meta", "SELECT id FROM channels LIMIT 1", "SELECT offset FROM entries LIMIT 1",
        "SELECT id FROM keys LIMIT 1", "SELECT read FROM members LIMIT 1"}) {
    static_cast<void>(connection.number(table, 0, code));
    if (code != SQLITE_OK && code != SQLITE_DONE) refuse(path, SQLITE_CORRUPT, connection.message());
  }
}

SqliteConnection open_sqlite_connection(const std::string& path, const std::string& vfs) {
  SqliteConnection connection;
  int code = connection.open(path, SqliteConnection::Access::existing, vfs);
  if (code != SQLITE_OK) refuse(path, code, "error " + std::to_string(code));
  SqliteStatement mode = connection.prepare("PRAGMA journal_mode = WAL");
  code = mode.step();
  if (code != SQLITE_ROW) refuse(path, code, connection.message());
  if (mode.text(0) != "wal")
    refuse(path, "its file system cannot share memory, which SQLite needs; use a local disk");
  mode = {};
  // Debian's library overwrites whatever is deleted, which writes each page of an erased entry once more.
  code = connection.execute(
      "PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0; "
      "PRAGMA secure_delete = FAST");
  if (code != SQLITE_OK) refuse(path, code, connection.message());
  // After a failed fsync a checkpoint must begin anew, and the one of closing would not.
  connection.set_checkpoint_on_close(false);
  return connection;
}

std::string check_sqlite_file(const std::string& path) {
  // Whoever closes any descriptor of a file loses the locks that SQLite has on it in the same process.
  if (!is_locked_by_this_process(path)) check_head(path, false);
  SqliteConnection connection;
  int code = connection.open(path, SqliteConnection::Access::existing, "");
  if (code != SQLITE_OK) return sentence(path, "cannot be opened");
  std::string trouble = integrity(connection, "PRAGMA integrity_check(10)");
  const int why = sqlite3_extended_errcode(connection.handle());
  switch (why & 0xff) {
    case SQLITE_CANTOPEN:  // a store's own file has a log beside it, which even a reader has to open
      refuse(path,
             "cannot be read where it is (" + trouble + "); copy it, together with " + path +
                 "-wal, to a disk that can be written to, or make a backup with `carillon store backup`");
    case SQLITE_BUSY:
    case SQLITE_IOERR:
      refuse(path, why, trouble);
    default:
      return trouble;
  }
}

}  // namespace carillon
