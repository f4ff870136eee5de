#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "env/name_hash.hpp"
#include "store/presence_record.hpp"
#include "store/store.hpp"

namespace carillon {

/// Presence of channels in the memory of the process. Not thread-safe.
class PresenceTable {
 public:
  explicit PresenceTable(const NameHash& hash) : hash_(hash), channels_(hash) {}

  void add(const HashedName& channel, const PresenceMember& member);
  void remove(const HashedName& channel, std::string_view client);
  [[nodiscard]] PresenceResult page(const HashedName& channel, const PresencePage& page) const;
  [[nodiscard]] PresenceCounts counts(const HashedName& channel) const;
  [[nodiscard]] std::optional<PresenceMember> find(const HashedName& channel, std::string_view client) const;
  [[nodiscard]] bool has(const HashedName& channel) const { return channels_.contains(channel); }
  [[nodiscard]] std::vector<std::string> channels() const;

  /// Calls `each(channel, member)` for all of them.
  template <typename Each>
  void visit(Each&& each) const {
    for (const auto& [channel, presence] : channels_) {
      for (const PresenceRecord& record : presence.members) each(channel, record.member());
    }
  }

 private:
  using PresenceRecords = std::set<PresenceRecord, PresenceRecord::ByClient>;
  /// The presence of a channel. The users of a few connections are counted on request, those of many as they
  /// come and go: most channels have few connections, and no cost for it.
  struct Presence {
    PresenceRecords members;
    std::unique_ptr<NameTable<std::uint32_t>> users;  // their connections; null: few
  };
  static constexpr std::size_t kFewMembers = 32;

  void count_user(Presence& presence, std::string_view user);
  static void erase_member(Presence& presence, PresenceRecords::iterator member);

  const NameHash hash_;
  NameTable<Presence> channels_;
};

}  // namespace carillon
