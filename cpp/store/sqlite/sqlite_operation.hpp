#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "store/sqlite/sqlite_channels.hpp"
#include "store/store.hpp"

namespace carillon {

/// What waits for the writer.
struct SqliteOperation {
  struct Append {
    std::shared_ptr<Entry> entry;
    bool is_ephemeral = false;
    std::string key;
    std::optional<Offset> expected_offset;
    std::uint64_t version = 0;
    std::string version_epoch;
    Retention retention;
    FanOutMode mode = FanOutMode::write;
    std::function<void(const AppendResult&)> done;

    AppendResult result = {};
    std::size_t duplicate_of = kNoDuplicate;  ///< index in the group
    std::uint64_t bytes_before = 0;           ///< of the channel's earlier entries
  };
  struct Follow {
    std::function<void(const TopResult&)> done;
    bool is_only_top = false;
    TopResult result = {};
  };
  struct Unfollow {};
  struct RemoveHistory {
    std::function<void(StoreError)> done;
    StoreError error = StoreError::none;
  };
  struct ChangeMembers {
    std::vector<std::string> users;
    bool is_added = false;
    std::function<void(const MembersResult&)> done;
    MembersResult result = {};
  };
  struct MarkRead {
    std::string user;
    Offset offset = 0;
    std::function<void(StoreError)> done;
    StoreError error = StoreError::none;
  };
  /// Called when everything before it has been written; with an error, if that is not so.
  struct Barrier {
    std::function<void(StoreError)> done;
    StoreError error = StoreError::none;
  };
  static constexpr std::size_t kNoDuplicate = SIZE_MAX;

  std::string channel;
  std::variant<Append, Follow, Unfollow, RemoveHistory, ChangeMembers, MarkRead, Barrier> what;
  std::size_t bytes = 0;              ///< of an append, counted as waiting
  SqliteChannel* in_table = nullptr;  ///< while the group is processed; null: not found
};

}  // namespace carillon
