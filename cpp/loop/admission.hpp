#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

#include "session/limits.hpp"

namespace carillon {

/// How many may come in: so many a second, and so many handshakes at once. Who is over waits in the kernel's
/// backlog. One for all listeners of a gateway; thread-safe.
class Admission {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Admission(const Limits& limits)
      : interval_(limits.accepts_per_s > 0 ? std::chrono::nanoseconds(1'000'000'000 / limits.accepts_per_s)
                                           : std::chrono::nanoseconds(0)),
        burst_(interval_ * (std::max<std::int64_t>(1, limits.accept_burst) - 1)),
        handshakes_max_(static_cast<std::size_t>(limits.handshakes)) {}

  /// Nothing: one more may come in, and its handshake counts. Else it is to wait for so long, and to be asked
  /// for again.
  [[nodiscard]] std::optional<Clock::duration> enter(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    if (handshakes_max_ > 0 && handshakes_.load() >= handshakes_max_) return kPause;
    const Clock::time_point earliest = next_ - burst_;
    if (now < earliest) return std::max<Clock::duration>(earliest - now, kPause);
    next_ = std::max(next_, now) + interval_;
    handshakes_.fetch_add(1);
    return std::nullopt;
  }
  /// One who is to be refused: it is not asked whether it may.
  void enter_to_be_refused() { handshakes_.fetch_add(1); }
  /// It has not come after all.
  void give_back() {
    const std::lock_guard lock(mutex_);
    next_ -= interval_;
    handshakes_.fetch_sub(1);
  }
  /// A handshake is over, well or not.
  void leave() { handshakes_.fetch_sub(1); }
  [[nodiscard]] std::size_t handshakes() const { return handshakes_.load(); }

  /// Newcomers wait: so it begins, and goes on.
  void count_pause() { pauses_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t pauses() const { return pauses_.load(std::memory_order_relaxed); }

 private:
  static constexpr Clock::duration kPause = std::chrono::milliseconds(1);  // nobody spins

  const Clock::duration interval_;
  const Clock::duration burst_;
  const std::size_t handshakes_max_;
  std::mutex mutex_;
  Clock::time_point next_;  // when the next one is due at an even rate
  std::atomic<std::size_t> handshakes_{0};
  std::atomic<std::uint64_t> pauses_{0};
};

}  // namespace carillon
