#pragma once

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
#include "store/position.hpp"
#include "store/store.hpp"

namespace carillon {

class Shard;

/// A channel that is in use: it has entries, subscribers, or somebody who waits for it. A dormant channel is
/// only remembered by the store. Plain state behind its own lock; decisions are the hub's and the shards'.
struct Channel : ChannelHandle, std::enable_shared_from_this<Channel> {
  Channel(std::string channel_name, const ChannelOptions& channel_options)
      : name(std::move(channel_name)), options(channel_options), fan_out(channel_options) {}

  /// A shard that has subscribers here.
  struct Link {
    Shard* shard = nullptr;
    Seq taken = 0;  ///< the shard's group has taken everything below
    std::uint32_t cursors = 0;
    bool is_woken = false;  ///< stands in the shard's mailbox already
  };

  /// A range on its way from the store, and all who wait for it; called without the lock.
  struct RangeRead {
    Offset first = 0;
    Offset last = 0;
    std::uint32_t resets = 0;  ///< of the channel when it was asked for: later, the log may be another one
    std::vector<std::function<void(const ReadResult&)>> waiting;
  };

  const std::string name;
  const ChannelOptions& options;
  ChannelFanOut fan_out;  ///< without the lock
  std::size_t place = 0;  ///< in its stripe of the hub, whose lock guards it

  std::mutex mutex;
  // All below is guarded by the mutex.
  ChannelLog log;
  Epoch epoch;
  bool is_open = false;  ///< the store has told epoch and top
  bool is_opening = false;
  bool needs_release = false;      ///< the store has opened it, and must be told of the release
  bool is_filling = false;         ///< a hole is being read from the store
  std::uint32_t resets = 0;        ///< how often the log lost its continuity
  std::uint32_t epoch_resets = 0;  ///< `resets` when the epoch began
  std::int64_t announced = 0;      ///< entries that came into the log, ever
  std::uint64_t unbalanced = 0;
  Account ended;  ///< of subscriptions that have ended
  std::vector<Link> links;
  std::map<Offset, EntryRef> early;               ///< by offset: announced beyond a hole
  std::vector<std::function<void()>> on_open;     ///< waits for the store's answer; run without the lock
  std::unique_ptr<InboxWalk> walk;                ///< null: nothing was ever entered into an inbox
  std::vector<std::shared_ptr<RangeRead>> reads;  ///< ranges that the store is being asked for

  /// Size in memory without its entries, with the places in the hub's and the store's tables and the smallest
  /// ring; measured.
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
  /// Nobody reads it, nothing is in it or on its way to it: it may go dormant.
  [[nodiscard]] bool is_unused() const {
    return links.empty() && log.is_empty() && early.empty() && reads.empty() && !is_opening &&
           !fan_out.is_chosen() && !(walk && walk->is_running);
  }
  /// Everything below has been taken by the groups of all shards.
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
