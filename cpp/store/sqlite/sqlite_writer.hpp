#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "env/name_hash.hpp"
#include "env/random.hpp"
#include "store/sqlite/sqlite_channels.hpp"
#include "store/sqlite/sqlite_checkpoints.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_file.hpp"
#include "store/sqlite/sqlite_generation.hpp"
#include "store/sqlite/sqlite_members.hpp"
#include "store/sqlite/sqlite_options.hpp"
#include "store/sqlite/sqlite_queue.hpp"
#include "store/sqlite/sqlite_transaction.hpp"
#include "store/sqlite/sqlite_upkeep.hpp"
#include "store/store.hpp"

namespace carillon {

/// The thread that changes the database. It takes all that waits as a group, gives offsets, commits,
/// announces and answers, in this order; with `async` it commits last.
class SqliteWriter {
 public:
  SqliteWriter(const SqliteOptions& options, const SqliteLimits& limits, const Clock& clock,
               RandomSource& random, SqliteFile& file, SqliteConnection connection,
               SqliteGeneration& generation, SqliteMembers& members, SqliteCheckpoints& checkpoints,
               SqliteQueue& queue, const NameHash& hash);
  SqliteWriter(const SqliteWriter&) = delete;
  SqliteWriter& operator=(const SqliteWriter&) = delete;
  ~SqliteWriter() { join(); }

  void start(StoreListener* listener);
  /// The queue has been closed: waits until all is written and answered, and the clean mark with it.
  void join();
  /// Afterwards.
  void close();

  /// Writes and answers all that waits, marks a clean end, and closes the database. Returns why it cannot, or
  /// not by `until`, and goes on; empty: it waits for one of the next two.
  [[nodiscard]] std::string hold_still(std::chrono::steady_clock::time_point until);
  void go_on();
  /// From now on nothing is read or written: another server may use the database.
  void forbid(std::string why);
  /// Another process has the database: what waits is answered `closed`. join() remains.
  void give_away();

  /// Why appends fail now; empty: they do not.
  [[nodiscard]] std::string trouble() const;
  [[nodiscard]] std::size_t wal_bytes() const { return wal_bytes_.load(std::memory_order_relaxed); }

 private:
  using Group = std::span<SqliteOperation>;

  void run();
  void process(Group operations);
  /// Carries out the first of them, as many as fit into one transaction. Returns their number.
  std::size_t process_group(Group operations);
  [[nodiscard]] bool finish();
  /// The number of the request that waits; 0: none does.
  [[nodiscard]] std::uint64_t stillness_asked();
  /// Waits for the end of the stillness. False: the database was given away.
  [[nodiscard]] bool stand_still(std::uint64_t asked);
  void refuse_rest();

  // What the group changes, in memory. False: the operation must wait for the next group.
  bool assign(Group group, std::size_t index);
  bool assign(SqliteOperation& operation, SqliteOperation::Append& append, std::size_t index);
  void assign(SqliteOperation& operation, SqliteOperation::Follow& follow);
  void assign(SqliteOperation& operation, SqliteOperation::RemoveHistory& remove);
  void assign(SqliteOperation& operation, SqliteOperation::ChangeMembers& change);
  void assign(SqliteOperation& operation, SqliteOperation::MarkRead& mark);
  void touch(SqliteChannel& channel);

  [[nodiscard]] bool is_to_write() const;
  [[nodiscard]] SqliteOutcome write(Group group);
  void accept();
  void roll_back();
  void announce(Group group);
  void announce(SqliteOperation& operation, SqliteOperation::Append& append);
  void answer(Group group);
  /// Turns the group's results into errors.
  void fail(Group group, StoreError error);
  /// Answers operations that cannot be carried out while the database cannot be written.
  void refuse(Group operations, StoreError error = StoreError::unavailable);

  void write_after_answer(Group group);
  [[nodiscard]] bool mark_in_use();
  [[nodiscard]] bool is_written();
  /// Answers what has come meanwhile, and pauses. False: the time for the last tries has passed.
  [[nodiscard]] bool wait_to_retry();
  void settle_unknown(Group group);
  /// `is_in_doubt`: what is in the log may not be on disk, whatever the kernel says.
  [[nodiscard]] bool reopen(bool is_in_doubt = true);
  [[nodiscard]] bool prepare();
  [[nodiscard]] bool is_usable();
  void note(int code);
  void release();
  void bound_wal();
  void set_trouble(std::string text);

  const Clock& clock_;
  const SqliteOptions options_;
  SqliteThreads& threads_;
  SqliteFile& file_;
  SqliteGeneration& generation_;
  SqliteMembers& members_;
  SqliteCheckpoints& checkpoints_;
  SqliteQueue& queue_;
  StoreListener* listener_ = nullptr;

  // All below belongs to the thread.
  SqliteConnection connection_;
  SqliteChannels channels_;
  SqliteTransaction transaction_;
  SqliteUpkeep upkeep_;
  std::vector<SqliteOperation> taken_;
  std::vector<SqliteOperation> refused_;
  std::optional<std::chrono::steady_clock::time_point> last_tries_until_;
  std::vector<SqliteChannel*> dirty_;  // of the group
  std::map<std::pair<std::int64_t, std::string_view>, std::size_t> group_keys_;
  Millis wall_ms_ = 0;          // of the group
  std::int64_t commit_ns_ = 0;  // of the last one
  std::size_t last_group_ = 0;
  std::size_t checkpoint_asked_ = 0;  // size of the WAL, bytes
  std::size_t bound_from_ = 0;        // the same, from which it is bounded again
  bool has_key_ = false;              // the group has one to write
  bool has_trouble_ = false;
  bool is_in_doubt_ = false;  // a write or a sync has failed
  bool is_lossless_ = true;   // all that was acknowledged has been written

  enum class Stillness : std::uint8_t { none, asked, impossible, held, given_away };
  std::mutex stillness_mutex_;
  std::condition_variable stillness_changed_;
  Stillness stillness_ = Stillness::none;  // guarded by the mutex
  std::uint64_t stillness_number_ = 0;     // of the last request; guarded by the mutex
  std::atomic<bool> is_forbidden_{false};

  std::atomic<std::size_t> wal_bytes_{0};
  mutable std::mutex trouble_mutex_;
  std::string trouble_;
  std::string forbidden_;
  bool has_begun_ = false;
  std::thread thread_;
};

}  // namespace carillon
