#include "store/sqlite/sqlite_checkpoints.hpp"

#include <sqlite3.h>

#include <exception>

#include "store/sqlite/sqlite_schema.hpp"

namespace carillon {

SqliteCheckpoints::SqliteCheckpoints(SqliteFile& file, SqliteThreads& threads)
    : file_(file), threads_(threads), connection_(open_sqlite_connection(file.path(), file.vfs())) {
  file_.when_closing([this] { connection_.close(); });
  thread_ = threads_.start([this] { run(); });
}

void SqliteCheckpoints::request() {
  {
    const std::lock_guard lock(mutex_);
    is_requested_ = true;
  }
  threads_.notify(is_due_);
}

void SqliteCheckpoints::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  threads_.notify(is_due_);
  if (thread_.joinable()) threads_.join(thread_);
}

void SqliteCheckpoints::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      threads_.wait(lock, is_due_, SqliteThreads::kForever, [this] { return is_requested_ || is_stopped_; });
      if (is_stopped_) return;
      is_requested_ = false;
    }
    const auto use = file_.use();
    if (!connection_.is_open()) {
      try {
        connection_ = open_sqlite_connection(file_.path(), file_.vfs());
      } catch (const std::exception&) {
        continue;  // the writer says what is wrong
      }
    }
    const auto working = pause();
    const int code =
        sqlite3_wal_checkpoint_v2(connection_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    if ((code & 0xff) == SQLITE_IOERR) has_failed_ = true;
  }
}

}  // namespace carillon
