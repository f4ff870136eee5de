#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "hub/batch.hpp"
#include "hub/cursor.hpp"
#include "hub/shard.hpp"
#include "session/delivery_metrics.hpp"
#include "session/unsent_budget.hpp"

namespace carillon {

class Session;
struct Outlet;

/// Bytes to send in this turn. Shared ones belong to a batch, the session's own to the turn.
struct Slice {
  Outlet* outlet = nullptr;               ///< null: a further slice of an outlet that has an earlier one
  Cursor* cursor = nullptr;               ///< whose entries these are; null: replies, control frames
  const EncodedBatch* encoded = nullptr;  ///< never null
  Slice* next = nullptr;                  ///< of the same outlet

  [[nodiscard]] std::string_view bytes() const { return encoded->bytes; }
};

/// The sending end of one connection: the output of this turn, and the unsent bytes of earlier ones.
struct Outlet {
  Slice* last_slice = nullptr;      ///< of this turn; null: it has none
  int descriptor = -1;              ///< opaque to sessions
  bool is_clogged = false;          ///< until its socket becomes writable; nothing is staged meanwhile
  bool wants_empty_notice = false;  ///< Session::on_outlet_empty after a flush that took everything
  bool is_closing = false;          ///< no further slices; closed once empty
  std::size_t own_bytes = 0;        ///< the session's own bytes in this turn
  Millis progress_ms = 0;           ///< when the kernel last took something while clogged
  /// Bytes that the kernel did not take: the end of a cut frame, and replies behind it. They are sent first.
  std::unique_ptr<UnsentBytes> unsent;

  /// The session's own bytes that have not been sent yet.
  [[nodiscard]] std::size_t pending_bytes() const { return own_bytes + unsent_view().size(); }
  [[nodiscard]] std::string_view unsent_view() const { return unsent ? unsent->view() : std::string_view(); }
};

/// The output of one shard in one turn: a short list of slices per connection, which is sent in one system
/// call. Belongs to the shard's thread. No I/O here: a flush reads the slices, and reports the bytes that the
/// kernel took.
class TurnOutput {
 public:
  TurnOutput(Shard& shard, UnsentBudget& unsent) : shard_(shard), unsent_(unsent) {}

  /// Stages a batch in a shared layout. The outlet is not clogged. Always true, as the result of Sink::stage.
  bool add(Outlet& outlet, Cursor& cursor, const Batch& batch, const Layout& layout) {
    const EncodedBatch* encoded = batch.encoded(layout);
    // A single call at the end, so that the fast path saves no registers.
    if (encoded == nullptr || end_ == room_end_) [[unlikely]]
      return add_slowly(outlet, cursor, batch, layout);
    append(outlet, &cursor, *encoded);
    return true;
  }
  /// Stages a batch that the connection has laid out for itself.
  void add(Outlet& outlet, Cursor& cursor, const EncodedBatch& encoded) {
    if (end_ == room_end_) grow();
    append(outlet, &cursor, encoded);
  }
  /// The session's own bytes: copied. While the outlet is clogged they queue behind its unsent bytes.
  void add(Outlet& outlet, std::string_view bytes);
  /// Appends to the outlet's unsent bytes.
  void keep(Outlet& outlet, std::string_view bytes);
  /// Memory of the unsent bytes of all outlets.
  [[nodiscard]] const UnsentShare& unsent() const { return unsent_; }
  /// Storage for a batch that one connection lays out for itself, valid for the turn.
  EncodedBatch& own_batch();

  /// Session::finish_turn before the flush.
  void finish_later(Session& session) { finishing_.push_back(&session); }
  void forget(const Session& session);
  [[nodiscard]] std::vector<Session*>& finishing() { return finishing_; }

  [[nodiscard]] bool is_empty() const { return end_ == slices_.data(); }
  /// All slices of the turn; those with an outlet are the first of a list.
  [[nodiscard]] std::span<const Slice> slices() const { return {slices_.data(), end_}; }

  /// The whole list that begins with `first` has been sent: the fast path.
  static void account_all(const Slice& first) {
    first.outlet->last_slice = nullptr;
    const Slice* sent = &first;
    do {
      if (sent->cursor == nullptr) {
        first.outlet->own_bytes = 0;
      } else {
        sent->cursor->count_delivered(sent->encoded->frames);
        ++sent->encoded->sent;
        if ((sent->encoded->filtered | sent->encoded->conflated) > 0) [[unlikely]] {
          sent->cursor->count_dropped(DropReason::filtered, sent->encoded->filtered);
          sent->cursor->count_conflated(sent->encoded->conflated);
        }
      }
      sent = sent->next;
    } while (sent != nullptr);
  }
  /// Only `taken` bytes have been sent. Entries that were not reached go back to their cursors; the end of a
  /// cut frame and the session's own bytes become unsent bytes of the outlet, which is clogged from now on.
  void account_part(const Slice& first, std::size_t taken, Millis now_ms);

  /// After the flush: forgets the turn.
  void clear();
  /// After the last flush of a turn: counts what was sent, once per batch. `machine`: the present, not the
  /// turn's beginning.
  void count_sent(const Clock& machine);
  [[nodiscard]] DeliveryMetrics& deliveries() { return deliveries_; }
  [[nodiscard]] const DeliveryMetrics& deliveries() const { return deliveries_; }
  /// Scratch for encoding; its user empties it.
  [[nodiscard]] std::string& scratch() { return scratch_; }

 private:
  /// There is room for it.
  void append(Outlet& outlet, Cursor* cursor, const EncodedBatch& encoded) {
    Slice* const slice = end_++;
    slice->cursor = cursor;
    slice->encoded = &encoded;
    slice->next = nullptr;
    Slice* const earlier = std::exchange(outlet.last_slice, slice);
    if (earlier == nullptr) [[likely]] {
      slice->outlet = &outlet;
    } else {
      slice->outlet = nullptr;
      earlier->next = slice;
    }
  }
  bool add_slowly(Outlet& outlet, Cursor& cursor, const Batch& batch, const Layout& layout);
  void grow();
  void account_cut(Outlet& outlet, const Slice& slice, std::size_t taken);
  /// Returns how many times something of it was sent.
  std::uint32_t count_sent(const EncodedBatch& encoded);

  Shard& shard_;
  UnsentShare unsent_;
  std::vector<Slice> slices_;  // those of this turn are before end_
  Slice* end_ = nullptr;
  Slice* room_end_ = nullptr;
  std::vector<Session*> finishing_;
  std::vector<std::unique_ptr<char[]>> blocks_;  // the sessions' own bytes
  std::size_t block_used_ = 0;
  std::size_t block_bytes_ = 0;
  std::deque<EncodedBatch> own_batches_;
  std::string scratch_;
  DeliveryMetrics deliveries_;
};

}  // namespace carillon
