#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "session/outgoing.hpp"

namespace carillon {

/// What became of the outlets of a flush, beyond those that simply sent everything.
struct FlushReport {
  std::vector<Outlet*> emptied;  ///< sent everything, and asked to be told
  std::vector<Outlet*> clogged;  ///< sent a part: from now on clogged
  std::vector<Outlet*> broken;   ///< the connection is gone
  void clear() {
    emptied.clear();
    clogged.clear();
    broken.clear();
  }
};

/// Sends what a turn has laid out. One object per event loop, on its thread.
class Flush {
 public:
  virtual ~Flush() = default;
  /// Sends every outlet's slices, accounts for them in `output`, and adds to `report`.
  virtual void flush(TurnOutput& output, Millis now_ms, FlushReport& report) = 0;
  /// Sends what an earlier turn left over. True: nothing is left, and the outlet is not clogged any more.
  bool flush_unsent(Outlet& outlet, Millis now_ms, FlushReport& report);

 protected:
  /// Sends what the kernel takes at once: so many bytes, or the errno, negative.
  virtual std::int64_t send(const Outlet& outlet, std::string_view bytes) = 0;
  /// Does this errno mean that the connection is gone?
  [[nodiscard]] static bool is_broken(int error);
  /// Accounts for an outlet whose send took less than all: `result` bytes, or the errno, negative.
  static void account_short(TurnOutput& output, const Slice& first, std::int64_t result, Millis now_ms,
                            FlushReport& report);
  /// Accounts for an outlet that sent everything.
  static void account_whole(const Slice& first, FlushReport& report) {
    TurnOutput::account_all(first);
    if (first.outlet->wants_empty_notice) report.emptied.push_back(first.outlet);
  }
};

}  // namespace carillon
