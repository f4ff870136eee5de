#pragma once

#include <cstdint>

namespace carillon {

/// The source of random numbers: epochs, client ids, jitter. A parameter for the same reason as Clock.
/// Thread-safe.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  /// 64 random bits.
  [[nodiscard]] virtual std::uint64_t next() = 0;
  /// A number in [0, bound); 0 when bound is 0.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
};

/// Random numbers of the kernel, because client ids must not be guessable. Each thread gets 32 of them at a
/// time. A forked child gets new ones, and does not repeat those of its parent.
class SystemRandom final : public RandomSource {
 public:
  [[nodiscard]] std::uint64_t next() override;
};

}  // namespace carillon
