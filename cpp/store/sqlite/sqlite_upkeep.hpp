#pragma once

#include <cstdint>

#include "store/sqlite/sqlite_channels.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_limits.hpp"
#include "store/sqlite/sqlite_members.hpp"

namespace carillon {

/// Erases what has expired, in bounded steps: each looks at some channels, and begins where the last one has
/// ended. Only the writer's thread uses it, between groups.
class SqliteUpkeep {
 public:
  SqliteUpkeep(const SqliteLimits& limits, SqliteChannels& channels, SqliteMembers& members)
      : limits_(limits), channels_(channels), members_(members) {}

  void prepare(SqliteConnection& connection);
  void release_statements();
  void step(Millis wall_ms);

 private:
  struct Row {
    std::int64_t id = 0;
    std::string name;
    Offset top = 0;
    Offset first = 0;
    Millis ttl_ms = 0;
    Millis used_ms = 0;
  };
  static constexpr std::int64_t kChannelsPerStep = 256;
  static constexpr std::size_t kErasedPerStep = 4'096;
  static constexpr std::uint64_t kErasedPerChannel = 1'024;
  static constexpr std::int64_t kKeysPerStep = 1'024;
  /// A channel that never had a publication keeps its epoch for a day: names cost nothing to invent.
  static constexpr Millis kEmptyLifetimeMs = 24LL * 3600 * 1000;
  /// The time of use is written when it is older than this part of the lifetime.
  static constexpr Millis kUsedSteps = 16;

  [[nodiscard]] int visit(const Row& row, Millis wall_ms);
  [[nodiscard]] int erase_below(std::int64_t channel, Offset first, bool& is_done);
  [[nodiscard]] int trim_keys(Millis wall_ms);

  const SqliteLimits& limits_;
  SqliteChannels& channels_;
  SqliteMembers& members_;
  SqliteConnection* connection_ = nullptr;
  SqliteStatement rows_;
  SqliteStatement from_first_;
  SqliteStatement lowest_;
  SqliteStatement erase_;
  SqliteStatement set_first_;
  SqliteStatement set_used_;
  SqliteStatement forget_;
  SqliteStatement key_ids_;
  SqliteStatement erase_keys_;
  std::int64_t after_ = 0;  // id of the channel that was visited last
  std::size_t erased_ = 0;  // in this step
};

}  // namespace carillon
