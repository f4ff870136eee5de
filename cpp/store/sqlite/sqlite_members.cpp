#include "store/sqlite/sqlite_members.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <vector>

namespace carillon {

void SqliteMembers::prepare(SqliteConnection& connection) {
  id_of_ = connection.prepare("SELECT id FROM channels WHERE name = ?1");
  erase_ = connection.prepare("DELETE FROM members WHERE user = ?1 AND channel = ?2");
  erase_all_ = connection.prepare("DELETE FROM members WHERE user = ?1");
  insert_ = connection.prepare(
      "INSERT INTO members (user, channel, position, read, until) VALUES (?1, ?2, ?3, ?4, nullif(?5, -1))");
  complete_ = connection.prepare("DELETE FROM incomplete_users WHERE user = ?1");
  incomplete_ = connection.prepare("INSERT OR IGNORE INTO incomplete_users (user) VALUES (?1)");
}

void SqliteMembers::release_statements() {
  id_of_ = {};
  erase_ = {};
  erase_all_ = {};
  insert_ = {};
  complete_ = {};
  incomplete_ = {};
}

int SqliteMembers::load(SqliteConnection& connection, const SqliteGeneration& generation) {
  MemoryInboxesState state;
  std::map<std::string, Position, std::less<>> tops;
  {
    std::map<std::int64_t, std::uint32_t> indices;
    SqliteStatement all = connection.prepare(
        "SELECT m.user, m.channel, m.read, ifnull(m.until, -1), c.name, c.epoch, c.generation, c.top "
        "FROM members m JOIN channels c ON c.id = m.channel ORDER BY m.user, m.channel, m.position");
    int code = all.step();
    for (; code == SQLITE_ROW; code = all.step()) {
      const auto [index, is_new] =
          indices.try_emplace(all.number(1), static_cast<std::uint32_t>(state.rosters.size()));
      const Offset top = all.count(7);
      if (is_new) {
        state.rosters.push_back({std::string(all.text(4)), 0});
        tops[std::string(all.text(4))] = {generation.epoch_of(all.text(4), all.text(5), all.number(6)), top};
      }
      if (state.users.empty() || state.users.back().name != all.text(0))
        state.users.push_back({std::string(all.text(0)), {}, {}, false});
      const bool is_member = all.number(3) < 0;
      const Offset until = is_member ? std::numeric_limits<Offset>::max() : all.count(3);
      // Nothing is in an inbox: all that is unread is merged from the log.
      state.users.back().memberships.push_back({index->second, all.count(2), until, std::min(until, top)});
    }
    if (code != SQLITE_DONE) return code;
  }
  {
    std::map<std::string_view, MemoryInboxesState::User*> users;
    for (MemoryInboxesState::User& user : state.users) users[user.name] = &user;
    SqliteStatement all = connection.prepare("SELECT user FROM incomplete_users");
    int code = all.step();
    for (; code == SQLITE_ROW; code = all.step()) {
      if (const auto user = users.find(all.text(0)); user != users.end()) user->second->is_incomplete = true;
    }
    if (code != SQLITE_DONE) return code;
  }
  inboxes_.restore(state, [&](const std::string& channel) { return make_roster(channel, tops[channel]); });
  return SQLITE_OK;
}

std::shared_ptr<MemoryInboxes::Roster> SqliteMembers::roster_of(std::string_view channel) const {
  const std::lock_guard lock(mutex_);
  const auto found = rosters_.find(hash_.of(channel));
  return found == rosters_.end() ? nullptr : found->second;
}

std::shared_ptr<MemoryInboxes::Roster> SqliteMembers::make_roster(std::string_view channel, Position top) {
  const std::lock_guard lock(mutex_);
  auto& roster = rosters_.try_emplace(std::string(channel)).first->second;
  if (!roster) roster = inboxes_.make_roster(std::string(channel), top);
  return roster;
}

void SqliteMembers::forget_unused() {
  const std::lock_guard lock(mutex_);
  std::erase_if(rosters_,
                [](const auto& node) { return node.second->is_unused() && node.second.use_count() == 1; });
}

void SqliteMembers::note(std::string_view channel, std::span<const std::string> users) {
  for (const std::string& user : users) unwritten_.emplace(channel, user);
}

int SqliteMembers::write(const std::string& channel, const std::string& user) {
  std::int64_t id = 0;
  const auto find = [&](std::string_view name) {
    const SqliteReset reset(id_of_);
    if (id_of_.bind(1, name).step() != SQLITE_ROW) return false;
    id = id_of_.number(0);
    return true;
  };
  if (!find(channel)) return SQLITE_OK;  // it was forgotten meanwhile, so it has no members
  const MemoryInboxes::Standing standing = inboxes_.standing(user, channel);
  int code = SQLITE_OK;
  if (standing.is_incomplete) {
    code = erase_all_.bind(1, user).run();
    if (code == SQLITE_OK) code = incomplete_.bind(1, user).run();
  } else {
    code = erase_.bind(1, user).bind(2, id).run();
    if (code == SQLITE_OK) code = complete_.bind(1, user).run();
  }
  std::int64_t position = 0;
  for (const MemoryInboxes::Standing::Membership& each : standing.memberships) {
    if (code != SQLITE_OK) break;
    if (standing.is_incomplete && !find(each.channel)) continue;
    code = insert_.bind(1, user)
               .bind(2, id)
               .bind(3, position++)
               .bind(4, each.read)
               .bind(5, each.until ? static_cast<std::int64_t>(*each.until) : std::int64_t{-1})
               .run();
  }
  return code;
}

int SqliteMembers::write() {
  for (const auto& [channel, user] : unwritten_) {
    if (const int code = write(channel, user); code != SQLITE_OK) return code;
  }
  return SQLITE_OK;
}

}  // namespace carillon
