#include "store/sqlite/sqlite_writer.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <type_traits>
#include <variant>

#include "store/sqlite/sqlite_log_rewrite.hpp"
#include "store/sqlite/sqlite_schema.hpp"

namespace carillon {

namespace {
/// The WAL is checkpointed in the background when it has grown by this size.
constexpr std::size_t kCheckpointBytes = 16UL << 20U;
constexpr std::size_t kPageBytes = 4'096;
/// Upper bound of the wait for publishers that have just been answered.
constexpr std::int64_t kLingerNs = 500'000;
/// Shorter commits are not worth a wait, which takes at least this time.
constexpr std::int64_t kShortCommitNs = 50'000;
constexpr Millis kRetryMs = 100;
/// At the end, for what was acknowledged before it was written.
constexpr Millis kLastTriesMs = 2'000;
/// Changes of members that a database which cannot be written is owed.
constexpr std::size_t kUnwrittenMembers = 100'000;

bool is_member_operation(const SqliteOperation& operation) {
  return std::holds_alternative<SqliteOperation::ChangeMembers>(operation.what) ||
         std::holds_alternative<SqliteOperation::MarkRead>(operation.what);
}
}  // namespace

SqliteWriter::SqliteWriter(const SqliteOptions& options, const SqliteLimits& limits, const Clock& clock,
                           RandomSource& random, SqliteFile& file, SqliteConnection connection,
                           SqliteGeneration& generation, SqliteMembers& members,
                           SqliteCheckpoints& checkpoints, SqliteQueue& queue, const NameHash& hash)
    : clock_(clock),
      options_(options),
      threads_(*options.threads),
      file_(file),
      generation_(generation),
      members_(members),
      checkpoints_(checkpoints),
      queue_(queue),
      connection_(std::move(connection)),
      channels_(hash, random, generation, options.cached_channels),
      transaction_(generation, members, limits),
      upkeep_(limits, channels_, members) {
  if (!prepare())
    throw std::runtime_error("sqlite:" + options.path + ": cannot be read (" + connection_.message() +
                             "); check it with `carillon store check`");
}

bool SqliteWriter::prepare() {
  static_cast<void>(connection_.execute(
      options_.durability == Durability::full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
  // A page that many channels' groups come back to should not be read, or written early, each time.
  static_cast<void>(connection_.execute("PRAGMA cache_size = -16384"));
  sqlite3_wal_hook(
      connection_.handle(),
      [](void* self, sqlite3* /*database*/, const char* /*name*/, int pages) {
        static_cast<SqliteWriter*>(self)->wal_bytes_ = static_cast<std::size_t>(pages) * kPageBytes;
        return SQLITE_OK;
      },
      this);
  const int code = channels_.prepare(connection_);
  transaction_.prepare(connection_);
  members_.prepare(connection_);
  upkeep_.prepare(connection_);
  return code == SQLITE_OK;
}

void SqliteWriter::start(StoreListener* listener) {
  listener_ = listener;
  has_begun_ = true;
  thread_ = threads_.start([this] { run(); });
}

void SqliteWriter::join() {
  if (thread_.joinable()) threads_.join(thread_);
  if (!has_begun_) refuse_rest();
}

void SqliteWriter::forbid(std::string why) {
  if (is_forbidden_.exchange(true)) return;
  const std::lock_guard lock(trouble_mutex_);
  forbidden_ = std::move(why);
}

std::string SqliteWriter::trouble() const {
  const std::lock_guard lock(trouble_mutex_);
  return forbidden_.empty() ? trouble_ : forbidden_;
}
void SqliteWriter::set_trouble(std::string text) {
  has_trouble_ = !text.empty();
  const std::lock_guard lock(trouble_mutex_);
  trouble_ = std::move(text);
}

void SqliteWriter::run() {
  for (;;) {
    // Only where a commit takes time, and several publishers have shared the last one.
    const bool is_shared = last_group_ > 1 && commit_ns_ > kShortCommitNs;
    const std::int64_t linger_ns = is_shared ? std::min(commit_ns_ / 2, kLingerNs) : 0;
    const std::uint64_t asked = stillness_asked();  // all that was there then is in what is taken now
    if (!queue_.take(taken_, last_group_, linger_ns)) break;
    last_group_ = taken_.size();
    process(taken_);
    if (queue_.take_house_keeping() && is_usable() && generation_.is_marked()) upkeep_.step(clock_.wall_ms());
    bound_wal();
    if (asked != 0 && !stand_still(asked)) return;
    if (asked != stillness_asked()) queue_.ask_for_house_keeping();  // the next group, which may be empty
  }
  static_cast<void>(finish());
}

std::string SqliteWriter::hold_still(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(stillness_mutex_);
  stillness_ = Stillness::asked;
  ++stillness_number_;
  queue_.ask_for_house_keeping();  // an empty group, after what waits
  const bool is_decided =
      threads_.wait(lock, stillness_changed_, until, [this] { return stillness_ != Stillness::asked; });
  if (stillness_ == Stillness::held) return "";
  stillness_ = Stillness::none;
  if (!is_decided) return "the disk did not take what waits in time";
  const std::string why = trouble();  // it may have passed
  return why.empty() ? "the disk did not take the mark of a clean end" : why;
}

void SqliteWriter::go_on() {
  const std::lock_guard lock(stillness_mutex_);
  stillness_ = Stillness::none;
  threads_.notify(stillness_changed_);
}

void SqliteWriter::give_away() {
  const std::lock_guard lock(stillness_mutex_);
  stillness_ = Stillness::given_away;
  threads_.notify(stillness_changed_);
}

std::uint64_t SqliteWriter::stillness_asked() {
  const std::lock_guard lock(stillness_mutex_);
  return stillness_ == Stillness::asked ? stillness_number_ : 0;
}

bool SqliteWriter::stand_still(std::uint64_t asked) {
  if (stillness_asked() != asked) return true;
  const bool is_finished = finish();
  bool is_given_away = false;
  {
    const auto alone = file_.close_all();
    release();  // whoever opens it next goes on with the log; to copy that takes as long as the disk likes
    std::unique_lock lock(stillness_mutex_);
    if (stillness_ == Stillness::asked && stillness_number_ == asked) {
      stillness_ = is_finished ? Stillness::held : Stillness::impossible;
      threads_.notify(stillness_changed_);
      threads_.wait(lock, stillness_changed_, SqliteThreads::kForever,
                    [this] { return stillness_ != Stillness::held; });
    }
    is_given_away = stillness_ == Stillness::given_away;
  }
  if (!is_given_away) {
    static_cast<void>(reopen(is_in_doubt_));  // else the next group does it
    return true;
  }
  queue_.close();
  refuse_rest();
  return false;
}

void SqliteWriter::refuse_rest() {
  while (queue_.take(taken_, 1, 0)) refuse(taken_, StoreError::closed);
}

void SqliteWriter::process(Group operations) {
  while (!operations.empty()) operations = operations.subspan(process_group(operations));
}

std::size_t SqliteWriter::process_group(Group operations) {
  // Without the database neither a channel nor a key can be looked up.
  if (is_forbidden_.load(std::memory_order_relaxed) || !is_usable()) {
    refuse(operations);
    return operations.size();
  }
  wall_ms_ = clock_.wall_ms();
  std::size_t count = 0;
  while (count < operations.size() && assign(operations, count)) ++count;
  const Group group = operations.first(count);
  if (options_.durability == Durability::async) {
    if (!mark_in_use()) {
      roll_back();
      fail(group, StoreError::unavailable);
      return count;
    }
    accept();
    announce(group);
    answer(group);
    write_after_answer(group);
  } else {
    switch (write(group)) {
      case SqliteOutcome::committed:
        accept();
        announce(group);
        answer(group);
        break;
      case SqliteOutcome::unwritable:
        roll_back();
        if (count > 1) {  // one of them: each in a transaction of its own
          for (std::size_t i = 0; i < count; ++i) process_group(group.subspan(i, 1));
          return count;
        }
        fail(group, StoreError::unavailable);
        break;
      case SqliteOutcome::refused:
        roll_back();
        fail(group, StoreError::unavailable);
        break;
      case SqliteOutcome::unknown:
        settle_unknown(group);
        break;
    }
  }
  dirty_.clear();
  group_keys_.clear();
  return count;
}

// ---- in memory

void SqliteWriter::touch(SqliteChannel& channel) {
  if (channel.is_dirty) return;
  channel.is_dirty = true;
  channel.group_appends = 0;
  dirty_.push_back(&channel);
}

bool SqliteWriter::assign(Group group, std::size_t index) {
  SqliteOperation& operation = group[index];
  // Members are changed at once, at the channel's top; so that top must be committed.
  if (is_member_operation(operation)) {
    const SqliteChannel* const known = channels_.known(operation.channel);
    if (known != nullptr && known->pending.top != known->committed.top) return false;
  }
  // The group is answered before it is written: what waits for that comes after it.
  if (std::holds_alternative<SqliteOperation::Barrier>(operation.what) && (!dirty_.empty() || has_key_))
    return false;
  return std::visit(
      [&](auto& what) {
        using What = std::decay_t<decltype(what)>;
        if constexpr (std::is_same_v<What, SqliteOperation::Append>) {
          return assign(operation, what, index);
        } else if constexpr (!std::is_same_v<What, SqliteOperation::Unfollow> &&
                             !std::is_same_v<What, SqliteOperation::Barrier>) {
          assign(operation, what);
        }
        return true;
      },
      operation.what);
}

bool SqliteWriter::assign(SqliteOperation& operation, SqliteOperation::Append& append, std::size_t index) {
  append.result = {};
  append.duplicate_of = SqliteOperation::kNoDuplicate;
  SqliteChannel* const channel = operation.in_table = channels_.find(operation.channel, true);
  if (channel == nullptr) {
    append.result.error = StoreError::unavailable;
    return true;
  }
  if (!channel->is_stored) touch(*channel);
  append.result.position.epoch = channel->epoch;
  if (!append.key.empty()) {
    const auto [first, is_new] = group_keys_.try_emplace({channel->id, append.key}, index);
    if (!is_new) {
      append.duplicate_of = first->second;
      append.result.is_duplicate = true;
      return true;
    }
    std::optional<Offset> known;
    if (transaction_.find_key(*channel, append.key, wall_ms_, known) != SQLITE_OK) {
      group_keys_.erase({channel->id, append.key});
      append.result.error = StoreError::unavailable;
      return true;
    }
    if (known) {
      append.result.position.offset = *known;
      append.result.is_duplicate = true;
      return true;
    }
  }
  SqliteChannel::State& state = channel->pending;
  const bool is_old_version =
      append.version != 0 && state.version_epoch == append.version_epoch && append.version <= state.version;
  if ((append.expected_offset && *append.expected_offset != state.top) || is_old_version) {
    append.result.error = StoreError::conflict;
    append.result.position.offset = state.top;
    if (!append.key.empty()) group_keys_.erase({channel->id, append.key});
    return true;
  }
  if (append.version != 0) {
    state.version = append.version;
    state.version_epoch = append.version_epoch;
    touch(*channel);
  }
  if (!append.key.empty()) has_key_ = true;
  if (append.is_ephemeral) return true;
  touch(*channel);
  ++channel->group_appends;
  append.bytes_before = state.bytes;
  append.result.position.offset = ++state.top;
  state.bytes += append.entry->cost_bytes();
  state.ttl_ms = append.retention.ttl_ms;
  channel->retained = append.retention.bytes;
  if (append.retention.entries > 0 && state.top > append.retention.entries)
    state.first = std::max(state.first, state.top + 1 - append.retention.entries);
  return true;
}

void SqliteWriter::assign(SqliteOperation& operation, SqliteOperation::Follow& follow) {
  follow.result = {};
  SqliteChannel* const channel = operation.in_table = channels_.find(operation.channel, true);
  if (channel == nullptr) {
    follow.result.error = StoreError::unavailable;
    return;
  }
  if (!channel->is_stored) touch(*channel);
  follow.result.top = channel->top();
}

void SqliteWriter::assign(SqliteOperation& operation, SqliteOperation::RemoveHistory& remove) {
  SqliteChannel* const channel = operation.in_table = channels_.find(operation.channel, false);
  remove.error =
      channel == nullptr && channels_.code() != SQLITE_OK ? StoreError::unavailable : StoreError::none;
  if (channel == nullptr) return;
  channel->pending.first = channel->pending.top + 1;
  channel->pending.first_bytes = channel->pending.bytes;
  touch(*channel);
}

void SqliteWriter::assign(SqliteOperation& operation, SqliteOperation::ChangeMembers& change) {
  change.result = {};
  auto roster = members_.roster_of(operation.channel);
  if (roster) change.result.members = roster->members();
  if (change.users.empty() || (!change.is_added && !roster)) return;
  if (members_.unwritten() > kUnwrittenMembers) {
    change.result.error = StoreError::unavailable;
    return;
  }
  SqliteChannel* const channel = operation.in_table = channels_.find(operation.channel, true);
  if (channel == nullptr) {
    change.result.error = StoreError::unavailable;
    return;
  }
  touch(*channel);
  if (!roster) roster = members_.make_roster(operation.channel, channel->top());
  if (change.is_added) {
    if (!members_.inboxes().add(roster, change.users)) change.result.error = StoreError::full;
  } else {
    members_.inboxes().remove(*roster, change.users);
  }
  members_.note(operation.channel, change.users);
  change.result.members = roster->members();
}

void SqliteWriter::assign(SqliteOperation& operation, SqliteOperation::MarkRead& mark) {
  SqliteChannel* const channel = operation.in_table = channels_.find(operation.channel, false);
  mark.error = StoreError::none;
  if (channel == nullptr && channels_.code() != SQLITE_OK) {
    mark.error = StoreError::unavailable;
  } else if (mark.offset > (channel == nullptr ? 0 : channel->pending.top)) {
    mark.error = StoreError::conflict;
  } else if (members_.unwritten() > kUnwrittenMembers) {
    mark.error = StoreError::unavailable;
  } else if (const auto roster = members_.roster_of(operation.channel)) {
    members_.inboxes().mark_read(mark.user, *roster, mark.offset);
    members_.note(operation.channel, std::span(&mark.user, 1));
  }
}

void SqliteWriter::accept() {
  for (SqliteChannel* const channel : dirty_) channel->committed = channel->pending;
  if (options_.durability != Durability::async) {
    for (SqliteChannel* const channel : dirty_) channel->is_dirty = false;
  }
}

void SqliteWriter::roll_back() {
  for (SqliteChannel* const channel : dirty_) {
    channel->pending = channel->committed;
    channel->is_dirty = false;
    channel->lowest = 0;
  }
  dirty_.clear();
  group_keys_.clear();
  has_key_ = false;
}

// ---- in the database

/// Before something is acknowledged that is not written yet: else nobody would know that it may be lost.
bool SqliteWriter::mark_in_use() {
  if (!is_to_write()) return true;
  const int code = generation_.mark_in_use(connection_);
  if (code == SQLITE_OK) return true;
  note(code);
  return false;
}

/// An error that is not of a transaction.
void SqliteWriter::note(int code) {
  set_trouble(sqlite3_errstr(code));  // a rollback has taken the connection's own
  if ((code & 0xff) == SQLITE_IOERR) is_in_doubt_ = true;
}

/// The database is open, and nothing in it depends on what only the kernel has.
bool SqliteWriter::is_usable() {
  if (checkpoints_.take_failure()) is_in_doubt_ = true;
  return (connection_.is_open() && !is_in_doubt_) || reopen();
}

bool SqliteWriter::is_to_write() const { return !dirty_.empty() || has_key_ || members_.unwritten() > 0; }

SqliteOutcome SqliteWriter::write(Group group) {
  if (!is_to_write()) return SqliteOutcome::committed;
  if (!is_usable()) return SqliteOutcome::refused;
  const std::int64_t begin_ns = clock_.now_ns();
  const SqliteOutcome outcome = transaction_.write(group, dirty_, wall_ms_);
  commit_ns_ = clock_.now_ns() - begin_ns;
  if (outcome == SqliteOutcome::committed) {
    has_key_ = false;
    if (has_trouble_) set_trouble("");
  } else {
    set_trouble(transaction_.trouble());
    if (transaction_.has_disk_failed()) is_in_doubt_ = true;
  }
  return outcome;
}

void SqliteWriter::write_after_answer(Group group) {
  for (;;) {
    SqliteOutcome outcome = write(group);
    if (outcome == SqliteOutcome::unknown) {
      while (!reopen()) {
        if (!wait_to_retry()) break;
      }
      if (is_written()) {
        outcome = SqliteOutcome::committed;
        members_.accept();
      }
    }
    if (outcome == SqliteOutcome::committed) break;
    if (outcome == SqliteOutcome::unwritable && group.size() > 1) {  // one of them: each for itself
      for (std::size_t i = 0; i < group.size(); ++i) {
        if (write(group.subspan(i, 1)) != SqliteOutcome::committed) is_lossless_ = false;
      }
      break;
    }
    if (outcome == SqliteOutcome::unwritable || !wait_to_retry()) {
      is_lossless_ = false;  // the next run has new epochs
      break;
    }
  }
  for (SqliteChannel* const channel : dirty_) channel->is_dirty = false;
  has_key_ = false;
}

/// After a commit whose outcome is unknown: it is seen at the top of any channel that it has moved. Without
/// one it is written once more, which changes nothing.
bool SqliteWriter::is_written() {
  if (!connection_.is_open()) return false;
  const auto moved = std::find_if(dirty_.begin(), dirty_.end(),
                                  [](const SqliteChannel* channel) { return channel->group_appends > 0; });
  if (moved == dirty_.end()) return false;
  SqliteChannel written = **moved;
  return channels_.reload(written) == SQLITE_OK && written.is_stored &&
         written.committed.top == (*moved)->committed.top;
}

bool SqliteWriter::wait_to_retry() {
  queue_.take_after(refused_, kRetryMs);
  refuse(refused_);
  refused_.clear();
  if (!queue_.is_closed()) return true;
  const auto now = threads_.now();
  if (!last_tries_until_) last_tries_until_ = now + std::chrono::milliseconds(kLastTriesMs);
  if (now >= *last_tries_until_) return false;
  threads_.sleep(std::chrono::milliseconds(kRetryMs));
  return true;
}

bool SqliteWriter::reopen(bool is_in_doubt) {
  const auto alone = file_.close_all();
  release();
  try {
    connection_ = open_sqlite_connection(file_.path(), file_.vfs());
  } catch (const std::exception& error) {
    set_trouble(error.what());
    return false;
  }
  int code = SQLITE_OK;
  if (is_in_doubt) code = rewrite_sqlite_log(connection_);
  if (is_in_doubt && code == SQLITE_OK) code = connection_.execute("PRAGMA synchronous = FULL");
  if (is_in_doubt && code == SQLITE_OK)
    code = sqlite3_wal_checkpoint_v2(connection_.handle(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr,
                                     nullptr);
  if (code != SQLITE_OK) {
    set_trouble(sqlite3_errstr(code));
    connection_.close();
    return false;
  }
  if (!prepare()) {
    set_trouble(connection_.message());
    release();
    return false;
  }
  is_in_doubt_ = false;
  set_trouble("");
  return true;
}

void SqliteWriter::close() {
  if (connection_.is_open() && !is_in_doubt_) connection_.set_checkpoint_on_close(true);
  release();
}

void SqliteWriter::release() {
  channels_.release_statements();
  transaction_.release_statements();
  members_.release_statements();
  upkeep_.release_statements();
  connection_.close();
}

void SqliteWriter::settle_unknown(Group group) {
  // Publishers need not wait for it.
  std::vector<Offset> offsets;
  for (SqliteOperation& operation : group) {
    const auto* const append = std::get_if<SqliteOperation::Append>(&operation.what);
    const bool is_new = append != nullptr && append->result.error == StoreError::none &&
                        !append->result.is_duplicate && !append->is_ephemeral;
    offsets.push_back(is_new ? append->result.position.offset : 0);
  }
  const std::vector<SqliteChannel*> changed = dirty_;
  fail(group, StoreError::outcome_unknown);
  while (!reopen()) {
    if (!wait_to_retry()) break;
  }
  for (SqliteChannel* const channel : changed) {
    channel->is_dirty = false;
    if (!connection_.is_open() || channels_.reload(*channel) != SQLITE_OK)
      channel->pending = channel->committed;
  }
  dirty_.clear();
  has_key_ = false;
  for (std::size_t i = 0; i < group.size(); ++i) {
    if (offsets[i] == 0 || offsets[i] > group[i].in_table->committed.top) continue;
    auto& append = std::get<SqliteOperation::Append>(group[i].what);
    append.result.position.offset = offsets[i];
    announce(group[i], append);
  }
  set_trouble("");
}

// ---- answers

void SqliteWriter::announce(SqliteOperation& operation, SqliteOperation::Append& append) {
  SqliteChannel& channel = *operation.in_table;
  append.entry->offset = append.result.position.offset;
  if (append.entry->is_stored()) {
    if (const auto roster = members_.roster_of(operation.channel))
      append.result.members = members_.inboxes().on_appended(roster, append.entry->offset, append.mode);
  }
  if (channel.follows == 0) return;
  // With `async` it is still to be written.
  EntryRef entry = options_.durability == Durability::async ? append.entry : std::move(append.entry);
  listener_->on_announced(
      {operation.channel, channel.epoch, std::move(entry), append.mode, append.result.members, nullptr});
}

void SqliteWriter::announce(Group group) {
  for (SqliteOperation& operation : group) {
    if (auto* const append = std::get_if<SqliteOperation::Append>(&operation.what)) {
      if (append->result.error == StoreError::none && !append->result.is_duplicate)
        announce(operation, *append);
    } else if (auto* const follow = std::get_if<SqliteOperation::Follow>(&operation.what)) {
      if (operation.in_table != nullptr && !follow->is_only_top && follow->result.error == StoreError::none) {
        ++operation.in_table->follows;
        channels_.let_go(*operation.in_table);
      }
      if (const auto roster = members_.roster_of(operation.channel))
        follow->result.members = roster->members();
      follow->done(follow->result);
    } else if (std::holds_alternative<SqliteOperation::Unfollow>(operation.what)) {
      SqliteChannel* const channel = channels_.known(operation.channel);
      if (channel == nullptr || channel->follows == 0) continue;
      --channel->follows;
      channels_.let_go(*channel);
    }
  }
}

void SqliteWriter::answer(Group group) {
  // The first of an idempotency key is before its duplicates.
  for (SqliteOperation& operation : group) {
    auto* const append = std::get_if<SqliteOperation::Append>(&operation.what);
    if (append == nullptr || append->duplicate_of == SqliteOperation::kNoDuplicate) continue;
    append->result = std::get<SqliteOperation::Append>(group[append->duplicate_of].what).result;
    append->result.is_duplicate = append->result.error == StoreError::none;
  }
  for (SqliteOperation& operation : group) {
    auto* const append = std::get_if<SqliteOperation::Append>(&operation.what);
    if (append == nullptr || !append->result.is_duplicate) continue;
    if (const auto roster = members_.roster_of(operation.channel)) append->result.members = roster->members();
  }
  queue_.release(group);  // first: an answer may be the reason for the next call
  for (SqliteOperation& operation : group) {
    std::visit(
        [&](auto& what) {
          using What = std::decay_t<decltype(what)>;
          if constexpr (std::is_same_v<What, SqliteOperation::Append>) {
            what.done(what.result);
          } else if constexpr (std::is_same_v<What, SqliteOperation::RemoveHistory> ||
                               std::is_same_v<What, SqliteOperation::MarkRead>) {
            what.done(what.error);
          } else if constexpr (std::is_same_v<What, SqliteOperation::ChangeMembers>) {
            what.done(what.result);
          } else if constexpr (std::is_same_v<What, SqliteOperation::Barrier>) {
            what.done(what.error);
          }
        },
        operation.what);
  }
}

void SqliteWriter::fail(Group group, StoreError error) {
  for (SqliteOperation& operation : group) {
    std::visit(
        [&](auto& what) {
          using What = std::decay_t<decltype(what)>;
          if constexpr (std::is_same_v<What, SqliteOperation::Append>) {
            // A duplicate of a publication that is in the database stays one.
            if (what.result.is_duplicate && what.duplicate_of == SqliteOperation::kNoDuplicate) return;
            what.duplicate_of = SqliteOperation::kNoDuplicate;
            what.result = {.error = error};
          } else if constexpr (std::is_same_v<What, SqliteOperation::RemoveHistory>) {
            what.error = error;
          } else if constexpr (std::is_same_v<What, SqliteOperation::Follow>) {
            if (operation.in_table != nullptr)
              what.result.top = {operation.in_table->epoch, operation.in_table->committed.top};
          } else if constexpr (std::is_same_v<What, SqliteOperation::ChangeMembers> ||
                               std::is_same_v<What, SqliteOperation::MarkRead>) {
            // It is carried out in memory, and will be in the database when that can be written.
            if constexpr (std::is_same_v<What, SqliteOperation::MarkRead>) {
              if (what.error == StoreError::none) what.error = StoreError::outcome_unknown;
            } else {
              if (what.result.error == StoreError::none && !what.users.empty())
                what.result.error = StoreError::outcome_unknown;
            }
          }
        },
        operation.what);
  }
  // Follows and unfollows are carried out: they need no database.
  announce(group);
  answer(group);
}

void SqliteWriter::refuse(Group operations, StoreError error) {
  for (SqliteOperation& operation : operations) {
    std::visit(
        [&](auto& what) {
          using What = std::decay_t<decltype(what)>;
          if constexpr (std::is_same_v<What, SqliteOperation::Append>) {
            what.result = {.error = error};
          } else if constexpr (std::is_same_v<What, SqliteOperation::Follow>) {
            operation.in_table = channels_.known(operation.channel);
            if (operation.in_table == nullptr || error == StoreError::closed) {
              what.result.error = error;
            } else {
              what.result.top = {operation.in_table->epoch, operation.in_table->committed.top};
            }
          } else if constexpr (std::is_same_v<What, SqliteOperation::ChangeMembers>) {
            what.result.error = error;
          } else if constexpr (std::is_same_v<What, SqliteOperation::MarkRead> ||
                               std::is_same_v<What, SqliteOperation::RemoveHistory> ||
                               std::is_same_v<What, SqliteOperation::Barrier>) {
            what.error = error;
          }
        },
        operation.what);
  }
  announce(operations);
  answer(operations);
}

// ---- the WAL, and the end

void SqliteWriter::bound_wal() {
  const std::size_t bytes = wal_bytes();
  if (bytes < checkpoint_asked_) checkpoint_asked_ = bound_from_ = 0;  // it has begun anew
  if (bytes >= std::max(options_.wal_bytes, bound_from_) && connection_.is_open()) {
    // The background has copied most of it; nothing is added while the rest is copied here.
    const auto alone = checkpoints_.pause();
    // Somebody may read for long, as a backup does: publishers do not wait for that.
    const SqliteNoWait no_wait(connection_);
    int left = 0;
    bound_from_ = bytes + kCheckpointBytes;
    const int code =
        sqlite3_wal_checkpoint_v2(connection_.handle(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, &left, nullptr);
    if (code == SQLITE_OK && left <= 0) wal_bytes_ = checkpoint_asked_ = bound_from_ = 0;
    if ((code & 0xff) == SQLITE_IOERR) note(code);
  } else if (bytes >= checkpoint_asked_ + std::min(kCheckpointBytes, options_.wal_bytes / 2)) {
    checkpoint_asked_ = bytes;
    checkpoints_.request();
  }
}

bool SqliteWriter::finish() {
  if (!is_usable()) return false;
  if (members_.unwritten() > 0 && write({}) != SqliteOutcome::committed) return false;
  // Without the mark the next run has new epochs where something may be lost.
  if (!is_lossless_) return true;
  const int code = generation_.mark_clean(connection_);
  if (code != SQLITE_OK) note(code);
  return code == SQLITE_OK || options_.durability == Durability::full;
}

}  // namespace carillon
