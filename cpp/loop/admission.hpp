#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

#include "env/limits.hpp"

namespace carillon {

/// Limits the rate of accepting connections, and the handshakes under way. Connections over the limits wait
/// in the kernel's accept queue. One object for all listeners of a gateway; thread-safe.
class Admission {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Admission(const Limits& limits) { set_limits(limits); }

  /// For the connections that come from now on.
  void set_limits(const Limits& limits) {
    const std::lock_guard lock(mutex_);
    interval_ = std::chrono::nanoseconds(limits.accepts_per_s > 0 ? 1'000'000'000 / limits.accepts_per_s : 0);
    burst_ = interval_ * (std::max<std::int64_t>(1, limits.accept_burst) - 1);
    handshakes_max_ = static_cast<std::size_t>(limits.handshakes);
  }

  /// Counts one more handshake and returns nothing; or returns the time to wait before the next attempt.
  [[nodiscard]] std::optional<Clock::duration> begin_handshake(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    if (handshakes_max_ > 0 && handshakes_.load() >= handshakes_max_) return kPause;
    const Clock::time_point earliest = next_ - burst_;
    if (now < earliest) return std::max<Clock::duration>(earliest - now, kPause);
    next_ = std::max(next_, now) + interval_;
    handshakes_.fetch_add(1);
    return std::nullopt;
  }
  /// Counts the handshake of a connection that is accepted only to be refused; the limits do not apply.
  void begin_refusal() { handshakes_.fetch_add(1); }
  /// No connection was accepted after begin_handshake(): the handshake no longer counts.
  void give_back() {
    const std::lock_guard lock(mutex_);
    next_ -= interval_;
    handshakes_.fetch_sub(1);
  }
  /// A handshake has ended, with success or not.
  void end_handshake() { handshakes_.fetch_sub(1); }
  [[nodiscard]] std::size_t handshakes() const { return handshakes_.load(); }

  /// Counts an attempt after which connections had to wait.
  void count_pause() { pauses_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t pauses() const { return pauses_.load(std::memory_order_relaxed); }

 private:
  static constexpr Clock::duration kPause = std::chrono::milliseconds(1);  // so that no thread spins

  std::mutex mutex_;  // guards the next four
  Clock::duration interval_{0};
  Clock::duration burst_{0};
  std::size_t handshakes_max_ = 0;
  Clock::time_point next_;  // when the next one is due at an even rate
  std::atomic<std::size_t> handshakes_{0};
  std::atomic<std::uint64_t> pauses_{0};
};

}  // namespace carillon
