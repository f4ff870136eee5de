#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "env/clock.hpp"

namespace carillon::sim {

/// Microseconds of simulated time since the start of the world.
using Micros = std::int64_t;

/// The time of a simulated world: what is to happen, in order. It moves only from one event to the next.
class VirtualTime {
 public:
  using Task = std::function<void()>;

  [[nodiscard]] Micros now_us() const { return now_us_; }
  /// Runs `task` in `delay_us`. Tasks of the same moment run in the order of these calls.
  void after(Micros delay_us, Task task) {
    events_.push({now_us_ + (delay_us > 0 ? delay_us : 0), next_++, std::move(task)});
  }
  /// Runs the next event, if it is not behind `end_us`; false: there is none, and it is `end_us` now.
  bool run_one(Micros end_us);
  /// Runs events until `is_met`, or `end_us`. Returns whether it is met. May be called from an event.
  bool run_until(Micros end_us, const std::function<bool()>& is_met = {});
  /// Number of events that have run.
  [[nodiscard]] std::uint64_t events() const { return ran_; }

 private:
  struct Event {
    Micros at_us = 0;
    std::uint64_t number = 0;
    Task task;
    friend bool operator<(const Event& a, const Event& b) {  // the first one is on top of the queue
      return a.at_us != b.at_us ? a.at_us > b.at_us : a.number > b.number;
    }
  };
  Micros now_us_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t ran_ = 0;
  std::priority_queue<Event> events_;
};

/// The clocks of one simulated process. Its time of day may be wrong, and may jump.
class ProcessClock final : public Clock {
 public:
  explicit ProcessClock(const VirtualTime& time) : time_(time) {}
  [[nodiscard]] Millis now_ms() const override { return kBootMs + time_.now_us() / 1'000; }
  [[nodiscard]] Millis wall_ms() const override { return kWallMs + time_.now_us() / 1'000 + wall_ahead_ms_; }
  [[nodiscard]] std::int64_t now_ns() const override { return kBootMs * 1'000'000 + time_.now_us() * 1'000; }
  /// The time of day jumps, forwards or backwards.
  void jump_wall(Millis by_ms) { wall_ahead_ms_ += by_ms; }

 private:
  static constexpr Millis kBootMs = 1'000'000;
  static constexpr Millis kWallMs = 1'700'000'000'000;

  const VirtualTime& time_;
  Millis wall_ahead_ms_ = 0;
};

}  // namespace carillon::sim
