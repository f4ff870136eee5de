#include "metrics/histogram.hpp"

namespace carillon {

HistogramCounts& HistogramCounts::operator+=(const HistogramCounts& other) {
  bounds = other.bounds;
  for (std::size_t i = 0; i < observations.size(); ++i) observations[i] += other.observations[i];
  sum += other.sum;
  return *this;
}

HistogramCounts Histogram::counts() const {
  HistogramCounts result{.bounds = bounds_};
  for (std::size_t i = 0; i < counts_.size(); ++i)
    result.observations[i] = counts_[i].load(std::memory_order_relaxed);
  result.sum = sum_.load(std::memory_order_relaxed);
  return result;
}

}  // namespace carillon
