#include "store/sqlite/sqlite_upkeep.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "store/entry_codec.hpp"

namespace carillon {

void SqliteUpkeep::prepare(SqliteConnection& connection) {
  connection_ = &connection;
  rows_ = connection.prepare(
      "SELECT id, name, top, first, ttl_ms, used_ms FROM channels WHERE id > ?1 ORDER BY id LIMIT ?2");
  from_first_ = connection.prepare(
      "SELECT offset, body FROM entries WHERE channel = ?1 AND offset >= ?2 ORDER BY offset LIMIT ?3");
  lowest_ = connection.prepare("SELECT offset FROM entries WHERE channel = ?1 ORDER BY offset LIMIT 1");
  erase_ = connection.prepare("DELETE FROM entries WHERE channel = ?1 AND offset >= ?2 AND offset < ?3");
  set_first_ = connection.prepare("UPDATE channels SET first = ?2 WHERE id = ?1");
  set_used_ = connection.prepare("UPDATE channels SET used_ms = ?2 WHERE id = ?1");
  forget_ = connection.prepare("DELETE FROM channels WHERE id = ?1");
  key_ids_ = connection.prepare("SELECT min(id), max(id) FROM keys");
  erase_keys_ = connection.prepare("DELETE FROM keys WHERE id < ?1 AND (until_ms <= ?2 OR id <= ?3)");
}

void SqliteUpkeep::release_statements() {
  for (SqliteStatement* const each :
       {&rows_, &from_first_, &lowest_, &erase_, &set_first_, &set_used_, &forget_, &key_ids_, &erase_keys_})
    *each = {};
  connection_ = nullptr;
}

void SqliteUpkeep::step(Millis wall_ms) {
  channels_.forget_beyond_limit();
  members_.forget_unused();
  erased_ = 0;
  std::vector<Row> found;
  {
    const SqliteReset reset(rows_);
    rows_.bind(1, after_).bind(2, kChannelsPerStep);
    while (rows_.step() == SQLITE_ROW)
      found.push_back({rows_.number(0), std::string(rows_.text(1)), rows_.count(2), rows_.count(3),
                       rows_.number(4), rows_.number(5)});
  }
  const bool is_last = found.size() < static_cast<std::size_t>(kChannelsPerStep);
  int code = connection_->execute("BEGIN IMMEDIATE");
  std::int64_t after = is_last ? 0 : after_;
  for (const Row& row : found) {
    if (code == SQLITE_OK) code = visit(row, wall_ms);
    if (!is_last || erased_ >= kErasedPerStep) after = row.id;
    if (code != SQLITE_OK || erased_ >= kErasedPerStep) break;
  }
  if (code == SQLITE_OK) code = trim_keys(wall_ms);
  if (code == SQLITE_OK) code = connection_->execute("COMMIT");
  if (code == SQLITE_OK) {
    after_ = after;
    return;
  }
  // It comes to this again; what the channels know of the table may be wrong now.
  if (!connection_->is_autocommit()) static_cast<void>(connection_->execute("ROLLBACK"));
  for (const Row& row : found) {
    if (SqliteChannel* const known = channels_.known(row.name)) static_cast<void>(channels_.reload(*known));
  }
}

int SqliteUpkeep::visit(const Row& row, Millis wall_ms) {
  SqliteChannel* const known = channels_.known(row.name);
  Offset first = row.first;
  int code = SQLITE_OK;
  if (row.ttl_ms > 0 && first <= row.top) {
    const SqliteReset reset(from_first_);
    from_first_.bind(1, row.id).bind(2, first).bind(3, kErasedPerChannel);
    while (from_first_.step() == SQLITE_ROW) {
      const auto written_ms = wall_ms_of_entry(from_first_.bytes(1));
      if (written_ms && *written_ms + row.ttl_ms > wall_ms) break;
      first = from_first_.count(0) + 1;
    }
  }
  const bool is_used = (known != nullptr && known->follows > 0) || members_.roster_of(row.name) != nullptr;
  const Millis longest_ms = limits_.channel_lifetime_ms;
  const Millis lifetime_ms = row.top == 0 ? std::min(longest_ms, kEmptyLifetimeMs) : longest_ms;
  const bool is_over = !is_used && wall_ms - row.used_ms >= lifetime_ms;
  bool is_empty = false;
  code = erase_below(row.id, is_over ? row.top + 1 : first, is_empty);
  if (code == SQLITE_OK && is_over && is_empty) {
    code = forget_.bind(1, row.id).run();
    if (code == SQLITE_OK && known != nullptr) channels_.forget(*known);
    return code;
  }
  if (code == SQLITE_OK && first != row.first) {
    code = set_first_.bind(1, row.id).bind(2, first).run();
    if (code == SQLITE_OK && known != nullptr) known->committed.first = known->pending.first = first;
  }
  if (known != nullptr) known->lowest = 0;
  if (code == SQLITE_OK && is_used && wall_ms - row.used_ms >= lifetime_ms / kUsedSteps)
    code = set_used_.bind(1, row.id).bind(2, wall_ms).run();
  return code;
}

int SqliteUpkeep::erase_below(std::int64_t channel, Offset first, bool& is_done) {
  Offset lowest = first;
  {
    const SqliteReset reset(lowest_);
    if (lowest_.bind(1, channel).step() == SQLITE_ROW) lowest = lowest_.count(0);
  }
  is_done = lowest + kErasedPerChannel >= first;
  if (lowest >= first) return SQLITE_OK;
  const int code =
      erase_.bind(1, channel).bind(2, lowest).bind(3, std::min(first, lowest + kErasedPerChannel)).run();
  erased_ += connection_->changes();
  return code;
}

int SqliteUpkeep::trim_keys(Millis wall_ms) {
  std::int64_t lowest = 0;
  std::int64_t highest = 0;
  {
    const SqliteReset reset(key_ids_);
    if (key_ids_.step() != SQLITE_ROW) return SQLITE_OK;
    lowest = key_ids_.number(0);
    highest = key_ids_.number(1);
  }
  if (highest == 0) return SQLITE_OK;
  return erase_keys_.bind(1, lowest + kKeysPerStep)
      .bind(2, wall_ms)
      .bind(3, highest - static_cast<std::int64_t>(limits_.idempotency_keys.load()))
      .run();
}

}  // namespace carillon
