#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "store/sqlite/sqlite_operation.hpp"
#include "store/sqlite/sqlite_options.hpp"

namespace carillon {

/// What waits for the writer's thread, up to the limits. Thread-safe.
class SqliteQueue {
 public:
  explicit SqliteQueue(const SqliteOptions& options)
      : threads_(*options.threads),
        appends_max_(options.waiting_appends),
        bytes_max_(options.waiting_bytes),
        calls_max_(options.waiting_calls) {}

  /// none, overloaded or closed. `operation` is moved from only when it is accepted.
  [[nodiscard]] StoreError push(SqliteOperation& operation);
  /// Waits until something is there, or house-keeping is due, or it is closed. `wanted` operations or
  /// `linger_ns`, whichever comes first: publishers that wait for the last group's answers publish again at
  /// once, and their publications fit into one commit. False: it is closed and empty.
  [[nodiscard]] bool take(std::vector<SqliteOperation>& into, std::size_t wanted, std::int64_t linger_ns);
  /// Waits for a while, or until it is closed; then takes what is there.
  void take_after(std::vector<SqliteOperation>& into, Millis pause_ms);
  /// These have been carried out: others may come.
  void release(std::span<const SqliteOperation> done);

  void ask_for_house_keeping();
  [[nodiscard]] bool take_house_keeping();
  void close();
  [[nodiscard]] bool is_closed() const;

 private:
  SqliteThreads& threads_;
  const std::size_t appends_max_;
  const std::size_t bytes_max_;
  const std::size_t calls_max_;
  mutable std::mutex mutex_;
  std::condition_variable is_due_;
  // All below is guarded by the mutex.
  std::vector<SqliteOperation> waiting_;
  std::size_t appends_ = 0;  // waiting, or being carried out
  std::size_t bytes_ = 0;
  std::size_t calls_ = 0;
  std::size_t wanted_ = 1;
  bool is_house_due_ = false;
  bool is_closed_ = false;
};

}  // namespace carillon
