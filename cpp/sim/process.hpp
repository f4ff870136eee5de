#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "sim/chance.hpp"
#include "sim/virtual_time.hpp"

namespace carillon::sim {

/// A simulated process: what it has planned happens unless it has died meanwhile, and later if it is stopped.
/// Its tasks take a little time, so that those of several processes meet in every order.
class Process {
 public:
  Process(VirtualTime& time, std::uint64_t seed, const std::string& name)
      : time_(time), life_(std::make_shared<Life>()), chance_(seed, name) {}
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { die(); }

  [[nodiscard]] VirtualTime& time() const { return time_; }
  [[nodiscard]] Chance& chance() { return chance_; }
  [[nodiscard]] bool is_dead() const { return life_->is_dead; }
  /// Nothing of it happens any more.
  void die() { life_->is_dead = true; }
  /// Nothing of it happens for so long, as after SIGSTOP.
  void stop_for(Micros us) {
    life_->stopped_until_us = std::max(life_->stopped_until_us, time_.now_us() + us);
  }

  void after(Micros delay_us, std::function<void()> task) {
    run_when_awake(time_, delay_us, life_, std::move(task));
  }
  /// Soon: the scheduler and the CPU take their time.
  void soon(std::function<void()> task) { after(chance_.between(1, 60), std::move(task)); }

 private:
  struct Life {
    bool is_dead = false;
    Micros stopped_until_us = 0;
  };
  static void run_when_awake(VirtualTime& time, Micros delay_us, std::shared_ptr<Life> life,
                             std::function<void()> task) {
    time.after(delay_us, [&time, life = std::move(life), task = std::move(task)]() mutable {
      if (life->is_dead) return;
      const Micros wait_us = life->stopped_until_us - time.now_us();
      if (wait_us > 0) return run_when_awake(time, wait_us, std::move(life), std::move(task));
      task();
    });
  }

  VirtualTime& time_;
  const std::shared_ptr<Life> life_;
  Chance chance_;
};

}  // namespace carillon::sim
