#pragma once

#include <string>

namespace carillon {

/// Of the library that is loaded, such as "3.40.1"; the header may have been another one's.
[[nodiscard]] std::string sqlite_version();

}  // namespace carillon
