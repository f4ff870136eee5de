#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "env/name_hash.hpp"
#include "env/random.hpp"
#include "store/memory_inboxes.hpp"
#include "store/owned_store.hpp"
#include "store/presence_table.hpp"
#include "store/sqlite/sqlite_limits.hpp"
#include "store/sqlite/sqlite_options.hpp"

namespace carillon {

class SqliteLockFile;

/// The store of a single hub in an SQLite database: publications, members and read positions outlive the
/// process. Presence does not. One thread writes and commits for all channels, one reads, one checkpoints;
/// all callbacks come from them.
class SqliteStore final : public OwnedStore {
 public:
  SqliteStore(const SqliteOptions& options, const Clock& clock, RandomSource& random);
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;
  /// In a forked child it leaves all as it is: the database is the parent's.
  ~SqliteStore() override;

  void set_listener(StoreListener* listener) override { listener_ = listener; }
  /// Opens the database, or makes it.
  void open() override;
  void restore(const StoreState& state, Descriptor descriptor) override;
  void begin() override;
  [[nodiscard]] std::unique_ptr<HeldStore> hold_still(Time until) override;
  void set_limits(const StoreLimits& limits) override;
  [[nodiscard]] StoreFigures figures() const override;
  [[nodiscard]] bool keeps_entries() const override { return true; }
  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override;
  void follow(std::string_view channel, std::function<void(const TopResult&)> done) override;
  void unfollow(std::string_view channel) override;
  void top(std::string_view channel, std::function<void(const TopResult&)> done) override;
  void read(std::string_view channel, const ReadRange& range, std::function<void(const Page&)> done) override;
  void remove_history(std::string_view channel, std::function<void(StoreError)> done) override;
  void add_presence(std::string_view channel, const PresenceMember& member) override;
  void remove_presence(std::string_view channel, std::string_view client) override;
  void presence(std::string_view channel, const PresencePage& page,
                std::function<void(const PresenceResult&)> done) override;
  void presence_counts(std::string_view channel, std::function<void(const PresenceCounts&)> done) override;
  void add_members(std::string_view channel, std::span<const std::string> users,
                   std::function<void(const MembersResult&)> done) override;
  void remove_members(std::string_view channel, std::span<const std::string> users,
                      std::function<void(const MembersResult&)> done) override;
  void members(std::string_view channel, std::string_view after, std::size_t limit,
               std::function<void(const MembersResult&)> done) override;
  void enter(std::string_view channel, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override;
  void unread(std::string_view user, std::string_view channel,
              std::function<void(const UnreadResult&)> done) override;
  void inbox(std::string_view user, std::size_t limit, std::function<void(const InboxResult&)> done) override;
  void mark_read(std::string_view user, std::string_view channel, Offset offset,
                 std::function<void(StoreError)> done) override;
  void keep_house() override;
  void close() override;

  /// Of the file, with its whole path: two stores with the same one share it.
  [[nodiscard]] std::string url() const;

 private:
  struct Parts;  // of the database, with the threads
  class Held;
  struct PresenceStripe {
    explicit PresenceStripe(const NameHash& hash) : table(hash) {}
    mutable std::mutex mutex;
    PresenceTable table;
  };

  void open_with(std::unique_ptr<SqliteLockFile> lock);
  [[nodiscard]] StoreState save() const;
  /// The database is not open, or it is that of the parent process.
  [[nodiscard]] bool is_out_of_use() const;
  [[nodiscard]] std::shared_ptr<MemoryInboxes::Roster> roster_of(std::string_view channel) const;
  void change_members(std::string_view channel, std::span<const std::string> users, bool is_added,
                      std::function<void(const MembersResult&)> done);

  const SqliteOptions options_;
  const Clock& clock_;
  RandomSource& random_;
  const NameHash hash_;
  Stripes<PresenceStripe, 16> presence_;
  const std::uint64_t forks_;  // of the process that has opened it
  SqliteLimits limits_;
  StoreListener* listener_ = nullptr;
  std::atomic<bool> is_closed_{true};
  mutable std::mutex closing_;
  std::unique_ptr<Parts> parts_;  // null: it has not been opened
};

}  // namespace carillon
