#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "hub/channel_options.hpp"
#include "hub/offset_ranges.hpp"
#include "store/inbox.hpp"

namespace carillon {

/// What a channel's fan-out is like now.
struct FanOutState {
  FanOut strategy = FanOut::write;
  FanOutMode mode = FanOutMode::write;
  std::size_t threshold = 0;  ///< as it is applied now: of an adaptive channel it moves
  std::size_t members = 0;
  std::size_t subscribers = 0;
  std::uint64_t switches = 0;  ///< of the mode, ever
};

/// Decides a channel's mode of the moment. Any thread, without a lock: who publishes asks each time.
class ChannelFanOut {
 public:
  explicit ChannelFanOut(const ChannelOptions& options)
      : strategy_(options.fan_out), threshold_(options.fan_out_threshold) {
    if (options.fan_out == FanOut::read) mode_ = FanOutMode::read;
  }

  [[nodiscard]] FanOut strategy() const { return strategy_.load(std::memory_order_relaxed); }
  /// Before the adaptive factor.
  [[nodiscard]] std::size_t threshold() const { return threshold_.load(std::memory_order_relaxed); }
  /// `is_chosen`: in the place of what the options say. Returns whether it was chosen before.
  bool choose(FanOut strategy, std::size_t threshold, bool is_chosen) {
    threshold_.store(threshold, std::memory_order_relaxed);
    strategy_.store(strategy, std::memory_order_relaxed);
    return is_chosen_.exchange(is_chosen, std::memory_order_relaxed);
  }
  /// Another process's goes on here.
  void restore(FanOutMode mode, std::uint64_t switches) {
    mode_.store(mode, std::memory_order_relaxed);
    switches_.store(switches, std::memory_order_relaxed);
  }
  [[nodiscard]] bool is_chosen() const { return is_chosen_.load(std::memory_order_relaxed); }

  [[nodiscard]] FanOutMode mode() const { return mode_.load(std::memory_order_relaxed); }
  /// The mode of what is published now. `factor` is what the adaptive threshold has come to.
  FanOutMode decide(const ChannelOptions& options, double factor) {
    const FanOut strategy = strategy_.load(std::memory_order_relaxed);
    FanOutMode mode = mode_.load(std::memory_order_relaxed);
    if (strategy == FanOut::write || strategy == FanOut::read) {
      mode = strategy == FanOut::write ? FanOutMode::write : FanOutMode::read;
    } else {
      const std::size_t above = applied_threshold(factor);
      const std::size_t below = above - above * options.fan_out_hysteresis / 100;
      if (size() > above) {
        mode = FanOutMode::read;
      } else if (size() < below) {
        mode = FanOutMode::write;
      }
    }
    if (mode_.load(std::memory_order_relaxed) != mode &&
        mode_.exchange(mode, std::memory_order_relaxed) != mode)
      switches_.fetch_add(1, std::memory_order_relaxed);
    return mode;
  }
  [[nodiscard]] std::uint64_t switches() const { return switches_.load(std::memory_order_relaxed); }
  [[nodiscard]] FanOutState state(double factor) const {
    return {strategy_.load(std::memory_order_relaxed),
            mode(),
            applied_threshold(factor),
            members.load(std::memory_order_relaxed),
            subscribers.load(std::memory_order_relaxed),
            switches()};
  }

  /// Is what is published to be entered into inboxes, as far as the publisher can know?
  [[nodiscard]] bool may_have_members() const {
    return members.load(std::memory_order_relaxed) > 0 || joins.load(std::memory_order_relaxed) > 0;
  }

  std::atomic<std::size_t> members{0};  ///< as the store last told
  std::atomic<std::size_t> joins{
      0};  ///< questions that the store has not answered, and after which there may be members
  std::atomic<std::size_t> subscribers{0};  ///< on all shards

 private:
  [[nodiscard]] std::size_t size() const {
    return std::max(members.load(std::memory_order_relaxed), subscribers.load(std::memory_order_relaxed));
  }
  [[nodiscard]] std::size_t applied_threshold(double factor) const {
    const std::size_t threshold = threshold_.load(std::memory_order_relaxed);
    if (strategy_.load(std::memory_order_relaxed) != FanOut::adaptive) return threshold;
    return static_cast<std::size_t>(static_cast<double>(threshold) * factor);
  }

  std::atomic<FanOut> strategy_;
  std::atomic<std::size_t> threshold_;
  std::atomic<FanOutMode> mode_{FanOutMode::write};
  std::atomic<bool> is_chosen_{false};
  std::atomic<std::uint64_t> switches_{0};
};

/// Where the writing of a channel's inboxes stands. Guarded by the channel's lock. Announcements may come in
/// any order, again, and in a new epoch: offsets are remembered, not a watermark.
struct InboxWalk {
  struct Waiter {
    Offset offset = 0;
    std::function<void(bool)> then;  ///< is it in all inboxes? False: it is not known to be
  };
  std::uint32_t number = 0;                     ///< of the shards the one that writes, counted round
  static constexpr unsigned kTriesAwaited = 4;  ///< publishers wait through as many failures of the store
  static constexpr Millis kRetryMs = 250;       ///< doubled with each failure in a row
  static constexpr unsigned kDoublings = 5;

  Epoch epoch;             ///< of all offsets here
  OffsetRanges announced;  ///< given to the walk, ever
  OffsetRanges waiting;
  OffsetRange under_way;  ///< what the store has begun with no longer grows
  OffsetRange given_up;   ///< is in no inbox: no thread was there to enter it
  bool is_running = false;
  unsigned failures = 0;  ///< of the store, in a row
  Millis retry_ms = 0;    ///< when the store is asked again; 0: nothing has failed
  std::vector<Waiter> waiters;

  [[nodiscard]] bool is_pending(Offset offset) const {
    return is_running && (under_way.contains(offset) || waiting.contains(offset));
  }
};

/// Where the threshold of adaptive channels goes: to where entering inboxes at publish and merging them at
/// read take about the same time, as near which their sum is least. Any thread but adapt().
class AdaptiveThreshold {
 public:
  /// Only what adaptive channels cost moves their threshold.
  void count_write(std::int64_t ns, bool is_adaptive) {
    write_ns_.fetch_add(ns, std::memory_order_relaxed);
    if (is_adaptive) adaptive_write_ns_.fetch_add(ns, std::memory_order_relaxed);
  }
  void count_read(std::int64_t ns, bool is_adaptive) {
    read_ns_.fetch_add(ns, std::memory_order_relaxed);
    if (is_adaptive) adaptive_read_ns_.fetch_add(ns, std::memory_order_relaxed);
  }
  /// What a channel's threshold is multiplied with.
  [[nodiscard]] double factor() const { return factor_.load(std::memory_order_relaxed); }
  void restore(double factor) {
    factor_.store(std::clamp(factor, 1 / kMost, kMost), std::memory_order_relaxed);
  }
  /// Of all channels, ever.
  [[nodiscard]] std::int64_t write_ns() const { return write_ns_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t read_ns() const { return read_ns_.load(std::memory_order_relaxed); }

  static constexpr Millis kWindowMs = 5'000;
  static constexpr std::int64_t kLeastNs = 1'000'000;  // less than that in a window is no reason to move
  static constexpr double kStep = 1.5;
  static constexpr double kBand = 2.0;  // within it both are about the same
  static constexpr double kMost = 64.0;

  /// From time to time, from one thread: moves a step once per window.
  void adapt(Millis now_ms) {
    if (now_ms - window_ms_ < kWindowMs) return;
    window_ms_ = now_ms;
    const auto write = static_cast<double>(adaptive_write_ns_.exchange(0, std::memory_order_relaxed));
    const auto read = static_cast<double>(adaptive_read_ns_.exchange(0, std::memory_order_relaxed));
    if (write + read < static_cast<double>(kLeastNs)) return;
    double factor = this->factor();
    if (write > kBand * read) factor /= kStep;
    if (read > kBand * write) factor *= kStep;
    factor_.store(std::clamp(factor, 1 / kMost, kMost), std::memory_order_relaxed);
  }

 private:
  std::atomic<std::int64_t> write_ns_{0};
  std::atomic<std::int64_t> read_ns_{0};
  std::atomic<std::int64_t> adaptive_write_ns_{0};  // in the window
  std::atomic<std::int64_t> adaptive_read_ns_{0};
  std::atomic<double> factor_{1.0};
  Millis window_ms_ = 0;
};

}  // namespace carillon
