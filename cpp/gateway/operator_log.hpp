#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

/// A record for the operator.
struct OperatorNote {
  LogLevel level = LogLevel::info;
  std::string_view event;  ///< one word for machines; a literal
  std::string message;
  std::vector<std::pair<std::string_view, std::int64_t>> numbers = {};  ///< for machines, by literal names
  std::vector<std::pair<std::string_view, std::string>> texts = {};     ///< the same
};

/// Receives records for the operator. Thread-safe, must not block.
class OperatorLog {
 public:
  virtual ~OperatorLog() = default;
  virtual void tell(OperatorNote note) = 0;
};

}  // namespace carillon
