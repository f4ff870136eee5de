#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "env/name_hash.hpp"
#include "env/random.hpp"
#include "hub/adaptive_threshold.hpp"
#include "hub/catch_up.hpp"
#include "hub/channel.hpp"
#include "hub/channel_rules.hpp"
#include "hub/hub_state.hpp"
#include "hub/ledger.hpp"
#include "hub/publication_counters.hpp"
#include "hub/shard.hpp"
#include "hub/stored_page.hpp"
#include "hub/walked_set.hpp"
#include "metrics/histogram.hpp"
#include "store/store.hpp"

namespace carillon {

/// Where a subscription or a history call starts.
struct Since {
  enum class Kind : std::uint8_t {
    position,  ///< behind `offset` of `epoch`
    oldest,    ///< with the oldest publication that is kept
    last,      ///< with the newest `count` publications that are kept
    cache      ///< with the newest publication, unless the position is that of the newest already
  };
  Epoch epoch;
  bool is_any_epoch = false;  ///< the epoch is not compared (protocol.md section 6)
  Offset offset = 0;
  Kind kind = Kind::position;
  std::uint64_t count = 0;
  /// For a subscription that cannot start behind its position, because publications after it are lost or
  /// because it belongs to another epoch: start with the oldest publication that is kept. Otherwise it starts
  /// behind the newest one, as the Centrifuge protocol has it.
  bool takes_what_is_kept = false;

  /// A text that is not an epoch of ours matches no epoch.
  static Since from(std::string_view epoch_text, Offset offset) {
    return {Epoch::parse(epoch_text).value_or(Epoch{}), epoch_text.empty(), offset};
  }
  static Since oldest() { return {{}, true, 0, Kind::oldest}; }
  static Since last(std::uint64_t count) { return {{}, true, 0, Kind::last, count}; }
  /// The channel's newest publication is all that counts (protocol.md section 6, cache mode). Nothing given:
  /// the subscriber knows none.
  static Since cache(const std::optional<Since>& position) {
    Since since = position && position->is_position() ? *position : Since{};
    since.kind = Kind::cache;
    return since;
  }
  [[nodiscard]] bool is_position() const { return kind == Kind::position; }
  [[nodiscard]] bool accepts(const Epoch& other) const { return is_any_epoch || epoch == other; }
};

struct PublishOptions {
  std::string_view idempotency_key;
  bool skip_history = false;
  std::optional<Offset> expected_offset;  ///< `conflict` unless the newest publication has it
  Version version;                        ///< `conflict` unless it is above the last one of its epoch
};

struct SubscribeOutcome {
  StoreError error = StoreError::none;
  bool was_recovering = false;  ///< a position was given, or the oldest publication of a log was asked for
  bool is_recovered = false;    ///< then everything behind the position, or the whole log, follows
  bool is_known = true;  ///< the position is one that the channel has, or has had, as far as is known here
  bool has_history = false;  ///< the channel has positions
  Position start;            ///< the first entry comes after this
  Offset top = 0;            ///< newest offset when the subscription began

  /// For a status; nothing: there was nothing to recover.
  [[nodiscard]] std::optional<bool> recovered() const {
    return was_recovering ? std::optional(is_recovered) : std::nullopt;
  }
};

struct HistoryQuery {
  std::int64_t limit = 0;      ///< 0: only the position; negative: all; not read with Since::last()
  std::optional<Since> since;  ///< with Since::last() the oldest of them comes first
  bool is_reverse = false;
  /// Of payloads, tags and infos; at least one publication is returned, whatever its size.
  std::size_t bytes_max = std::numeric_limits<std::size_t>::max();

  [[nodiscard]] bool is_last() const { return since && since->kind == Since::Kind::last; }
  [[nodiscard]] std::uint64_t entries_max() const {
    if (is_last()) return since->count;
    return limit < 0 ? std::numeric_limits<std::uint64_t>::max() : static_cast<std::uint64_t>(limit);
  }
};

enum class HistoryError : std::uint8_t { none, unavailable, epoch_differs, no_history };
struct HistoryResult {
  HistoryError error = HistoryError::none;
  std::vector<EntryRef> entries;
  Position top;
};

/// Channels with subscribers, in order of their names.
struct ChannelsQuery {
  std::string pattern = "*";
  std::string after;  ///< a name; empty: from the first one on
  /// Of names and counts; one channel is given whatever it takes.
  std::size_t bytes_max = std::numeric_limits<std::size_t>::max();
};
struct ChannelsPage {
  std::map<std::string, std::uint64_t> subscribers;  ///< by channel
  bool has_more = false;                             ///< ask again, after the last of these
};

/// An unread publication of a user, or offsets whose publications have left the history.
struct InboxItem {
  std::string channel;
  Epoch epoch;
  EntryRef entry;  ///< null: a gap
  Offset first = 0;
  Offset last = 0;  ///< inclusive; of a publication both are its offset
};
struct Inbox {
  StoreError error = StoreError::none;
  std::vector<InboxItem> items;  ///< by time, within a channel by offset
  std::vector<std::pair<std::string, std::uint64_t>>
      unread;                  ///< by channel: all of them, regardless of the limit
  bool has_more = false;       ///< more than `items`: mark these as read, and ask again
  bool is_incomplete = false;  ///< the user was removed from more channels than are remembered
};
/// The reason why members, read positions or a strategy were not changed.
enum class FanOutError : std::uint8_t { none, unavailable, no_history, above_top, too_many, inboxes_full };

struct HubLimits {
  std::int64_t history_bytes_total = 1LL << 30;  ///< of all entries and their encoded forms in the process
  std::size_t early_entries =
      4'096;  ///< announced beyond a hole, per channel; beyond this number the hole becomes a gap
  std::size_t inbox_members_per_turn = 1'024;  ///< inboxes that one turn of a shard writes a publication to
  Millis inbox_wait_ms = 12'000;  ///< so long a publisher waits for inboxes without a sign that they come
  std::size_t chosen_fan_outs = 10'000;  ///< channels with a strategy set at run time, which stay in memory
  std::size_t catching_up_channels = 1'000;  ///< that are compared with the store, or filled, at one time
  std::size_t stored_pages = 256;            ///< read from the store for cursors, in memory at one time
  /// Publications of a page, which begins at a multiple of it: all cursors of a channel ask for the same
  /// ones.
  std::size_t page_entries = 256;
  std::size_t page_bytes = 1024 * 1024;  ///< a page is cut before it is larger; it has one publication anyway
  Millis position_check_ms = 40'000;     ///< maximum interval at which a followed channel's top is compared
};

/// Channels, publish, subscribe, history and presence above a store. Thread-safe, except subscribe(), which
/// belongs to the shard. Every answer comes by continuation: at once if the store answers at once.
class Hub final : public StoreListener, private PageSource {
 public:
  using PublishDone = std::function<void(const AppendResult&)>;
  using SubscribeDone = std::function<void(const SubscribeOutcome&)>;
  using HistoryDone = std::function<void(const HistoryResult&)>;

  Hub(const Clock& clock, RandomSource& random, Store& store, ChannelRules rules, HubLimits limits);
  /// Calls close(), for callers that still wait.
  ~Hub() override;

  /// Call it when the threads of all shards have ended. Closes the store, so that calls which wait for it are
  /// answered, exactly once. Subscriptions have ended with their shards.
  void close();

  /// Call it once, before the first subscription and the first member; and with no shards once all threads
  /// have ended.
  void set_shards(std::vector<Shard*> shards) {
    const std::lock_guard lock(shards_mutex_);
    shards_ = std::move(shards);
  }
  [[nodiscard]] const std::vector<Shard*>& shards() const { return shards_; }
  [[nodiscard]] const ChannelOptions& options_for(std::string_view channel) const {
    return rules_.options_for(channel);
  }

  /// False: the namespace of the name is not configured.
  [[nodiscard]] bool is_known(std::string_view channel) const { return rules_.is_known(channel); }

  /// Asks the store for an append. `done` runs on the thread on which the store answers.
  void publish(std::string_view channel, Publication publication, const PublishOptions& options,
               PublishDone done);
  /// Join and leave: entries without an offset on the same pump.
  void announce(std::string_view channel, EntryKind kind, std::string info_json);

  /// Opens `cursor` on `shard`, whose thread this is: at `since` when given, else live from now. `done`
  /// runs on the shard's thread, before the cursor's first entry; not at all after Cursor::cancel().
  void subscribe(Shard& shard, Cursor& cursor, std::string_view channel, const std::optional<Since>& since,
                 SubscribeDone done);
  void history(std::string_view channel, const HistoryQuery& query, HistoryDone done);
  void remove_history(std::string_view channel, std::function<void(StoreError)> done);

  void add_presence(std::string_view channel, const PresenceMember& member) {
    store_.add_presence(channel, member);
  }
  void remove_presence(std::string_view channel, std::string_view client) {
    store_.remove_presence(channel, client);
  }
  void presence(std::string_view channel, const PresencePage& page,
                std::function<void(const PresenceResult&)> done) {
    store_.presence(channel, page, std::move(done));
  }
  void presence_counts(std::string_view channel, std::function<void(const PresenceCounts&)> done) {
    store_.presence_counts(channel, std::move(done));
  }
  // Members and inboxes. Only channels with a history can have members: without offsets nothing can be
  // unread.

  using MembersDone = std::function<void(FanOutError, const MembersResult&)>;
  void add_members(std::string_view channel, std::span<const std::string> users, MembersDone done);
  void remove_members(std::string_view channel, std::span<const std::string> users, MembersDone done);
  void members(std::string_view channel, std::string_view after, std::size_t limit, MembersDone done);
  /// The number of unread publications of the user in the channel.
  void unread(std::string_view user, std::string_view channel,
              std::function<void(const UnreadResult&)> done) {
    store_.unread(user, channel, std::move(done));
  }
  /// The unread publications of the user, at most `limit` items; 0: only the counts.
  void inbox(std::string_view user, std::size_t limit, std::function<void(Inbox)> done);
  /// With `unavailable` the store's error tells whether it may have been done.
  void mark_read(std::string_view user, std::string_view channel, Offset offset,
                 std::function<void(FanOutError, StoreError)> done);
  /// Sets the strategy of one channel from its next publication on, in place of its options; none restores
  /// the options. `too_many`: HubLimits::chosen_fan_outs channels have one already.
  FanOutError set_fan_out(std::string_view channel, std::optional<FanOut> strategy,
                          std::optional<std::size_t> threshold);
  [[nodiscard]] FanOutState fan_out(std::string_view channel);

  /// Channels with subscribers whose name matches `pattern`, with their number of subscribers.
  [[nodiscard]] std::map<std::string, std::uint64_t> channels(std::string_view pattern);
  /// A page of them, collected in pieces, so that no shard is blocked. A channel that has
  /// subscribers all the time is not missed. `done` runs on this thread.
  void list_channels(ChannelsQuery query, std::function<void(ChannelsPage)> done);

  /// Collects every subscription's account, in pieces, so that no shard is blocked, and one ledger at a time.
  /// Each account is exact, even while publications are under way (one that ends meanwhile may be in the sum
  /// both as open and as ended). Of more than `rows_max` channels, those with the fewest problems are only in
  /// the sum. `done` runs on the thread of the last shard to answer; shards whose threads have died are only
  /// counted.
  void ledger(std::function<void(Ledger)> done, std::size_t rows_max = Ledger::kAllRows,
              LedgerFilter filter = {});

  /// Bounded upkeep: trims by age, and makes unused channels dormant. Call it from time to time, from one
  /// thread.
  void keep_house();

  /// The entries of all logs as they are now, to be copied ahead of save().
  [[nodiscard]] std::vector<EntryRef> entries() const;
  /// The saved state of all channels. While no shard runs and the store is held still.
  [[nodiscard]] HubState save();
  /// Puts a saved state into a new hub, whose store has been restored. The entries become this hub's own.
  void restore(const HubState& state);
  /// Continues a saved cursor on `shard`, whose thread this is.
  void restore(Shard& shard, Cursor& cursor, std::string_view channel, const CursorState& state);

  /// Other rules from now on, for the channels in use as well; what is kept of a history changes with its
  /// next use. Only while no other call runs (Server::reload).
  void set_rules(ChannelRules rules) noexcept;
  /// The same for the limits.
  void set_limits(const HubLimits& limits) noexcept;

  void on_announced(const Announcement& announcement) override;
  void on_doubt() override;
  void on_history_removed(std::string_view channel, Epoch epoch, Offset up_to) override;
  void on_walk_finished(std::size_t entered) override { count_entered(entered); }

  /// Whether the store takes publications now, as the server has seen it last.
  [[nodiscard]] bool has_store() const { return has_store_.load(std::memory_order_relaxed); }
  void set_has_store(bool has_store) { has_store_.store(has_store, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t published() const { return published_.load(std::memory_order_relaxed); }
  /// Subscriptions that began with a position, since the start: those that got everything after it, and those
  /// that did not.
  struct PageFigures {
    std::uint64_t read = 0;          ///< pages with publications that the store has given, ever
    std::uint64_t publications = 0;  ///< in them
    CatchUp::Figures room;           ///< pages in memory or being read, and reads that wait for room
  };
  [[nodiscard]] PageFigures pages() const {
    return {pages_read_.load(std::memory_order_relaxed), page_publications_.load(std::memory_order_relaxed),
            page_room_->figures()};
  }
  [[nodiscard]] std::uint64_t recovered() const { return recovered_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t not_recovered() const { return not_recovered_.load(std::memory_order_relaxed); }
  /// Publications entered into inboxes since the start: the store writes of fan-out on write.
  [[nodiscard]] std::uint64_t inbox_entries() const { return inbox_entries_.load(std::memory_order_relaxed); }
  /// Publications that are stored, and were not known to be in all inboxes when their publishers were
  /// answered.
  [[nodiscard]] std::uint64_t inbox_timeouts() const {
    return inbox_timeouts_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t inbox_reads() const { return inbox_reads_.load(std::memory_order_relaxed); }
  /// Ranges of logs merged into inboxes, since the start.
  [[nodiscard]] std::uint64_t inbox_merges() const { return inbox_merges_.load(std::memory_order_relaxed); }
  /// Publications given to the store by publish(), by namespace or pattern.
  [[nodiscard]] const PublicationCounters& publications() const { return publications_; }
  /// Inboxes that one step of a walk has written to.
  [[nodiscard]] const Histogram& walk_members() const { return walk_members_; }
  [[nodiscard]] const AdaptiveThreshold& adaptive_threshold() const { return adaptive_; }
  [[nodiscard]] std::int64_t history_bytes() const { return gauge_->load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t channels_in_use() const;
  /// The number of open subscriptions, and of channels that have any.
  [[nodiscard]] std::uint64_t subscriptions();
  [[nodiscard]] std::uint64_t channels_followed();

 private:
  struct PendingSubscribe;
  struct Stripe {
    explicit Stripe(const NameHash& hash) : channels(hash) {}
    mutable std::mutex mutex;
    NameTable<std::shared_ptr<Channel>> channels;
    WalkedSet<Channel, &Channel::place> all;  // the same channels
    std::size_t next_kept = 0;                // where keep_house continues
  };
  static constexpr std::size_t kStripes = 16;
  static constexpr std::size_t kRelievedPerPublish = 64;

  [[nodiscard]] std::shared_ptr<Channel> find(std::string_view name) const;
  std::shared_ptr<Channel> find_or_add(std::string_view name);
  /// The channel for a call that may do without it: null if nobody follows it here and the store keeps its
  /// entries.
  std::shared_ptr<Channel> reach(std::string_view name);
  /// Under the channel's lock.
  void remove_history(Channel& channel, Offset up_to);
  /// The channel in this hub, which follows it only where it has the only log.
  std::shared_ptr<Channel> hold(std::string_view name);
  std::shared_ptr<Channel> follow_channel(std::string_view name);
  void follow(const std::shared_ptr<Channel>& channel);
  void when_followed(const std::shared_ptr<Channel>& channel, std::function<void()> then);
  void accept(Channel& channel, const Epoch& epoch, const EntryRef& entry, Millis age_ms);
  void append_to_log(Channel& channel, const EntryRef& entry, Millis age_ms);
  void count_into_gauge(const EntryRef& entry);
  void append_early(Channel& channel);
  void reset(Channel& channel, const Epoch& epoch, Offset top);
  void fill_hole(const std::shared_ptr<Channel>& channel);
  void read_hole(const std::shared_ptr<Channel>& channel);
  void on_filled(const std::shared_ptr<Channel>& channel, const ReadRange& range, const Page& page);
  void read(const std::shared_ptr<Channel>& channel, const ReadRange& range,
            std::function<void(const Page&)> then);
  void accept_read(Channel& channel, const Page& page);
  void fetch_page(const std::shared_ptr<Channel>& channel, Offset offset, PageDone done) override;
  void fetch_page(const std::shared_ptr<Channel>& channel, ChannelPages::Waiter waiter);
  void read_page(const std::shared_ptr<Channel>& channel, const std::shared_ptr<ChannelPages::Fetch>& fetch);
  void read_page_now(const std::shared_ptr<Channel>& channel,
                     const std::shared_ptr<ChannelPages::Fetch>& fetch);
  void on_page(const std::shared_ptr<Channel>& channel, const std::shared_ptr<ChannelPages::Fetch>& fetch,
               const ReadRange& range, const Page& read);
  [[nodiscard]] StoredPageRef page_of(Channel& channel, const ReadRange& range, const Page& read);
  void keep_recent(const StoredPageRef& page);
  void forget_recent();
  void forget_recent_before(Millis ms);
  void bound_recent(std::size_t pages_max);
  static void forget_pages(Channel& channel);
  /// Those that are to be tried again: under the channel's lock.
  [[nodiscard]] std::vector<std::shared_ptr<ChannelPages::Fetch>> failed_fetches(Channel& channel);
  bool keep_unconfirmed(Channel& channel, const Epoch& epoch, const EntryRef& entry);
  void check_top(const std::shared_ptr<Channel>& channel);
  void ask_top(const std::shared_ptr<Channel>& channel);
  void believe(Channel& channel, const Position& top);
  [[nodiscard]] bool is_check_due(const Channel& channel, Millis now_ms) const;
  void plan_check(Channel& channel);
  static void wake_shards(Channel& channel);
  void run_on_shard(const std::shared_ptr<PendingSubscribe>& pending, std::function<void()> task);
  void try_start(const std::shared_ptr<PendingSubscribe>& pending);
  void try_start_again(const std::shared_ptr<PendingSubscribe>& pending, StoreError error);
  void ask_top(const std::shared_ptr<PendingSubscribe>& pending);
  void ask_page(const std::shared_ptr<PendingSubscribe>& pending, Offset offset);
  void read_up_to(const std::shared_ptr<PendingSubscribe>& pending, const Position& top);
  [[nodiscard]] PublishDone after_inboxes(const std::shared_ptr<Channel>& channel, PublishDone done);
  /// Where the store keeps the entries, the hub that appended one enters it: others hear of it as well.
  [[nodiscard]] PublishDone enter_inboxes(std::string_view name, PublishDone done);
  /// It is stored, and nobody knows whether it is in all inboxes.
  void note_unknown_inboxes(AppendResult& result);
  bool add_to_walk(Channel& channel, const Position& position, std::vector<InboxWalk::Waiter>& told);
  void post_walk(const std::shared_ptr<Channel>& channel);
  void walk(const std::shared_ptr<Channel>& channel);
  void on_entered(const std::shared_ptr<Channel>& channel, const Epoch& epoch, const EnterResult& result);
  void count_chosen(bool was_chosen, bool is_chosen);
  static void end_walk(Channel& channel);
  struct InboxRead;
  void read_round(const std::shared_ptr<InboxRead>& read);
  void resolve(const std::shared_ptr<InboxRead>& read, std::size_t index);
  void end_round(const std::shared_ptr<InboxRead>& read);
  struct ChannelsWork;
  bool list_piece(ChannelsWork& work);
  struct LedgerWork;
  void start_ledger(const std::shared_ptr<LedgerWork>& work);
  void finish_ledger(const std::shared_ptr<LedgerWork>& work);
  bool finish_piece(LedgerWork& work);
  bool add_ended_to_ledger(LedgerWork& work);
  void end_ledger(LedgerWork& work);
  void relieve_pressure(std::size_t visits);
  bool retire(Stripe& stripe, Channel& channel);
  void read_history(std::string_view name, const HistoryQuery& query, HistoryDone done);
  void answer_history(Channel& channel, const HistoryQuery& query, const Page& older,
                      const HistoryDone& done);

  const Clock& clock_;
  RandomSource& random_;
  Store& store_;
  ChannelRules rules_;
  HubLimits limits_;
  CatchUp catch_up_{limits_.catching_up_channels};
  std::shared_ptr<CatchUp> page_room_ = std::make_shared<CatchUp>(limits_.stored_pages);
  std::atomic<std::uint64_t> pages_read_{0};
  std::atomic<std::uint64_t> page_publications_{0};
  std::mutex recent_pages_mutex_;
  RecentPages recent_pages_{limits_.stored_pages / 2};  // the others are for who reads
  std::mutex shards_mutex_;                             // because publishes may run while the server stops
  std::vector<Shard*> shards_;
  std::shared_ptr<BytesGauge> gauge_ = std::make_shared<BytesGauge>(0);
  PublicationCounters publications_{rules_};
  Histogram walk_members_{kSizeBounds};
  void count_entered(std::size_t entered) {
    inbox_entries_.fetch_add(entered, std::memory_order_relaxed);
    walk_members_.observe(entered);
  }
  std::atomic<std::uint64_t> published_{0};
  std::atomic<std::uint64_t> recovered_{0};
  std::atomic<std::uint64_t> not_recovered_{0};
  std::atomic<std::uint64_t> inbox_entries_{0};
  std::atomic<std::uint64_t> inbox_timeouts_{0};
  std::atomic<std::uint64_t> inbox_reads_{0};
  std::atomic<std::uint64_t> inbox_merges_{0};
  std::atomic<std::size_t> chosen_fan_outs_{0};
  std::atomic<std::uint32_t> retries_{0};  // of walks, since the start
  std::atomic<bool> is_closed_{false};
  std::atomic<bool> has_store_{true};
  std::atomic<std::uint32_t> doubts_{0};  // of the store, since the start
  AdaptiveThreshold adaptive_;
  std::atomic<std::uint32_t> walks_{0};  // begun since the start: they take the shards in turn
  const NameHash hash_;
  Stripes<Stripe, kStripes> stripes_;
  std::mutex forgotten_mutex_;
  LedgerRow forgotten_;  // accounts of channels that have become dormant
  std::atomic<bool> is_relieving_{false};
  std::atomic<std::int64_t>
      relieve_above_;  // entries and forms in bytes; above the limit while more cannot be given up
  // Guarded by is_relieving_.
  std::size_t next_relieved_ =
      0;  // in turn: the first channels of all stripes, then the second ones, and so on
  std::size_t relieved_in_vain_ = 0;  // number of visits that did not suffice
  std::mutex ledger_mutex_;
  std::deque<std::shared_ptr<LedgerWork>> ledgers_;  // the first is under way
};

}  // namespace carillon
