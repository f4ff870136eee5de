#include "store/sqlite/sqlite_version.hpp"

#include <sqlite3.h>

namespace carillon {

std::string sqlite_version() { return sqlite3_libversion(); }

}  // namespace carillon
