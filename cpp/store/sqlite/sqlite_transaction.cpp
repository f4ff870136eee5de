#include "store/sqlite/sqlite_transaction.hpp"

#include <sqlite3.h>

#include <algorithm>

#include "store/entry_codec.hpp"

namespace carillon {

namespace {
/// Entries below the history are erased in strokes of at least this number.
constexpr std::uint64_t kErasedAtOnce = 32;

bool is_about_one_operation(int code) {
  const int kind = code & 0xff;
  return kind == SQLITE_CONSTRAINT || kind == SQLITE_TOOBIG || kind == SQLITE_MISMATCH;
}
/// The commit's record is the last that is written to the WAL: if a write fails, it is not there.
bool is_surely_not_committed(int code) {
  const int kind = code & 0xff;
  return kind == SQLITE_FULL || kind == SQLITE_BUSY || kind == SQLITE_LOCKED || kind == SQLITE_READONLY ||
         code == SQLITE_IOERR_WRITE;
}
}  // namespace

void SqliteTransaction::prepare(SqliteConnection& connection) {
  connection_ = &connection;
  begin_ = connection.prepare("BEGIN IMMEDIATE");
  commit_ = connection.prepare("COMMIT");
  insert_entry_ =
      connection.prepare("INSERT INTO entries (channel, offset, bytes_before, body) VALUES (?1, ?2, ?3, ?4)");
  insert_key_ = connection.prepare(
      "INSERT OR REPLACE INTO keys (channel, key, offset, until_ms) VALUES (?1, ?2, ?3, ?4)");
  find_key_ = connection.prepare("SELECT offset FROM keys WHERE channel = ?1 AND key = ?2 AND until_ms > ?3");
  insert_channel_ = connection.prepare(
      "INSERT INTO channels (id, name, epoch, generation, top, bytes, first, first_bytes, ttl_ms, version, "
      "version_epoch, used_ms) VALUES (?1, ?12, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
  update_channel_ = connection.prepare(
      "UPDATE channels SET epoch = ?2, generation = ?3, top = ?4, bytes = ?5, first = ?6, first_bytes = ?7, "
      "ttl_ms = ?8, version = ?9, version_epoch = ?10, used_ms = ?11 WHERE id = ?1");
  bytes_before_ = connection.prepare(
      "SELECT offset, bytes_before FROM entries WHERE channel = ?1 AND offset >= ?2 ORDER BY offset");
  lowest_ = connection.prepare("SELECT offset FROM entries WHERE channel = ?1 ORDER BY offset LIMIT 1");
  erase_entries_ =
      connection.prepare("DELETE FROM entries WHERE channel = ?1 AND offset >= ?2 AND offset < ?3");
}

void SqliteTransaction::release_statements() {
  for (SqliteStatement* const each :
       {&begin_, &commit_, &insert_entry_, &insert_key_, &find_key_, &insert_channel_, &update_channel_,
        &bytes_before_, &lowest_, &erase_entries_})
    *each = {};
  connection_ = nullptr;
}

int SqliteTransaction::find_key(const SqliteChannel& channel, std::string_view key, Millis wall_ms,
                                std::optional<Offset>& offset) {
  if (!channel.is_stored) return SQLITE_OK;
  const SqliteReset reset(find_key_);
  const int code = find_key_.bind(1, channel.id).bind(2, key).bind(3, wall_ms).step();
  if (code == SQLITE_ROW) offset = find_key_.count(0);
  return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

SqliteOutcome SqliteTransaction::fail(int code, bool is_commit) {
  trouble_ = connection_->message();
  has_disk_failed_ = (code & 0xff) == SQLITE_IOERR;
  if (!connection_->is_autocommit()) static_cast<void>(connection_->execute("ROLLBACK"));
  if (is_commit && !is_surely_not_committed(code)) return SqliteOutcome::unknown;
  return is_about_one_operation(code) ? SqliteOutcome::unwritable : SqliteOutcome::refused;
}

SqliteOutcome SqliteTransaction::write(std::span<SqliteOperation> group,
                                       std::span<SqliteChannel* const> dirty, Millis wall_ms) {
  if (const int code = generation_.mark_in_use(*connection_); code != SQLITE_OK) return fail(code, false);
  int code = begin_.run();
  if (code == SQLITE_OK) code = write_entries(group, wall_ms);
  for (SqliteChannel* const channel : dirty) {
    if (code == SQLITE_OK) code = trim(*channel);
    if (code == SQLITE_OK) code = write_channel(*channel, wall_ms);
  }
  if (code == SQLITE_OK) code = members_.write();
  if (code != SQLITE_OK) return fail(code, false);
  code = commit_.run();
  if (code != SQLITE_OK) return fail(code, true);
  for (SqliteChannel* const channel : dirty) channel->is_stored = true;
  members_.accept();
  return SqliteOutcome::committed;
}

int SqliteTransaction::write_entries(std::span<SqliteOperation> group, Millis wall_ms) {
  for (SqliteOperation& operation : group) {
    auto* const append = std::get_if<SqliteOperation::Append>(&operation.what);
    if (append == nullptr || append->result.error != StoreError::none || append->result.is_duplicate)
      continue;
    SqliteChannel& channel = *operation.in_table;
    const Offset offset = append->result.position.offset;
    int code = SQLITE_OK;
    if (offset != 0 && offset >= channel.pending.first) {
      body_.clear();
      encode_entry(*append->entry, body_);
      code = insert_entry_.bind(1, channel.id)
                 .bind(2, offset)
                 .bind(3, append->bytes_before)
                 .bind_bytes(4, body_)
                 .run();
    }
    if (code == SQLITE_OK && !append->key.empty())
      code = insert_key_.bind(1, channel.id)
                 .bind(2, std::string_view(append->key))
                 .bind(3, offset)
                 .bind(4, wall_ms + limits_.idempotency_window_ms.load())
                 .run();
    if (code != SQLITE_OK) return code;
  }
  return SQLITE_OK;
}

int SqliteTransaction::trim(SqliteChannel& channel) {
  SqliteChannel::State& state = channel.pending;
  // first_bytes is moved only when the bound may be exceeded.
  if (channel.retained > 0 && state.bytes - state.first_bytes > channel.retained) {
    const SqliteReset reset(bytes_before_);
    int code = bytes_before_.bind(1, channel.id).bind(2, state.first).step();
    for (; code == SQLITE_ROW; code = bytes_before_.step()) {
      state.first = bytes_before_.count(0);
      state.first_bytes = bytes_before_.count(1);
      if (state.bytes - state.first_bytes <= channel.retained) break;
    }
    if (code == SQLITE_DONE) {
      state.first = state.top + 1;
      state.first_bytes = state.bytes;
    } else if (code != SQLITE_ROW) {
      return code;
    }
  }
  if (state.first == 1) return SQLITE_OK;
  if (channel.lowest == 0) {
    const SqliteReset reset(lowest_);
    const int code = lowest_.bind(1, channel.id).step();
    if (code != SQLITE_ROW && code != SQLITE_DONE) return code;
    channel.lowest = code == SQLITE_ROW ? lowest_.count(0) : state.first;
  }
  if (channel.lowest + kErasedAtOnce > state.first) return SQLITE_OK;
  // The rest, if the bound has shrunk, is erased later and by the house-keeping.
  const Offset end = std::min(state.first, channel.lowest + 2 * kErasedAtOnce + 2 * channel.group_appends);
  const int code = erase_entries_.bind(1, channel.id).bind(2, channel.lowest).bind(3, end).run();
  if (code == SQLITE_OK) channel.lowest = end;
  return code;
}

int SqliteTransaction::write_channel(SqliteChannel& channel, Millis wall_ms) {
  const SqliteChannel::State& state = channel.pending;
  channel.used_ms = wall_ms;
  SqliteStatement& write = channel.is_stored ? update_channel_ : insert_channel_;
  if (!channel.is_stored) write.bind(12, channel.name);
  return write.bind(1, channel.id)
      .bind(2, channel.epoch.text())
      .bind(3, generation_.number())
      .bind(4, state.top)
      .bind(5, state.bytes)
      .bind(6, state.first)
      .bind(7, state.first_bytes)
      .bind(8, state.ttl_ms)
      .bind(9, state.version)
      .bind(10, std::string_view(state.version_epoch))
      .bind(11, wall_ms)
      .run();
}

}  // namespace carillon
