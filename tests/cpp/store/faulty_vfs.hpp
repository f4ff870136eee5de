#pragma once

#include <atomic>
#include <string>

namespace carillon {

/// A way of SQLite to files on which writes and syncs of the WAL fail when a test wants it. One per process.
class FaultyVfs {
 public:
  /// Registers it, once.
  static std::string name();

  static inline std::atomic<bool> is_full{false};          ///< writes report a full disk
  static inline std::atomic<int> failing_syncs{0};         ///< this number of syncs of the WAL fail
  static inline std::atomic<bool> is_sync_failing{false};  ///< all of them, of all files
  static inline std::atomic<bool> is_open_failing{false};  ///< nothing can be opened
  static inline std::atomic<int> wal_syncs{0};             ///< that were asked for

  static void reset() {
    is_full = is_sync_failing = is_open_failing = false;
    failing_syncs = wal_syncs = 0;
  }
};

}  // namespace carillon
