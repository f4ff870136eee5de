#include "store/presence_table.hpp"

#include <string>

namespace carillon {

void PresenceTable::count_user(Presence& presence, std::string_view user) {
  if (presence.users) {
    ++presence.users->try_emplace(std::string(user)).first->second;
  } else if (presence.members.size() > kFewMembers) {
    presence.users = std::make_unique<NameTable<std::uint32_t>>(hash_);
    for (const PresenceRecord& member : presence.members)
      ++presence.users->try_emplace(std::string(member.user())).first->second;
  }
}

void PresenceTable::erase_member(Presence& presence, PresenceRecords::iterator member) {
  if (presence.users) {
    const auto user = presence.users->find(member->user());
    if (--user->second == 0) presence.users->erase(user);
  }
  presence.members.erase(member);
  if (presence.members.size() <= kFewMembers / 2) presence.users.reset();
}

void PresenceTable::add(const HashedName& channel, const PresenceMember& member) {
  auto found = channels_.find(channel);
  if (found == channels_.end()) found = channels_.try_emplace(std::string(channel.name)).first;
  Presence& presence = found->second;
  if (const auto same = presence.members.find(std::string_view(member.client));
      same != presence.members.end())
    erase_member(presence, same);
  presence.members.emplace(member);
  count_user(presence, member.user);
}

void PresenceTable::remove(const HashedName& channel, std::string_view client) {
  const auto found = channels_.find(channel);
  if (found == channels_.end()) return;
  const auto member = found->second.members.find(client);
  if (member != found->second.members.end()) erase_member(found->second, member);
  if (found->second.members.empty()) channels_.erase(found);
}

PresenceResult PresenceTable::page(const HashedName& channel, const PresencePage& page) const {
  static constexpr std::size_t kKeysBytes = 61;  // {"":{"user":"","client":"","conn_info":,"chan_info":}},
  PresenceResult result;
  const auto found = channels_.find(channel);
  if (found == channels_.end()) return result;
  const auto& members = found->second.members;
  std::size_t bytes = 0;
  for (auto member = members.upper_bound(page.after); member != members.end(); ++member) {
    bytes += member->client().size() + member->bytes() + kKeysBytes;
    result.has_more = !result.members.empty() && bytes > page.bytes_max;
    if (result.has_more) break;
    result.members.push_back(member->member());
  }
  return result;
}

PresenceCounts PresenceTable::counts(const HashedName& channel) const {
  PresenceCounts counts;
  const auto found = channels_.find(channel);
  if (found == channels_.end()) return counts;
  const Presence& presence = found->second;
  counts.clients = presence.members.size();
  if (presence.users) {
    counts.users = presence.users->size();
  } else {
    std::set<std::string_view> users;
    for (const PresenceRecord& member : presence.members) users.insert(member.user());
    counts.users = users.size();
  }
  return counts;
}

std::optional<PresenceMember> PresenceTable::find(const HashedName& channel, std::string_view client) const {
  const auto found = channels_.find(channel);
  if (found == channels_.end()) return std::nullopt;
  const auto member = found->second.members.find(client);
  if (member == found->second.members.end()) return std::nullopt;
  return member->member();
}

std::vector<std::string> PresenceTable::channels() const {
  std::vector<std::string> names;
  names.reserve(channels_.size());
  for (const auto& [channel, presence] : channels_) names.push_back(channel);
  return names;
}

}  // namespace carillon
