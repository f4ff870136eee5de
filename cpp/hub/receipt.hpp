#pragma once

#include <functional>
#include <utility>

namespace carillon {

/// Calls `done` once, with whether a task has run. The task owns the receipt by shared_ptr: if a shard whose
/// thread has died drops the task, `done(false)` is called, so that no caller waits for ever.
class Receipt {
 public:
  explicit Receipt(std::function<void(bool)> done) : done_(std::move(done)) {}
  Receipt(const Receipt&) = delete;
  Receipt& operator=(const Receipt&) = delete;
  ~Receipt() {
    if (done_) give(false);
  }
  void give(bool has_run) { std::exchange(done_, nullptr)(has_run); }

 private:
  std::function<void(bool)> done_;
};

}  // namespace carillon
