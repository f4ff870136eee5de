#pragma once

#include <array>

#include "metrics/histogram.hpp"
#include "session/access.hpp"

namespace carillon {

/// A duration of each operation that is asked of hooks or backends.
struct OperationHistograms : std::array<Histogram, kOperations> {
  OperationHistograms()
      : array{Histogram(kDurationBounds), Histogram(kDurationBounds), Histogram(kDurationBounds),
              Histogram(kDurationBounds), Histogram(kDurationBounds), Histogram(kDurationBounds),
              Histogram(kDurationBounds), Histogram(kDurationBounds), Histogram(kDurationBounds)} {}
};

}  // namespace carillon
