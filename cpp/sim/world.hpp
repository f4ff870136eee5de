#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/plan.hpp"

namespace carillon::sim {

/// What became of a world.
struct Report {
  std::uint64_t seed = 0;
  std::vector<std::string> complaints;  ///< promises that were not kept; none: all is well
  std::uint64_t trace_hash = 0;
  std::uint64_t trace_lines = 0;
  std::vector<std::string> trace;  ///< the lines, if they are kept
  std::vector<std::string> acts;   ///< what happened to it
  std::uint64_t acknowledged = 0;
  std::uint64_t delivered = 0;
  std::uint64_t recoveries = 0;
  std::uint64_t gaps = 0;  ///< told to clients
  std::uint64_t lost = 0;  ///< publications that the simulated Redis has lost
  std::uint64_t events = 0;
  Millis simulated_ms = 0;
};

/// Makes a world, lets the acts happen, waits until all is calm again, and judges. Deterministic: equal
/// options have equal reports. It uses nothing but its thread. Throws std::invalid_argument for options that
/// make no world.
[[nodiscard]] Report run_world(const WorldOptions& options);

/// The promise that a complaint is about: its text before the first colon.
[[nodiscard]] std::string_view kind_of(std::string_view complaint);

/// The fewest acts of a failing world that still break the same promise first, by leaving out more and more
/// of them. At most `runs_max` worlds are run. The result has `only` set; its report fails. A world that does
/// not fail is returned as it is.
[[nodiscard]] WorldOptions shrink_world(const WorldOptions& options, std::size_t runs_max = 400);

/// The line that plays a world again, for a shell.
[[nodiscard]] std::string replay_command(const WorldOptions& options);
/// A world in which the planted bug shows; seeds are still to be tried.
[[nodiscard]] WorldOptions world_of(std::string_view bug);

}  // namespace carillon::sim
