#pragma once

#include "loop/flush.hpp"

namespace carillon {

/// One non-blocking `send` (or `sendmsg`, for several slices) per connection and turn.
class SendFlush : public Flush {
 public:
  void flush(TurnOutput& output, Millis now_ms, FlushReport& report) override;

 protected:
  std::int64_t send(const Outlet& outlet, std::string_view bytes) override;
  /// Sends one outlet's slices, of which `first` is the first, with a call of its own.
  static void flush_one(TurnOutput& output, const Slice& first, Millis now_ms, FlushReport& report);
  /// Sends the list of slices, `total` bytes. Returns the number of bytes sent, or the negative errno of a
  /// broken connection.
  static std::int64_t send_list(const Slice& first, std::size_t& total);
};

}  // namespace carillon
