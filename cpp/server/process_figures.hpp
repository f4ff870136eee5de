#pragma once

#include <cstdint>

namespace carillon {

/// What the system knows of this process.
struct ProcessFigures {
  double cpu_s = 0;      ///< processor time of all threads, user and system
  double started_s = 0;  ///< since 1970-01-01 UTC
  std::uint64_t descriptors = 0;
  std::uint64_t descriptors_max = 0;
};
[[nodiscard]] ProcessFigures process_figures();

}  // namespace carillon
