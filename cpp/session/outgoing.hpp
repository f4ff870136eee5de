#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "hub/batch.hpp"
#include "hub/cursor.hpp"
#include "hub/shard.hpp"

namespace carillon {

class Session;

/// Bytes that leave in this turn. Shared ones belong to a batch, the session's own to the turn.
struct Slice {
  const char* data = nullptr;
  std::uint32_t bytes = 0;
  std::int32_t next = -1;                 ///< the next slice of the same outlet
  Cursor* cursor = nullptr;               ///< whose entries these are; null: replies, control frames
  const EncodedBatch* encoded = nullptr;  ///< null exactly where `cursor` is
};

/// The sending end of one connection: what leaves in this turn, and what an earlier one left over.
struct Outlet {
  Session* session = nullptr;
  int descriptor = -1;  ///< opaque to sessions
  std::int32_t first_slice = -1;
  std::int32_t last_slice = -1;
  bool is_clogged = false;          ///< waits until the socket can be written to; nothing is staged meanwhile
  bool wants_empty_notice = false;  ///< Session::on_outlet_empty after a flush that took everything
  bool is_closing = false;          ///< no further slices; closed once empty
  std::uint32_t rest_sent = 0;
  std::size_t own_bytes = 0;  ///< the session's own bytes in this turn
  Millis progress_ms = 0;     ///< when the kernel last took something while clogged
  std::unique_ptr<std::string>
      rest;  ///< the end of a cut frame, and replies behind it: leaves before anything else

  /// The session's own bytes that have not left yet.
  [[nodiscard]] std::size_t pending_bytes() const { return own_bytes + rest_view().size(); }
  [[nodiscard]] std::string_view rest_view() const {
    return rest ? std::string_view(*rest).substr(rest_sent) : std::string_view();
  }
};

/// Everything that one shard sends in one turn: per connection a short list of slices that leaves in one
/// system call. Belongs to the shard's thread. No I/O here: a flush reads the slices and reports what the
/// kernel took.
class TurnOutput {
 public:
  explicit TurnOutput(Shard& shard) : shard_(shard) {}

  /// A batch in a shared form. The outlet is not clogged.
  void add(Outlet& outlet, Cursor& cursor, const Batch& batch, const Form& form) {
    const EncodedBatch* encoded = batch.encoded(form);
    // One call, the last thing that is done: without it nothing needs to be saved on the way here.
    if (encoded == nullptr || slice_count_ == room_) [[unlikely]]
      return add_slowly(outlet, cursor, batch, form);
    append(outlet,
           {encoded->bytes.data(), static_cast<std::uint32_t>(encoded->bytes.size()), -1, &cursor, encoded});
  }
  /// A batch that the connection has laid out for itself.
  void add(Outlet& outlet, Cursor& cursor, const EncodedBatch& encoded) {
    if (slice_count_ == room_) grow();
    append(outlet,
           {encoded.bytes.data(), static_cast<std::uint32_t>(encoded.bytes.size()), -1, &cursor, &encoded});
  }
  /// The session's own bytes: copied. While the outlet is clogged they queue behind its rest.
  void add(Outlet& outlet, std::string_view bytes);
  /// A batch that one connection lays out for itself: lives as long as the turn.
  EncodedBatch& own_batch();

  /// Session::finish_turn before the flush.
  void finish_later(Session& session) { finishing_.push_back(&session); }
  void forget(const Session& session);
  [[nodiscard]] std::vector<Session*>& finishing() { return finishing_; }

  [[nodiscard]] std::span<Outlet* const> outlets() const { return {outlets_.data(), outlet_count_}; }
  [[nodiscard]] const Slice& slice(std::int32_t index) const {
    return slices_[static_cast<std::size_t>(index)];
  }

  /// All slices of the outlet have left: the fast path.
  void account_all(Outlet& outlet) {
    for (std::int32_t i = outlet.first_slice; i >= 0;) {
      const Slice& sent = slices_[static_cast<std::size_t>(i)];
      if (sent.cursor != nullptr) {
        sent.cursor->count_delivered(sent.encoded->frames);
        if (sent.encoded->filtered > 0)
          sent.cursor->count_dropped(DropReason::filtered, sent.encoded->filtered);
      }
      i = sent.next;
    }
    outlet.first_slice = outlet.last_slice = -1;
    outlet.own_bytes = 0;
  }
  /// Only `taken` bytes have left. Entries that were not reached go back to their cursors; the end of a cut
  /// frame and the session's own bytes become the outlet's rest, which is clogged from now on.
  void account_part(Outlet& outlet, std::size_t taken, Millis now_ms);

  /// After the flush: forgets the turn.
  void clear();
  /// Scratch for encoding, emptied by whoever uses it.
  [[nodiscard]] std::string& scratch() { return scratch_; }

 private:
  /// There is room for it.
  void append(Outlet& outlet, const Slice& slice) {
    const auto index = static_cast<std::int32_t>(slice_count_++);
    slices_[static_cast<std::size_t>(index)] = slice;
    if (outlet.first_slice < 0) {
      outlet.first_slice = index;
      outlets_[outlet_count_++] = &outlet;
    } else {
      slices_[static_cast<std::size_t>(outlet.last_slice)].next = index;
    }
    outlet.last_slice = index;
  }
  void add_slowly(Outlet& outlet, Cursor& cursor, const Batch& batch, const Form& form);
  void grow();
  void account_cut(Outlet& outlet, const Slice& slice, std::size_t taken);

  Shard& shard_;
  std::vector<Slice> slices_;     // the first slice_count_ are this turn's
  std::vector<Outlet*> outlets_;  // no fewer places than there are for slices
  std::uint32_t slice_count_ = 0;
  std::uint32_t outlet_count_ = 0;
  std::uint32_t room_ = 0;  // for slices
  std::vector<Session*> finishing_;
  std::vector<std::unique_ptr<char[]>> blocks_;  // the sessions' own bytes
  std::size_t block_used_ = 0;
  std::size_t block_bytes_ = 0;
  std::vector<std::unique_ptr<EncodedBatch>> own_batches_;
  std::string scratch_;
};

}  // namespace carillon
