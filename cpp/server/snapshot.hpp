#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "gateway/gateway_state.hpp"
#include "gateway/handover.hpp"
#include "hub/hub_state.hpp"
#include "store/entry.hpp"
#include "store/store_state.hpp"
#include "token/endpoint_keys.hpp"

namespace carillon {

/// The bytes are not a snapshot that this version can read.
class SnapshotError : public HandoverError {
 public:
  using HandoverError::HandoverError;
};

/// All that a server hands over to the next one, except the descriptors.
struct Snapshot {
  std::int32_t process = 0;        ///< that wrote it
  std::int64_t held_since_ms = 0;  ///< by the machine's monotonic clock
  StoreState store;
  HubState hub;
  GatewayState gateway;
  std::vector<EndpointKeys> keys;  ///< that verify tokens; of a version that sends none: empty
};

/// The format that is written, and the oldest that can be read. A field that is added at the end of a record
/// changes neither: an older reader skips it, and a newer reader uses its default where it is missing. Any
/// other change is a new format.
inline constexpr std::uint32_t kSnapshotFormat = 2;
inline constexpr std::uint32_t kOldestSnapshotFormat = 2;

/// Entries that were sent ahead, with the numbers by which the snapshot refers to them: 0, 1, 2 …
class SentEntries {
 public:
  void add(EntryRef entry) {
    const Entry* key = entry.get();
    numbers_.emplace(key, numbers_.size());
    entries_.push_back(std::move(entry));
  }
  /// Nothing: it was not sent ahead.
  [[nodiscard]] std::optional<std::uint64_t> number_of(const Entry& entry) const {
    const auto found = numbers_.find(&entry);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::vector<EntryRef> entries_;  // held, so that no other entry gets the address
  std::unordered_map<const Entry*, std::uint64_t> numbers_;
};

/// Appends an entry.
void encode_entry(std::string& out, const Entry& entry);
/// Reads what encode_entry() wrote. Throws SnapshotError.
void decode_entries(std::string_view bytes, std::vector<EntryRef>& entries);
[[nodiscard]] std::string encode_snapshot(const Snapshot& snapshot, const SentEntries& sent);
/// Throws SnapshotError.
[[nodiscard]] Snapshot decode_snapshot(std::string_view bytes, const std::vector<EntryRef>& sent);

}  // namespace carillon
