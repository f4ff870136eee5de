#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_file.hpp"
#include "store/sqlite/sqlite_threads.hpp"

namespace carillon {

/// Copies the WAL into the database file, on a thread and a connection of its own: the writer and the reader
/// go on meanwhile.
class SqliteCheckpoints {
 public:
  SqliteCheckpoints(SqliteFile& file, SqliteThreads& threads);
  SqliteCheckpoints(const SqliteCheckpoints&) = delete;
  SqliteCheckpoints& operator=(const SqliteCheckpoints&) = delete;
  ~SqliteCheckpoints() { stop(); }

  void request();
  /// While it is held, none runs. SQLite does not wait for another checkpoint.
  [[nodiscard]] std::unique_lock<std::mutex> pause() {
    std::unique_lock lock(working_, std::defer_lock);
    threads_.lock(lock);
    return lock;
  }
  void stop();
  /// Has one failed, since this was asked? Then the kernel may take for written what is not on the disk.
  [[nodiscard]] bool take_failure() { return has_failed_.exchange(false); }

 private:
  void run();

  SqliteFile& file_;
  SqliteThreads& threads_;
  std::atomic<bool> has_failed_{false};
  SqliteConnection connection_;
  std::mutex working_;
  std::mutex mutex_;
  std::condition_variable is_due_;
  bool is_requested_ = false;
  bool is_stopped_ = false;
  std::thread thread_;
};

}  // namespace carillon
