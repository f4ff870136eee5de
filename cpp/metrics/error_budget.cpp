#include "metrics/error_budget.hpp"

#include <algorithm>

namespace carillon {

void ErrorBudget::sample(Millis now_ms, const ObjectiveCounts& counts) {
  const std::lock_guard lock(mutex_);
  if (!samples_.empty() && now_ms < samples_.back().ms + kSampleMs) return;
  samples_.push_back({now_ms, counts});
  while (samples_.front().ms + kLongestWindowMs + kSampleMs < now_ms) samples_.pop_front();
}

double ErrorBudget::burn_rate_of(const ObjectiveCounts& from, const ObjectiveCounts& to) const {
  const auto good = static_cast<double>(to.good - from.good);
  const auto bad = static_cast<double>(to.bad - from.bad);
  return good + bad == 0 ? 0 : bad / (good + bad) / (1 - objective_);
}

double ErrorBudget::burn_rate(Millis now_ms, Millis window_ms, const ObjectiveCounts& counts) const {
  const std::lock_guard lock(mutex_);
  if (samples_.empty()) return burn_rate_of({}, counts);
  // The newest sample that is not within the window; where there is none, all events are.
  const auto within = std::find_if(samples_.begin(), samples_.end(),
                                   [&](const Sample& each) { return each.ms > now_ms - window_ms; });
  return burn_rate_of(within == samples_.begin() ? ObjectiveCounts{} : std::prev(within)->counts, counts);
}

double ErrorBudget::remaining(const ObjectiveCounts& counts) const { return 1 - burn_rate_of({}, counts); }

}  // namespace carillon
