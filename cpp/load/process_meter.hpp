#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace carillon::load {

struct CpuTime {
  std::uint64_t total_ns = 0;  // exact: the CPU clocks of the processes, all threads, gone ones too
  std::uint64_t user_ms = 0;   // /proc/PID/stat, in steps of a clock tick (10 ms): only good for the split
  std::uint64_t system_ms = 0;
};

struct Memory {
  std::uint64_t resident_kib = 0;  // VmRSS
  std::uint64_t private_kib = 0;   // dirty pages only: clean ones come and go as others map the same file
};

/// What the system's accounting says of other processes, summed. Zeros for one that is not there.
class ProcessMeter {
 public:
  explicit ProcessMeter(std::vector<pid_t> pids) : pids_(std::move(pids)) {}

  [[nodiscard]] CpuTime cpu() const;
  [[nodiscard]] Memory memory() const;

 private:
  std::vector<pid_t> pids_;
};

}  // namespace carillon::load
