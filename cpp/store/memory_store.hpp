#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "env/name_hash.hpp"
#include "env/random.hpp"
#include "store/memory_inboxes.hpp"
#include "store/owned_store.hpp"
#include "store/presence_table.hpp"
#include "store/store_limits.hpp"
#include "store/store_state.hpp"

namespace carillon {

/// The store of a single hub: numbers entries, and remembers every channel's epoch and top offset,
/// idempotency keys and presence. Only the hub's logs keep the entries. Announces inside append(), under the
/// lock of the channel's stripe, so that announcements come in order.
class MemoryStore final : public OwnedStore {
 public:
  MemoryStore(const Clock& clock, RandomSource& random, const StoreLimits& limits);

  void set_listener(StoreListener* listener) override { listener_ = listener; }
  [[nodiscard]] bool keeps_entries() const override { return false; }
  void open() override;
  void restore(const StoreState& state, Descriptor descriptor) override;
  [[nodiscard]] std::unique_ptr<HeldStore> hold_still(Time until) override;
  void set_limits(const StoreLimits& limits) override {
    limits_ = limits;
    inboxes_.set_limits(limits.inbox_entries, limits.inbox_bytes_total);
  }
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

  [[nodiscard]] StoreFigures figures() const override;

  /// Memory of the dormant channels; the hub counts that of channels in use.
  [[nodiscard]] std::size_t dormant_bytes() const;
  /// Number of channels remembered, dormant or not.
  [[nodiscard]] std::size_t channels_known() const;
  /// Memory of members and inboxes, and the number of users that have one.
  [[nodiscard]] std::size_t inbox_bytes() const { return inboxes_.bytes(); }
  [[nodiscard]] std::size_t inbox_users() const { return inboxes_.users(); }

  /// While it exists, calls of the store wait.
  class Stillness;
  [[nodiscard]] Stillness hold_still();
  /// Only while it is held still.
  [[nodiscard]] StoreState save() const;
  /// Puts a saved state into a new store; no channel is followed yet.
  void restore(const StoreState& state);
  /// Another process has the log: close(), while it is held still.
  void close(const Stillness& still);

 private:
  struct Stream;
  using Streams = std::pmr::unordered_map<std::pmr::string, Stream, NameHash, SameName>;
  /// The last version of a channel.
  struct LastVersion {
    std::uint64_t number = 0;
    std::string epoch;
  };
  /// The memory of a channel. While the channel is dormant it is in its stripe's list, oldest first, linked
  /// through the nodes of the map: 200 bytes beside the name leave no room for a second key.
  struct Stream {
    Epoch epoch;
    Offset top = 0;
    Millis touched_ms = 0;
    Streams::value_type* older = nullptr;
    Streams::value_type* newer = nullptr;
    std::uint32_t follows = 0;  ///< without their unfollow
    bool is_dormant = false;
    std::uint8_t stripe = 0;                        // never changes
    std::shared_ptr<MemoryInboxes::Roster> roster;  // held while there is one
    std::unique_ptr<LastVersion> version;           // null: none of its publications has had one
  };
  using Ages = std::list<std::string_view>;
  struct Remembered {
    Position position;
    Millis until_ms = 0;
    Ages::iterator age;
  };
  static constexpr std::pmr::pool_options kPool{.max_blocks_per_chunk = 128,
                                                .largest_required_pool_block = 512};
  struct Stripe {
    explicit Stripe(const NameHash& hash) : streams(0, hash, SameName{}, &pool), keys(hash), presence(hash) {}
    mutable std::mutex mutex;
    // The memory of a dormant channel stays for days. It has pages of its own: among entries, which are freed
    // soon, each of them would keep a whole page from being returned.
    std::pmr::unsynchronized_pool_resource pool{kPool};
    Streams streams;
    Streams::value_type* oldest = nullptr;
    Streams::value_type* newest = nullptr;
    std::size_t dormant = 0;
    std::size_t dormant_bytes = 0;
    std::vector<Streams::value_type*> with_roster;
    NameTable<Remembered> keys;
    Ages keys_by_age;  // oldest first
    PresenceTable presence;
  };
  static constexpr std::size_t kStripes = 16;
  using StoreStripes = Stripes<Stripe, kStripes>;
  static constexpr std::size_t kMembersPerLock = 1'024;  // publishes run in between

  Streams::value_type& touch(Stripe& stripe, const HashedName& channel);
  static Streams::value_type* find(Stripe& stripe, const HashedName& channel);
  void touch(Stripe& stripe, Streams::value_type& node);
  static void link_newest(Stripe& stripe, Streams::value_type& node);
  static void unlink(Stripe& stripe, Streams::value_type& node);
  void forget_beyond(Stripe& stripe, std::size_t dormant_max);
  void remember(Stripe& stripe, std::string key, Position position);
  static void forget_oldest_key(Stripe& stripe);
  [[nodiscard]] std::shared_ptr<MemoryInboxes::Roster> roster_of(std::string_view channel);
  const std::shared_ptr<MemoryInboxes::Roster>& make_roster(Stripe& stripe, const HashedName& channel);
  static bool is_unexpected(Stream& stream, const AppendOptions& options);
  void hold(Stripe& stripe, Streams::value_type& node);
  void let_go(Stripe& stripe, Streams::value_type& node);

  const Clock& clock_;
  RandomSource& random_;
  StoreLimits limits_;
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
inline void MemoryStore::close(const Stillness& /*still*/) { is_closed_ = true; }
inline MemoryStore::Stillness MemoryStore::hold_still() { return Stillness(stripes_); }

}  // namespace carillon
