#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hub/channel_log.hpp"
#include "hub/channel_options.hpp"
#include "hub/fan_out.hpp"
#include "hub/inbox_walk.hpp"
#include "hub/ledger.hpp"
#include "hub/stored_page.hpp"
#include "store/position.hpp"
#include "store/store.hpp"

namespace carillon {

class Shard;

/// A channel in use: it has entries, subscribers or pending calls. Of a dormant channel only the store knows.
/// Plain state behind its own lock; the hub and the shards make the decisions.
struct Channel : ChannelHandle, std::enable_shared_from_this<Channel> {
  /// `source`: of what the log has no more; null: what has left it is gone.
  Channel(std::string channel_name, const ChannelOptions& channel_options, PageSource* source)
      : name(std::move(channel_name)),
        page_source(source),
        options_(&channel_options),
        fan_out(channel_options) {}

  /// A shard that has subscribers here.
  struct Link {
    Shard* shard = nullptr;
    Seq taken = 0;  ///< the shard's group has taken all entries below
    std::uint32_t cursors = 0;
    bool is_woken = false;  ///< is in the shard's mailbox already
  };

  /// A range requested from the store, and the callbacks that wait for it; called without the lock.
  struct RangeRead {
    ReadRange range;
    std::uint32_t resets = 0;  ///< of the channel when it was asked for: later, the log may be another one
    std::vector<std::function<void(const Page&)>> waiting;
  };

  /// What was announced in an epoch that the store has not confirmed yet.
  struct Unconfirmed {
    Epoch epoch;
    std::vector<EntryRef> entries;  ///< in order of arrival
    bool is_asked = false;
  };
  static constexpr std::size_t kReplacedEpochs = 16;  ///< remembered of a channel

  const std::string name;
  PageSource* const page_source;

  /// Of the rule that applies, which may change only while the hub is held still (Hub::set_rules).
  [[nodiscard]] const ChannelOptions& options() const { return *options_; }
  void set_options(const ChannelOptions& options) { options_ = &options; }

 private:
  const ChannelOptions* options_;

 public:
  ChannelFanOut fan_out;  ///< without the lock
  std::size_t place = 0;  ///< index in its stripe of the hub, whose lock guards it

  std::mutex mutex;
  // All below is guarded by the mutex.
  ChannelLog log;
  Epoch epoch;
  bool is_followed = false;  ///< epoch and top have come from the store, and all that is announced comes here
  bool is_follow_asked = false;
  bool needs_unfollow = false;     ///< follow() was answered
  bool is_filling = false;         ///< a hole is being read from the store
  std::uint32_t resets = 0;        ///< number of times that the log lost its continuity
  std::uint32_t epoch_resets = 0;  ///< `resets` when the epoch began
  std::int64_t announced = 0;      ///< entries that have entered the log since the start
  std::uint64_t unbalanced = 0;
  Account ended;  ///< of subscriptions that have ended
  std::vector<Link> links;
  std::map<Offset, EntryRef> early;          ///< by offset: announced beyond a hole
  Offset known_top = 0;                      ///< of this epoch: the store has entries up to it
  std::unique_ptr<Unconfirmed> unconfirmed;  ///< null: nothing
  std::vector<Epoch> replaced_epochs;        ///< oldest first: never believed again
  Millis check_due_ms = 0;                   ///< when its top is compared with the store's
  Millis unused_since_ms = 0;                ///< without a subscriber; 0: it has one
  bool is_abandoned = false;  ///< has been without a subscriber for long, and the store keeps its entries
  std::uint32_t doubts = 0;   ///< of the store, that its top has been compared after
  std::vector<std::function<void()>>
      on_followed;                                ///< callbacks that wait for the store; run without the lock
  std::unique_ptr<InboxWalk> walk;                ///< null: there has been no walk
  std::vector<std::shared_ptr<RangeRead>> reads;  ///< ranges requested from the store
  std::unique_ptr<ChannelPages> pages;            ///< null: nobody has needed one

  /// Measured size in memory without entries, with the slots in the tables of hub and store and the smallest
  /// ring.
  [[nodiscard]] std::int64_t cost_bytes() const {
    const std::size_t name_bytes = name.size() < 16 ? 0 : name.size() + 16;
    return static_cast<std::int64_t>(sizeof(Channel) + 320 + 3 * name_bytes);
  }
  [[nodiscard]] Link* link_of(const Shard& shard) {
    for (Link& link : links) {
      if (link.shard == &shard) return &link;
    }
    return nullptr;
  }
  /// Entries are missing between the log and what is known to exist.
  [[nodiscard]] bool has_hole() const { return !early.empty() || known_top > log.top(); }
  /// The last offset that is missing.
  [[nodiscard]] Offset hole_end() const { return early.empty() ? known_top : early.begin()->first - 1; }
  /// Where the store keeps the entries, the log of a channel without subscribers is of use for a while only.
  void note_use(Millis now_ms) {
    if (!links.empty()) {
      unused_since_ms = 0;
      is_abandoned = false;
    } else if (unused_since_ms == 0) {
      unused_since_ms = now_ms;
    } else {
      is_abandoned = now_ms - unused_since_ms >= ChannelLog::kLiveWindowMs;
    }
  }
  /// It has no subscribers, entries or pending calls, so it may become dormant.
  [[nodiscard]] bool is_unused() const {
    return links.empty() && (log.is_empty() || is_abandoned) && early.empty() && reads.empty() &&
           !(pages && !pages->fetches.empty()) && !is_follow_asked && !unconfirmed && !fan_out.is_chosen() &&
           !(walk && walk->is_running);
  }
  [[nodiscard]] bool is_replaced(const Epoch& other) const {
    return std::find(replaced_epochs.begin(), replaced_epochs.end(), other) != replaced_epochs.end();
  }
  /// The groups of all shards have taken all entries below.
  [[nodiscard]] Seq taken() const {
    Seq lowest = log.end_seq();
    for (const Link& link : links) lowest = link.taken < lowest ? link.taken : lowest;
    return lowest;
  }
  [[nodiscard]] std::uint64_t subscriptions() const {
    std::uint64_t sum = 0;
    for (const Link& link : links) sum += link.cursors;
    return sum;
  }
};

}  // namespace carillon
