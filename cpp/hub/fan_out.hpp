#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "hub/channel_options.hpp"
#include "store/fan_out_mode.hpp"

namespace carillon {

/// The present fan-out of a channel.
struct FanOutState {
  FanOut strategy = FanOut::write;
  FanOutMode mode = FanOutMode::write;
  std::size_t threshold = 0;  ///< the current one: that of an adaptive channel moves
  std::size_t members = 0;
  std::size_t subscribers = 0;
  std::uint64_t switches = 0;  ///< of the mode, since the start
};

/// Decides the current mode of a channel. Any thread, without a lock, because every publish asks.
class ChannelFanOut {
 public:
  explicit ChannelFanOut(const ChannelOptions& options)
      : strategy_(options.fan_out), threshold_(options.fan_out_threshold) {
    if (options.fan_out == FanOut::read) mode_ = FanOutMode::read;
  }

  [[nodiscard]] FanOut strategy() const { return strategy_.load(std::memory_order_relaxed); }
  /// Before the adaptive factor.
  [[nodiscard]] std::size_t threshold() const { return threshold_.load(std::memory_order_relaxed); }
  /// `is_chosen`: set at run time, in place of the options. Returns whether it was set at run time before.
  bool choose(FanOut strategy, std::size_t threshold, bool is_chosen) {
    threshold_.store(threshold, std::memory_order_relaxed);
    strategy_.store(strategy, std::memory_order_relaxed);
    return is_chosen_.exchange(is_chosen, std::memory_order_relaxed);
  }
  /// Continues the state of another process here.
  void restore(FanOutMode mode, std::uint64_t switches) {
    mode_.store(mode, std::memory_order_relaxed);
    switches_.store(switches, std::memory_order_relaxed);
  }
  [[nodiscard]] bool is_chosen() const { return is_chosen_.load(std::memory_order_relaxed); }

  [[nodiscard]] FanOutMode mode() const { return mode_.load(std::memory_order_relaxed); }
  /// The mode of the next publication. `factor` is the current one of the adaptive threshold.
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

  /// Must a publication be entered into inboxes, as far as the publisher can know?
  [[nodiscard]] bool may_have_members() const {
    return members.load(std::memory_order_relaxed) > 0 || joins.load(std::memory_order_relaxed) > 0;
  }

  std::atomic<std::size_t> members{0};  ///< the last number from the store
  std::atomic<std::size_t> joins{0};    ///< unanswered calls of the store, after which there may be members
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

}  // namespace carillon
