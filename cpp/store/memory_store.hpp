#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "env/name_hash.hpp"
#include "env/random.hpp"
#include "store/memory_inboxes.hpp"
#include "store/memory_store_state.hpp"
#include "store/store.hpp"

namespace carillon {

struct MemoryStoreLimits {
  std::size_t dormant_channels = 1'000'000;          ///< past it the oldest dormant channel is forgotten
  Millis channel_lifetime_ms = 720LL * 3600 * 1000;  ///< a dormant channel untouched for so long is forgotten
  std::size_t idempotency_keys = 100'000;            ///< past it the oldest key is forgotten
  Millis idempotency_window_ms = 300'000;
  std::size_t inbox_entries = 1'000;           ///< past it what a user has not read is merged from the logs
  std::size_t inbox_bytes_total = 1UL << 30U;  ///< of all inboxes and memberships; MemoryInboxes
};

/// The store of a hub that stands alone: numbers entries, remembers every channel's epoch and top offset,
/// idempotency keys and presence. The entries themselves are kept by the hub's logs and nowhere else.
/// Announces inside append(), under the lock of the channel's stripe: so announcements come in order.
class MemoryStore final : public Store {
 public:
  MemoryStore(const Clock& clock, RandomSource& random, MemoryStoreLimits limits);

  void set_listener(StoreListener* listener) override { listener_ = listener; }
  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override;
  void open(std::string_view channel, std::function<void(const OpenResult&)> done) override;
  void release(std::string_view channel) override;
  void read(std::string_view channel, Offset first, Offset last,
            std::function<void(const ReadResult&)> done) override;
  void remove_history(std::string_view channel) override;
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
  void enter(std::string_view channel, Offset first, Offset last, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override;
  void unread(std::string_view user, std::string_view channel,
              std::function<void(const UnreadResult&)> done) override;
  void inbox(std::string_view user, std::size_t limit, std::function<void(const InboxResult&)> done) override;
  void mark_read(std::string_view user, std::string_view channel, Offset offset,
                 std::function<void(StoreError)> done) override;
  void keep_house() override;

  /// Channels remembered, dormant or not.
  [[nodiscard]] std::size_t channels_known() const;
  /// Memory of the dormant ones: of those in use the hub counts it.
  [[nodiscard]] std::size_t dormant_bytes() const;
  /// Memory of members and inboxes, and how many users have one.
  [[nodiscard]] std::size_t inbox_bytes() const { return inboxes_.bytes(); }
  [[nodiscard]] std::size_t inbox_users() const { return inboxes_.users(); }

  /// While it lives, whoever calls the store waits.
  class Stillness;
  [[nodiscard]] Stillness hold_still();
  /// Only while it is held still.
  [[nodiscard]] MemoryStoreState save() const;
  /// Puts a saved state into a new store; no channel is open yet.
  void restore(const MemoryStoreState& state);
  /// From now on nothing can be appended: another process has the log. Only while it is held still.
  void close() { is_closed_ = true; }

 private:
  struct Stream;
  using Streams = std::pmr::unordered_map<std::pmr::string, Stream, NameHash, SameName>;
  /// All that is remembered of a channel. While it is dormant it stands in its stripe's list, oldest first,
  /// linked through the map's own nodes: 200 bytes beside the name would not hold a second key.
  struct Stream {
    Epoch epoch;
    Offset top = 0;
    Millis touched_ms = 0;
    Streams::value_type* older = nullptr;
    Streams::value_type* newer = nullptr;
    std::uint32_t opens = 0;  ///< without their release
    bool is_dormant = false;
    std::uint8_t stripe = 0;                        // never changes
    std::shared_ptr<MemoryInboxes::Roster> roster;  // held while there is one
  };
  using Ages = std::list<std::string_view>;
  struct Remembered {
    Position position;
    Millis until_ms = 0;
    Ages::iterator age;
  };
  /// One copy of a client's id per subscription is what an idle connection pays for.
  struct ByClient {
    using is_transparent = void;
    static std::string_view id_of(const PresenceMember& member) { return member.client; }
    static std::string_view id_of(std::string_view client) { return client; }
    bool operator()(const auto& left, const auto& right) const { return id_of(left) < id_of(right); }
  };
  /// Who is on a channel. The users of a few members are counted when they are asked for, those of more as
  /// they come and go: most channels have few, and pay nothing for it.
  struct Presence {
    std::set<PresenceMember, ByClient> members;
    std::unique_ptr<NameTable<std::uint32_t>> users;  // their connections; null: few
  };
  static constexpr std::size_t kFewMembers = 32;
  static constexpr std::pmr::pool_options kPool{.max_blocks_per_chunk = 128,
                                                .largest_required_pool_block = 512};
  struct Stripe {
    explicit Stripe(const NameHash& hash) : streams(0, hash, SameName{}, &pool), keys(hash), presence(hash) {}
    mutable std::mutex mutex;
    // What is remembered of a dormant channel stays for days. It has pages of its own: among the entries that
    // came with it, which go, it would keep a page for each of their pages.
    std::pmr::unsynchronized_pool_resource pool{kPool};
    Streams streams;
    Streams::value_type* oldest = nullptr;
    Streams::value_type* newest = nullptr;
    std::size_t dormant = 0;
    std::size_t dormant_bytes = 0;
    std::vector<Streams::value_type*> with_roster;
    NameTable<Remembered> keys;
    Ages keys_by_age;  // oldest first
    NameTable<Presence> presence;
  };
  static constexpr std::size_t kStripes = 16;
  using StoreStripes = Stripes<Stripe, kStripes>;
  static constexpr std::size_t kMembersPerLock = 1'024;  // others publish in between

  Streams::value_type& touch(Stripe& stripe, const HashedName& channel);
  void touch(Stripe& stripe, Streams::value_type& node);
  static void link_newest(Stripe& stripe, Streams::value_type& node);
  static void unlink(Stripe& stripe, Streams::value_type& node);
  void count_user(Presence& presence, const std::string& user);
  static void erase_member(Presence& presence, std::set<PresenceMember, ByClient>::iterator member);
  void forget_beyond(Stripe& stripe, std::size_t dormant_max);
  void remember(Stripe& stripe, std::string key, Position position);
  static void forget_oldest_key(Stripe& stripe);
  [[nodiscard]] std::shared_ptr<MemoryInboxes::Roster> roster_of(std::string_view channel);
  const std::shared_ptr<MemoryInboxes::Roster>& make_roster(Stripe& stripe, const HashedName& channel);
  void count_open(Stripe& stripe, Streams::value_type& node);
  void release(Stripe& stripe, Streams::value_type& node);

  const Clock& clock_;
  RandomSource& random_;
  const MemoryStoreLimits limits_;
  StoreListener* listener_ = nullptr;
  bool is_closed_ = false;  // guarded by every stripe's lock
  const NameHash hash_;
  StoreStripes stripes_;
  MemoryInboxes inboxes_;
};

class MemoryStore::Stillness {
 public:
  explicit Stillness(StoreStripes& stripes) {
    for (std::size_t i = 0; i < kStripes; ++i) locks_[i] = std::unique_lock(stripes[i].mutex);
  }

 private:
  std::array<std::unique_lock<std::mutex>, kStripes> locks_;
};
inline MemoryStore::Stillness MemoryStore::hold_still() { return Stillness(stripes_); }

}  // namespace carillon
