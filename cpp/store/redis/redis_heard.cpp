#include "store/redis/redis_heard.hpp"

#include <algorithm>

namespace carillon {

bool RedisHeard::is_new(std::string_view gateway, std::uint64_t number) {
  if (number == 0) return true;
  auto found = gateways_.find(gateway);
  if (found == gateways_.end()) {
    make_room();
    found = gateways_.try_emplace(std::string(gateway)).first;
  }
  Gateway& from = found->second;
  from.turn = ++turns_;
  if (number > from.newest) {
    // The numbers in between may still come: in a cluster messages have several ways.
    const std::uint64_t skipped = std::min<std::uint64_t>(number - from.newest, kNumbers);
    for (std::uint64_t i = 0; i < skipped; ++i) from.heard.reset((number - i) % kNumbers);
    from.newest = number;
  } else if (from.newest - number >= kNumbers || from.heard.test(number % kNumbers)) {
    return false;
  }
  from.heard.set(number % kNumbers);
  return true;
}

bool RedisHeard::is_behind_a_gap(std::string_view gateway, std::uint64_t number) const {
  const auto found = gateways_.find(gateway);
  return found != gateways_.end() && number > found->second.newest + 1;
}

void RedisHeard::make_room() {
  if (gateways_.size() < kGateways) return;
  gateways_.erase(std::min_element(
      gateways_.begin(), gateways_.end(),
      [](const auto& left, const auto& right) { return left.second.turn < right.second.turn; }));
}

}  // namespace carillon
