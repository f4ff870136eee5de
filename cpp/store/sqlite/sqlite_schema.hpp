#pragma once

#include <cstdint>
#include <string>

#include "store/sqlite/sqlite_connection.hpp"

namespace carillon {

/// "Cari": which program a database file belongs to.
constexpr std::int64_t kSqliteApplicationId = 0x43617269;
/// The version of the tables that this program writes. Each version has a migration from its predecessor.
constexpr std::int64_t kSqliteSchemaVersion = 1;

/// Makes the file, or checks it and brings its tables to this program's version. A file that is damaged,
/// newer, of another program, locked or read-only is left as it is: throws std::runtime_error with a sentence
/// that says what to do. The caller holds the lock file.
/// `is_in_vfs_only`: the file is known to the VFS alone.
void prepare_sqlite_file(const std::string& path, const std::string& vfs, bool is_in_vfs_only = false);

/// Opens a connection to a prepared file for a store. Throws std::runtime_error.
[[nodiscard]] SqliteConnection open_sqlite_connection(const std::string& path, const std::string& vfs);

/// Reads the whole file: empty if it is sound, else what is wrong with it. Throws std::runtime_error with a
/// sentence if the file cannot be read.
[[nodiscard]] std::string check_sqlite_file(const std::string& path);

}  // namespace carillon
