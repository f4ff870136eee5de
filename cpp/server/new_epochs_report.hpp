#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "env/clock.hpp"
#include "store/owned_store.hpp"

namespace carillon {

/// When to log that channels have begun new epochs: a moment after the first of them, because many come
/// together, and then at most once in a minute.
class NewEpochsReport {
 public:
  static constexpr Millis kGatherMs = 3'000;
  static constexpr Millis kIntervalMs = 60'000;

  /// The number of channels since the last record, if there is to be one. It may be 0.
  [[nodiscard]] std::optional<std::uint64_t> look(const NewEpochs& epochs, Millis now_ms) {
    if (epochs.news == told_news_) return std::nullopt;
    if (!due_ms_) due_ms_ = now_ms + kGatherMs;
    if (now_ms < *due_ms_ || (told_ms_ && now_ms - *told_ms_ < kIntervalMs)) return std::nullopt;
    told_news_ = epochs.news;
    told_ms_ = now_ms;
    due_ms_.reset();
    return epochs.channels - std::exchange(told_channels_, epochs.channels);
  }

 private:
  std::uint64_t told_news_ = 0;
  std::uint64_t told_channels_ = 0;
  std::optional<Millis> due_ms_;
  std::optional<Millis> told_ms_;
};

}  // namespace carillon
