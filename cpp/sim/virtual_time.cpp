#include "sim/virtual_time.hpp"

#include <algorithm>
#include <utility>

namespace carillon::sim {

bool VirtualTime::run_one(Micros end_us) {
  if (events_.empty() || events_.top().at_us > end_us) {
    now_us_ = std::max(now_us_, end_us);
    return false;
  }
  // The queue only lends its top; the copy would cost what the task holds.
  Event event = std::move(const_cast<Event&>(events_.top()));
  events_.pop();
  now_us_ = event.at_us;
  ++ran_;
  event.task();
  return true;
}

bool VirtualTime::run_until(Micros end_us, const std::function<bool()>& is_met) {
  for (;;) {
    if (is_met && is_met()) return true;
    if (!run_one(end_us)) return is_met && is_met();
  }
}

}  // namespace carillon::sim
