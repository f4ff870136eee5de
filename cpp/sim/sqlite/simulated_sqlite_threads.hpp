#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "sim/process.hpp"
#include "store/sqlite/sqlite_threads.hpp"

namespace carillon::sim {

/// The threads of a gateway's store in SQLite, in simulated time. They are threads of the operating system,
/// of which one runs at a time: the world's own, until it hands over to one of these, which hands back when
/// it waits. In a process that has died they do not wait any more, and find nothing to work with.
class SimulatedSqliteThreads final : public SqliteThreads {
 public:
  explicit SimulatedSqliteThreads(Process& process) : process_(process) {}
  SimulatedSqliteThreads(const SimulatedSqliteThreads&) = delete;
  SimulatedSqliteThreads& operator=(const SimulatedSqliteThreads&) = delete;

  [[nodiscard]] std::thread start(std::function<void()> run) override;
  /// The world goes on meanwhile.
  void join(std::thread& thread) override;
  [[nodiscard]] Time now() const override;
  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Time until,
            const std::function<bool()>& is_met) override;
  void notify(std::condition_variable& changed) override;
  /// Nothing, if the world's own thread calls it.
  void sleep(std::chrono::microseconds time) override;

 protected:
  [[nodiscard]] bool is_simulated() const override { return true; }

 private:
  struct Thread {
    std::thread::id id;
    std::condition_variable has_turn;
    const void* waits_for = nullptr;
    std::uint64_t waits = 0;  // which of its waits
    bool is_due = false;
    bool has_ended = false;
  };
  void run(Thread& thread);
  void suspend(Thread& thread);
  void plan(Thread& thread, Micros delay_us);
  /// Of a process that has died: until it has ended.
  void drive(const Thread& thread);

  Process& process_;
  std::chrono::microseconds ahead_{0};  // of a process that has died
  std::mutex mutex_;
  std::condition_variable world_has_turn_;
  Thread* running_ = nullptr;  // null: the world's own; guarded by the mutex
  std::vector<std::unique_ptr<Thread>> threads_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace carillon::sim
