#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/entry.hpp"
#include "store/fan_out_mode.hpp"
#include "store/inbox.hpp"
#include "store/position.hpp"

namespace carillon {

enum class StoreError : std::uint8_t {
  none,
  unavailable,
  gone,  ///< the requested range, or its start, is not kept any more
  full   ///< memory has run out
};

/// A channel that the listener keeps open, from open() to release(); the listener derives its own class from
/// it. Listener and store find their data of the channel here, so that the name is looked up once per
/// publication.
struct ChannelHandle {
  std::atomic<void*> in_store{nullptr};  ///< the result of open()
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
};

struct AppendOptions {
  bool is_ephemeral = false;         ///< gets no offset and is not stored
  std::string_view idempotency_key;  ///< empty: none
  FanOutMode mode = FanOutMode::write;
  ChannelHandle* handle = nullptr;  ///< valid only during the call; null: the store looks up the name
};

struct AppendResult {
  StoreError error = StoreError::none;
  Position position;          ///< offset 0 for an ephemeral entry
  bool is_duplicate = false;  ///< an earlier append had the same idempotency key and this position
};

struct OpenResult {
  StoreError error = StoreError::none;
  Position top;
  std::size_t members = 0;
  void* in_store = nullptr;  ///< for ChannelHandle: valid until release()
};

struct ReadResult {
  StoreError error = StoreError::none;  ///< gone: the range, or its start
  Epoch epoch;                          ///< of the entries
  std::vector<EntryRef>
      entries;  ///< consecutive offsets up to the last of the range; with `gone` the rest of it
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
/// are thread-safe. A continuation is called exactly once.
class Store {
 public:
  virtual ~Store() = default;

  /// Call it once, before anything else.
  virtual void set_listener(StoreListener* listener) = 0;

  /// Assigns an offset to `entry` and announces it; then calls `done`. `channel` is valid only during the
  /// call.
  virtual void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                      std::function<void(const AppendResult&)> done) = 0;

  /// Opens the channel: makes its epoch, returns its top, and prevents that it is forgotten until release().
  virtual void open(std::string_view channel, std::function<void(const OpenResult&)> done) = 0;
  /// The hub no longer needs the channel: it is dormant from now on, and may be forgotten.
  virtual void release(std::string_view channel) = 0;

  /// Reads the stored entries with offsets in [first, last]. The store in memory has none beside the hub's
  /// log.
  virtual void read(std::string_view channel, Offset first, Offset last,
                    std::function<void(const ReadResult&)> done) = 0;
  /// Forgets the history; offset and epoch stay.
  virtual void remove_history(std::string_view channel) = 0;

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
  /// Enters the publications [first, last] into the inboxes of the next `members_max` members. Call it again
  /// with the same range until it is done; one walk at a time per channel. A member that joined after a
  /// publication, or has it already, does not get it.
  virtual void enter(std::string_view channel, Offset first, Offset last, std::size_t members_max,
                     std::function<void(const EnterResult&)> done) = 0;
  /// The number of unread publications of a user in one channel.
  virtual void unread(std::string_view user, std::string_view channel,
                      std::function<void(const UnreadResult&)> done) = 0;
  /// The unread publications of a user, with at most `limit` of the entered ones; 0: only the counts.
  virtual void inbox(std::string_view user, std::size_t limit,
                     std::function<void(const InboxResult&)> done) = 0;
  /// Marks everything of the channel up to `offset` as read. Never moves backwards.
  virtual void mark_read(std::string_view user, std::string_view channel, Offset offset,
                         std::function<void(StoreError)> done) = 0;

  /// Bounded upkeep: forgets channels and keys past their lifetime. Call it from time to time, from one
  /// thread.
  virtual void keep_house() = 0;
};

}  // namespace carillon
