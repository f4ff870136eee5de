#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "env/random.hpp"
#include "env/sip_hash.hpp"
#include "store/position.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_options.hpp"

namespace carillon {

/// Gives all channels new epochs at once. A channel keeps the generation that its epoch is of; when that is
/// not the present one, its epoch is computed from the old one and the salt. Nothing has to be written for
/// that, and it is the same after each restart.
class SqliteGeneration {
 public:
  /// Of a database that is being opened. The last run may have lost what it had acknowledged: a new
  /// generation begins. Throws std::runtime_error.
  SqliteGeneration(SqliteConnection& connection, const SqliteOptions& options, RandomSource& random);

  [[nodiscard]] std::int64_t number() const { return number_; }
  [[nodiscard]] Epoch epoch_of(std::string_view channel, std::string_view epoch,
                               std::int64_t generation) const;
  /// It began with this run.
  [[nodiscard]] bool is_new() const { return is_new_; }

  /// Records that the database is in use, and with which durability: must be on disk before anything is
  /// acknowledged. SQLITE_OK or an error.
  [[nodiscard]] int mark_in_use(SqliteConnection& connection);
  [[nodiscard]] bool is_marked() const { return mark_ == Mark::in_use; }
  /// Records that all that was acknowledged is there.
  [[nodiscard]] int mark_clean(SqliteConnection& connection);

 private:
  [[nodiscard]] int write(SqliteConnection& connection, bool is_clean) const;

  std::int64_t number_ = 0;
  SipKey salt_;
  bool is_new_ = false;
  /// What the file says. Of a mark whose commit has failed nobody knows: it may be read from the log later.
  enum class Mark : std::uint8_t { as_found, in_use, clean, unknown };
  Mark mark_ = Mark::as_found;
  std::string durability_;
  std::string boot_id_;
};

}  // namespace carillon
