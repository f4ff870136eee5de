#pragma once

#include "store/sqlite/sqlite_connection.hpp"

namespace carillon {

/// Writes the WAL once more, as it is, and syncs it. After a failed fsync the kernel takes for written what
/// may not be on the disk, and no later fsync makes up for it, also not that of another process: a log that
/// was found in a file proves nothing. To be called before anything is copied from such a log, or appended to
/// it. Nobody else may write meanwhile. SQLITE_OK or an error.
[[nodiscard]] int rewrite_sqlite_log(SqliteConnection& connection);

}  // namespace carillon
