#pragma once

#include <cstdint>
#include <string_view>

namespace carillon {

/// When the fan-out of a publication to members is done (docs/fan-out.md).
enum class FanOutMode : std::uint8_t {
  write,  ///< at publish, into every member's inbox
  read    ///< at read: inboxes merge it from the log
};
[[nodiscard]] constexpr std::string_view name_of(FanOutMode mode) {
  return mode == FanOutMode::write ? "write" : "read";
}

}  // namespace carillon
