#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "env/random.hpp"
#include "store/memory_inboxes.hpp"
#include "store/store.hpp"

namespace carillon {

/// How a LateStore misbehaves, in percent.
struct StoreFaults {
  std::uint64_t append_fails = 0;  ///< unavailable; half of them have taken place all the same
  std::uint64_t open_fails = 0;
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
  void open(std::string_view channel, std::function<void(const OpenResult&)> done) override;
  void release(std::string_view channel) override;
  void read(std::string_view channel, Offset first, Offset last,
            std::function<void(const ReadResult&)> done) override;
  void remove_history(std::string_view channel) override;
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
  void enter(std::string_view channel, Offset first, Offset last, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override;
  void unread(std::string_view user, std::string_view channel,
              std::function<void(const UnreadResult&)> done) override;
  void inbox(std::string_view user, std::size_t limit, std::function<void(const InboxResult&)> done) override;
  void mark_read(std::string_view user, std::string_view channel, Offset offset,
                 std::function<void(StoreError)> done) override;
  void keep_house() override {}

  /// Lets one thing happen that waits. False: nothing waits.
  bool run_one();
  /// Loses the channel with all that it holds: it goes on in a new epoch.
  void renew(std::string_view channel);
  void set_faults(const StoreFaults& faults);

  [[nodiscard]] Position top(std::string_view channel);
  /// How often each range has been read: "channel first last".
  [[nodiscard]] std::map<std::string, std::uint64_t> reads();
  /// Channels that the hub holds open. Never below zero.
  [[nodiscard]] std::int64_t open_channels();
  [[nodiscard]] std::size_t waiting();
  /// How often a publication stands in the user's inbox, now.
  [[nodiscard]] std::size_t entered(const std::string& user, const std::string& channel, Offset offset);
  [[nodiscard]] Millis wall_ms(const std::string& channel, Offset offset);
  /// In which it was appended.
  [[nodiscard]] FanOutMode mode(const std::string& channel, Offset offset);

 private:
  struct Stream {
    Epoch epoch;
    std::vector<EntryRef> entries;  // offset i + 1 at i
    std::vector<FanOutMode> modes;
    Offset removed_to = 0;
    std::int64_t opens = 0;
    std::shared_ptr<MemoryInboxes::Roster> roster;
  };
  using Event = std::function<void()>;

  Stream& touch(const std::string& channel);
  bool fails(std::uint64_t percent) { return random_.below(100) < percent; }
  void later(Event event);
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
  std::deque<Event> events_;
};

}  // namespace carillon
