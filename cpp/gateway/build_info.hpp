#pragma once

#include <map>
#include <string>

namespace carillon {

/// Facts of this binary for bug reports: compiler, Boost, and whether io_uring works here.
[[nodiscard]] std::map<std::string, std::string> build_info();

}  // namespace carillon
