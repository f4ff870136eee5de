#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "sim/sqlite/simulated_disk.hpp"

namespace carillon::sim {

/// A bug that is planted on purpose, to prove that the simulator notices it.
struct PlantedBug {
  std::string_view name;
  std::string_view what;
  // In a script: the first text is replaced by the second.
  std::string_view script_text = {};
  std::string_view replacement = {};
  std::uint32_t loses_message_of = 0;  ///< one in so many messages is lost between Redis and gateways
  bool needs_short_history = false;    ///< it shows where publications leave the history
  bool needs_members = false;          ///< it shows where channels have members
  std::string_view sqlite = {};  ///< it is in the disk, and shows with an SQLite file of this durability
  SimulatedDisk::Bug of_disk = SimulatedDisk::Bug::none;
};

/// All that need no program of their own.
[[nodiscard]] std::span<const PlantedBug> planted_bugs();
/// Null: there is none of that name.
[[nodiscard]] const PlantedBug* planted_bug(std::string_view name);
/// Is its text in one of the scripts that ship?
[[nodiscard]] bool is_in_a_script(const PlantedBug& bug);
/// The script with the bug; the same if it is in another one.
[[nodiscard]] std::string with_bug(const PlantedBug& bug, std::string script);

}  // namespace carillon::sim
