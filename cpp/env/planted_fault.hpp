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
  lost_frame,               ///< a send reports success without sending
  lost_wake_up,             ///< a shard does not learn of a new entry
  skipped_rewind,           ///< entries that the kernel did not take are not given back to the cursor
  short_unsent,             ///< the kept end of a cut frame lacks its last byte
  kept_ticket,              ///< a cancelled subscribe is not forgotten
  ignored_writability,      ///< a socket that becomes writable is ignored
  hole_not_filled,          ///< what was announced beyond a hole waits for ever
  reset_not_told,           ///< cursors do not learn that their log has begun anew
  doubt_ignored,            ///< tops are not compared when announcements may have been lost
  recovered_across_epochs,  ///< a position of another epoch is recovered
  resumed_one_late,         ///< a resume leaves out the first publication
  not_followed_again,       ///< a new link to Redis does not hear the channels that are followed
  unknown_told_as_refused,  ///< a publisher without an answer is told that nothing was stored
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
    case PlantedFault::hole_not_filled:
      return "hole_not_filled";
    case PlantedFault::reset_not_told:
      return "reset_not_told";
    case PlantedFault::doubt_ignored:
      return "doubt_ignored";
    case PlantedFault::recovered_across_epochs:
      return "recovered_across_epochs";
    case PlantedFault::resumed_one_late:
      return "resumed_one_late";
    case PlantedFault::not_followed_again:
      return "not_followed_again";
    case PlantedFault::unknown_told_as_refused:
      return "unknown_told_as_refused";
  }
  return "";
}

/// The number of the fault that is enabled: the one that the environment names, unless it is changed.
[[nodiscard]] inline std::atomic<int>& planted_fault() {
  static std::atomic<int> planted = [] {
    const char* const name = std::getenv("PLANTED_FAULT");
    for (int i = 0; name != nullptr && i <= static_cast<int>(PlantedFault::unknown_told_as_refused); ++i) {
      if (name_of(static_cast<PlantedFault>(i)) == name) return i;
    }
    return -1;
  }();
  return planted;
}

/// Does the fault happen now? If it is enabled, every `period`-th call.
template <PlantedFault fault>
[[nodiscard]] bool has_fault(std::uint32_t period = 1) {
  static std::atomic<std::uint32_t> times{0};
  if (planted_fault().load(std::memory_order_relaxed) != static_cast<int>(fault)) return false;
  return ++times % period == 0;
}

#else

template <PlantedFault fault>
[[nodiscard]] constexpr bool has_fault(unsigned /*period*/ = 1) {
  return false;
}

#endif

}  // namespace carillon
