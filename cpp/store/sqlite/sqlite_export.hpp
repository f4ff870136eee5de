#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/entry.hpp"
#include "store/position.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_generation.hpp"
#include "store/sqlite/sqlite_lock_file.hpp"

namespace carillon {

/// Reads a whole database that no server uses, for another store. Epochs are those that a server would give:
/// new ones if the last run may have lost something. Throws std::runtime_error with a sentence that says what
/// to do: while a server uses the file, and when it is damaged or another program's.
class SqliteExport {
 public:
  struct Channel {
    std::int64_t id = 0;
    std::string name;
    Position top;
    Offset first = 1;  ///< the oldest entry of the history
    Millis ttl_ms = 0;
    std::uint64_t version = 0;
    std::string version_epoch;
    std::uint64_t members = 0;
    bool has_memberships = false;  ///< of members, or of users who were removed and have not read all
  };
  struct Key {
    std::string_view key;
    Offset offset = 0;
    Millis until_ms = 0;
  };
  struct Membership {
    std::string channel;
    Offset read = 0;
    std::optional<Offset> until;  ///< the last one for a user who was removed; nothing: it is a member
    Offset top = 0;
  };
  struct User {
    std::string name;
    std::vector<Membership> memberships;  ///< those of a channel stand together, in order of time
    bool is_incomplete = false;           ///< the oldest were forgotten
  };

  SqliteExport(const std::string& path, RandomSource& random);

  [[nodiscard]] bool has_new_epochs() const { return generation_.is_new(); }
  void visit_channels(const std::function<void(const Channel&)>& visit);
  /// `body`: as encode_entry() has made it. What is damaged is left out, as by readers.
  void visit_entries(const Channel& channel,
                     const std::function<void(const Entry&, std::string_view body)>& visit);
  void visit_keys(const Channel& channel, const std::function<void(const Key&)>& visit);
  void visit_members(const Channel& channel, const std::function<void(std::string_view user)>& visit);
  void visit_users(const std::function<void(const User&)>& visit);
  /// From now on another store goes on with these epochs: a server that opens the file later gives new ones.
  void leave();

 private:
  [[noreturn]] void fail() const;
  /// Calls `visit` with each row.
  void visit_rows(SqliteStatement& select, const std::function<void(const SqliteStatement&)>& visit);

  const std::string path_;
  SqliteLockFile lock_;
  SqliteConnection connection_;
  SqliteGeneration generation_;
};

}  // namespace carillon
