#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "sim/sqlite/simulated_disk.hpp"
#include "store/sqlite/sqlite_threads.hpp"

namespace carillon::sim {

/// The way of a process to its disk, for SQLite. It ends with the process: what is tried then fails.
class SimulatedVfs {
 public:
  SimulatedVfs(SimulatedDisk& disk, SqliteThreads& threads);
  SimulatedVfs(const SimulatedVfs&) = delete;
  SimulatedVfs& operator=(const SimulatedVfs&) = delete;
  ~SimulatedVfs();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool is_ended() const { return is_ended_; }
  /// Ends with the change of the disk that comes after `changes` further ones; `on_end` is called then.
  void end_after(std::uint64_t changes, std::function<void()> on_end);

  // ---- for its files
  [[nodiscard]] SimulatedDisk& disk() { return disk_; }
  [[nodiscard]] SqliteThreads& threads() { return threads_; }
  /// Before each change: false, if it does not come to it any more.
  [[nodiscard]] bool may_change();

 private:
  struct Registration;

  SimulatedDisk& disk_;
  SqliteThreads& threads_;
  const std::string name_;
  bool is_ended_ = false;
  std::uint64_t changes_left_ = UINT64_MAX;
  std::function<void()> on_end_;
  const std::unique_ptr<Registration> registration_;
};

}  // namespace carillon::sim
