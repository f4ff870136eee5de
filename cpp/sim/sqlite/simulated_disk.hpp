#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sim/chance.hpp"
#include "sim/trace.hpp"

namespace carillon::sim {

/// A disk with its file system and the kernel's cache before it. What a process has written outlives it; what
/// was not synced may be lost, kept or torn when the power is cut. After a sync that fails, the kernel takes
/// what it should have written for written: no later sync makes up for it.
class SimulatedDisk {
 public:
  SimulatedDisk(const VirtualTime& time, Trace& trace, std::uint64_t seed)
      : time_(time), trace_(trace), chance_(seed, "disk") {}

  /// What is wrong with it, on purpose.
  enum class Bug : std::uint8_t { none, sync_writes_nothing, sync_error_hidden, boot_not_noticed };
  void plant(Bug bug) { bug_ = bug; }

  enum class Outcome : std::uint8_t { done, full, failed };

  /// A region of the memory that SQLite's connections share, and the locks that they have.
  struct SharedMemory {
    static constexpr std::size_t kLocks = 8;
    std::vector<std::vector<std::uint64_t>> regions;
    int shared[kLocks] = {};
    bool exclusive[kLocks] = {};
  };
  struct File {
    std::string now;  ///< as the processes of this machine see it
    SharedMemory memory;
    int handles = 0;
    int shared = 0;  ///< handles with a lock of SQLite's level SHARED or above
    const void* reserved = nullptr;
    const void* pending = nullptr;
    const void* exclusive = nullptr;

   private:
    friend class SimulatedDisk;
    struct Change {
      std::size_t offset = 0;
      std::string bytes;
      bool is_cut = false;       ///< the file ends at `offset`
      bool is_doubtful = false;  ///< a sync of it has failed
    };
    std::string durable;
    std::vector<Change> changes;  // that are not durable, in order
  };

  [[nodiscard]] bool exists(std::string_view name) const { return files_.contains(name); }
  [[nodiscard]] File& file(std::string_view name);
  [[nodiscard]] Outcome write(File& file, std::size_t offset, std::string_view bytes);
  [[nodiscard]] Outcome truncate(File& file, std::size_t size);
  [[nodiscard]] Outcome sync(File& file);
  void remove(std::string_view name);

  /// Processes find their ways to it ended when the power is cut.
  void attach(bool* is_ended) { ways_.push_back(is_ended); }
  void detach(bool* is_ended) { std::erase(ways_, is_ended); }

  // ---- what happens to it
  void cut_power();
  void be_full_for(Micros us) { full_until_us_ = time_.now_us() + us; }
  /// Some writes and syncs report errors.
  void fail_for(Micros us) { failing_until_us_ = time_.now_us() + us; }
  void be_slow_for(Micros us) { slow_until_us_ = time_.now_us() + us; }
  /// What the next sync takes.
  [[nodiscard]] Micros sync_us();
  /// Changes with each boot.
  [[nodiscard]] std::string boot_id() const { return "boot" + std::to_string(boots_); }
  /// It has refused or failed something.
  [[nodiscard]] std::uint64_t failures() const { return failures_; }

 private:
  [[nodiscard]] bool fails(std::uint64_t percent);
  static void apply(std::string& content, const File::Change& change);
  static void supersede(File& file, const File::Change& change);

  const VirtualTime& time_;
  Trace& trace_;
  Chance chance_;
  std::map<std::string, File, std::less<>> files_;
  std::vector<bool*> ways_;
  Micros full_until_us_ = 0;
  Micros failing_until_us_ = 0;
  Micros slow_until_us_ = 0;
  Bug bug_ = Bug::none;
  std::uint64_t boots_ = 1;
  std::uint64_t failures_ = 0;
};

}  // namespace carillon::sim
