#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "hub/channel_log.hpp"
#include "hub/ledger.hpp"
#include "hub/sink.hpp"
#include "hub/stored_page.hpp"

namespace carillon {

class ShardChannel;

/// A position in a channel and a sink: everything that reads is a cursor. The subscriber owns it, and must
/// unsubscribe it before destroying it. It stays at one address; all calls on its shard's thread.
class Cursor {
 public:
  explicit Cursor(Sink& sink, std::uint32_t mark = 0) : mark_(mark), sink_(&sink) {}
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;
  ~Cursor() { forget_ticket(); }

  /// Cancels a subscribe that has not been answered yet.
  void cancel();

  /// A mark for sinks with several cursors.
  [[nodiscard]] std::uint32_t mark() const { return mark_; }
  /// Before it is opened.
  void set_mark(std::uint32_t mark) { mark_ = mark; }
  /// From now on its entries go another way. Not while a sink takes a batch of it.
  void lead_to(Sink& sink, std::uint32_t mark) {
    sink_ = &sink;
    mark_ = mark;
  }
  [[nodiscard]] bool is_open() const { return place_ != Place::closed; }
  /// Is it in the live group? It has then read everything, and only new entries will come.
  [[nodiscard]] bool is_live() const { return place_ == Place::live; }
  /// Has it taken everything that it may take now? In a swept channel, or from a page, a cursor may have read
  /// past its group; it is not live before the group has come to it.
  [[nodiscard]] bool has_read_to_end() const { return is_live() || is_ahead_; }
  /// Does it wait for a page from the store?
  [[nodiscard]] bool is_waiting() const { return is_open() && ticket_ != nullptr; }
  /// Newest offset that has been taken from the log for it.
  [[nodiscard]] Offset offset() const { return offset_; }

  /// Counted by the sink, at the moment of the event.
  void count_delivered(std::uint32_t entries) { delivered_ += entries; }
  void count_dropped(DropReason reason, std::uint32_t entries) {
    if (entries > 0) withheld().dropped[static_cast<std::size_t>(reason)] += entries;
  }
  void count_conflated(std::uint32_t entries) {
    if (entries > 0) withheld().conflated += entries;
  }
  /// Entries taken from the log whose last byte has not been sent yet.
  void set_under_way(std::uint32_t entries) { under_way_ = entries; }
  [[nodiscard]] std::uint32_t under_way() const { return under_way_; }
  /// Their last byte has been sent.
  void count_under_way_delivered() {
    delivered_ += under_way_;
    under_way_ = 0;
  }

 private:
  friend class Hub;
  friend class Shard;
  friend class ShardChannel;
  enum class Place : std::uint8_t { closed, live, lagging };

  /// Entries that the sink did not get. Most cursors have none.
  struct Withheld {
    std::uint64_t conflated = 0;
    std::array<std::uint64_t, kDropReasons> dropped{};
    bool operator==(const Withheld&) const = default;
  };
  Withheld& withheld() {
    if (!withheld_) withheld_ = std::make_unique<Withheld>();
    return *withheld_;
  }

  void forget_ticket() {
    if (ticket_) *ticket_ = nullptr;
    ticket_.reset();
  }

  Place place_ = Place::closed;
  bool is_ahead_ = false;   // has read past its group, and waits for the group
  bool is_queued_ = false;  // is in the shard's list of cursors to be pumped
  // Its sink could not take a batch that the group took, and it has not caught up yet.
  bool has_fallen_behind_ = false;
  bool has_been_live_ = false;       // since it was opened
  std::uint32_t index_ = 0;          // in the live group, or in the list of cursors to be pumped
  std::uint32_t all_index_ = 0;      // among all cursors of the channel on this shard
  std::uint32_t lagging_index_ = 0;  // among those of the shard that lag
  std::uint32_t resets_ = 0;         // `resets` of the channel when its position was last valid
  std::uint32_t mark_;
  std::uint32_t under_way_ = 0;
  Sink* sink_;
  ShardChannel* home_ = nullptr;
  // Leads a pending subscribe, or a page on its way, to this cursor; null once cancelled.
  std::shared_ptr<Cursor*> ticket_;
  StoredPageRef page_;  // that it reads from, where the ring does not reach
  Seq seq_ = 0;
  Offset offset_ = 0;
  std::uint64_t delivered_ = 0;
  std::int64_t announced_at_start_ = 0;
  std::unique_ptr<Withheld> withheld_;  // null: none
};

}  // namespace carillon
