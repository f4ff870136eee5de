#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace carillon {

enum class LogLevel : std::uint8_t { info, warning, error };

[[nodiscard]] constexpr std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "";
}

/// Hears what the operator should know. Thread-safe, must not block.
class OperatorLog {
 public:
  virtual ~OperatorLog() = default;
  virtual void tell(LogLevel level, std::string message) = 0;
};

}  // namespace carillon
