#pragma once

#include <optional>
#include <string_view>

#include "env/clock.hpp"
#include "metrics/error_budget.hpp"

namespace carillon {

/// What the operator has promised, and what is left of the errors that it permits.
struct Objectives {
  struct Counts {
    ObjectiveCounts availability;  ///< publications and new sockets, good if they were taken
    ObjectiveCounts latency;       ///< deliveries, good if they were in time
  };
  ErrorBudget availability;
  ErrorBudget latency;
  Millis latency_ms;

  void sample(Millis now_ms, const Counts& counts) {
    availability.sample(now_ms, counts.availability);
    latency.sample(now_ms, counts.latency);
  }
};

/// A share such as "99.95%", above 0 % and below 100 %. Nothing: it is none.
[[nodiscard]] std::optional<double> parse_share(std::string_view text);

}  // namespace carillon
