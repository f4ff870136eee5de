#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "env/limits.hpp"
#include "hub/hub.hpp"
#include "requests/fan_out_requests.hpp"
#include "server/fleet.hpp"

namespace carillon {

/// Strategies that are set at run time, in all gateways that share the store. Thread-safe.
class FleetStrategies {
 public:
  /// Sets the topic by which others tell theirs.
  FleetStrategies(Hub& hub, const Limits& limits, Fleet& fleet);

  /// As FanOutRequests::set_fan_out(); the others follow, without an answer.
  [[nodiscard]] Refusal set_fan_out(std::string_view channel, std::string_view strategy,
                                    std::optional<std::int64_t> threshold);

 private:
  const FanOutRequests here_;
  Fleet& fleet_;
};

}  // namespace carillon
