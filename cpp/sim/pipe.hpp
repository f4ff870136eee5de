#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "sim/virtual_time.hpp"

namespace carillon::sim {

/// One direction of a connection: what is put in comes out in the same order, later. While it is cut off
/// nothing comes out; then everything does.
template <typename Item>
class Pipe {
 public:
  using Take = std::function<void(Item&&)>;

  /// `take` gets the item in `delay_us` or later.
  void put(VirtualTime& time, Micros delay_us, Item item, Take take) {
    parts_->items.emplace_back(std::move(item), std::move(take));
    parts_->last_us = std::max(parts_->last_us, time.now_us() + delay_us);
    wait(time, parts_, parts_->last_us);
  }
  void cut_off_until(Micros us) { parts_->cut_off_until_us = std::max(parts_->cut_off_until_us, us); }
  /// What is under way does not come out any more.
  void clear() { parts_->items.clear(); }

 private:
  struct Parts {
    std::deque<std::pair<Item, Take>> items;
    Micros last_us = 0;
    Micros cut_off_until_us = 0;
  };
  /// There is one event for each item, but each takes the oldest one.
  static void wait(VirtualTime& time, const std::shared_ptr<Parts>& parts, Micros at_us) {
    time.after(at_us - time.now_us(), [&time, parts] {
      if (parts->cut_off_until_us > time.now_us()) return wait(time, parts, parts->cut_off_until_us);
      if (parts->items.empty()) return;
      auto [item, take] = std::move(parts->items.front());
      parts->items.pop_front();
      take(std::move(item));
    });
  }

  std::shared_ptr<Parts> parts_ = std::make_shared<Parts>();
};

}  // namespace carillon::sim
