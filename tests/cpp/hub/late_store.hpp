#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "env/random.hpp"
#include "store/memory_inboxes.hpp"
#include "store/store.hpp"

namespace carillon {

/// How a LateStore misbehaves, in percent.
struct StoreFaults {
  std::uint64_t append_fails =
      0;  ///< unavailable; of half of them the outcome is unknown: they have taken place
  std::uint64_t follow_fails = 0;
  std::uint64_t read_fails = 0;
  std::uint64_t range_is_gone = 0;
  std::uint64_t announcement_is_lost = 0;  ///< of a stored entry: the hub finds the hole at the next one
  std::uint64_t announcement_repeats = 0;
  std::uint64_t enter_fails = 0;
};

/// A store whose answers and announcements come when run_one() is called, in an order that chance decides. It
/// keeps every stored entry. Thread-safe; callbacks run on the thread that calls run_one(), without a lock.
class LateStore final : public Store {
 public:
  LateStore(RandomSource& random, StoreFaults faults) : random_(random), faults_(faults) {}

  void set_listener(StoreListener* listener) override { listener_ = listener; }
  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override;
  [[nodiscard]] bool keeps_entries() const override { return true; }
  void follow(std::string_view channel, std::function<void(const TopResult&)> done) override;
  void unfollow(std::string_view channel) override;
  void top(std::string_view channel, std::function<void(const TopResult&)> done) override;
  void read(std::string_view channel, const ReadRange& range, std::function<void(const Page&)> done) override;
  void remove_history(std::string_view channel, std::function<void(StoreError)> done) override;
  void add_presence(std::string_view /*channel*/, const PresenceMember& /*member*/) override {}
  void remove_presence(std::string_view /*channel*/, std::string_view /*client*/) override {}
  void presence(std::string_view /*channel*/, const PresencePage& /*page*/,
                std::function<void(const PresenceResult&)> done) override {
    done({});
  }
  void presence_counts(std::string_view /*channel*/,
                       std::function<void(const PresenceCounts&)> done) override {
    done({});
  }
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
  void keep_house() override {}
  /// All that waits is answered, most of it with an error.
  void close() override;

  /// Lets one thing happen that waits. False: nothing waits.
  bool run_one();
  /// Loses the channel with all that it holds: it goes on in a new epoch.
  void renew(std::string_view channel);
  /// The same, and until it is asked for the top, reads answer that no such channel is known.
  void forget(const std::string& channel);
  /// Its retention ends there.
  void trim(const std::string& channel, Offset up_to);
  void set_faults(const StoreFaults& faults);

  [[nodiscard]] Position top(std::string_view channel);
  /// How often each range has been read: "channel first last".
  [[nodiscard]] std::map<std::string, std::uint64_t> reads();
  /// In all answers to read().
  [[nodiscard]] std::uint64_t entries_read();
  /// Channels that the hub follows. Never below zero.
  [[nodiscard]] std::int64_t followed_channels();
  [[nodiscard]] std::size_t waiting();
  /// How often a publication stands in the user's inbox, now.
  [[nodiscard]] std::size_t entered(const std::string& user, const std::string& channel, Offset offset);
  [[nodiscard]] Millis wall_ms(const std::string& channel, Offset offset);
  /// In which it was appended.
  [[nodiscard]] FanOutMode mode(const std::string& channel, Offset offset);
  /// Has the hub not been told of the outcome of this append?
  [[nodiscard]] bool is_unheard(const std::string& channel, Offset offset);
  void note_unheard(const std::string& channel, Offset offset);

 private:
  struct Stream {
    Epoch epoch;
    std::vector<EntryRef> entries;  // offset i + 1 at i
    std::vector<FanOutMode> modes;
    std::set<Offset> unheard;
    Offset removed_to = 0;
    bool is_unknown = false;
    std::int64_t follows = 0;
    std::shared_ptr<MemoryInboxes::Roster> roster;
  };
  using Event = std::function<void()>;

  Stream& touch(const std::string& channel);
  bool fails(std::uint64_t percent) { return is_closed_ || random_.below(100) < percent; }
  [[nodiscard]] StoreError failure() const {
    return is_closed_ ? StoreError::closed : StoreError::unavailable;
  }
  void later(Event event);
  void answer_top(std::string_view channel, bool is_followed, std::function<void(const TopResult&)> done);
  struct Request {
    std::string channel;
    std::shared_ptr<Entry> entry;
    bool is_ephemeral = false;
    FanOutMode mode = FanOutMode::write;
    std::string key;
    std::function<void(const AppendResult&)> done;
  };
  void apply(const Request& request);
  void announce(const Request& request, const Epoch& epoch, std::size_t members);

  RandomSource& random_;
  StoreListener* listener_ = nullptr;
  std::mutex mutex_;  // guards all below
  StoreFaults faults_;
  MemoryInboxes inboxes_{100'000, ~std::size_t{0}, NameHash(random_)};
  std::map<std::string, Stream> streams_;
  std::map<std::string, Position> keys_;
  std::map<std::string, std::uint64_t> reads_;
  std::uint64_t entries_read_ = 0;
  bool is_closed_ = false;
  std::deque<Event> events_;
};

}  // namespace carillon
