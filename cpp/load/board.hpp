#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace carillon::load {

/// What the workers of a run tell each other, and what whoever started them may look at: a file that all of
/// them have mapped. Only the worker 0 publishes.
class Board {
 public:
  /// A message that is in flight.
  struct Message {
    std::atomic<std::uint64_t> due_ns;        ///< latency counts from here, on CLOCK_MONOTONIC
    std::atomic<std::uint64_t> workers_done;  ///< those with whose subscribers it is
  };

  struct Header {
    std::atomic<std::uint64_t> started_workers;
    std::atomic<std::uint64_t> may_connect;        ///< all are started; the worker 0 has looked at the server
    std::atomic<std::uint64_t> live;               ///< subscribers that are connected and subscribed
    std::atomic<std::uint64_t> connected_workers;  ///< those whose subscribers all are
    std::atomic<std::uint64_t> published;
    std::atomic<std::uint64_t> completed;           ///< messages that every subscriber of their channel has
    std::atomic<std::uint64_t> deliveries;          ///< behind the truth by a turn of each worker
    std::atomic<std::uint64_t> measuring_since_ns;  ///< on CLOCK_MONOTONIC; there before is_measuring
    std::atomic<std::uint64_t> is_measuring;
    std::atomic<std::uint64_t> is_over;     ///< nothing more is published
    std::atomic<std::uint64_t> is_failed;   ///< a worker has given up,
    std::atomic<std::uint64_t> is_stalled;  ///< because nothing moved any more
  };

  static constexpr std::uint64_t kMessages = 1U << 16;

  /// Maps the file, which a Board made before unless `is_new`. Throws std::system_error.
  Board(const std::string& path, bool is_new);
  ~Board();
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  [[nodiscard]] Header& header() { return layout_->header; }
  [[nodiscard]] Message& message(std::uint64_t number) { return layout_->messages[number % kMessages]; }

 private:
  struct Layout {
    Header header;
    Message messages[kMessages];
  };
  Layout* layout_;  // the mapping, which the destructor gives back
};

}  // namespace carillon::load
