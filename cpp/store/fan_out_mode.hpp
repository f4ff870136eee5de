#pragma once

#include <cstdint>
#include <string_view>

namespace carillon {

/// Who does the work of a publication's fan-out to members, and when (design.md section 4).
enum class FanOutMode : std::uint8_t {
  write,  ///< at publish it is entered into every member's inbox
  read    ///< at read: inboxes merge it from the log
};
[[nodiscard]] constexpr std::string_view name_of(FanOutMode mode) {
  return mode == FanOutMode::write ? "write" : "read";
}

}  // namespace carillon
