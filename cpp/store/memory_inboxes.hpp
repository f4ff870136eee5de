#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "env/name_hash.hpp"
#include "store/fan_out_mode.hpp"
#include "store/inbox.hpp"
#include "store/offset_ranges.hpp"
#include "store/store_state.hpp"

namespace carillon {

/// Members, inboxes and read positions in memory. The unread publications of a user in a channel lie between
/// the read position and the channel's top (or the offset at which the user was removed). The inbox holds
/// those entered at publish, as runs of offsets; the others are merged from the log. Thread-safe.
///
/// Locks, outer first: the store's, a roster's, `reading_`'s, a user stripe's.
class MemoryInboxes {
 private:
  struct User;

 public:
  /// A channel with members, or with former members that have unread publications.
  class Roster {
   public:
    Roster(std::uint32_t number, std::string channel, Position top)
        : number_(number), channel_(std::move(channel)), epoch_(top.epoch), top_(top.offset) {}
    [[nodiscard]] std::size_t members() const { return count_.load(); }
    /// There are no members, and no former members with unread publications.
    [[nodiscard]] bool is_unused() const { return memberships_.load() == 0; }

   private:
    friend class MemoryInboxes;

    const std::uint32_t number_;
    const std::string channel_;
    const Epoch epoch_;
    // A new member is counted first and then reads the top; an append moves the top first and then reads the
    // count. So either the member starts behind that publication, or gets it in the inbox.
    std::atomic<std::size_t> count_{0};
    std::atomic<Offset> top_;
    std::atomic<Offset> last_read_mode_{0};  // newest offset published in read mode
    std::atomic<Offset> to_enter_{0};        // newest offset published for members in write mode
    std::atomic<std::size_t> memberships_{0};

    mutable std::mutex mutex_;
    // All below is guarded by the mutex.
    std::vector<User*> members_;  // [0, walked_) have the publications of the current walk
    std::size_t walked_ = 0;
    OffsetRange walk_;                  // under way, so it no longer grows
    Offset entered_ = 0;                // everything up to here has been entered
    mutable std::mutex waiting_mutex_;  // a publisher does not wait for a walk
    OffsetRanges waiting_;              // published in write mode, and of no walk yet
    Offset newest_waiting_ = 0;         // that has been added to them
  };

  /// An inbox holds at most `inbox_entries` publications, and all inboxes take about `bytes_total`. Beyond
  /// that new members are refused, publications are merged from the logs instead of entered, and unread
  /// publications of removed members are forgotten.
  MemoryInboxes(std::size_t inbox_entries, std::size_t bytes_total, const NameHash& hash);
  ~MemoryInboxes();
  /// Inboxes that are above them shrink when they are next written to.
  void set_limits(std::size_t inbox_entries, std::size_t bytes_total) {
    inbox_entries_ = inbox_entries;
    bytes_total_ = bytes_total;
  }

  [[nodiscard]] std::shared_ptr<Roster> make_roster(std::string channel, Position top);
  /// The store has assigned `offset`; call it in order. Returns the number of members of the channel.
  std::size_t on_appended(const std::shared_ptr<Roster>& roster, Offset offset, FanOutMode mode);

  /// False: there is not enough memory for all of them; those before the first that was refused are members.
  [[nodiscard]] bool add(const std::shared_ptr<Roster>& roster, std::span<const std::string> users);
  void remove(Roster& roster, std::span<const std::string> users);
  [[nodiscard]] static std::vector<std::string> members(const Roster& roster, std::string_view after,
                                                        std::size_t limit);
  EnterStep enter(Roster& roster, std::size_t members_max);
  [[nodiscard]] std::uint64_t unread(std::string_view user, const Roster& roster) const;
  [[nodiscard]] InboxContent inbox(std::string_view user, std::size_t limit) const;
  void mark_read(std::string_view user, const Roster& roster, Offset offset);

  /// What a user is a member of, and how far it has read: what must outlive the process.
  struct Standing {
    struct Membership {
      std::string channel;
      Offset read = 0;
      std::optional<Offset> until;  ///< of a removed member: the newest publication that it gets
    };
    std::vector<Membership> memberships;  ///< of one channel in order of time
    bool is_incomplete = false;
  };
  /// In one channel; in all of them if the user is incomplete, because then others have been forgotten.
  [[nodiscard]] Standing standing(std::string_view user, std::string_view channel) const;

  /// Memory of users, memberships and inboxes, as far as they are counted.
  [[nodiscard]] std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  /// Number of users that are members of a channel, or have unread publications of one.
  [[nodiscard]] std::size_t users() const { return users_.load(std::memory_order_relaxed); }

  /// While no other call runs. The rest of a walk is merged after the restore.
  [[nodiscard]] MemoryInboxesState save() const;
  /// Into an empty object; `roster_of` returns the roster of a channel.
  void restore(const MemoryInboxesState& state,
               const std::function<std::shared_ptr<Roster>(const std::string&)>& roster_of);

 private:
  static constexpr Offset kStill = std::numeric_limits<Offset>::max();  // still a member
  static constexpr std::size_t kStripes = 64;

  struct Membership {
    std::shared_ptr<Roster> roster;
    Offset read = 0;  ///< everything up to here is read, or older than the membership
    Offset until = kStill;
    Offset merged_to = 0;    ///< up to here the runs are not complete, because of the bound
    std::uint32_t slot = 0;  ///< among the roster's members, while it is one

    [[nodiscard]] std::uint32_t number() const { return roster->number_; }
    [[nodiscard]] bool is_merged() const { return until != kStill || merged_to > read; }
  };
  struct Run {
    Offset first = 0;
    std::uint32_t count = 0;
    std::uint32_t roster = 0;  ///< its number
    [[nodiscard]] Offset end() const { return first + count; }
  };
  struct User {
    const std::string* name = nullptr;
    std::vector<Membership> memberships;  ///< by number of the roster, then in order of time
    std::vector<Run> runs;                ///< oldest first, from `begin` on
    std::size_t begin = 0;
    std::size_t entered = 0;  ///< publications in the runs
    std::uint32_t stripe = 0;
    bool has_merged = false;  ///< some membership is_merged()
    bool is_incomplete = false;
  };
  using Users = NameTable<User>;
  struct Stripe {
    explicit Stripe(const NameHash& hash) : users(hash) {}
    mutable std::mutex mutex;
    Users users;
  };

  /// A roster with publications in read mode.
  struct Reading {
    std::uint32_t roster_number = 0;
    std::weak_ptr<Roster> roster;
    [[nodiscard]] std::uint32_t number() const { return roster_number; }
  };

  /// The offsets of one membership to merge: those from `next` to `last` that are in no run.
  struct Visit {
    const Membership* membership = nullptr;
    Offset next = 0;
    Offset last = 0;
    std::vector<std::pair<Offset, Offset>> ranges;  // first and last
    [[nodiscard]] std::uint32_t number() const { return membership->number(); }
  };

  /// The user's memberships of one channel; more than one if the user was removed and added again.
  template <typename AnyUser>
  static auto memberships_of(AnyUser& user, std::uint32_t roster);
  void enter(User& user, const Roster& roster, Offset first, Offset last) const;
  void shorten(User& user) const;
  void close(User& user, Roster& roster);
  void forget_oldest_removed(User& user) const;
  void free_slot(Roster& roster, std::size_t slot);
  void move_slot(Roster& roster, std::size_t from, std::size_t to);
  void start_reading(const std::shared_ptr<Roster>& roster);
  /// Nothing: all its unread publications are in runs.
  [[nodiscard]] static std::optional<Visit> visit_of(const Membership& membership);
  /// Memory of a user, with a slot in the rosters.
  [[nodiscard]] static std::size_t cost_of(const User& user);
  [[nodiscard]] bool is_full() const { return bytes() >= bytes_total_; }
  void forget(Stripe& stripe, Users::iterator user);
  class Counted;
  [[nodiscard]] std::vector<Visit> visits_of(const User& user) const;
  static void take_out(User& user, std::uint32_t roster, Offset first, Offset last);
  static void erase(User& user, std::size_t membership);

  std::atomic<std::size_t> inbox_entries_;
  std::atomic<std::size_t> bytes_total_;
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> users_{0};
  std::atomic<std::uint32_t> next_number_{1};
  const NameHash hash_;
  Stripes<Stripe, kStripes> stripes_;
  mutable std::shared_mutex reading_mutex_;
  std::vector<Reading> reading_;  // by number
  std::atomic<std::size_t> reading_count_{0};
};

}  // namespace carillon
