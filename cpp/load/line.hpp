#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace carillon::load {

/// One connection of the generator: a subscriber, or the publisher.
struct Line {
  enum class Stage : std::uint8_t { connecting, opening, joining, live, away };

  int fd = -1;
  std::uint32_t index = 0;  // among the subscribers of this worker
  Stage stage = Stage::connecting;
  bool is_publisher = false;
  bool has_moved = false;      // to Settings::return_port
  bool is_chunked = false;     // SSE: the answer comes in chunks
  std::uint32_t awaited = 0;   // answers until it is live
  std::string partial;         // the bytes of an unfinished frame, event or answer
  std::string outgoing;        // what the socket did not take
  std::string position;        // where it goes on: of a poll always, of others where links are cut
  std::uint64_t replies = 0;   // to POSTs, which come in the order of the messages
  std::uint64_t offset = 0;    // Centrifuge: the position is the epoch, and this
  std::uint64_t ping_ns = 0;   // when the newest ping came, or it became live
  std::uint64_t began_ns = 0;  // to connect
};

/// What a dialect tells of the lines that it reads.
class LineEvents {
 public:
  LineEvents() = default;
  LineEvents(const LineEvents&) = delete;
  LineEvents& operator=(const LineEvents&) = delete;
  virtual ~LineEvents() = default;

  virtual void send(Line& line, std::string_view bytes) = 0;
  virtual void on_live(Line& line) = 0;
  /// Counts and checks every message in the text; returns how many there were.
  virtual std::size_t on_messages(Line& line, std::string_view text) = 0;
  virtual void on_ping(Line& line) = 0;
  /// A publisher has its reply: the server has taken the message.
  virtual void on_published(Line& /*line*/, std::uint64_t /*number*/) {}
  virtual void on_malformed(Line& line, std::string_view text) = 0;
  virtual void on_refused(Line& line, std::string_view why) = 0;
  virtual void on_lost(Line& line, std::string_view why) = 0;
  /// It came back with its position, and the server says that it has missed something.
  virtual void on_not_recovered(Line& /*line*/) {}
};

}  // namespace carillon::load
