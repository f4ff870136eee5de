#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "env/name_hash.hpp"
#include "env/random.hpp"
#include "store/position.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_generation.hpp"

namespace carillon {

/// A channel as the writer knows it. Only the writer's thread uses it.
struct SqliteChannel {
  /// What a transaction changes.
  struct State {
    Offset top = 0;
    std::uint64_t bytes = 0;        ///< of all entries that it ever had
    Offset first = 1;               ///< the oldest entry of the history
    std::uint64_t first_bytes = 0;  ///< of all entries before `first`, or fewer
    Millis ttl_ms = 0;              ///< of the history; 0: no bound
    std::uint64_t version = 0;
    std::string version_epoch;
  };

  std::string_view name;
  std::int64_t id = 0;
  Epoch epoch;
  State committed;
  State pending;              ///< with the group that is being processed
  std::size_t retained = 0;   ///< bytes of history that the last append allows; 0: no bound
  Millis used_ms = 0;         ///< wall time in the database, hours old at most
  std::uint32_t follows = 0;  ///< without their unfollow
  Offset lowest = 0;          ///< no entries below are in the table; 0: unknown
  std::uint32_t group_appends = 0;
  bool is_stored = false;                       ///< the database has its row
  bool is_dirty = false;                        ///< in the group's list
  std::list<SqliteChannel*>::iterator dormant;  ///< while `is_dormant`
  bool is_dormant = false;

  [[nodiscard]] Position top() const { return {epoch, pending.top}; }
};

/// Channels by name, read from the database when they are used. Those without a follower are forgotten beyond
/// a number, the one that was unused for longest first.
class SqliteChannels {
 public:
  SqliteChannels(const NameHash& hash, RandomSource& random, const SqliteGeneration& generation,
                 std::size_t cached)
      : random_(random), generation_(generation), cached_(cached), channels_(hash), hash_(hash) {}

  /// After each opening of the connection. SQLITE_OK or an error.
  [[nodiscard]] int prepare(SqliteConnection& connection);
  void release_statements() { select_ = {}; }

  /// Null: the database cannot be read, or does not have it and `is_made` is false: see code().
  SqliteChannel* find(std::string_view name, bool is_made);
  /// Of the last find() that has returned null; SQLITE_OK: there is no such channel.
  [[nodiscard]] int code() const { return code_; }
  /// Reads the channel again: after a commit whose outcome was unknown. SQLITE_OK or an error.
  [[nodiscard]] int reload(SqliteChannel& channel);
  /// In memory; null if it is not there.
  [[nodiscard]] SqliteChannel* known(std::string_view name);

  /// It may be forgotten from now on, unless it has a follower.
  void let_go(SqliteChannel& channel);
  void forget_beyond_limit();
  void forget(SqliteChannel& channel);
  [[nodiscard]] std::size_t size() const { return channels_.size(); }

 private:
  bool read(SqliteChannel& channel);

  RandomSource& random_;
  const SqliteGeneration& generation_;
  const std::size_t cached_;
  NameTable<SqliteChannel> channels_;
  const NameHash hash_;
  std::list<SqliteChannel*> dormant_;  // longest unused first
  SqliteStatement select_;
  std::int64_t next_id_ = 1;
  int code_ = 0;
};

}  // namespace carillon
