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
  gone,  ///< the range that was asked for, or its start
  full   ///< there is no memory for more
};

/// A channel that the listener holds open, from open() to release(): the listener's own derives from it. Both
/// find here what they know of the channel, so that its name is looked up once per publication.
struct ChannelHandle {
  std::atomic<void*> in_store{nullptr};  ///< what open() gave
};

/// An entry that has its place: what the hub delivers. An ephemeral entry has offset 0.
struct Announcement {
  std::string_view channel;
  Epoch epoch;
  EntryRef entry;
  FanOutMode mode = FanOutMode::write;  ///< as it was appended
  std::size_t members = 0;              ///< of the channel at that moment
  ChannelHandle* handle = nullptr;      ///< as append() had it, when this comes from inside of that call
};

/// Who hears the announcements: the hub. Called from any thread, for a channel in any order. It may call
/// read() of the store from inside.
class StoreListener {
 public:
  virtual ~StoreListener() = default;
  virtual void on_announced(const Announcement& announcement) = 0;
};

struct AppendOptions {
  bool is_ephemeral = false;         ///< gets no offset, is never read again
  std::string_view idempotency_key;  ///< empty: none
  FanOutMode mode = FanOutMode::write;
  ChannelHandle* handle = nullptr;  ///< valid only during the call; null: the store looks for the name
};

struct AppendResult {
  StoreError error = StoreError::none;
  Position position;          ///< offset 0 for an ephemeral entry
  bool is_duplicate = false;  ///< an earlier append had the same idempotency key; position is that one's
};

struct OpenResult {
  StoreError error = StoreError::none;
  Position top;
  std::size_t members = 0;
  void* in_store = nullptr;  ///< for ChannelHandle: valid until release()
};

struct ReadResult {
  StoreError error = StoreError::none;  ///< gone: the range, or its start
  Epoch epoch;                          ///< that the entries belong to
  std::vector<EntryRef>
      entries;  ///< consecutive offsets up to the range's last; with `gone` what is left of it
};

struct PresenceMember {
  std::string client;
  std::string user;
  std::string conn_info_json;
};

/// A page of who is there. A member counts with what an answer in JSON takes, about.
struct PresencePage {
  std::string_view after;     ///< a client id: the page begins behind it; empty: at the first
  std::size_t bytes_max = 0;  ///< it ends before, but has one member at least
};

struct PresenceResult {
  StoreError error = StoreError::none;
  std::vector<PresenceMember> members;  ///< by client id
  bool has_more = false;                ///< behind the last of them
};

/// How many are there, counted as they come and go.
struct PresenceCounts {
  StoreError error = StoreError::none;
  std::uint64_t clients = 0;
  std::uint64_t users = 0;  ///< different ones
};

struct MembersResult {
  StoreError error = StoreError::none;
  std::size_t members = 0;         ///< of the channel, afterwards
  std::vector<std::string> users;  ///< those asked for, by name
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

/// Gives offsets and epochs, and keeps what a second gateway must see (design.md section 6).
/// Everything is answered by continuation: memory answers in the same call, others later and from any
/// thread. No call blocks; all are thread-safe. A continuation is called exactly once.
class Store {
 public:
  virtual ~Store() = default;

  /// Once, before anything else.
  virtual void set_listener(StoreListener* listener) = 0;

  /// Gives `entry` its offset and announces it; then `done`. `channel` is valid only during the call.
  virtual void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                      std::function<void(const AppendResult&)> done) = 0;

  /// Touches the channel (makes its epoch), keeps it from being forgotten until release(), tells its top.
  virtual void open(std::string_view channel, std::function<void(const OpenResult&)> done) = 0;
  /// The hub needs the channel no longer: from now on it is dormant and may be forgotten.
  virtual void release(std::string_view channel) = 0;

  /// Reads the stored entries with offsets in [first, last]. Memory keeps none beside the hub's log.
  virtual void read(std::string_view channel, Offset first, Offset last,
                    std::function<void(const ReadResult&)> done) = 0;
  /// Forgets the history; offset and epoch stay.
  virtual void remove_history(std::string_view channel) = 0;

  virtual void add_presence(std::string_view channel, const PresenceMember& member) = 0;
  virtual void remove_presence(std::string_view channel, std::string_view client) = 0;
  virtual void presence(std::string_view channel, const PresencePage& page,
                        std::function<void(const PresenceResult&)> done) = 0;
  virtual void presence_counts(std::string_view channel, std::function<void(const PresenceCounts&)> done) = 0;

  /// Makes users members of the channel: what is published from now on is theirs to read. Who is one stays
  /// it.
  virtual void add_members(std::string_view channel, std::span<const std::string> users,
                           std::function<void(const MembersResult&)> done) = 0;
  /// They keep what was published until now and is not read. Who is no member is passed over.
  virtual void remove_members(std::string_view channel, std::span<const std::string> users,
                              std::function<void(const MembersResult&)> done) = 0;
  /// The first `limit` members behind `after`, by name.
  virtual void members(std::string_view channel, std::string_view after, std::size_t limit,
                       std::function<void(const MembersResult&)> done) = 0;
  /// Enters the publications [first, last] into the inboxes of the next `members_max` members. Again and
  /// again with the same range, until it is done; one walk at a time per channel. Who joined after a
  /// publication, or has it already, does not get it.
  virtual void enter(std::string_view channel, Offset first, Offset last, std::size_t members_max,
                     std::function<void(const EnterResult&)> done) = 0;
  /// How many publications of one channel a user has not read.
  virtual void unread(std::string_view user, std::string_view channel,
                      std::function<void(const UnreadResult&)> done) = 0;
  /// What a user has not read, with at most `limit` publications of those entered; 0: only the counts.
  virtual void inbox(std::string_view user, std::size_t limit,
                     std::function<void(const InboxResult&)> done) = 0;
  /// Everything of the channel up to `offset` is read. Never goes back.
  virtual void mark_read(std::string_view user, std::string_view channel, Offset offset,
                         std::function<void(StoreError)> done) = 0;

  /// Bounded upkeep: forgets what is past its lifetime. From time to time, from one thread.
  virtual void keep_house() = 0;
};

}  // namespace carillon
