#pragma once

#include <string_view>

#include "store/position.hpp"

namespace carillon {

class Batch;
class Cursor;

/// Given to a cursor if publications left the history before it could take them, if the slow-consumer policy
/// has moved it past them, or if the channel has a new epoch (offsets of the two do not compare: lost_from
/// may be above lost_to).
struct Gap {
  Offset lost_from = 0;
  Offset lost_to = 0;
  Position position;     ///< the cursor continues after this
  bool is_skip = false;  ///< by the slow-consumer policy: the publications may still be in the history
};

/// The receiver of a cursor's entries: a session, a reader in memory, a test. Belongs to one shard, and is
/// called on its thread only.
class Sink {
 public:
  virtual ~Sink() = default;
  /// Takes the whole batch, or none of it (false): the cursor then lags until Shard::resume. The cursor has
  /// already moved past the batch; entries that cannot be delivered are given back with Shard::rewind. The
  /// cursor may be parked or closed in here (once the batch is counted or given back), but not destroyed.
  virtual bool stage(Cursor& cursor, const Batch& batch) = 0;
  /// Publications were lost for this cursor. In one turn a cursor gets either on_gap() or stage() first;
  /// on_gap() never follows a stage() of the same turn. It may be parked or closed in here, not destroyed.
  virtual void on_gap(Cursor& cursor, const Gap& gap) = 0;
  /// The cursor is too far behind, and the policy of its channel is `disconnect`. Called once each time that
  /// it falls behind. It may be parked or closed in here; a sink that does neither catches up.
  virtual void on_slow(Cursor& /*cursor*/) {}
  /// The cursor has read everything for the first time since it was opened. The lock of its channel is held:
  /// nothing of the hub may be called in here.
  virtual void on_live(Cursor& /*cursor*/) {}
  /// Id of the client whose subscription it is, for the ledger; empty: it has none.
  [[nodiscard]] virtual std::string_view client_id() const { return {}; }
};

}  // namespace carillon
