#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "hub/batch.hpp"
#include "hub/channel.hpp"
#include "hub/cursor.hpp"
#include "hub/hub_state.hpp"
#include "hub/walked_set.hpp"

namespace carillon {

/// Bounds of one turn and one batch.
struct TurnLimits {
  std::size_t deliveries_per_turn = 2'048;  ///< entries × cursors count once per batch and cursor
  std::size_t deliveries_per_visit = 256;   ///< to one channel, which is visited once, and to lagging cursors
  std::size_t batch_entries = 256;
  std::size_t batch_bytes = 128 * 1024;  ///< of entries; a batch always takes one
  std::size_t lagging_bytes_per_turn =
      8 * 1024 * 1024;  ///< of entries: each cursor that lags has a batch of its own
};

class ShardChannel;
/// Channels that wait for their sweep, by the time of their visit.
using SweptChannels = std::multimap<Millis, ShardChannel*>;

/// A channel on one shard: the live cursors, which have read everything, and the lagging ones.
class ShardChannel {
 public:
  explicit ShardChannel(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}

 private:
  friend class Shard;
  void add_live(Cursor& cursor);
  void remove_live(Cursor& cursor);

  const std::shared_ptr<Channel> channel_;
  std::vector<Cursor*> live_;                   // [0, progress_) already have the current batch
  WalkedSet<Cursor, &Cursor::all_index_> all_;  // every open cursor, for the ledger
  std::unique_ptr<Batch> batch_;  // the current one: the quantum of a turn may end in its middle
  std::size_t progress_ = 0;
  Seq live_seq_ = 0;        // of the group, once the batch is complete
  Offset live_offset_ = 0;  // newest offset below
  std::uint32_t resets_ = 0;
  std::uint32_t ahead_ = 0;      // number of cursors that have read past the group, and wait for it
  Millis visited_ms_ = 0;        // when the group last took a batch
  bool has_more_ = false;        // there are new entries that the group has not taken
  bool is_catching_up_ = false;  // there were more entries than fitted into its batch
  bool is_touched_ = false;      // is in the list of channels to be visited, now or when it is due
  bool is_idle_ = false;
  std::size_t place_ = 0;  // among the shard's
  std::optional<SweptChannels::iterator> swept_;
};

/// The cursors of one thread. Publishers on any thread leave the channel in its mailbox; turn() empties the
/// mailbox and pumps. No locks between shards, no work beyond the quantum of a turn. Everything except post()
/// and wake() must be called on the shard's own thread.
class Shard {
 public:
  using Task = std::function<void()>;

  /// `wake` is called from any thread when the mailbox becomes non-empty; it must lead to a call of turn().
  Shard(std::uint32_t index, TurnLimits limits, const Clock& clock, std::function<void()> wake);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  [[nodiscard]] std::uint32_t index() const { return index_; }
  /// Number of cursors that are behind the newest entry. Any thread.
  [[nodiscard]] std::uint64_t lagging() const { return lagging_.load(std::memory_order_relaxed); }
  /// How far the slowest of them is behind, as measure_lag() has found it. Any thread.
  struct Lag {
    std::uint64_t publications = 0;
    Millis age_ms = 0;  ///< of the oldest publication that it has not taken
  };
  [[nodiscard]] Lag slowest() const {
    return {slowest_publications_.load(std::memory_order_relaxed),
            slowest_age_ms_.load(std::memory_order_relaxed)};
  }
  /// Looks at some more of the cursors that lag. When it has seen all of them, slowest() is new.
  void measure_lag(std::size_t cursors_max, Millis wall_ms);
  /// Entries that were not delivered, since the start. Any thread.
  [[nodiscard]] std::uint64_t dropped(DropReason reason) const {
    return dropped_[static_cast<std::size_t>(reason)].load(std::memory_order_relaxed);
  }
  /// Counts them for the shard; count_dropped() with a cursor does so for both.
  void count_dropped(DropReason reason, std::uint64_t entries) {
    if (entries > 0) dropped_[static_cast<std::size_t>(reason)].fetch_add(entries, std::memory_order_relaxed);
  }
  void count_dropped(Cursor& cursor, DropReason reason, std::uint32_t entries) {
    cursor.count_dropped(reason, entries);
    count_dropped(reason, entries);
  }
  /// Entries that went to a sink in this process, since the start. Any thread.
  [[nodiscard]] std::uint64_t delivered_in_process() const {
    return delivered_in_process_.load(std::memory_order_relaxed);
  }
  void count_delivered_in_process(std::uint64_t entries) {
    delivered_in_process_.fetch_add(entries, std::memory_order_relaxed);
  }
  /// Open subscriptions. Any thread.
  [[nodiscard]] std::uint64_t subscriptions() const { return subscriptions_.load(std::memory_order_relaxed); }
  /// Summed over all shards, the number of channels with subscribers; of one shard it may be negative. Any
  /// thread.
  [[nodiscard]] std::int64_t followed() const { return followed_.load(std::memory_order_relaxed); }
  /// Gaps given to cursors since the start. Any thread.
  [[nodiscard]] std::uint64_t gaps_told() const { return gaps_told_.load(std::memory_order_relaxed); }

  /// Binds the shard to this thread. On the bound thread post() and wake() do not wake the loop, so code that
  /// runs there must call turn() before it returns to the loop.
  void bind_to_this_thread();
  static void unbind_this_thread();
  [[nodiscard]] bool is_current() const;
  /// The shard of this thread, or null.
  [[nodiscard]] static Shard* current();
  /// Calls `step` until it returns false: on a shard's thread once per turn, so that others do not wait for
  /// all steps; elsewhere at once. A shard whose thread has died drops it.
  static void in_pieces(std::function<bool()> step);

  /// Runs `task` on the shard's thread in its next turn. Any thread.
  void post(Task task);
  /// Runs it at once if this is the shard's thread, else posts it. Any thread.
  template <typename AnyTask>
  void run(AnyTask&& task) {
    if (is_current()) {
      task();
    } else {
      post(std::forward<AnyTask>(task));
    }
  }
  /// The channel has new entries. Any thread, the channel's lock held.
  void wake(Channel* channel);
  /// While it lives, wake() on this thread leaves the loops asleep; its end wakes them. It is for those who
  /// hold a lock of a channel, and ends after that: a loop that wakes up at once would only wait for the
  /// lock.
  class HeldWakes {
   public:
    HeldWakes();
    ~HeldWakes();
    HeldWakes(const HeldWakes&) = delete;
    HeldWakes& operator=(const HeldWakes&) = delete;

   private:
    friend class Shard;
    static constexpr std::size_t kMost = 8;  // beyond it they are woken at once
    HeldWakes* const outer_;
    std::size_t count_ = 0;
    std::array<Shard*, kMost> shards_;
  };
  /// Other bounds from the next turn on. On the shard's thread, or while it does not run.
  void set_limits(const TurnLimits& limits) { limits_ = limits; }
  /// The shard's thread ends, and turn() is not called again: waiting and later tasks are dropped.
  void close();

  /// Empties the mailbox and moves cursors. True: there is more work, so call turn() again soon.
  bool turn();
  /// A batch that sinks were given in the last turn. It lives until the next one.
  struct Staged {
    const Batch* batch;
    bool is_live;  ///< to the group, not to a cursor that catches up
  };
  [[nodiscard]] const std::vector<Staged>& staged() const { return staged_; }
  /// Is there work for turn()?
  [[nodiscard]] bool has_work();
  /// The time at which turn() must be called even without events: the next sweep.
  [[nodiscard]] std::optional<Millis> due_ms() const;
  /// Visits of channels in read mode since the start. Any thread.
  [[nodiscard]] std::uint64_t sweeps() const { return sweeps_.load(std::memory_order_relaxed); }

  /// Adds a cursor to the channel at (seq, offset). Call it with the channel's lock held.
  void attach(Cursor& cursor, const std::shared_ptr<Channel>& channel, Seq seq, Offset offset);
  /// The saved state of a cursor. Only while nothing runs.
  [[nodiscard]] static CursorState save(const Cursor& cursor);
  /// attach() for a cursor that was saved on the same channel: its position and account continue. Call it
  /// with the channel's lock held.
  void restore(Cursor& cursor, const std::shared_ptr<Channel>& channel, const CursorState& state);
  /// Is a batch or a task pending? Then the state cannot be saved.
  [[nodiscard]] bool is_under_way();
  /// Takes the entries that the cursor has missed, up to a bound, for a sink that needs them now (a reply);
  /// the cursor moves past them. Null: there are none, or none that may be taken before the group takes them.
  std::unique_ptr<Batch> take_page(Cursor& cursor, std::size_t entries_max, std::size_t bytes_max);
  /// Ends a subscription: closes its account; entries that it has not taken are returned. Does nothing to a
  /// closed cursor.
  void unsubscribe(Cursor& cursor);
  /// The sink could not take everything after all: the cursor moves back to (seq, offset), and lags until
  /// resume().
  void rewind(Cursor& cursor, Seq seq, Offset offset);
  /// The same, unless the cursor is before `seq` already.
  void rewind_to(Cursor& cursor, Seq seq, Offset offset) {
    if (cursor.seq_ > seq) rewind(cursor, seq, offset);
  }
  /// Has the cursor not taken everything below `seq`?
  [[nodiscard]] static bool stands_before(const Cursor& cursor, Seq seq) { return cursor.seq_ < seq; }
  /// The sink takes nothing more for now: the cursor stays where it is until resume().
  void park(Cursor& cursor) { rewind(cursor, cursor.seq_, cursor.offset_); }
  /// The sink can take again.
  void resume(Cursor& cursor);

  /// From now on add_to_ledger() visits the subscriptions that are open now. Only one such walk at a time.
  void begin_ledger();
  /// Adds the accounts of the next `cursors_max` open subscriptions to `rows`, in which a channel may occur
  /// repeatedly. False: there are no more.
  bool add_to_ledger(std::vector<LedgerRow>& rows, std::size_t cursors_max, const LedgerFilter& filter = {});
  /// Position of the cursor: it has taken everything up to it from the log.
  [[nodiscard]] static Position position_of(const Cursor& cursor);

 private:
  void take_mailbox();
  /// Schedules a visit of the channel: now, or at its next sweep.
  void schedule(ShardChannel& home);
  void take_due();
  /// Removes it from the channels that wait for their sweep. False: it is not one of them.
  bool unschedule_sweep(ShardChannel& home);
  [[nodiscard]] Millis due_of(const ShardChannel& home) const;
  static bool is_swept(const Channel& channel);
  void step(ShardChannel& home, std::size_t& budget);
  void call_ahead(ShardChannel& home);
  static void set_ahead(Cursor& cursor, bool is_ahead);
  void pump(Cursor& cursor, std::size_t& budget, std::size_t& bytes);
  bool take_batch(ShardChannel& home);
  void sync_live(ShardChannel& home, Channel::Link& link);
  /// Has the log changed at (seq, offset) since the cursor got there?
  static bool has_gap(const Channel& channel, Seq seq, Offset offset, std::uint32_t resets);
  std::optional<Gap> skip_gap(Cursor& cursor, const Channel& channel);
  /// Is it so far behind that the slow-consumer policy applies?
  static bool is_slow(const Cursor& cursor, const Channel& channel);
  std::optional<Gap> skip_to_live(Cursor& cursor, const ShardChannel& home);
  void add_lagging(Cursor& cursor);
  void remove_lagging(Cursor& cursor);
  void make_live(ShardChannel& home, Cursor& cursor);
  void make_lagging(ShardChannel& home, Cursor& cursor);
  void queue(Cursor& cursor);
  void unqueue(Cursor& cursor);
  static std::unique_ptr<Batch> batch_of(Channel& channel, Seq begin, Seq end, std::size_t entries_max,
                                         std::size_t bytes_max);
  /// Is the next entry of the cursor one that only the store has?
  static bool is_in_store(const Cursor& cursor, const Channel& channel);
  /// The page that tells of it; null: nobody holds it.
  static StoredPageRef page_for(const Cursor& cursor, Channel& channel);
  /// Does it take its next entry from the page?
  static bool is_next_in(const StoredPage& page, const Cursor& cursor, const Channel& channel);
  static std::unique_ptr<Batch> batch_of_page(const Cursor& cursor, Channel& channel, const StoredPage& page,
                                              std::size_t entries_max, std::size_t bytes_max);
  /// What the page tells to be gone, the cursor skips.
  std::optional<Gap> skip_gone(Cursor& cursor, const Channel& channel, const StoredPage& page);
  void wait_for_page(Cursor& cursor);
  static Account account_of(const Cursor& cursor, const Channel& channel);

  const std::uint32_t index_;
  TurnLimits limits_;
  const Clock& clock_;
  const std::function<void()> wake_;

  std::mutex mailbox_mutex_;
  std::vector<Channel*> woken_;  // keys only: a channel may no longer exist
  std::vector<Task> tasks_;
  bool is_closed_ = false;

  std::unordered_map<Channel*, std::unique_ptr<ShardChannel>> channels_;
  WalkedSet<ShardChannel, &ShardChannel::place_> homes_;  // the same, for the ledger
  ShardChannel* in_ledger_ = nullptr;                     // the channel whose cursors it is visiting
  std::deque<ShardChannel*> touched_;
  SweptChannels swept_;         // touched, to be visited at their time
  std::vector<Cursor*> ready_;  // lagging cursors whose sink can take entries; null where one was removed
  std::vector<std::unique_ptr<Batch>> spent_;  // bytes of this turn: slices point into them until the flush
  std::vector<Staged> staged_;
  std::vector<ShardChannel*> idle_;
  WalkedSet<Cursor, &Cursor::lagging_index_> lagging_cursors_;
  Lag slowest_so_far_;  // of the walk over them
  std::atomic<std::uint64_t> subscriptions_{0};
  std::atomic<std::int64_t> followed_{0};
  std::atomic<std::uint64_t> lagging_{0};
  std::atomic<std::uint64_t> slowest_publications_{0};
  std::atomic<Millis> slowest_age_ms_{0};
  std::array<std::atomic<std::uint64_t>, kDropReasons> dropped_{};
  std::atomic<std::uint64_t> delivered_in_process_{0};
  std::atomic<std::uint64_t> gaps_told_{0};
  std::atomic<std::uint64_t> sweeps_{0};
  Cursor* pumped_ = nullptr;  // the one being pumped; null again once its sink has parked or closed it
  std::vector<Channel*> woken_now_;
  std::vector<Task> tasks_now_;
};

}  // namespace carillon
