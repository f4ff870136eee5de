#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "store/owned_store.hpp"
#include "store/redis/redis_carrier.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_options.hpp"
#include "store/redis/redis_told.hpp"

namespace carillon {

/// An append, with its own copy of everything.
struct RedisAppend {
  std::string channel;
  std::string bytes;  ///< encode_entry()
  std::size_t cost_bytes = 0;
  bool is_ephemeral = false;
  std::string idempotency_key;
  std::optional<Offset> expected_offset;
  std::uint64_t version = 0;  ///< 0: none
  std::string version_epoch;
  Retention retention;
  FanOutMode mode = FanOutMode::write;
  std::function<void(const AppendResult&)> done;
};

/// The logs of channels in Redis: appends in groups, follows, pages. What changes a channel waits in its
/// lane, and one group or call of a lane is under way at a time. A group has a number that ascends in this
/// gateway, and Redis remembers a gateway's last group in a channel with its answer: so a group that is sent
/// again, or that a stopped Redis carries out late, neither doubles nor reorders anything.
///
/// All on the machine's thread.
class RedisLog final : private RedisMachineListener {
 public:
  static constexpr std::size_t kGroupEntries = 64;
  static constexpr std::size_t kGroupBytes = 256 * 1024;
  /// The deadlines of a group's appends differ by at most this part of RedisOptions::wait_ms.
  static constexpr Millis kGroupSpread = 8;
  static constexpr std::size_t kTopsAtOnce = 100;
  /// So long Redis remembers a gateway's last group: longer than a command can be on its way.
  static constexpr Millis kGroupMemoryMs = 600'000;
  /// So long after another primary came, new epochs are seen as its doing: quiet channels are compared later.
  static constexpr Millis kOfNewPrimaryMs = 60'000;

  /// `gateway`: letters and digits that name this process.
  RedisLog(const RedisOptions& options, const RedisKeys& keys, std::string gateway, RedisCarrier& machine,
           const Clock& clock);

  void set_listener(StoreListener* listener) { listener_ = listener; }
  [[nodiscard]] RedisMachineListener& machine_listener() { return *this; }
  /// The messages of gateways, which come by the same subscriptions.
  [[nodiscard]] RedisTold& told() { return told_; }
  /// Before the first link: see Store::set_node().
  void set_node(std::string node) { node_ = std::move(node); }

  void append(RedisAppend append);
  /// In the order of the channel's appends.
  void call_in_lane(std::string_view channel, RedisCall call);
  void follow(std::string_view channel, std::function<void(const TopResult&)> done);
  void unfollow(std::string_view channel);
  void top(std::string_view channel, std::function<void(const TopResult&)> done);
  void read(std::string_view channel, const ReadRange& range, std::function<void(const Page&)> done);
  void remove_history(std::string_view channel, std::function<void(StoreError)> done);

  /// Before RedisCarrier::flush(), at the end of a turn.
  void flush();
  /// Every 100 ms or so: answers what has waited too long.
  void tick();
  /// Answers all that waits in lanes; call it before RedisCarrier::close().
  void close();
  [[nodiscard]] bool is_idle() const { return lanes_.empty() && tops_.empty(); }
  [[nodiscard]] std::size_t followed() const { return follows_.size(); }
  /// New epochs that this gateway has seen.
  [[nodiscard]] const NewEpochs& new_epochs() const { return new_epochs_; }

 private:
  struct Waiting {
    Millis deadline_ms = 0;
    std::variant<RedisAppend, RedisCall> what;
  };
  struct Lane {
    std::deque<Waiting> waiting;
    bool is_under_way = false;
  };
  struct Follow {
    std::size_t count = 0;
    bool is_known = false;  // its top has been told: from here on announcements are new
    Epoch epoch;            // the last one that Redis told; none before the first
  };
  using Group = std::vector<RedisAppend>;
  struct AskedTop {
    std::string channel;
    Millis deadline_ms = 0;
    std::function<void(const TopResult&)> done;
  };

  void on_ready() override;
  void on_new_primary() override;
  void on_doubt() override;
  void on_message(std::string_view channel, std::string_view message) override;

  void push(std::string_view channel, std::variant<RedisAppend, RedisCall> what);
  void advance(const std::string& channel);
  void finish_lane(const std::string& channel);
  void send_group(const std::string& channel, std::shared_ptr<Group> group, Millis deadline_ms);
  [[nodiscard]] std::vector<std::string> keys_of(std::string_view channel) const;
  void announce(std::string_view channel, Follow& follow, std::string_view head, std::string_view entries);
  /// Redis says that the channel has this epoch.
  void see(Follow& follow, Epoch epoch);
  void see_top(const std::string& channel, const TopResult& result);
  static void answer_group(const Group& group, StoreError error, const RedisReply& reply);
  void ask_top(AskedTop asked);
  void ask_tops(std::vector<AskedTop> asked);
  static void refuse(Waiting& waiting, StoreError error);
  [[nodiscard]] static TopResult top_of(StoreError error, const RedisReply& reply);

  const RedisOptions& options_;
  const RedisKeys& keys_;
  const std::string gateway_;
  std::string node_;  // another name by which it is told something; empty: none
  RedisCarrier& machine_;
  const Clock& clock_;
  StoreListener* listener_ = nullptr;
  bool is_closed_ = false;
  std::uint64_t last_group_ = 0;
  RedisTold told_;
  std::unordered_map<std::string, Lane> lanes_;      // with something in them
  std::vector<std::string> due_;                     // lanes that may go on
  std::unordered_map<std::string, Follow> follows_;  // by channel
  std::vector<AskedTop> tops_;                       // in this turn
  NewEpochs new_epochs_;
  std::optional<Millis> new_primary_ms_;  // when there was another one
};

}  // namespace carillon
