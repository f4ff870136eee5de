#pragma once

#include <cstdint>
#include <random>

namespace carillon {

/// Where chance comes from: epochs, client ids, jitter. A parameter for the same reason as Clock.
/// Thread-safe.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  /// 64 random bits.
  [[nodiscard]] virtual std::uint64_t next() = 0;
  /// A number in [0, bound); 0 when bound is 0.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
};

/// The machine's entropy: client ids must not be guessable.
class SystemRandom final : public RandomSource {
 public:
  [[nodiscard]] std::uint64_t next() override {
    thread_local std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32U) | device();
  }
};

}  // namespace carillon
