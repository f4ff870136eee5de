#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace carillon {

/// How the threads of a store begin, end, wait and lock. A simulation has another one: there one of them runs
/// at a time, in virtual time.
class SqliteThreads {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr Time kForever = Time::max();

  SqliteThreads() = default;
  SqliteThreads(const SqliteThreads&) = delete;
  SqliteThreads& operator=(const SqliteThreads&) = delete;
  virtual ~SqliteThreads() = default;

  [[nodiscard]] virtual std::thread start(std::function<void()> run);
  virtual void join(std::thread& thread);
  [[nodiscard]] virtual Time now() const;
  /// Waits until `is_met`, which is asked under the lock. False: it is not by `until`.
  virtual bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Time until,
                    const std::function<bool()>& is_met);
  /// Wakes all that wait for it.
  virtual void notify(std::condition_variable& changed);
  virtual void sleep(std::chrono::microseconds time);

  /// Locks what is held while the disk works: it may take long.
  template <typename Lock>
  void lock(Lock& lock) {
    if (!is_simulated()) return lock.lock();
    while (!lock.try_lock()) sleep(std::chrono::microseconds(50));
  }

  /// Those of the operating system.
  [[nodiscard]] static SqliteThreads& of_system();

 protected:
  [[nodiscard]] virtual bool is_simulated() const { return false; }
};

}  // namespace carillon
