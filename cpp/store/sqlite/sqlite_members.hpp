#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "env/name_hash.hpp"
#include "store/memory_inboxes.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_generation.hpp"

namespace carillon {

/// Members, inboxes and read positions. MemoryInboxes has them all; the database has the members and their
/// read positions. It does not have the inboxes: a publication is unread between the read position and the
/// channel's top, so after a restart what is unread is merged from the logs. Thus a walk over 50,000 members
/// writes nothing to the disk.
///
/// Changes are made in memory first. What a failed transaction has not written is written by the next one.
class SqliteMembers {
 public:
  SqliteMembers(const NameHash& hash, std::size_t inbox_entries, std::size_t inbox_bytes)
      : hash_(hash), inboxes_(inbox_entries, inbox_bytes, hash), rosters_(hash) {}

  /// Into an empty object. SQLITE_OK or an error.
  [[nodiscard]] int load(SqliteConnection& connection, const SqliteGeneration& generation);
  void prepare(SqliteConnection& connection);
  void release_statements();

  [[nodiscard]] MemoryInboxes& inboxes() { return inboxes_; }
  [[nodiscard]] const MemoryInboxes& inboxes() const { return inboxes_; }
  /// Null: the channel has no members. Thread-safe.
  [[nodiscard]] std::shared_ptr<MemoryInboxes::Roster> roster_of(std::string_view channel) const;
  [[nodiscard]] std::shared_ptr<MemoryInboxes::Roster> make_roster(std::string_view channel, Position top);
  void forget_unused();

  // The rest is for the writer's thread.

  /// These users' memberships in the channel have changed, and are to be written.
  void note(std::string_view channel, std::span<const std::string> users);
  [[nodiscard]] std::size_t unwritten() const { return unwritten_.size(); }
  /// Inside a transaction. SQLITE_OK or an error.
  [[nodiscard]] int write();
  void accept() { unwritten_.clear(); }

 private:
  [[nodiscard]] int write(const std::string& channel, const std::string& user);

  const NameHash hash_;
  MemoryInboxes inboxes_;
  mutable std::mutex mutex_;
  NameTable<std::shared_ptr<MemoryInboxes::Roster>> rosters_;  // guarded by the mutex
  std::set<std::pair<std::string, std::string>> unwritten_;    // channel and user
  SqliteStatement id_of_;
  SqliteStatement erase_;
  SqliteStatement erase_all_;
  SqliteStatement insert_;
  SqliteStatement complete_;
  SqliteStatement incomplete_;
};

}  // namespace carillon
