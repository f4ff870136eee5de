#pragma once

#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace carillon::bench {

struct CpuTime {
  std::uint64_t total_ns = 0;  // exact: the process's CPU clock, all threads, gone ones too
  std::uint64_t user_ms = 0;   // /proc/PID/stat, in steps of a clock tick (10 ms): only good for the split
  std::uint64_t system_ms = 0;
};

struct Memory {
  std::uint64_t resident_kib = 0;  // VmRSS
  std::uint64_t private_kib =
      0;  // private dirty pages; clean ones come and go as other processes map the file
};

/// What the system's accounting says of another process. Zeros for a process that is not there.
class ProcessMeter {
 public:
  explicit ProcessMeter(pid_t pid) : pid_(pid) {}

  bool is_present() const { return pid_ > 0; }

  CpuTime cpu() const {
    CpuTime time;
    clockid_t clock{};
    timespec now{};
    if (!is_present() || clock_getcpuclockid(pid_, &clock) != 0 || clock_gettime(clock, &now) != 0)
      return time;
    time.total_ns =
        static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
    std::string stat;
    std::getline(file("stat"), stat);
    // The name in parentheses may hold blanks; utime and stime are the 12th and 13th field after it.
    std::istringstream fields(stat.substr(stat.rfind(')') == std::string::npos ? 0 : stat.rfind(')') + 1));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    std::uint64_t user_ticks = 0;
    std::uint64_t system_ticks = 0;
    fields >> user_ticks >> system_ticks;
    const auto ticks_per_s = static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
    time.user_ms = user_ticks * 1000 / ticks_per_s;
    time.system_ms = system_ticks * 1000 / ticks_per_s;
    return time;
  }

  Memory memory() const {
    Memory memory;
    if (!is_present()) return memory;
    memory.resident_kib = line_of("status", "VmRSS:");
    memory.private_kib = line_of("smaps_rollup", "Private_Dirty:");
    return memory;
  }

 private:
  std::ifstream file(const char* name) const {
    return std::ifstream("/proc/" + std::to_string(pid_) + "/" + name);
  }

  std::uint64_t line_of(const char* name, const std::string& label) const {
    std::ifstream lines = file(name);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(label)) return std::strtoull(line.c_str() + label.size(), nullptr, 10);
    }
    return 0;
  }

  pid_t pid_;
};

}  // namespace carillon::bench
