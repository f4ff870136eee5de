#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "store/sqlite/sqlite_threads.hpp"
#include "store/store_limits.hpp"

namespace carillon {

/// When an append is acknowledged (docs/stores.md).
enum class Durability : std::uint8_t {
  full,    ///< on disk: survives loss of power
  normal,  ///< written: survives the end of the process
  async    ///< before it is written
};
[[nodiscard]] constexpr std::string_view name_of(Durability durability) {
  switch (durability) {
    case Durability::full:
      return "full";
    case Durability::normal:
      return "normal";
    case Durability::async:
      return "async";
  }
  return "";
}
[[nodiscard]] constexpr std::optional<Durability> durability_named(std::string_view name) {
  for (const Durability each : {Durability::full, Durability::normal, Durability::async}) {
    if (name_of(each) == name) return each;
  }
  return std::nullopt;
}

struct SqliteOptions {
  std::string path;
  Durability durability = Durability::full;
  std::size_t waiting_appends = 10'000;     ///< beyond it an append is answered `overloaded`
  std::size_t waiting_bytes = 64UL << 20U;  ///< of appends that wait; the same
  std::size_t waiting_calls = 100'000;      ///< other calls that wait; the same
  std::size_t wal_bytes = 64UL << 20U;      ///< beyond it the writer waits for a checkpoint
  std::size_t cached_channels = 100'000;    ///< without a follower, kept in memory
  StoreLimits limits;
  std::string boot_id;  ///< empty: the kernel's; a test's own otherwise
  std::string vfs;      ///< SQLite's file access; empty: its default
  /// The file is known to the VFS alone: it has no lock beside it, and nothing but SQLite looks at it.
  bool is_in_vfs_only = false;
  SqliteThreads* threads = &SqliteThreads::of_system();
};

}  // namespace carillon
