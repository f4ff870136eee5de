#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "load/histogram.hpp"
#include "load/process_meter.hpp"
#include "load/sequence_checker.hpp"

namespace carillon::load {

/// What cuts, or a drain, have shown (Settings::cuts, return_port).
struct CutReport {
  std::uint64_t returns = 0;        ///< subscribers that are live again, of all cuts
  std::uint64_t closed = 0;         ///< by the server while they were live
  std::uint64_t retries = 0;        ///< lost or refused on their way back: they tried again
  std::uint64_t not_recovered = 0;  ///< told that they have missed something
  std::uint64_t expected = 0;       ///< deliveries, had nothing been missing
  std::vector<double> all_live_s;   ///< of each cut: from the first one that came back until all were live
  std::uint64_t server_cpu_ns = 0;  ///< in those times
  Histogram resume;                 ///< of each that came back: from its connect until it was live
  Histogram staying_quiet;          ///< latency of those whose links stay, while all are live,
  Histogram staying_storm;          ///< and from a cut until all are live again
};

/// A part of the measured window.
struct Slice {
  Histogram latency;
  Histogram publish;
};

/// What one worker saw. Times and counts are of the measured window, faults of the whole run; what belongs to
/// the server and the publisher is only in the report of the worker 0.
struct Report {
  std::uint64_t deliveries = 0;
  Histogram latency;                 ///< of every delivery, from when its message was due
  Histogram last_subscriber;         ///< of every message that this worker completed
  Histogram publish;                 ///< of every message, until its publisher had the reply (awaits_replies)
  std::vector<Slice> slices;         ///< the same by when messages were due (slice_s)
  std::uint64_t received_bytes = 0;  ///< by the subscribers, of what is above TCP
  std::uint64_t sent_bytes = 0;      ///< by them

  Histogram ping_gaps;      ///< how long connections were without a ping, to the end of the run; whole run
  std::uint64_t pings = 0;  ///< of the whole run

  SequenceChecker::Faults sequence;
  std::uint64_t malformed = 0;  ///< not a message, or one that nobody has published
  std::uint64_t changed = 0;    ///< data unlike those that were published (looked at on one connection)
  std::uint64_t refused = 0;    ///< by the server: a handshake, a subscription, a publication
  std::uint64_t lost = 0;       ///< connections that failed or ended before the run did
  std::uint64_t stalled = 0;    ///< 1 if the run was given up for lack of progress
  std::string first_fault;      ///< in words

  CutReport cuts;

  std::uint64_t messages = 0;
  double connect_s = 0;
  double window_s = 0;
  double generator_us = 0;  ///< CPU time of this worker in the window
  CpuTime server_cpu;       ///< in the window
  Memory server_before;     ///< with one subscriber and the publisher
  Memory server_connected;  ///< with all subscribers
};

}  // namespace carillon::load
