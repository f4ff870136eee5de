#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "store/entry.hpp"
#include "store/fan_out_mode.hpp"
#include "store/inbox.hpp"
#include "store/position.hpp"

namespace carillon {

/// Why a call was not answered with what it asked for.
enum class StoreError : std::uint8_t {
  none,
  unavailable,      ///< not carried out: the store cannot be reached now
  overloaded,       ///< not carried out: too much waits for the store
  outcome_unknown,  ///< it may have been carried out
  conflict,         ///< the channel's top or version is another one than the call expects
  not_held,         ///< the requested range, or its start, is not kept any more
  full,             ///< the memory of members and inboxes has run out
  closed            ///< not carried out: the store is closed
};

/// A channel that the listener follows, from follow() to unfollow(); the listener derives its own class from
/// it. Listener and store find their data of the channel here, so that the name is looked up once per
/// publication.
struct ChannelHandle {
  std::atomic<void*> in_store{nullptr};  ///< the result of follow()
};

/// An entry with its offset, as the hub delivers it. An ephemeral entry has offset 0.
struct Announcement {
  std::string_view channel;
  Epoch epoch;
  EntryRef entry;
  FanOutMode mode = FanOutMode::write;  ///< when it was appended
  std::size_t members = 0;              ///< of the channel at that moment
  ChannelHandle* handle = nullptr;      ///< the one of append(), if this is called inside of it
};

/// Receives announcements: the hub. Called from any thread, for a channel in any order. It may call read() of
/// the store from inside.
class StoreListener {
 public:
  virtual ~StoreListener() = default;
  virtual void on_announced(const Announcement& announcement) = 0;
  /// Announcements may have been lost: compare the tops of all channels that are followed.
  virtual void on_doubt() {}
  /// The history of a followed channel was removed up to this offset, by whatever gateway.
  virtual void on_history_removed(std::string_view /*channel*/, Epoch /*epoch*/, Offset /*up_to*/) {}
  /// A step of a walk that the store finishes for a gateway that has died has written into so many inboxes.
  virtual void on_walk_finished(std::size_t /*entered*/) {}
};

/// The time of a clock that all gateways of a store share, ms: it is between these.
struct SharedTime {
  Millis earliest_ms = 0;
  Millis latest_ms = 0;
};

/// Receives what other gateways tell. Called from any thread.
class GatewayListener {
 public:
  virtual ~GatewayListener() = default;
  virtual void on_told(std::string_view from_gateway, std::string_view message) = 0;
};

/// What a channel keeps of its history. It travels with each append, because gateways may be configured
/// differently: the last appender's counts. Zero: no bound of that kind.
struct Retention {
  std::uint64_t entries = 0;
  std::size_t bytes = 0;
  Millis ttl_ms = 0;
};

/// A version of the state that a publication describes. Versions of different epochs do not compare.
struct Version {
  std::uint64_t number = 0;  ///< 0: none
  std::string_view epoch;
};

struct AppendOptions {
  bool is_ephemeral = false;              ///< gets no offset and is not stored
  std::string_view idempotency_key;       ///< empty: none
  std::optional<Offset> expected_offset;  ///< `conflict` unless the channel's top has it
  Version version;                        ///< `conflict` unless it is above the last one of its epoch
  Retention retention;
  FanOutMode mode = FanOutMode::write;
  ChannelHandle* handle = nullptr;  ///< valid only during the call; null: the store looks up the name
};

struct AppendResult {
  StoreError error = StoreError::none;
  Position position;          ///< offset 0 for an ephemeral entry; with `conflict` the channel's top
  bool is_duplicate = false;  ///< an earlier append had the same idempotency key and this position
  std::size_t members = 0;    ///< of the channel at that moment, also for a duplicate
};

struct TopResult {
  StoreError error = StoreError::none;
  Position top;
  std::size_t members = 0;
  void* in_store = nullptr;  ///< of follow(), for ChannelHandle: valid until unfollow()
};

/// A part of a channel's stored entries: at most `entries_max` entries with offsets in [first, last], and at
/// most `bytes_max` of their cost, but one entry in any case. The oldest of them, or the newest.
struct ReadRange {
  Offset first = 1;
  Offset last = 0;
  std::size_t entries_max = std::numeric_limits<std::size_t>::max();
  std::size_t bytes_max = std::numeric_limits<std::size_t>::max();
  bool is_backward = false;  ///< the newest
  friend bool operator==(const ReadRange&, const ReadRange&) = default;
};

struct Page {
  StoreError error = StoreError::none;  ///< not_held: the start of the range is gone, or all of it
  Position top;                         ///< of the channel when it was read; of a store without entries: none
  std::vector<EntryRef> entries;        ///< ascending, consecutive offsets
  bool has_more = false;                ///< a maximum cut it short
};

struct PresenceMember {
  std::string client;
  std::string user;
  std::string conn_info_json;
  std::string chan_info_json = {};  ///< of its subscription; empty: none
};

/// A page of the presence. A member counts with its approximate size in an answer in JSON.
struct PresencePage {
  std::string_view after;     ///< a client id, behind which the page begins; empty: at the first
  std::size_t bytes_max = 0;  ///< maximum size of the page, which has at least one member
};

struct PresenceResult {
  StoreError error = StoreError::none;
  std::vector<PresenceMember> members;  ///< by client id
  bool has_more = false;                ///< there are members behind the last one
};

/// Counts of the presence, kept up to date as connections come and go.
struct PresenceCounts {
  StoreError error = StoreError::none;
  std::uint64_t clients = 0;
  std::uint64_t users = 0;  ///< number of different users
};

struct MembersResult {
  StoreError error = StoreError::none;
  std::size_t members = 0;         ///< of the channel, afterwards
  std::vector<std::string> users;  ///< the requested page, by name
};

struct EnterResult {
  StoreError error = StoreError::none;
  EnterStep step;
};

struct UnreadResult {
  StoreError error = StoreError::none;
  std::uint64_t publications = 0;
};

struct InboxResult {
  StoreError error = StoreError::none;
  InboxContent content;
};

/// Assigns offsets and epochs, and keeps the state that several gateways share. All calls answer by
/// continuation: the store in memory in the same call, others later and from any thread. No call blocks; all
/// are thread-safe; their texts are valid only during the call. A continuation is called exactly once.
class Store {
 public:
  virtual ~Store() = default;

  /// Call it once, before anything else.
  virtual void set_listener(StoreListener* listener) = 0;

  /// False: only the listener's logs have the entries, so the listener follows each channel that it uses.
  [[nodiscard]] virtual bool keeps_entries() const = 0;

  /// Assigns an offset to `entry` and announces it to whoever follows the channel; then calls `done`. Of two
  /// appends with one idempotency key the second waits for the first, and has its result.
  virtual void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                      std::function<void(const AppendResult&)> done) = 0;

  /// Announces the channel's entries to the listener from now on: each that is above the top that this
  /// answers. The channel has an epoch then, and is not forgotten until unfollow().
  virtual void follow(std::string_view channel, std::function<void(const TopResult&)> done) = 0;
  /// As often as follow().
  virtual void unfollow(std::string_view channel) = 0;
  /// The top of the channel, which has an epoch then. Follows nothing.
  virtual void top(std::string_view channel, std::function<void(const TopResult&)> done) = 0;

  virtual void read(std::string_view channel, const ReadRange& range,
                    std::function<void(const Page&)> done) = 0;
  /// Forgets the history; offset and epoch stay.
  virtual void remove_history(std::string_view channel, std::function<void(StoreError)> done) = 0;

  virtual void add_presence(std::string_view channel, const PresenceMember& member) = 0;
  virtual void remove_presence(std::string_view channel, std::string_view client) = 0;
  virtual void presence(std::string_view channel, const PresencePage& page,
                        std::function<void(const PresenceResult&)> done) = 0;
  virtual void presence_counts(std::string_view channel, std::function<void(const PresenceCounts&)> done) = 0;

  /// Makes users members of the channel, for the publications from now on. Existing members are unchanged.
  virtual void add_members(std::string_view channel, std::span<const std::string> users,
                           std::function<void(const MembersResult&)> done) = 0;
  /// Removes members. They keep the unread publications that they have. Users that are not members are
  /// ignored.
  virtual void remove_members(std::string_view channel, std::span<const std::string> users,
                              std::function<void(const MembersResult&)> done) = 0;
  /// The first `limit` members behind `after`, by name.
  virtual void members(std::string_view channel, std::string_view after, std::size_t limit,
                       std::function<void(const MembersResult&)> done) = 0;
  /// Enters what has been appended in write mode into the inboxes of the next `members_max` members. Call it
  /// again until it is done; one walk at a time per channel. The store knows how far the walk has come. A
  /// member that joined after a publication, or has it already, does not get it.
  virtual void enter(std::string_view channel, std::size_t members_max,
                     std::function<void(const EnterResult&)> done) = 0;
  /// The number of unread publications of a user in one channel.
  virtual void unread(std::string_view user, std::string_view channel,
                      std::function<void(const UnreadResult&)> done) = 0;
  /// The unread publications of a user, with at most `limit` of the entered ones; 0: only the counts.
  virtual void inbox(std::string_view user, std::size_t limit,
                     std::function<void(const InboxResult&)> done) = 0;
  /// Marks everything of the channel up to `offset` as read. Never moves backwards. `conflict`: the channel's
  /// top is below.
  virtual void mark_read(std::string_view user, std::string_view channel, Offset offset,
                         std::function<void(StoreError)> done) = 0;

  // Other gateways. A store that is not shared knows none.

  /// The name of this gateway among those that share the store; empty: it has the store to itself.
  [[nodiscard]] virtual std::string gateway() const { return {}; }
  /// Call it once, before anything else.
  virtual void set_gateway_listener(GatewayListener* /*listener*/) {}
  /// tell() reaches this gateway by this name, too: by it clients name their gateway, and it stays when
  /// another process takes over. Before the store is opened or restored.
  virtual void set_node(std::string_view /*node*/) {}
  /// Tells a gateway (or a node), or all others if `to_gateway` is empty: each once, or not at all when the
  /// link to the store fails; without a link it fails at once. From one gateway to another messages keep
  /// their order. `done` gets the number of gateways that are told, without this one, and is released when
  /// the store has let go of the message. For questions: the asker does not wait for a gateway that is away.
  virtual void tell(std::string_view /*to_gateway*/, std::string_view /*message*/,
                    std::function<void(StoreError, std::size_t)> done) {
    done(StoreError::none, 0);
  }
  /// Gives an order to all other gateways. The store keeps it for a while, so a gateway whose link is away
  /// for a moment is told when the link is back; a gateway that opens the store later is not. Each is told
  /// once, in the order in which the store got the orders. `done` gets the number of gateways that are told
  /// at once.
  virtual void order(std::string_view /*message*/, std::function<void(StoreError, std::size_t)> done) {
    done(StoreError::none, 0);
  }

  /// Nothing: it is not known yet, or there are no others.
  [[nodiscard]] virtual std::optional<SharedTime> shared_time() const { return std::nullopt; }

  /// Bounded upkeep: forgets channels and keys past their lifetime. Call it from time to time, from one
  /// thread. It does not block.
  virtual void keep_house() = 0;

  /// Answers everything that waits; later calls are answered `closed`, and nothing is announced any more.
  /// Not from a continuation.
  virtual void close() = 0;
};

}  // namespace carillon
