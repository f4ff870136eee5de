#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carillon::load {

/// One run of the generator, or this worker's part of it: every worker of a run has the same settings but for
/// `worker`. Of several servers, worker w takes the one at w modulo their number. Connection i subscribes to
/// the channels i * k, i * k + 1, ... (modulo `channels`), where k is `channels_per_connection`; message n
/// goes to channel n modulo `channels`.
struct Settings {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;
  std::vector<std::uint16_t> ports;  ///< several servers instead, which a message goes to at the same moment
  std::string transport = "ws";      ///< of the subscribers: ws, sse, poll
  std::string protocol = "centrifuge";  ///< what the server speaks: centrifuge, raw, socketio, nchan
  std::string publish_by = "ws";  ///< ws: a WebSocket of the same protocol; post: pipelined POST requests
  std::string api_key;
  std::string channel = "bench";  ///< of several channels, what their names begin with

  std::string
      user;  ///< connection i says that it is this and i, which insecure servers believe; empty: nobody

  std::uint64_t connections = 1000;
  std::uint64_t channels = 1;
  std::uint64_t channels_per_connection = 1;
  std::uint64_t payload_bytes = 128;  ///< a JSON string with its quotes
  bool has_records = false;           ///< in the data, instead of one letter again and again
  bool is_deflated = false;           ///< subscribers over WebSocket get compressed frames

  bool is_idle = false;         ///< publish nothing, only hold the connections for `seconds`
  std::uint64_t in_flight = 1;  ///< messages published and not yet with every subscriber of their channel
  double rate_per_s = 0;        ///< messages a second instead; 0: as fast as `in_flight` lets
  double seconds = 0;           ///< length of the measured window, or
  std::uint64_t messages = 0;   ///< in messages; 0: no such bound
  std::uint64_t warmup = 100;   ///< messages before the measured window
  double timeout_s = 30;        ///< a run without progress for so long is given up
  /// In flight is also what the publisher has no reply to, which is timed; `connections` may then be 0.
  bool awaits_replies = false;
  double slice_s = 0;  ///< times also for each slice of the measured window, of so many seconds; 0: none

  /// So many times, once every `cut_every_s`, the links of all subscribers but the first `staying` are cut.
  /// `cut_s` later they begin to come back, spread over `return_s`, with the position that they had.
  std::uint64_t cuts = 0;
  double cut_every_s = 5;
  double cut_s = 2;
  double return_s = 1;
  std::uint64_t staying = 0;
  /// Not 0: where subscribers come back once the server has asked them to go, and where the publisher is.
  std::uint16_t return_port = 0;

  [[nodiscard]] bool has_returns() const { return cuts > 0 || return_port > 0; }

  bool is_spinning = false;  ///< never sleep: a sleeping receiver makes the server pay for its wake-up

  std::uint32_t worker = 0;  ///< this one; the worker 0 publishes and measures the server
  std::uint32_t workers = 1;
  std::vector<pid_t> server_pids;
};

constexpr std::size_t kSlicesMax = 1'000;          // each has two histograms of some 60 KiB
constexpr std::uint64_t kMostInFlight = 1U << 16;  // also the bound when a rate outruns the server

/// Throws std::invalid_argument that names the field, its value and the remedy.
void check(const Settings& settings);

/// The connections [first, last) of a worker.
struct Share {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  [[nodiscard]] std::uint64_t size() const { return last - first; }
};
Share share_of(const Settings& settings, std::uint32_t worker);

std::string channel_name(const Settings& settings, std::uint64_t channel);

/// The data of a message begin with a quote and this mark: '~', the number in 16 digits, '~'. It is found in
/// whatever a server wraps around it.
constexpr char kMark = '~';
constexpr std::size_t kDigits = 16;
constexpr std::size_t kMarkBytes = kDigits + 2;
constexpr std::size_t kPayloadBytesMin = kMarkBytes + 2;

/// The data of message `number`: `bytes` in all, a JSON string with its quotes.
void write_data(std::string& out, std::uint64_t number, std::size_t bytes);
/// The same, with records of names and numbers in it, as JSON mostly has them: they compress to about a
/// third.
void write_records(std::string& out, std::uint64_t number, std::size_t bytes);
/// The one that the settings ask for.
void write_data(std::string& out, std::uint64_t number, const Settings& settings);

/// Finds the next mark in `text` and cuts `text` behind it; false if there is none.
inline bool next_mark(std::string_view& text, std::uint64_t& number) {
  for (std::size_t at = text.find(kMark); at != std::string_view::npos; at = text.find(kMark, at + 1)) {
    if (text.size() - at < kMarkBytes) return false;
    if (text[at + kDigits + 1] != kMark) continue;
    std::uint64_t value = 0;
    bool is_number = true;
    for (std::size_t i = 1; i <= kDigits; ++i) {
      const auto digit = static_cast<unsigned>(text[at + i] - '0');
      is_number = is_number && digit < 10;
      value = value * 10 + digit;
    }
    if (!is_number) continue;
    number = value;
    text.remove_prefix(at + kMarkBytes);
    return true;
  }
  return false;
}

}  // namespace carillon::load
