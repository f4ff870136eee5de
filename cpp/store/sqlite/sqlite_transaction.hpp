#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "store/sqlite/sqlite_channels.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_generation.hpp"
#include "store/sqlite/sqlite_limits.hpp"
#include "store/sqlite/sqlite_members.hpp"
#include "store/sqlite/sqlite_operation.hpp"

namespace carillon {

/// How a transaction has ended.
enum class SqliteOutcome : std::uint8_t {
  committed,
  refused,     ///< nothing of it is in the database, nor will be: the disk is full, the file is locked, …
  unwritable,  ///< the same, and because of one of the operations: the others can be written without it
  unknown      ///< it may be in the database
};

/// Writes a group of operations in one transaction. Only the writer's thread uses it.
class SqliteTransaction {
 public:
  SqliteTransaction(SqliteGeneration& generation, SqliteMembers& members, const SqliteLimits& limits)
      : generation_(generation), members_(members), limits_(limits) {}

  void prepare(SqliteConnection& connection);
  void release_statements();

  /// The offset of the publication with this key; nothing: there is none, or it has expired. SQLITE_OK or an
  /// error: then nobody knows.
  [[nodiscard]] int find_key(const SqliteChannel& channel, std::string_view key, Millis wall_ms,
                             std::optional<Offset>& offset);
  /// Writes `group`, the new states of the channels `dirty`, and the members' changes.
  [[nodiscard]] SqliteOutcome write(std::span<SqliteOperation> group, std::span<SqliteChannel* const> dirty,
                                    Millis wall_ms);
  /// In SQLite's words, why the last write() did not commit.
  /// The disk has reported an error to the last one: it may have lost more than this.
  [[nodiscard]] bool has_disk_failed() const { return has_disk_failed_; }
  [[nodiscard]] const std::string& trouble() const { return trouble_; }

 private:
  [[nodiscard]] int write_entries(std::span<SqliteOperation> group, Millis wall_ms);
  [[nodiscard]] int write_channel(SqliteChannel& channel, Millis wall_ms);
  [[nodiscard]] int trim(SqliteChannel& channel);
  SqliteOutcome fail(int code, bool is_commit);

  SqliteGeneration& generation_;
  SqliteMembers& members_;
  const SqliteLimits& limits_;
  SqliteConnection* connection_ = nullptr;
  SqliteStatement begin_;
  SqliteStatement commit_;
  SqliteStatement insert_entry_;
  SqliteStatement insert_key_;
  SqliteStatement find_key_;
  SqliteStatement insert_channel_;
  SqliteStatement update_channel_;
  SqliteStatement bytes_before_;
  SqliteStatement lowest_;
  SqliteStatement erase_entries_;
  std::string body_;
  std::string trouble_;
  bool has_disk_failed_ = false;
};

}  // namespace carillon
