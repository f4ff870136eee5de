#pragma once

#include <cstdint>

#include "hub/cursor.hpp"
#include "hub/shard.hpp"
#include "session/forms.hpp"

namespace carillon::bench {

/// What the sinks of a run have taken together.
struct Taken {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;    ///< of the frames that a connection would have sent
  std::uint64_t refused = 0;  ///< batches that a sink could not take
  std::uint64_t faults = 0;   ///< missed, repeated, reordered, or a gap
};

/// Where a cursor's entries go in place of a connection: it looks at the frames that all share, as a session
/// does, and counts them as delivered. Checks that offsets come without a hole.
class MemorySink final : public Sink {
 public:
  enum class State : std::uint8_t {
    fast,  ///< takes everything
    slow,  ///< refuses once, and can take again after the turn
    full,  ///< refuses until it is drained
    gone   ///< its connection ends while it is handed something
  };

  MemorySink(Shard& shard, Taken& taken) : cursor(*this), shard_(shard), taken_(taken) {}

  bool stage(Cursor& staged, const Batch& batch) override {
    if (state != State::fast) {
      ++taken_.refused;
      if (state == State::gone) {
        shard_.rewind_to(staged, batch.begin(), batch.offset_before(0));
        shard_.unsubscribe(staged);
      }
      return false;
    }
    const EncodedBatch* frames = batch.encoded(kFrames);
    if (frames == nullptr) frames = &batch.lay_out(kFrames);
    for (const EntryRef& entry : batch.entries()) {
      taken_.faults += entry->offset == last + 1 ? 0 : 1;
      last = entry->offset;
    }
    taken_.entries += frames->frames;
    taken_.bytes += frames->bytes.size();
    staged.count_delivered(frames->frames);
    return true;
  }
  void on_gap(Cursor& /*cursor*/, const Gap& /*gap*/) override { ++taken_.faults; }

  Cursor cursor;
  Offset last = 0;
  State state = State::fast;

 private:
  static constexpr const Layout& kFrames = kWsJson[0];

  Shard& shard_;
  Taken& taken_;
};

}  // namespace carillon::bench
