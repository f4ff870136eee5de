#pragma once

#include "metrics/histogram.hpp"

namespace carillon {

/// How a loop gets on, since the start. Read from any thread.
struct LoopMetrics {
  Histogram turn{kDurationBounds};             ///< from the first event of a turn to its end
  Histogram lag{kDurationBounds};              ///< by how much a tick came too late
  Histogram connect_to_live{kDurationBounds};  ///< from the accept until the first subscription, asked for
                                               ///< soon, has read everything
};

}  // namespace carillon
