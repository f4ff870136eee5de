#pragma once

#include <functional>
#include <utility>

namespace carillon {

/// Tells `done` once whether a task has run. A task holds it by shared_ptr: one that is dropped by a shard
/// whose thread has died is told of as well, so that nobody waits for it.
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
