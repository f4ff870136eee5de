#include "store/sqlite/sqlite_generation.hpp"

#include <sqlite3.h>

#include <fstream>
#include <stdexcept>

namespace carillon {

namespace {

std::string boot_id_of_kernel() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

/// Keys of the table meta.
constexpr std::string_view kGeneration = "generation";
constexpr std::string_view kSaltFirst = "salt_first";
constexpr std::string_view kSaltSecond = "salt_second";
constexpr std::string_view kIsClean = "is_clean";
constexpr std::string_view kBootId = "boot_id";
constexpr std::string_view kDurability = "durability";
constexpr std::string_view kIsCopy = "is_copy";  ///< a backup: its channels must get new epochs

std::string text_of(SqliteConnection& connection, std::string_view key) {
  SqliteStatement select = connection.prepare("SELECT value FROM meta WHERE key = ?1");
  select.bind(1, key);
  return select.step() == SQLITE_ROW ? std::string(select.text(0)) : "";
}
std::int64_t number_of(SqliteConnection& connection, std::string_view key) {
  SqliteStatement select = connection.prepare("SELECT value FROM meta WHERE key = ?1");
  select.bind(1, key);
  return select.step() == SQLITE_ROW ? select.number(0) : 0;
}

}  // namespace

SqliteGeneration::SqliteGeneration(SqliteConnection& connection, const SqliteOptions& options,
                                   RandomSource& random)
    : number_(number_of(connection, kGeneration)),
      salt_{static_cast<std::uint64_t>(number_of(connection, kSaltFirst)),
            static_cast<std::uint64_t>(number_of(connection, kSaltSecond))},
      durability_(name_of(options.durability)),
      boot_id_(options.boot_id.empty() ? boot_id_of_kernel() : options.boot_id) {
  // The durability of the run that ended, not of this one.
  const std::string last_durability = text_of(connection, kDurability);
  const bool was_used = !last_durability.empty();
  const bool is_same_boot = !boot_id_.empty() && text_of(connection, kBootId) == boot_id_;
  const bool is_lossless = last_durability == name_of(Durability::full) ||
                           (last_durability == name_of(Durability::normal) && is_same_boot);
  is_new_ = (was_used && number_of(connection, kIsClean) == 0 && !is_lossless) ||
            number_of(connection, kIsCopy) != 0;
  if (!is_new_) return;
  ++number_;
  salt_ = {random.next(), random.next()};
  if (mark_in_use(connection) != SQLITE_OK)
    throw std::runtime_error("sqlite:" + options.path +
                             ": the last run may have lost acknowledged publications, and new epochs cannot "
                             "be written (" +
                             connection.message() + "); make room on the disk, and try again");
}

Epoch SqliteGeneration::epoch_of(std::string_view channel, std::string_view epoch,
                                 std::int64_t generation) const {
  if (generation == number_) return Epoch::parse(epoch).value_or(Epoch{});
  std::string text(epoch);
  text.append(channel);
  return Epoch::from_bits(sip_hash<2, 4>(salt_, text));
}

int SqliteGeneration::write(SqliteConnection& connection, bool is_clean) const {
  // Whatever the durability is: acknowledged publications would be lost untold if this were.
  int code = connection.execute("PRAGMA synchronous = FULL");
  if (code == SQLITE_OK) code = connection.execute("BEGIN IMMEDIATE");
  if (code != SQLITE_OK) return code;
  {
    SqliteStatement set = connection.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)");
    const auto put = [&](std::string_view key, auto value) {
      if (code == SQLITE_OK) code = set.bind(1, key).bind(2, value).run();
    };
    put(kGeneration, number_);
    put(kSaltFirst, salt_.first);
    put(kSaltSecond, salt_.second);
    put(kIsClean, std::int64_t{is_clean ? 1 : 0});
    put(kBootId, std::string_view(boot_id_));
    put(kDurability, std::string_view(durability_));
    put(kIsCopy, std::int64_t{0});
  }
  if (code == SQLITE_OK) code = connection.execute("COMMIT");
  if (code != SQLITE_OK) static_cast<void>(connection.execute("ROLLBACK"));
  if (durability_ != name_of(Durability::full))
    static_cast<void>(connection.execute("PRAGMA synchronous = NORMAL"));
  return code;
}

int SqliteGeneration::mark_in_use(SqliteConnection& connection) {
  if (mark_ == Mark::in_use) return SQLITE_OK;
  const int code = write(connection, false);
  mark_ = code == SQLITE_OK ? Mark::in_use : Mark::unknown;
  return code;
}

int SqliteGeneration::mark_clean(SqliteConnection& connection) {
  // As found: nothing was written.
  if (mark_ == Mark::as_found || mark_ == Mark::clean) return SQLITE_OK;
  const int code = write(connection, true);
  mark_ = code == SQLITE_OK ? Mark::clean : Mark::unknown;
  return code;
}

}  // namespace carillon
