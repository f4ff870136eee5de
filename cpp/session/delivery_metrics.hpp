#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "metrics/histogram.hpp"
#include "session/access.hpp"

namespace carillon {

/// What the sessions of one shard have delivered since the start. Written by the shard's thread once per
/// batch where that is possible; read from any thread.
class DeliveryMetrics {
 public:
  struct Sum {
    std::atomic<std::uint64_t> deliveries{0};
    std::atomic<std::uint64_t> bytes{0};  ///< of publications, as framed for the transport
  };

  void add(Transport transport, std::uint64_t deliveries, std::uint64_t bytes) {
    Sum& sum = sums_.at(static_cast<std::size_t>(transport));
    sum.deliveries.fetch_add(deliveries, std::memory_order_relaxed);
    sum.bytes.fetch_add(bytes, std::memory_order_relaxed);
  }
  [[nodiscard]] const Sum& of(Transport transport) const {
    return sums_.at(static_cast<std::size_t>(transport));
  }

  /// From a publisher's call until the kernel has the bytes, for subscribers that are not behind; one
  /// observation per delivery.
  Histogram publish_to_socket{kDurationBounds};
  /// Number of publications that one subscriber got at once; one observation per batch and subscriber.
  Histogram batch_publications{kSizeBounds};

 private:
  std::array<Sum, kTransports> sums_;
};

}  // namespace carillon
