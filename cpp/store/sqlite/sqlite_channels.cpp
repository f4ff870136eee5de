#include "store/sqlite/sqlite_channels.hpp"

#include <sqlite3.h>

#include <algorithm>

namespace carillon {

int SqliteChannels::prepare(SqliteConnection& connection) {
  select_ = connection.prepare(
      "SELECT id, epoch, generation, top, bytes, first, first_bytes, ttl_ms, version, version_epoch, used_ms "
      "FROM channels WHERE name = ?1");
  // Above every id that was ever given out and can still be found somewhere: entries and keys of a forgotten
  // channel must not become those of a new one.
  for (const char* const largest : {"SELECT max(id) FROM channels", "SELECT max(channel) FROM keys",
                                    "SELECT max(channel) FROM entries", "SELECT max(channel) FROM members"}) {
    int code = SQLITE_OK;
    next_id_ = std::max(next_id_, connection.number(largest, 0, code) + 1);
    if (code != SQLITE_OK) return code;
  }
  return SQLITE_OK;
}

bool SqliteChannels::read(SqliteChannel& channel) {
  const SqliteReset reset(select_);
  code_ = select_.bind(1, channel.name).step();
  if (code_ == SQLITE_DONE) code_ = SQLITE_OK;
  if (code_ != SQLITE_ROW) return false;
  code_ = SQLITE_OK;
  channel.id = select_.number(0);
  channel.epoch = generation_.epoch_of(channel.name, select_.text(1), select_.number(2));
  SqliteChannel::State& state = channel.committed;
  state.top = select_.count(3);
  state.bytes = select_.count(4);
  state.first = select_.count(5);
  state.first_bytes = select_.count(6);
  state.ttl_ms = select_.number(7);
  state.version = select_.count(8);
  state.version_epoch = select_.text(9);
  channel.used_ms = select_.number(10);
  channel.pending = state;
  channel.lowest = 0;
  channel.is_stored = true;
  return true;
}

SqliteChannel* SqliteChannels::known(std::string_view name) {
  const auto found = channels_.find(hash_.of(name));
  return found == channels_.end() ? nullptr : &found->second;
}

SqliteChannel* SqliteChannels::find(std::string_view name, bool is_made) {
  const HashedName hashed = hash_.of(name);
  if (const auto found = channels_.find(hashed); found != channels_.end()) {
    SqliteChannel& channel = found->second;
    if (channel.is_dormant) dormant_.splice(dormant_.end(), dormant_, channel.dormant);
    return &channel;
  }
  SqliteChannel channel;
  channel.name = name;
  if (!read(channel)) {
    if (code_ != SQLITE_OK || !is_made) return nullptr;
    channel.id = next_id_++;
    channel.epoch = Epoch::from_bits(random_.next());
  }
  const auto node = channels_.try_emplace(std::string(name), std::move(channel)).first;
  node->second.name = node->first;
  let_go(node->second);
  return &node->second;
}

int SqliteChannels::reload(SqliteChannel& channel) {
  // A channel that is not there keeps its epoch in memory, at offset 0.
  if (read(channel)) return SQLITE_OK;
  if (code_ == SQLITE_OK) {
    channel.is_stored = false;
    channel.committed = channel.pending = {};
  }
  return code_;
}

void SqliteChannels::let_go(SqliteChannel& channel) {
  if (channel.follows > 0) {
    if (channel.is_dormant) dormant_.erase(channel.dormant);
    channel.is_dormant = false;
  } else if (!channel.is_dormant) {
    channel.dormant = dormant_.insert(dormant_.end(), &channel);
    channel.is_dormant = true;
  }
}

void SqliteChannels::forget_beyond_limit() {
  while (dormant_.size() > cached_) forget(*dormant_.front());
}

void SqliteChannels::forget(SqliteChannel& channel) {
  if (channel.is_dormant) dormant_.erase(channel.dormant);
  channels_.erase(channels_.find(channel.name));
}

}  // namespace carillon
