#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "env/clock.hpp"
#include "hub/channel_options.hpp"
#include "hub/hub_state.hpp"
#include "store/entry.hpp"

namespace carillon {

/// Number of an entry in the hub's log of a channel, for stored and ephemeral entries alike. Cursors count by
/// it.
using Seq = std::uint64_t;

/// The ring of a channel's entries. It keeps the history (bounded by count, bytes and age) and, for live
/// cursors, a small window that also holds ephemeral entries. Those may be dropped from between publications
/// that stay, so seqs may have holes. Entries beyond the bounds of the history are never shown to a resume or
/// a history call. Not thread-safe: the channel locks.
class ChannelLog {
 public:
  /// The first seq. It leaves room below for cursors that begin with what only the store has.
  static constexpr Seq kFirstSeq = Seq{1} << 32U;

  static constexpr std::size_t kBurstEntries = 4'096;
  static constexpr std::size_t kBurstBytes = 4 * 1024 * 1024;
  /// Age at which an entry outside of the history leaves the live window. No moving cursor is that far
  /// behind.
  static constexpr Millis kLiveWindowMs = 30'000;

  /// Offsets continue after `top`. Only before the first entry.
  void start_after(Offset top) {
    top_ = top;
    history_from_ = top + 1;
  }

  /// Appends an entry; a stored one must have offset top() + 1. `taken` as in trim(). `age_ms`: age of an
  /// entry that was read from a store.
  void append(EntryRef entry, Millis now_ms, const ChannelOptions& options, Seq taken, Millis age_ms = 0);
  /// Drops entries beyond the bounds. Entries from `taken` on have not been seen yet by some shard: a burst
  /// inside one turn may overshoot the live window up to kBurst…, otherwise publishers would outrun every
  /// subscriber.
  void trim(Millis now_ms, const ChannelOptions& options, Seq taken);
  /// Forgets the history up to an offset; seq and offset continue. The live window stays, for moving cursors.
  void remove_history(Offset up_to) { history_from_ = std::max(history_from_, std::min(up_to, top_) + 1); }
  /// Drops the older half of the history.
  void remove_older_half() { history_from_ += (top_ + 1 - history_from_ + 1) / 2; }
  /// Forgets every entry: the log has lost its continuity.
  void reset(Offset top);

  [[nodiscard]] LogState save(Millis now_ms) const;
  /// Replaces this log with a saved one.
  void restore(const LogState& state, Millis now_ms);

  [[nodiscard]] Offset top() const { return top_; }
  /// Oldest offset of the history; top() + 1 if it is empty.
  [[nodiscard]] Offset history_from() const { return history_from_; }
  [[nodiscard]] Seq begin_seq() const { return size_ > 0 ? ring_[head_].seq : end_seq_; }
  [[nodiscard]] Seq end_seq() const { return end_seq_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool is_empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  /// Seq of the first kept entry at or behind `seq`; end_seq() when there is none.
  [[nodiscard]] Seq next_seq(Seq seq) const;
  /// Seq of the last kept entry below `seq`; nothing when there is none.
  [[nodiscard]] std::optional<Seq> seq_below(Seq seq) const;
  /// The entry at `seq`, which is kept.
  [[nodiscard]] const EntryRef& at(Seq seq) const { return slot(index_of(seq)).entry; }
  /// Offset of the newest stored entry below `seq`, in [begin_seq, end_seq].
  [[nodiscard]] Offset offset_before(Seq seq) const;
  /// The seq of a cursor that has seen everything up to and including `offset`. Nothing: it is not in the
  /// history any more, or not yet.
  [[nodiscard]] std::optional<Seq> seq_after(Offset offset) const;

 private:
  struct Slot {
    EntryRef entry;
    Seq seq = 0;
    Offset offset_before = 0;
    Millis announced_ms = 0;
  };
  [[nodiscard]] const Slot& slot(std::size_t index) const {
    return ring_[(head_ + index) & (ring_.size() - 1)];
  }
  [[nodiscard]] Slot& slot(std::size_t index) { return ring_[(head_ + index) & (ring_.size() - 1)]; }
  [[nodiscard]] std::size_t index_of(Seq seq) const;
  void reserve_one();
  void drop_front();
  void thin_out(const ChannelOptions& options, Seq taken);

  std::vector<Slot> ring_;  // size is a power of two; seqs ascend
  std::size_t head_ = 0;
  std::size_t size_ = 0;
  std::size_t dense_ = 0;    // number of slots at the end with consecutive seqs up to end_seq_
  std::size_t outside_ = 0;  // number of slots at the front that are not part of the history
  std::size_t bytes_ = 0;
  std::size_t history_bytes_ = 0;  // of the stored entries from outside_ on
  std::size_t ephemeral_ = 0;      // entries without an offset, anywhere
  std::size_t ephemeral_bytes_ = 0;
  std::size_t ephemeral_kept_ = 0;  // number of them that the last thinning had to leave
  std::size_t ephemeral_kept_bytes_ = 0;
  Seq end_seq_ = kFirstSeq;
  Offset top_ = 0;
  Offset history_from_ = 1;
};

}  // namespace carillon
