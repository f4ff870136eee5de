// A change that all shards must see at the same moment: their threads stand still while it is made.
#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gateway/gateway.hpp"

namespace carillon {

std::string Gateway::why_not_still() const {
  const std::lock_guard lock(listeners_mutex_);
  return why_not_paused();
}

std::string Gateway::why_not_paused() const {
  if (has_failed_) return "one of the server's threads has died (" + failure() + "); restart it";
  if (!is_running_) return "the server does not run";
  if (shared_.is_draining || is_drain_under_way())
    return "clients are being asked to leave; try again after the drain, or configure the next process";
  if (is_held_) return "a takeover is under way; reload the process that has taken over";
  return {};
}

std::string Gateway::while_still(HoldPoint::Time until, const std::function<void()>& change) {
  {
    const std::lock_guard lock(listeners_mutex_);
    if (std::string why_not = why_not_paused(); !why_not.empty()) return why_not;
    is_held_ = true;
  }
  std::vector<std::shared_ptr<HoldPoint>> points;
  struct Release {
    Gateway& gateway;
    std::vector<std::shared_ptr<HoldPoint>>& points;
    ~Release() {
      for (const auto& point : points) point->release(HoldPoint::Next::go_on);
      gateway.end_hold();
    }
  } release{*this, points};
  for (const auto& shard : shards_) shard->pause(points.emplace_back(std::make_shared<HoldPoint>()));
  const bool have_stopped = std::all_of(points.begin(), points.end(),
                                        [until](const auto& point) { return point->wait_stopped(until); });
  if (!have_stopped) return "the threads did not become idle in time (takeover.timeout_ms); try again";
  change();
  return {};
}

}  // namespace carillon
