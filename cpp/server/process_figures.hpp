#pragma once

#include <cstdint>

namespace carillon {

/// What the system knows of this process.
struct ProcessFigures {
  double cpu_s = 0;      ///< processor time of all threads, user and system
  double started_s = 0;  ///< since 1970-01-01 UTC
  std::uint64_t descriptors_max = 0;
};
[[nodiscard]] ProcessFigures process_figures();

/// Number of open descriptors. 10,000 take some 20 ms, so no thread that serves clients asks.
[[nodiscard]] std::uint64_t open_descriptors();

}  // namespace carillon
