#pragma once

#include <cstdint>
#include <string>

#include "load/histogram.hpp"
#include "load/process_meter.hpp"
#include "load/sequence_checker.hpp"

namespace carillon::load {

/// What one worker saw. Times and counts are of the measured window, faults of the whole run; what belongs to
/// the server and the publisher is only in the report of the worker 0.
struct Report {
  std::uint64_t deliveries = 0;
  Histogram latency;          ///< of every delivery, from when its message was due
  Histogram last_subscriber;  ///< of every message that this worker completed

  Histogram ping_gaps;      ///< how long connections were without a ping, to the end of the run; whole run
  std::uint64_t pings = 0;  ///< of the whole run

  SequenceChecker::Faults sequence;
  std::uint64_t malformed = 0;  ///< not a message, or one that nobody has published
  std::uint64_t changed = 0;    ///< data unlike those that were published (looked at on one connection)
  std::uint64_t refused = 0;    ///< by the server: a handshake, a subscription, a publication
  std::uint64_t lost = 0;       ///< connections that failed or ended before the run did
  std::uint64_t stalled = 0;    ///< 1 if the run was given up for lack of progress
  std::string first_fault;      ///< in words

  std::uint64_t messages = 0;
  double connect_s = 0;
  double window_s = 0;
  double generator_us = 0;  ///< CPU time of this worker in the window
  CpuTime server_cpu;       ///< in the window
  Memory server_before;     ///< with one subscriber and the publisher
  Memory server_connected;  ///< with all subscribers
};

}  // namespace carillon::load
