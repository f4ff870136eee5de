#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "env/clock.hpp"
#include "hub/channel_options.hpp"
#include "store/entry.hpp"

namespace carillon {

/// Place of an entry in the hub's own log of a channel; stored and ephemeral entries alike. Cursors stand on it.
using Seq = std::uint64_t;

/// The ring of a channel's entries. It keeps the history (bounded by count, bytes and age) and, for live
/// cursors, a small window that also holds ephemeral entries. What the ring still holds beyond the history's
/// bounds is never shown to a resume or a history call. Not thread-safe: the channel locks.
class ChannelLog {
 public:
  /// Leaves room below for entries that are read from a store later and put in front.
  static constexpr Seq kFirstSeq = Seq{1} << 32U;

  static constexpr std::size_t kBurstEntries = 4'096;
  static constexpr std::size_t kBurstBytes = 4 * 1024 * 1024;
  /// An entry outside of the history leaves the live window at this age: no cursor that moves is so far behind.
  static constexpr Millis kLiveWindowMs = 30'000;

  /// Offsets go on after `top`.
  void start_after(Offset top) {
    top_ = top;
    history_from_ = top + 1;
  }

  /// Appends; a stored entry must have offset top() + 1. `taken` as in trim().
  void append(EntryRef entry, Millis now_ms, const ChannelOptions& options, Seq taken);
  /// Puts stored entries that end right before the oldest kept one in front. False: they do not fit there.
  bool prepend(const std::vector<EntryRef>& entries, Millis now_ms, const ChannelOptions& options);
  /// Drops what the bounds no longer allow. Entries from `taken` on have not been seen yet by some shard: a burst
  /// inside one turn may overshoot the live window up to kBurst…, or publishers would outrun every reader.
  void trim(Millis now_ms, const ChannelOptions& options, Seq taken);
  /// Forgets the history; seq and offset go on. The live window stays, for cursors under way.
  void remove_history() { history_from_ = top_ + 1; }
  /// Gives up the older half of the history.
  void remove_older_half() { history_from_ += (top_ + 1 - history_from_ + 1) / 2; }
  /// Forgets every entry: the channel has a new epoch.
  void reset(Offset top);

  [[nodiscard]] Offset top() const { return top_; }
  /// Oldest offset of the history; top() + 1 when it is empty.
  [[nodiscard]] Offset history_from() const { return history_from_; }
  [[nodiscard]] Seq begin_seq() const { return begin_seq_; }
  [[nodiscard]] Seq end_seq() const { return begin_seq_ + size_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool is_empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  /// The entry at `seq`, in [begin_seq, end_seq).
  [[nodiscard]] const EntryRef& at(Seq seq) const { return slot(seq).entry; }
  /// Offset of the newest stored entry below `seq`, in [begin_seq, end_seq].
  [[nodiscard]] Offset offset_before(Seq seq) const;
  /// Where a cursor stands that has seen everything up to and with `offset`. Nothing: that is no longer in the ring
  /// (or not yet).
  [[nodiscard]] std::optional<Seq> seq_after(Offset offset) const;

 private:
  struct Slot {
    EntryRef entry;
    Offset offset_before = 0;
    Millis announced_ms = 0;
  };
  [[nodiscard]] const Slot& slot(Seq seq) const { return ring_[(head_ + (seq - begin_seq_)) & (ring_.size() - 1)]; }
  [[nodiscard]] Slot& slot(Seq seq) { return ring_[(head_ + (seq - begin_seq_)) & (ring_.size() - 1)]; }
  void reserve_one();
  void drop_front();

  std::vector<Slot> ring_;  // size is a power of two
  std::size_t head_ = 0;
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
  std::size_t history_bytes_ = 0;  // of entries with offset >= history_from_
  Seq begin_seq_ = kFirstSeq;
  Seq history_seq_ = kFirstSeq;    // no stored entry of the history lies below
  Offset top_ = 0;
  Offset history_from_ = 1;
};

}  // namespace carillon
