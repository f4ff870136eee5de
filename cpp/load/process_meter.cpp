#include "load/process_meter.hpp"

#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace carillon::load {

namespace {

std::ifstream open_proc(pid_t pid, const char* name) {
  return std::ifstream("/proc/" + std::to_string(pid) + "/" + name);
}

std::uint64_t kib_of(pid_t pid, const char* name, const std::string& label) {
  std::ifstream lines = open_proc(pid, name);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(label)) return std::strtoull(line.c_str() + label.size(), nullptr, 10);
  }
  return 0;
}

void add_cpu(CpuTime& sum, pid_t pid) {
  clockid_t clock{};
  timespec now{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &now) != 0) return;
  sum.total_ns +=
      static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
  std::ifstream file = open_proc(pid, "stat");
  std::string stat;
  std::getline(file, stat);
  // The name in parentheses may hold blanks; utime and stime are the 12th and 13th field after it.
  const std::size_t name_end = stat.rfind(')');
  std::istringstream fields(stat.substr(name_end == std::string::npos ? 0 : name_end + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  std::uint64_t user_ticks = 0;
  std::uint64_t system_ticks = 0;
  fields >> user_ticks >> system_ticks;
  const auto ticks_per_s = static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
  sum.user_ms += user_ticks * 1000 / ticks_per_s;
  sum.system_ms += system_ticks * 1000 / ticks_per_s;
}

}  // namespace

CpuTime ProcessMeter::cpu() const {
  CpuTime sum;
  for (const pid_t pid : pids_) add_cpu(sum, pid);
  return sum;
}

Memory ProcessMeter::memory() const {
  Memory sum;
  for (const pid_t pid : pids_) {
    sum.resident_kib += kib_of(pid, "status", "VmRSS:");
    sum.private_kib += kib_of(pid, "smaps_rollup", "Private_Dirty:");
  }
  return sum;
}

}  // namespace carillon::load
