#pragma once

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
  std::size_t deliveries_per_visit = 256;  ///< of them to one channel, which is visited once, and to laggards
  std::size_t batch_entries = 256;
  std::size_t batch_bytes = 128 * 1024;  ///< of entries; a batch always takes one
  std::size_t lagging_bytes_per_turn =
      8 * 1024 * 1024;  ///< of entries: each cursor that lags has a batch of its own
};

class ShardChannel;
/// Channels that wait for their sweep, by the time when they are to be visited.
using SweptChannels = std::multimap<Millis, ShardChannel*>;

/// A channel as one shard sees it: the live cursors, which have read everything, and those that lag.
class ShardChannel {
 public:
  explicit ShardChannel(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}

 private:
  friend class Shard;
  void add_live(Cursor& cursor);
  void remove_live(Cursor& cursor);

  const std::shared_ptr<Channel> channel_;
  std::vector<Cursor*> live_;                   // [0, progress_) have the batch under way already
  WalkedSet<Cursor, &Cursor::all_index_> all_;  // every open cursor, for the ledger
  std::unique_ptr<Batch> batch_;                // under way: the turn's quantum may end in its middle
  std::size_t progress_ = 0;
  Seq live_seq_ = 0;        // where the group stands once the batch is through
  Offset live_offset_ = 0;  // newest offset below
  std::uint32_t resets_ = 0;
  std::uint32_t ahead_ = 0;      // so many cursors have read past the group, and wait for it
  Millis visited_ms_ = 0;        // when the group last took a batch
  bool has_more_ = false;        // more is new than the group has taken
  bool is_catching_up_ = false;  // more was there already than its batch could hold
  bool is_touched_ = false;      // stands among those to be visited, now or when it is due
  bool is_idle_ = false;
  std::size_t place_ = 0;  // among the shard's
  std::optional<SweptChannels::iterator> swept_;
};

/// The cursors of one thread. Publishers on any thread leave the channel in its mailbox; turn() takes all
/// that waits and pumps. No locks between shards, no work beyond the turn's quantum. Everything but post()
/// and wake() is for the shard's own thread.
class Shard {
 public:
  using Task = std::function<void()>;

  /// `wake` is called from any thread when the mailbox turns from empty to not empty; it must lead to turn().
  Shard(std::uint32_t index, TurnLimits limits, const Clock& clock, std::function<void()> wake);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  [[nodiscard]] std::uint32_t index() const { return index_; }
  /// Cursors that do not stand with the newest entry now. Any thread.
  [[nodiscard]] std::uint64_t lagging() const { return lagging_.load(std::memory_order_relaxed); }
  /// Open subscriptions. Any thread.
  [[nodiscard]] std::uint64_t subscriptions() const { return subscriptions_.load(std::memory_order_relaxed); }
  /// Summed over all shards: channels that have subscribers. Of one shard it may be negative. Any thread.
  [[nodiscard]] std::int64_t followed() const { return followed_.load(std::memory_order_relaxed); }
  /// Gaps that cursors were told of, ever. Any thread.
  [[nodiscard]] std::uint64_t gaps_told() const { return gaps_told_.load(std::memory_order_relaxed); }

  /// Binds the shard to this thread. On the bound thread post() and wake() do not wake the loop: whatever
  /// runs there must call turn() before it returns to the loop.
  void bind_to_this_thread();
  static void unbind_this_thread();
  [[nodiscard]] bool is_current() const;
  /// The shard whose thread this is, or null.
  [[nodiscard]] static Shard* current();
  /// Calls `step` until it returns false: on a shard's thread once per turn, so that nobody waits for all of
  /// it, elsewhere at once. A shard whose thread has died drops it.
  static void in_pieces(std::function<bool()> step);

  /// Runs `task` on the shard's thread in its next turn. Any thread.
  void post(Task task);
  /// Runs it at once when this is the shard's thread, else posts it. Any thread.
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
  /// The shard's thread ends and turn() is not called again: tasks that wait, and later ones, are dropped.
  void close();

  /// Takes what waits in the mailbox and moves cursors. True: more waits, turn again soon.
  bool turn();
  /// Would turn() find something to do?
  [[nodiscard]] bool has_work();
  /// When turn() is to be called even if nothing comes: for the next channel that is to be swept.
  [[nodiscard]] std::optional<Millis> due_ms() const;
  /// Visits of channels in read mode, ever. Any thread.
  [[nodiscard]] std::uint64_t sweeps() const { return sweeps_.load(std::memory_order_relaxed); }

  /// Puts a cursor into the channel at (seq, offset). The channel's lock is held.
  void attach(Cursor& cursor, const std::shared_ptr<Channel>& channel, Seq seq, Offset offset);
  /// Where a cursor stands, written down. While nothing runs.
  [[nodiscard]] static CursorState save(const Cursor& cursor);
  /// attach(), for a cursor that was saved on the same channel: its place and account go on. The channel's
  /// lock is held.
  void restore(Cursor& cursor, const std::shared_ptr<Channel>& channel, const CursorState& state);
  /// Is a batch on its way through a group, or does a task wait? Then it is no time to save.
  [[nodiscard]] bool is_under_way();
  /// Takes what the cursor has missed, up to a bound, for a sink that wants it now (a reply); the cursor
  /// moves past it. Null: nothing is there, or only more than may be taken before the group has.
  std::unique_ptr<Batch> take_page(Cursor& cursor, std::size_t entries_max, std::size_t bytes_max);
  /// Ends a subscription: its account is closed, what it has not taken is returned. Does nothing to a closed
  /// cursor.
  void unsubscribe(Cursor& cursor);
  /// The sink could not take everything after all: the cursor stands again at (seq, offset) and lags until
  /// resume().
  void rewind(Cursor& cursor, Seq seq, Offset offset);
  /// The same, unless the cursor stands before `seq` already.
  void rewind_to(Cursor& cursor, Seq seq, Offset offset) {
    if (cursor.seq_ > seq) rewind(cursor, seq, offset);
  }
  /// Has the cursor not taken everything below `seq`?
  [[nodiscard]] static bool stands_before(const Cursor& cursor, Seq seq) { return cursor.seq_ < seq; }
  /// The sink wants nothing more for now: the cursor stays where it is until resume().
  void park(Cursor& cursor) { rewind(cursor, cursor.seq_, cursor.offset_); }
  /// The sink can take again.
  void resume(Cursor& cursor);

  /// From here on add_to_ledger() visits what is open now. One after another, not two at a time.
  void begin_ledger();
  /// Adds the accounts of the next `cursors_max` open subscriptions to `rows`, which may name a channel
  /// again. False: that was all.
  bool add_to_ledger(std::vector<LedgerRow>& rows, std::size_t cursors_max);
  /// Position of the cursor: everything up to it has been taken from the log.
  [[nodiscard]] static Position position_of(const Cursor& cursor);

 private:
  void take_mailbox();
  /// Puts the channel among those to be visited: now, or at its next sweep.
  void schedule(ShardChannel& home);
  void take_due();
  /// Takes it out of those that wait for their sweep. False: it is not among them.
  bool unschedule_sweep(ShardChannel& home);
  [[nodiscard]] Millis due_of(const ShardChannel& home) const;
  static bool is_swept(const Channel& channel);
  void step(ShardChannel& home, std::size_t& budget);
  void call_ahead(ShardChannel& home);
  static void set_ahead(Cursor& cursor, bool is_ahead);
  void pump(Cursor& cursor, std::size_t& budget, std::size_t& bytes);
  bool take_batch(ShardChannel& home);
  void sync_live(ShardChannel& home, Channel::Link& link);
  /// Is the log no longer what it was where somebody stands at (seq, offset)?
  static bool has_gap(const Channel& channel, Seq seq, Offset offset, std::uint32_t resets);
  static std::optional<Gap> skip_gap(Cursor& cursor, const Channel& channel);
  /// Has it fallen so far behind that the channel's policy is to act?
  static bool is_slow(const Cursor& cursor, const Channel& channel);
  static std::optional<Gap> skip_to_live(Cursor& cursor, const ShardChannel& home);
  void make_live(ShardChannel& home, Cursor& cursor);
  void make_lagging(ShardChannel& home, Cursor& cursor);
  void queue(Cursor& cursor);
  void unqueue(Cursor& cursor);
  static std::unique_ptr<Batch> batch_of(Channel& channel, Seq begin, Seq end, std::size_t entries_max,
                                         std::size_t bytes_max);
  static Account account_of(const Cursor& cursor, const Channel& channel);

  const std::uint32_t index_;
  const TurnLimits limits_;
  const Clock& clock_;
  const std::function<void()> wake_;

  std::mutex mailbox_mutex_;
  std::vector<Channel*> woken_;  // only keys: a channel may be gone by the time
  std::vector<Task> tasks_;
  bool is_closed_ = false;

  std::unordered_map<Channel*, std::unique_ptr<ShardChannel>> channels_;
  WalkedSet<ShardChannel, &ShardChannel::place_> homes_;  // the same, for the ledger
  ShardChannel* in_ledger_ = nullptr;                     // whose cursors it is visiting
  std::deque<ShardChannel*> touched_;
  SweptChannels swept_;         // touched, and to be visited then
  std::vector<Cursor*> ready_;  // lagging cursors whose sink can take; null where one was taken out
  std::vector<std::unique_ptr<Batch>> spent_;  // bytes of this turn: slices point into them until the flush
  std::vector<ShardChannel*> idle_;
  std::atomic<std::uint64_t> subscriptions_{0};
  std::atomic<std::int64_t> followed_{0};
  std::atomic<std::uint64_t> lagging_{0};
  std::atomic<std::uint64_t> gaps_told_{0};
  std::atomic<std::uint64_t> sweeps_{0};
  Cursor* pumped_ = nullptr;  // under the pump; null again when its sink has parked or closed it
  std::vector<Channel*> woken_now_;
  std::vector<Task> tasks_now_;
};

}  // namespace carillon
