#pragma once

#include <cstdint>
#include <vector>

namespace carillon::load {

/// Checks that every stream (a channel on a connection) hears the numbers 0, 1, 2, ... once each and in
/// order. Not thread-safe.
class SequenceChecker {
 public:
  struct Faults {
    std::uint64_t missing = 0;    ///< never heard
    std::uint64_t repeated = 0;   ///< heard again
    std::uint64_t reordered = 0;  ///< heard behind a later one
  };

  struct Verdict {
    bool is_new = false;        ///< the next one, or one beyond a gap
    std::uint64_t skipped = 0;  ///< numbers between the last new one and this
  };

  explicit SequenceChecker(std::size_t streams) : streams_(streams) {}

  Verdict hear(std::size_t stream, std::uint64_t number) {
    Stream& it = streams_[stream];
    if (number == it.next) {
      ++it.next;
      it.heard = it.heard << 1 | 1;
      return {true, 0};
    }
    return number > it.next ? hear_gap(it, number) : hear_old(it, number);
  }

  /// At the end: what was published on the stream and not heard is missing.
  void end(std::size_t stream, std::uint64_t published) {
    const std::uint64_t next = streams_[stream].next;
    if (next < published) faults_.missing += published - next;
  }

  [[nodiscard]] const Faults& faults() const { return faults_; }

 private:
  struct Stream {
    std::uint64_t next = 0;
    std::uint64_t heard = 0;  // bit i: was next - 1 - i heard?
  };
  static constexpr std::uint64_t kRemembered = 64;

  Verdict hear_gap(Stream& stream, std::uint64_t number);
  Verdict hear_old(Stream& stream, std::uint64_t number);

  std::vector<Stream> streams_;
  Faults faults_;
};

}  // namespace carillon::load
