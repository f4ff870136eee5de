#include "store/sqlite/sqlite_log_rewrite.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <vector>

namespace carillon {

namespace {

constexpr sqlite3_int64 kPieceBytes = 64L << 10U;  // SQLite writes less than 128 KiB at once

int rewrite(sqlite3_file* log) {
  sqlite3_int64 size = 0;
  int code = log->pMethods->xFileSize(log, &size);
  if (code != SQLITE_OK || size == 0) return code;
  std::vector<char> piece(static_cast<std::size_t>(std::min(size, kPieceBytes)));
  for (sqlite3_int64 at = 0; code == SQLITE_OK && at < size; at += kPieceBytes) {
    const int bytes = static_cast<int>(std::min(size - at, kPieceBytes));
    code = log->pMethods->xRead(log, piece.data(), bytes, at);
    if (code == SQLITE_OK) code = log->pMethods->xWrite(log, piece.data(), bytes, at);
  }
  return code == SQLITE_OK ? log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) : code;
}

}  // namespace

int rewrite_sqlite_log(SqliteConnection& connection) {
  int code = connection.execute("BEGIN IMMEDIATE");
  if (code != SQLITE_OK) return code;
  sqlite3_file* log = nullptr;
  code = sqlite3_file_control(connection.handle(), "main", SQLITE_FCNTL_JOURNAL_POINTER,
                              static_cast<void*>(&log));
  if (code == SQLITE_OK && log != nullptr && log->pMethods != nullptr) code = rewrite(log);
  const int ended = connection.execute("ROLLBACK");
  return code == SQLITE_OK ? ended : code;
}

}  // namespace carillon
