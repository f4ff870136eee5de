#pragma once

#include <map>
#include <string>

namespace carillon {

/// Facts for bug reports: compiler, Boost, the OpenSSL and SQLite that are loaded, and whether io_uring works
/// here.
[[nodiscard]] std::map<std::string, std::string> build_info();

}  // namespace carillon
