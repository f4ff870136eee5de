#pragma once

#include <cstdint>
#include <string>

#include "hub/channel_options.hpp"
#include "load/histogram.hpp"

namespace carillon::lab {

/// A hub alone: its members' cursors have sinks in memory, so that no descriptor bounds their number.
struct SinkSettings {
  FanOut strategy = FanOut::write;
  std::uint64_t threshold = 10'000;  ///< members above which a hybrid channel is read
  std::int64_t sweep_interval_ms = 100;
  std::uint64_t channels = 1;  ///< every member is in each; message n goes to channel n modulo `channels`
  std::uint64_t members = 1'000;
  std::uint64_t online = 1'000;  ///< members with a cursor: the first ones
  std::string member = "m";      ///< what their names begin with; member i is this and i
  double rate_per_s = 20;
  std::uint64_t messages = 60;
  std::uint64_t warmup = 5;           ///< messages before them, which are not measured
  std::uint64_t payload_bytes = 128;  ///< a JSON string with its quotes
  std::uint64_t readers = 40;         ///< inboxes of offline members that are read afterwards
  std::uint64_t inbox_limit = 100;    ///< items of each
};

/// Throws std::invalid_argument that names the field, its value and the remedy.
void check(const SinkSettings& settings);

/// Times are of the measured messages, counts of the warm-up too where they say so.
struct SinkReport {
  load::Histogram publish;          ///< until the publisher's reply, which waits for the inboxes
  load::Histogram latency;          ///< of every delivery
  load::Histogram last_subscriber;  ///< until the last sink had it
  load::Histogram inbox_read;
  std::uint64_t deliveries = 0;
  std::uint64_t delivered_bytes = 0;  ///< of the WebSocket frames that connections would have been sent
  std::uint64_t inbox_entries = 0;    ///< with those of the warm-up
  std::uint64_t cpu_ns = 0;           ///< of everything but the inbox reads
  std::uint64_t faults = 0;           ///< publications that a sink has missed, or had twice or out of order
};

/// Publishes at a fixed rate, in real time, on the calling thread, which is publisher and shard in turn:
/// store, hub, shard, pump and inboxes are those of a server. Sleeps in between. Latency counts from when a
/// message was due.
SinkReport run_sinks(const SinkSettings& settings);

}  // namespace carillon::lab
