#pragma once

#include <string_view>

#ifdef CARILLON_PLANTED_FAULTS
#include <atomic>
#include <cstdint>
#include <cstdlib>
#endif

namespace carillon {

/// Faults that are planted on purpose, to prove that the tests notice them (`make test-faults`). Only
/// programs whose names end in `_with_faults` contain them; elsewhere every call is a constant `false`.
/// Thread-safe.
enum class PlantedFault : unsigned char {
  lost_frame,           ///< a send reports success without sending
  lost_wake_up,         ///< a shard does not learn of a new entry
  skipped_rewind,       ///< entries that the kernel did not take are not given back to the cursor
  short_unsent,         ///< the kept end of a cut frame lacks its last byte
  kept_ticket,          ///< a cancelled subscribe is not forgotten
  ignored_writability,  ///< a socket that becomes writable is ignored
};

#ifdef CARILLON_PLANTED_FAULTS

/// The name by which the environment variable PLANTED_FAULT asks for a fault.
[[nodiscard]] constexpr std::string_view name_of(PlantedFault fault) {
  switch (fault) {
    case PlantedFault::lost_frame:
      return "lost_frame";
    case PlantedFault::lost_wake_up:
      return "lost_wake_up";
    case PlantedFault::skipped_rewind:
      return "skipped_rewind";
    case PlantedFault::short_unsent:
      return "short_unsent";
    case PlantedFault::kept_ticket:
      return "kept_ticket";
    case PlantedFault::ignored_writability:
      return "ignored_writability";
  }
  return "";
}

/// Does the fault happen now? If it is enabled, every `period`-th call.
template <PlantedFault fault>
[[nodiscard]] bool has_fault(std::uint32_t period = 1) {
  static const bool is_planted = [] {
    const char* const planted = std::getenv("PLANTED_FAULT");
    return planted != nullptr && name_of(fault) == planted;
  }();
  static std::atomic<std::uint32_t> times{0};
  return is_planted && ++times % period == 0;
}

#else

template <PlantedFault fault>
[[nodiscard]] constexpr bool has_fault(unsigned /*period*/ = 1) {
  return false;
}

#endif

}  // namespace carillon
