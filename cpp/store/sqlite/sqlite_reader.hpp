#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "env/clock.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_file.hpp"
#include "store/sqlite/sqlite_generation.hpp"
#include "store/sqlite/sqlite_threads.hpp"
#include "store/store.hpp"

namespace carillon {

/// Reads pages of history, on a thread and a connection of its own, so that no read waits for a commit. Each
/// page is one short transaction: a long one would keep checkpoints from finishing.
class SqliteReader {
 public:
  struct Read {
    std::string channel;
    ReadRange range;
    std::function<void(const Page&)> done;
  };

  SqliteReader(SqliteFile& file, const SqliteGeneration& generation, const Clock& clock, std::size_t waiting,
               SqliteThreads& threads);
  SqliteReader(const SqliteReader&) = delete;
  SqliteReader& operator=(const SqliteReader&) = delete;
  ~SqliteReader() { stop(); }

  /// none, overloaded or closed. `read` is moved from only when it is accepted.
  [[nodiscard]] StoreError push(Read& read);
  /// Answers what waits with `closed`.
  void stop();

 private:
  void run();
  void prepare();
  [[nodiscard]] Page page_of(const Read& read);
  [[nodiscard]] bool fill(Page& page, const ReadRange& range, std::int64_t channel, Offset first, Offset last,
                          Millis ttl_ms);

  SqliteFile& file_;
  const SqliteGeneration& generation_;
  const Clock& clock_;
  const std::size_t waiting_max_;
  SqliteThreads& threads_;
  SqliteConnection connection_;
  SqliteStatement channel_;
  SqliteStatement forward_;
  SqliteStatement backward_;
  std::mutex mutex_;
  std::condition_variable is_due_;
  // All below is guarded by the mutex.
  std::vector<Read> waiting_;
  bool is_stopped_ = false;
  std::thread thread_;
};

}  // namespace carillon
