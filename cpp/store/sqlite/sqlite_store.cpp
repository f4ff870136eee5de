#include "store/sqlite/sqlite_store.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include "env/process_forks.hpp"
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

std::unique_ptr<SqliteLockFile> lock_of(const SqliteOptions& options) {
  return options.is_in_vfs_only ? std::make_unique<SqliteLockFile>(SqliteLockFile::Nothing{})
                                : std::make_unique<SqliteLockFile>(options.path);
}

SqliteConnection prepare_and_open(const SqliteOptions& options) {
  prepare_sqlite_file(options.path, options.vfs, options.is_in_vfs_only);
  return open_sqlite_connection(options.path, options.vfs);
}
}  // namespace

// Destroyed from below: the lock is released last.
struct SqliteStore::Parts {
  Parts(std::unique_ptr<SqliteLockFile> lock_file, const SqliteOptions& options, const SqliteLimits& limits,
        const Clock& clock, RandomSource& random, const NameHash& hash)
      : lock(std::move(lock_file)),
        file(options),
        first(prepare_and_open(options)),
        generation(first, options, random),
        members(hash, options.limits.inbox_entries, options.limits.inbox_bytes_total),
        checkpoints(file, *options.threads),
        reader(file, generation, clock, options.waiting_calls, *options.threads),
        queue(options),
        writer(options, limits, clock, random, file, with_members(options), generation, members, checkpoints,
               queue, hash) {
    file.remember();
  }

  SqliteConnection with_members(const SqliteOptions& options) {
    if (members.load(first, generation) != SQLITE_OK)
      throw std::runtime_error("sqlite:" + options.path + ": the members cannot be read (" + first.message() +
                               "); check the file with `carillon store check`");
    return std::move(first);
  }

  std::unique_ptr<SqliteLockFile> lock;
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
      limits_(options.limits) {}

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

void SqliteStore::open() {
  try {
    open_with(lock_of(options_));
    begin();
  } catch (const std::runtime_error& error) {
    throw StoreRefused(error.what());
  }
}

void SqliteStore::open_with(std::unique_ptr<SqliteLockFile> lock) {
  const std::lock_guard closing(closing_);
  parts_ = std::make_unique<Parts>(std::move(lock), options_, limits_, clock_, random_, hash_);
  is_closed_.store(false, std::memory_order_release);
}

void SqliteStore::begin() {
  parts_->lock->set_own(true);
  parts_->writer.start(listener_);
}

void SqliteStore::close() {
  if (forks_ != forks_of_process()) return;
  const std::lock_guard lock(closing_);
  if (!parts_ || is_closed_.exchange(true)) return;
  parts_->queue.close();
  parts_->writer.join();
  parts_->reader.stop();
  parts_->checkpoints.stop();
  // Calls that have begun may still use the queue and the members; the database is closed for all of them.
  static_cast<void>(parts_->file.close_all());
  parts_->writer.close();
  parts_->lock->release();
}

// ---- from one process to another

std::string SqliteStore::url() const {
  std::error_code ignored;
  return "sqlite:" + std::filesystem::weakly_canonical(options_.path, ignored).string();
}

void SqliteStore::restore(const StoreState& state, Descriptor descriptor) {
  if (state.url != url())
    throw StoreRefused("store.url: the running server has its logs in " + state.url +
                       ", and this one would in " + url() +
                       "; give the same store, or let the clients leave (SIGTERM) and start anew");
  try {
    open_with(options_.is_in_vfs_only
                  ? lock_of(options_)
                  : std::make_unique<SqliteLockFile>(options_.path, std::move(descriptor)));
  } catch (const std::runtime_error& error) {
    throw StoreRefused(error.what());
  }
  for (const StoreState::Member& saved : state.presence) add_presence(saved.channel, saved.member);
}

StoreState SqliteStore::save() const {
  StoreState state;
  state.url = url();
  for (const PresenceStripe& stripe : presence_) {
    const std::lock_guard lock(stripe.mutex);
    stripe.table.visit([&](const std::string& channel, const PresenceMember& member) {
      state.presence.push_back({channel, member});
    });
  }
  return state;
}

class SqliteStore::Held final : public HeldStore {
 public:
  explicit Held(SqliteStore& store) : store_(store) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() override {
    if (is_given_away_) return;
    store_.parts_->lock->register_holder();  // the other process has written its own number
    store_.parts_->writer.go_on();
  }
  [[nodiscard]] StoreState save() const override { return store_.save(); }
  [[nodiscard]] int descriptor() const override { return store_.parts_->lock->descriptor(); }
  void give_away() noexcept override {
    is_given_away_ = true;
    store_.parts_->writer.give_away();
    store_.parts_->lock->set_own(false);
    store_.close();
  }

 private:
  SqliteStore& store_;
  bool is_given_away_ = false;
};

std::unique_ptr<HeldStore> SqliteStore::hold_still(Time until) {
  if (is_out_of_use()) throw StoreRefused("the store is closed");
  if (const std::string why_not = parts_->writer.hold_still(until); !why_not.empty())
    throw StoreRefused("the store cannot be handed over now: " + why_not);
  return std::make_unique<Held>(*this);
}

void SqliteStore::set_limits(const StoreLimits& limits) {
  limits_.set(limits);
  if (parts_) parts_->members.inboxes().set_limits(limits.inbox_entries, limits.inbox_bytes_total);
}

StoreFigures SqliteStore::figures() const {
  const std::unique_lock lock(closing_, std::try_to_lock);
  StoreFigures figures;
  if (!lock.owns_lock()) figures.trouble = "the store is being opened or closed";
  if (!lock.owns_lock() || !parts_) return figures;
  figures.inbox_bytes = parts_->members.inboxes().bytes();
  figures.inbox_users = parts_->members.inboxes().users();
  figures.wal_bytes = parts_->writer.wal_bytes();
  figures.has_new_epochs = parts_->generation.is_new();
  figures.trouble = parts_->writer.trouble();
  return figures;
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
  SqliteOperation operation{{}, SqliteOperation::Barrier{[this, shared](StoreError error) {
                              if (error == StoreError::none) error = parts_->reader.push(*shared);
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

std::shared_ptr<MemoryInboxes::Roster> SqliteStore::roster_of(std::string_view channel) const {
  return parts_ ? parts_->members.roster_of(channel) : nullptr;
}

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
  if (const auto roster = roster_of(channel)) {
    result.members = roster->members();
    result.users = MemoryInboxes::members(*roster, after, limit);
  }
  done(result);
}

void SqliteStore::enter(std::string_view channel, std::size_t members_max,
                        std::function<void(const EnterResult&)> done) {
  EnterResult result;
  if (const auto roster = roster_of(channel)) {
    result.step = parts_->members.inboxes().enter(*roster, members_max);
  } else {
    result.step = {.entered = 0, .entered_to = std::numeric_limits<Offset>::max(), .is_done = true};
  }
  done(result);
}

void SqliteStore::unread(std::string_view user, std::string_view channel,
                         std::function<void(const UnreadResult&)> done) {
  UnreadResult result;
  if (const auto roster = roster_of(channel))
    result.publications = parts_->members.inboxes().unread(user, *roster);
  done(result);
}

void SqliteStore::inbox(std::string_view user, std::size_t limit,
                        std::function<void(const InboxResult&)> done) {
  if (!parts_) return done({.error = StoreError::closed, .content = {}});
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
  if (is_out_of_use()) return;
  if (!parts_->lock->is_in_force())
    parts_->writer.forbid(options_.path +
                          "-lock was removed or replaced, so that another server may use the database: stop "
                          "all that do, and start one");
  if (!parts_->file.is_in_place())
    parts_->writer.forbid(
        options_.path +
        " was removed, moved or replaced, so that what is published would be lost with this "
        "process: stop it, put the file back or restore a copy, and start again");
  parts_->queue.ask_for_house_keeping();
}

}  // namespace carillon
