#include "store/sqlite/sqlite_store.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "store/sqlite/sqlite_checkpoints.hpp"
#include "store/sqlite/sqlite_file.hpp"
#include "store/sqlite/sqlite_generation.hpp"
#include "store/sqlite/sqlite_lock_file.hpp"
#include "store/sqlite/sqlite_members.hpp"
#include "store/sqlite/sqlite_queue.hpp"
#include "store/sqlite/sqlite_reader.hpp"
#include "store/sqlite/sqlite_schema.hpp"
#include "store/sqlite/sqlite_writer.hpp"

namespace carillon {

namespace {
/// Beyond this number the members of one call are changed by several transactions: publishes run in between.
constexpr std::size_t kMembersPerTransaction = 1'024;

SqliteConnection prepare_and_open(const SqliteOptions& options) {
  prepare_sqlite_file(options.path, options.vfs);
  return open_sqlite_connection(options.path, options.vfs);
}
}  // namespace

// Destroyed from below: the lock is released last.
struct SqliteStore::Parts {
  Parts(const SqliteOptions& options, const Clock& clock, RandomSource& random, const NameHash& hash)
      : lock(options.path),
        file(options.path, options.vfs),
        first(prepare_and_open(options)),
        generation(first, options, random),
        members(hash, options.inbox_entries, options.inbox_bytes_total),
        checkpoints(file),
        reader(file, generation, clock, options.waiting_calls),
        queue(options),
        writer(options, clock, random, file, with_members(options), generation, members, checkpoints, queue,
               hash) {}

  SqliteConnection with_members(const SqliteOptions& options) {
    if (members.load(first, generation) != SQLITE_OK)
      throw std::runtime_error("sqlite:" + options.path + ": the members cannot be read (" + first.message() +
                               "); check the file with `carillon store check`");
    return std::move(first);
  }

  SqliteLockFile lock;
  SqliteFile file;
  SqliteConnection first;  // the writer's in the end
  SqliteGeneration generation;
  SqliteMembers members;
  SqliteCheckpoints checkpoints;
  SqliteReader reader;
  SqliteQueue queue;
  SqliteWriter writer;
};

SqliteStore::SqliteStore(const SqliteOptions& options, const Clock& clock, RandomSource& random)
    : options_(options),
      clock_(clock),
      random_(random),
      hash_(random),
      presence_(hash_),
      forks_(forks_of_process()),
      parts_(std::make_unique<Parts>(options_, clock_, random_, hash_)) {}

SqliteStore::~SqliteStore() {
  if (forks_ != forks_of_process()) {
    // Neither its threads nor its locks are here: closing it would damage what the parent goes on with.
    static_cast<void>(parts_.release());
    return;
  }
  close();
}

bool SqliteStore::is_out_of_use() const {
  return is_closed_.load(std::memory_order_acquire) || forks_ != forks_of_process();
}

void SqliteStore::set_listener(StoreListener* listener) { parts_->writer.start(listener); }

void SqliteStore::close() {
  if (forks_ != forks_of_process()) return;
  const std::lock_guard lock(closing_);
  if (!parts_ || is_closed_.exchange(true)) return;
  parts_->queue.close();
  parts_->writer.join();
  parts_->reader.stop();
  parts_->checkpoints.stop();
  // Calls that have begun may still use the queue and the members; the database is closed for all of them.
  parts_->writer.close();
  static_cast<void>(parts_->file.close_all());
  parts_->lock.release();
}

// ---- the log

void SqliteStore::append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                         std::function<void(const AppendResult&)> done) {
  SqliteOperation::Append append;
  append.is_ephemeral = options.is_ephemeral;
  append.key = options.idempotency_key;
  append.expected_offset = options.expected_offset;
  append.version = options.version.number;
  append.version_epoch = options.version.epoch;
  append.retention = options.retention;
  append.mode = options.mode;
  append.done = std::move(done);
  const std::size_t bytes = entry->cost_bytes();
  append.entry = std::move(entry);
  SqliteOperation operation{std::string(channel), std::move(append), bytes};
  const StoreError error = is_out_of_use() ? StoreError::closed : parts_->queue.push(operation);
  if (error != StoreError::none) std::get<SqliteOperation::Append>(operation.what).done({.error = error});
}

void SqliteStore::follow(std::string_view channel, std::function<void(const TopResult&)> done) {
  SqliteOperation operation{std::string(channel), SqliteOperation::Follow{std::move(done)}};
  const StoreError error = is_out_of_use() ? StoreError::closed : parts_->queue.push(operation);
  if (error != StoreError::none) std::get<SqliteOperation::Follow>(operation.what).done({.error = error});
}

void SqliteStore::unfollow(std::string_view channel) {
  SqliteOperation operation{std::string(channel), SqliteOperation::Unfollow{}};
  if (!is_out_of_use()) static_cast<void>(parts_->queue.push(operation));
}

void SqliteStore::top(std::string_view channel, std::function<void(const TopResult&)> done) {
  SqliteOperation operation{std::string(channel),
                            SqliteOperation::Follow{.done = std::move(done), .is_only_top = true}};
  const StoreError error = is_out_of_use() ? StoreError::closed : parts_->queue.push(operation);
  if (error != StoreError::none) std::get<SqliteOperation::Follow>(operation.what).done({.error = error});
}

void SqliteStore::read(std::string_view channel, const ReadRange& range,
                       std::function<void(const Page&)> done) {
  SqliteReader::Read read{std::string(channel), range, std::move(done)};
  if (is_out_of_use()) return read.done({.error = StoreError::closed});
  if (options_.durability != Durability::async) {
    const StoreError error = parts_->reader.push(read);
    if (error != StoreError::none) read.done({.error = error});
    return;
  }
  // What has been announced may not be written yet.
  const auto shared = std::make_shared<SqliteReader::Read>(std::move(read));
  SqliteOperation operation{{}, SqliteOperation::Barrier{[this, shared] {
                              const StoreError error = parts_->reader.push(*shared);
                              if (error != StoreError::none) shared->done({.error = error});
                            }}};
  const StoreError error = parts_->queue.push(operation);
  if (error != StoreError::none) shared->done({.error = error});
}

void SqliteStore::remove_history(std::string_view channel, std::function<void(StoreError)> done) {
  SqliteOperation operation{std::string(channel), SqliteOperation::RemoveHistory{std::move(done)}};
  const StoreError error = is_out_of_use() ? StoreError::closed : parts_->queue.push(operation);
  if (error != StoreError::none) std::get<SqliteOperation::RemoveHistory>(operation.what).done(error);
}

// ---- presence

void SqliteStore::add_presence(std::string_view channel, const PresenceMember& member) {
  const HashedName name = hash_.of(channel);
  PresenceStripe& stripe = presence_.of(name);
  const std::lock_guard lock(stripe.mutex);
  stripe.table.add(name, member);
}

void SqliteStore::remove_presence(std::string_view channel, std::string_view client) {
  const HashedName name = hash_.of(channel);
  PresenceStripe& stripe = presence_.of(name);
  const std::lock_guard lock(stripe.mutex);
  stripe.table.remove(name, client);
}

void SqliteStore::presence(std::string_view channel, const PresencePage& page,
                           std::function<void(const PresenceResult&)> done) {
  PresenceResult result;
  {
    const HashedName name = hash_.of(channel);
    const PresenceStripe& stripe = presence_.of(name);
    const std::lock_guard lock(stripe.mutex);
    result = stripe.table.page(name, page);
  }
  done(result);
}

void SqliteStore::presence_counts(std::string_view channel, std::function<void(const PresenceCounts&)> done) {
  PresenceCounts counts;
  {
    const HashedName name = hash_.of(channel);
    const PresenceStripe& stripe = presence_.of(name);
    const std::lock_guard lock(stripe.mutex);
    counts = stripe.table.counts(name);
  }
  done(counts);
}

// ---- members and inboxes

void SqliteStore::change_members(std::string_view channel, std::span<const std::string> users, bool is_added,
                                 std::function<void(const MembersResult&)> done) {
  const std::span<const std::string> now = users.first(std::min(users.size(), kMembersPerTransaction));
  SqliteOperation::ChangeMembers change{{now.begin(), now.end()}, is_added, std::move(done)};
  const std::span<const std::string> later = users.subspan(now.size());
  if (!later.empty()) {
    auto rest = std::make_shared<std::vector<std::string>>(later.begin(), later.end());
    change.done = [this, name = std::string(channel), rest = std::move(rest), is_added,
                   last = std::move(change.done)](const MembersResult& result) {
      if (result.error != StoreError::none) return last(result);
      change_members(name, *rest, is_added, last);
    };
  }
  SqliteOperation operation{std::string(channel), std::move(change)};
  const StoreError error = is_out_of_use() ? StoreError::closed : parts_->queue.push(operation);
  if (error != StoreError::none)
    std::get<SqliteOperation::ChangeMembers>(operation.what).done({.error = error});
}

void SqliteStore::add_members(std::string_view channel, std::span<const std::string> users,
                              std::function<void(const MembersResult&)> done) {
  change_members(channel, users, true, std::move(done));
}

void SqliteStore::remove_members(std::string_view channel, std::span<const std::string> users,
                                 std::function<void(const MembersResult&)> done) {
  change_members(channel, users, false, std::move(done));
}

void SqliteStore::members(std::string_view channel, std::string_view after, std::size_t limit,
                          std::function<void(const MembersResult&)> done) {
  MembersResult result;
  if (const auto roster = parts_->members.roster_of(channel)) {
    result.members = roster->members();
    result.users = MemoryInboxes::members(*roster, after, limit);
  }
  done(result);
}

void SqliteStore::enter(std::string_view channel, std::size_t members_max,
                        std::function<void(const EnterResult&)> done) {
  EnterResult result;
  if (const auto roster = parts_->members.roster_of(channel)) {
    result.step = parts_->members.inboxes().enter(*roster, members_max);
  } else {
    result.step = {.entered = 0, .entered_to = std::numeric_limits<Offset>::max(), .is_done = true};
  }
  done(result);
}

void SqliteStore::unread(std::string_view user, std::string_view channel,
                         std::function<void(const UnreadResult&)> done) {
  UnreadResult result;
  if (const auto roster = parts_->members.roster_of(channel))
    result.publications = parts_->members.inboxes().unread(user, *roster);
  done(result);
}

void SqliteStore::inbox(std::string_view user, std::size_t limit,
                        std::function<void(const InboxResult&)> done) {
  done({StoreError::none, parts_->members.inboxes().inbox(user, limit)});
}

void SqliteStore::mark_read(std::string_view user, std::string_view channel, Offset offset,
                            std::function<void(StoreError)> done) {
  SqliteOperation operation{std::string(channel),
                            SqliteOperation::MarkRead{std::string(user), offset, std::move(done)}};
  const StoreError error = is_out_of_use() ? StoreError::closed : parts_->queue.push(operation);
  if (error != StoreError::none) std::get<SqliteOperation::MarkRead>(operation.what).done(error);
}

void SqliteStore::keep_house() {
  if (!is_out_of_use()) parts_->queue.ask_for_house_keeping();
}

// ---- what it says of itself

std::string SqliteStore::trouble() const { return parts_->writer.trouble(); }
std::size_t SqliteStore::wal_bytes() const { return parts_->writer.wal_bytes(); }
std::size_t SqliteStore::inbox_bytes() const { return parts_->members.inboxes().bytes(); }
std::size_t SqliteStore::inbox_users() const { return parts_->members.inboxes().users(); }
bool SqliteStore::has_new_epochs() const { return parts_->generation.is_new(); }

}  // namespace carillon
