#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "session/outgoing.hpp"

namespace carillon {

/// The outlets of a flush that did not simply send everything.
struct FlushReport {
  std::vector<Outlet*> emptied;  ///< sent everything, and asked for a notification
  std::vector<Outlet*> clogged;  ///< sent a part, and are clogged from now on
  std::vector<Outlet*> broken;   ///< the connection is gone
  void clear() {
    emptied.clear();
    clogged.clear();
    broken.clear();
  }
};

/// Sends the output of a turn. One object per event loop, on its thread.
class Flush {
 public:
  virtual ~Flush() = default;
  /// Sends every outlet's slices, accounts for them in `output`, and adds to `report`.
  virtual void flush(TurnOutput& output, Millis now_ms, FlushReport& report) = 0;
  /// Sends the unsent bytes of an earlier turn. True: none are left, and the outlet is no longer clogged.
  bool flush_unsent(Outlet& outlet, Millis now_ms, FlushReport& report);

 protected:
  /// Sends as much as the kernel takes at once. Returns the number of bytes, or the negative errno.
  virtual std::int64_t send(const Outlet& outlet, std::string_view bytes) = 0;
  /// Does this errno mean that the connection is gone?
  [[nodiscard]] static bool is_broken(int error);
  /// Accounts for an outlet whose send was not complete: `result` bytes, or the negative errno.
  static void account_short(TurnOutput& output, const Slice& first, std::int64_t result, Millis now_ms,
                            FlushReport& report);
  /// Accounts for an outlet that sent everything.
  static void account_whole(const Slice& first, FlushReport& report) {
    TurnOutput::account_all(first);
    if (first.outlet->wants_empty_notice) report.emptied.push_back(first.outlet);
  }
};

}  // namespace carillon
