#pragma once

#include <cstdint>

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

/// The kernel's random numbers: client ids must not be guessable. Each thread asks for 32 of them at a time.
/// A forked child asks anew and does not repeat its parent's.
class SystemRandom final : public RandomSource {
 public:
  [[nodiscard]] std::uint64_t next() override;
};

}  // namespace carillon
