#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/owned_store.hpp"
#include "store/redis/asio_redis_thread.hpp"
#include "store/redis/redis_gateways.hpp"
#include "store/redis/redis_options.hpp"

namespace carillon {

/// A store in Redis, which any number of gateways share (docs/redis.md). One thread talks to Redis; all
/// callbacks come from it, or from the caller if a call is refused.
class RedisStore final : public OwnedStore {
 public:
  RedisStore(const RedisOptions& options, const Clock& clock, RandomSource& random,
             MakeRedisThread make_thread = make_asio_redis_thread);
  RedisStore(const RedisStore&) = delete;
  RedisStore& operator=(const RedisStore&) = delete;
  ~RedisStore() override;

  void set_listener(StoreListener* listener) override { listener_ = listener; }
  /// Waits for the first link. Throws StoreRefused.
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
  [[nodiscard]] std::string gateway() const override;
  void set_gateway_listener(GatewayListener* listener) override { gateway_listener_ = listener; }
  void set_node(std::string_view node) override { node_ = node; }
  void tell(std::string_view to_gateway, std::string_view message,
            std::function<void(StoreError, std::size_t)> done) override;
  [[nodiscard]] std::optional<SharedTime> shared_time() const override;
  void order(std::string_view message, std::function<void(StoreError, std::size_t)> done) override;
  /// All that share this Redis, as they were at the last sign of life of this one. Thread-safe.
  [[nodiscard]] std::vector<GatewayRecord> gateways() const;
  /// The thread keeps house by itself.
  void keep_house() override {}
  void close() override { close(false); }

 private:
  class Parts;  // what is on the thread, and the thread
  class Held;
  class GuardedListener;  // passes everything on to the listeners, on the thread

  void start();
  /// Tries the keys and the channels, once there is a link: whoever may not subscribe loses it at once.
  /// Empty: it may be used.
  [[nodiscard]] std::string trouble_of_first_answers();
  /// Notes what an operator should change at Redis, once that has answered. Nothing where the user may not
  /// ask.
  void look_at_settings();
  /// Runs `what` on the thread, in order; `false`: the store is closed, or it is the parent process's.
  [[nodiscard]] bool post(std::function<void(Parts&)> what);
  /// What waits for answers, wherever: until this store is idle, in a lane, or at Redis.
  struct Room {
    std::atomic<std::size_t> count{0};
    std::atomic<std::size_t> bytes{0};
  };
  /// One, up to `count_max`, and bytes, up to RedisOptions::waiting_bytes.
  [[nodiscard]] bool take_room(Room& room, std::size_t count_max, std::size_t bytes);
  static void give_room_back(Room& room, std::size_t bytes);
  /// Posts a call that has room from now on until its answer. `done` is called at once if there is none.
  template <typename Call, typename... Answer>
  void ask(std::function<void(Answer...)> done, std::size_t bytes, Call call);
  /// Runs what belongs to others: what it throws is noted, and must not keep the thread from its work.
  template <typename Task>
  void guard(Task&& task) noexcept;
  void note_mistake(std::string_view what) noexcept;
  void on_turn(Parts& parts);
  void close(bool is_given_away);
  void change_members(std::string_view channel, std::span<const std::string> users, bool is_adding,
                      std::function<void(const MembersResult&)> done);
  [[nodiscard]] bool is_out_of_use() const;

  const RedisOptions options_;
  const Clock& clock_;
  RandomSource& random_;
  const MakeRedisThread make_thread_;
  const std::uint64_t forks_;  // of the process that has made it
  StoreListener* listener_ = nullptr;
  GatewayListener* gateway_listener_ = nullptr;
  const std::string gateway_;  // letters that name this process among the gateways
  std::string node_;           // another name of it, which a takeover hands on; empty: none
  // Of their own each: what clients have other gateways told takes nothing from publications.
  Room appends_;
  Room calls_;
  std::unique_ptr<Parts> parts_;  // null: it has not been opened

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // what the thread tells
  // All below is guarded by the mutex.
  std::vector<std::function<void(Parts&)>> posted_;
  bool is_closed_ = true;
  bool is_held_ = false;  // what is posted waits
  bool is_idle_ = false;  // nothing is under way
  bool is_ready_ = false;
  std::string trouble_;
  NewEpochs new_epochs_;
  std::vector<std::string> warnings_;
  std::uint64_t mistakes_ = 0;
  std::string last_mistake_;
  std::vector<GatewayRecord> gateways_;
  std::uint64_t gateways_looks_ = 0;
  Millis gateways_ms_ = 0;  // when they were so
  std::optional<SharedTime> time_;
  Millis time_ms_ = 0;  // when it was so
};

}  // namespace carillon
