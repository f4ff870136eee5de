#pragma once

#include <memory>
#include <string>

#include "gateway/send_flush.hpp"

namespace carillon {

/// Hands all sends of a turn to the kernel in batches, through io_uring: one system call for up to 1,024
/// connections. Only failures and short sends post completions. Nothing is under way when a call returns.
/// Belongs to the thread that makes it.
class UringFlush final : public SendFlush {
 public:
  /// Null if the kernel is older than Linux 6.1, a container forbids io_uring, or the build had no header for
  /// it; `why_not` gives the reason.
  [[nodiscard]] static std::unique_ptr<UringFlush> make(std::string& why_not);
  ~UringFlush() override;

  void flush(TurnOutput& output, Millis now_ms, FlushReport& report) override;

 private:
  class Ring;
  explicit UringFlush(std::unique_ptr<Ring> ring);
  void add_several(TurnOutput& output, const Slice& first, Millis now_ms, FlushReport& report);
  void submit(TurnOutput& output, Millis now_ms, FlushReport& report);

  std::unique_ptr<Ring> ring_;
};

}  // namespace carillon
