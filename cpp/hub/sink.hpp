#pragma once

#include "store/position.hpp"

namespace carillon {

class Batch;
class Cursor;

/// What a cursor is told when publications had left the history before it could take them, when the channel's
/// policy has taken it past them, or when the channel has a new epoch (offsets of the two do not compare
/// then: lost_from may be above lost_to).
struct Gap {
  Offset lost_from = 0;
  Offset lost_to = 0;
  Position position;     ///< where the cursor goes on: after this
  bool is_skip = false;  ///< the policy's doing: the publications may still be in the history
};

/// Where a cursor's entries go: a connection's session, a reader in memory, a test. Lives on one shard and is
/// called on its thread only.
class Sink {
 public:
  virtual ~Sink() = default;
  /// Takes the whole batch, or none of it (false): the cursor then lags until Shard::resume. The cursor has
  /// already moved past the batch; what turns out undeliverable later is given back with Shard::rewind. It
  /// may be parked or closed in here (once the batch is counted or given back), not destroyed.
  virtual bool stage(Cursor& cursor, const Batch& batch) = 0;
  /// Publications were lost for this cursor. In one turn a cursor gets either on_gap() or stage() first;
  /// on_gap() never follows a stage() of the same turn. It may be parked or closed in here, not destroyed.
  virtual void on_gap(Cursor& cursor, const Gap& gap) = 0;
  /// The cursor has fallen too far behind, and its channel's policy is to send it away. Once each time that
  /// it falls behind. It may be parked or closed in here; a sink that does neither catches up.
  virtual void on_slow(Cursor& /*cursor*/) {}
};

}  // namespace carillon
