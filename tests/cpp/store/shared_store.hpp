#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/forwarding_store.hpp"
#include "store/memory_store.hpp"

namespace carillon {

class SharedStore;

/// What several hubs share: offsets, keys, presence and members of one memory store, and the entries, as
/// bytes. Each hub has a SharedStore of it. Thread-safe; everything happens in the same call.
class SharedLog final : private StoreListener {
 public:
  SharedLog(const Clock& clock, RandomSource& random, const StoreLimits& limits);

 private:
  friend class SharedStore;
  struct Kept {
    Offset offset = 0;
    std::string bytes;
    std::size_t cost = 0;
    Millis wall_ms = 0;
  };
  struct Stream {
    std::deque<Kept> entries;
    Millis ttl_ms = 0;
    bool is_followed = false;  // at the memory store, so that it announces
  };

  void on_announced(const Announcement& announcement) override;
  /// To all that follow the channel, what has been announced to this one.
  void announce(std::string_view channel);
  Stream& use(const std::string& channel);
  void trim(Stream& stream, const Retention& retention) const;

  const Clock& clock_;
  std::recursive_mutex mutex_;  // a listener may read from inside of an announcement
  MemoryStore memory_;
  std::optional<Announcement> announced_;  // by the memory store, in the append under way
  std::map<std::string, Stream, std::less<>> streams_;
  std::vector<SharedStore*> stores_;
};

/// A gateway's view of a SharedLog: a store whose announcements come from all gateways.
class SharedStore final : public ForwardingStore<OwnedStore> {
 public:
  explicit SharedStore(std::shared_ptr<SharedLog> log);
  ~SharedStore() override;

  void set_listener(StoreListener* listener) override { listener_ = listener; }
  void open() override {}
  void restore(const StoreState& /*state*/, Descriptor /*descriptor*/) override {}
  [[nodiscard]] std::unique_ptr<HeldStore> hold_still(Time /*until*/) override {
    throw StoreRefused("this store is not handed over");
  }
  void set_limits(const StoreLimits& /*limits*/) override {}
  [[nodiscard]] StoreFigures figures() const override { return {}; }

  [[nodiscard]] bool keeps_entries() const override { return true; }
  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override;
  void follow(std::string_view channel, std::function<void(const TopResult&)> done) override;
  void unfollow(std::string_view channel) override;
  void top(std::string_view channel, std::function<void(const TopResult&)> done) override;
  void read(std::string_view channel, const ReadRange& range, std::function<void(const Page&)> done) override;
  void remove_history(std::string_view channel, std::function<void(StoreError)> done) override;
  void add_members(std::string_view channel, std::span<const std::string> users,
                   std::function<void(const MembersResult&)> done) override;
  void remove_members(std::string_view channel, std::span<const std::string> users,
                      std::function<void(const MembersResult&)> done) override;
  void mark_read(std::string_view user, std::string_view channel, Offset offset,
                 std::function<void(StoreError)> done) override;
  /// Of this gateway only.
  void close() override { is_closed_ = true; }

 private:
  friend class SharedLog;
  [[nodiscard]] Page page_of(std::string_view channel, const ReadRange& range);

  const std::shared_ptr<SharedLog> log_;
  StoreListener* listener_ = nullptr;
  std::map<std::string, std::size_t, std::less<>> follows_;  // by channel
  bool is_closed_ = false;
};

}  // namespace carillon
