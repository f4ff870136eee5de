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
#include "store/presence_table.hpp"
#include "store/sqlite/sqlite_options.hpp"
#include "store/store.hpp"

namespace carillon {

/// The store of a single hub in an SQLite database: publications, members and read positions outlive the
/// process. Presence does not. One thread writes and commits for all channels, one reads, one checkpoints;
/// all callbacks come from them.
class SqliteStore final : public Store {
 public:
  /// Opens the database, or makes it. Throws std::runtime_error with a sentence that says what to do.
  SqliteStore(const SqliteOptions& options, const Clock& clock, RandomSource& random);
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;
  /// In a forked child it leaves all as it is: the database is the parent's.
  ~SqliteStore() override;

  void set_listener(StoreListener* listener) override;
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

  /// Why appends fail now, for /health; empty: they do not.
  [[nodiscard]] std::string trouble() const;
  /// Size of the part of the WAL that is in use, bytes.
  [[nodiscard]] std::size_t wal_bytes() const;
  /// Memory of members and inboxes, and the number of users that have one.
  [[nodiscard]] std::size_t inbox_bytes() const;
  [[nodiscard]] std::size_t inbox_users() const;
  /// All channels have new epochs since it was opened: the last run may have lost what it had acknowledged.
  [[nodiscard]] bool has_new_epochs() const;

 private:
  struct Parts;  // of the database, with the threads
  struct PresenceStripe {
    explicit PresenceStripe(const NameHash& hash) : table(hash) {}
    mutable std::mutex mutex;
    PresenceTable table;
  };

  /// The database is closed, or it is that of the parent process.
  [[nodiscard]] bool is_out_of_use() const;
  void change_members(std::string_view channel, std::span<const std::string> users, bool is_added,
                      std::function<void(const MembersResult&)> done);

  const SqliteOptions options_;
  const Clock& clock_;
  RandomSource& random_;
  const NameHash hash_;
  Stripes<PresenceStripe, 16> presence_;
  const std::uint64_t forks_;  // of the process that has opened it
  std::atomic<bool> is_closed_{false};
  std::mutex closing_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace carillon
