#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/virtual_time.hpp"

namespace carillon::sim {

/// What happens in a world, line by line. Two runs of one seed have the same lines, byte for byte; so their
/// hashes are equal.
class Trace {
 public:
  Trace(const VirtualTime& time, bool keeps_lines) : time_(time), keeps_lines_(keeps_lines) {}

  /// One line: the time in ms, then the parts.
  template <typename... Parts>
  void add(const Parts&... parts) {
    line_.clear();
    const Micros us = time_.now_us();
    const std::string fraction = std::to_string(us % 1'000);
    line_.append(std::to_string(us / 1'000)).append(".").append(3 - fraction.size(), '0').append(fraction);
    line_.push_back(' ');
    (append(parts), ...);
    for (const char letter : line_) hash_ = (hash_ ^ static_cast<unsigned char>(letter)) * 0x100000001b3ULL;
    hash_ = (hash_ ^ '\n') * 0x100000001b3ULL;
    ++count_;
    if (keeps_lines_) lines_.push_back(line_);
  }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::vector<std::string>& lines() { return lines_; }

 private:
  void append(std::string_view text) { line_.append(text); }
  void append(char letter) { line_.push_back(letter); }
  void append(std::integral auto number) { line_.append(std::to_string(number)); }

  const VirtualTime& time_;
  const bool keeps_lines_;
  std::string line_;
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;  // FNV-1a
  std::uint64_t count_ = 0;
  std::vector<std::string> lines_;
};

}  // namespace carillon::sim
