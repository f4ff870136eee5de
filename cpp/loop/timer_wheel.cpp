#include "loop/timer_wheel.hpp"

#include <algorithm>

namespace carillon {

void TimerWheel::schedule(Connection& connection, Millis deadline_ms) {
  if (deadline_ms == kNoDeadline) return;
  const Millis furthest = last_tick_ + static_cast<Millis>(kSlots) - 1;
  const Millis tick = std::clamp((deadline_ms + tick_ms_ - 1) / tick_ms_, last_tick_ + 1, furthest);
  const Millis looked_at_ms = tick * tick_ms_;
  if (connection.wheel_slot >= 0) {
    if (connection.scheduled_ms <= looked_at_ms) return;
    remove(connection);
  }
  const auto slot = static_cast<std::size_t>(tick) % kSlots;
  connection.scheduled_ms = looked_at_ms;
  connection.wheel_slot = static_cast<std::int32_t>(slot);
  connection.wheel_previous = nullptr;
  connection.wheel_next = slots_[slot];
  if (slots_[slot] != nullptr) slots_[slot]->wheel_previous = &connection;
  slots_[slot] = &connection;
}

void TimerWheel::remove(Connection& connection) {
  if (connection.wheel_slot < 0) return;
  if (connection.wheel_next != nullptr) connection.wheel_next->wheel_previous = connection.wheel_previous;
  if (connection.wheel_previous != nullptr) {
    connection.wheel_previous->wheel_next = connection.wheel_next;
  } else {
    slots_[static_cast<std::size_t>(connection.wheel_slot)] = connection.wheel_next;
  }
  connection.wheel_previous = connection.wheel_next = nullptr;
  connection.wheel_slot = -1;
  connection.scheduled_ms = kNoDeadline;
}

void TimerWheel::advance(Millis now_ms, std::vector<Connection*>& due) {
  const Millis now_tick = now_ms / tick_ms_;
  // After a long pause of the process every slot is due once, not once for each missed round.
  last_tick_ = std::max(last_tick_, now_tick - static_cast<Millis>(kSlots));
  while (last_tick_ < now_tick) {
    ++last_tick_;
    const auto slot = static_cast<std::size_t>(last_tick_) % kSlots;
    while (slots_[slot] != nullptr) {
      Connection& connection = *slots_[slot];
      remove(connection);
      due.push_back(&connection);
    }
  }
}

}  // namespace carillon
