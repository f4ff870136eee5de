#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace carillon {

/// Stops a thread at a place of its own choice until another thread releases it. Meanwhile other threads may
/// read the data of the stopped thread. For one stop.
class HoldPoint {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  enum class Next : std::uint8_t {
    go_on,     ///< continue
    give_away  ///< the saved connections belong to another process now
  };

  /// The thread stops here, unless it has been released already.
  Next stop_here() {
    std::unique_lock lock(mutex_);
    is_stopped_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_over_; });
    return next_;
  }
  /// Reports whether the thread is idle. It does so before it stops, because other threads may still send it
  /// work until they are idle, too.
  void report_idle(bool is_idle) {
    const std::lock_guard lock(mutex_);
    is_idle_ = is_idle;
    if (is_idle) changed_.notify_all();
  }
  /// False: the thread did not become idle in time.
  [[nodiscard]] bool wait_idle(Time until) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, until, [this] { return is_idle_ || is_stopped_; });
  }
  void let_stop() {
    const std::lock_guard lock(mutex_);
    may_stop_ = true;
  }
  [[nodiscard]] bool may_stop() const {
    const std::lock_guard lock(mutex_);
    return may_stop_;
  }
  /// False: the thread did not stop in time.
  [[nodiscard]] bool wait_stopped(Time until) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, until, [this] { return is_stopped_; });
  }
  void release(Next next) {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
    next_ = next;
    changed_.notify_all();
  }
  [[nodiscard]] bool is_over() const {
    const std::lock_guard lock(mutex_);
    return is_over_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool is_idle_ = false;
  bool may_stop_ = false;
  bool is_stopped_ = false;
  bool is_over_ = false;
  Next next_ = Next::go_on;
};

}  // namespace carillon
