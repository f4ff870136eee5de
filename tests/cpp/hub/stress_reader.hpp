#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "hub/hub.hpp"

namespace carillon {

/// What was published under which offset, told by whoever knows first: publishers and readers of all threads
/// must agree. Lock-free, so that it hides no race.
class SharedTruth {
 public:
  static constexpr std::size_t kOffsets = 1U << 20U;

  explicit SharedTruth(std::string channel) : name(std::move(channel)), ids_(kOffsets) {}
  /// False: another publication stands at `offset`.
  bool agrees(Offset offset, std::uint64_t id) {
    if (offset >= kOffsets) return true;
    std::uint64_t known = 0;
    return ids_[offset].compare_exchange_strong(known, id, std::memory_order_relaxed) || known == id;
  }
  const std::string name;

 private:
  std::vector<std::atomic<std::uint64_t>> ids_;
};

/// What went wrong on any thread, by kind.
struct StressFailures {
  std::atomic<std::uint64_t> order{0};  ///< gap, duplicate or reorder of stored publications
  std::atomic<std::uint64_t> disagreement{0};
  std::atomic<std::uint64_t> publisher_order{0};
  std::atomic<std::uint64_t> wrong_gap{0};
  std::atomic<std::uint64_t> ledger{0};
};

/// A subscriber that lives on a real thread: takes, refuses, gives back, goes and resumes.
class StressReader final : public Sink {
 public:
  static constexpr std::size_t kPublishers = 8;

  StressReader(Hub& hub, Shard& shard, SharedTruth& truth, SeededRandom& random, StressFailures& failures,
               bool is_publisher_order_known)
      : hub_(hub),
        shard_(shard),
        truth_(truth),
        random_(random),
        failures_(failures),
        is_publisher_order_known_(is_publisher_order_known),
        cursor_(*this) {}

  bool stage(Cursor& cursor, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override;
  void flush();
  /// Does something on its own account, now and then.
  void live();
  /// No more whims: takes all from now on, and subscribes when it is away.
  void calm_down();
  void close();

  [[nodiscard]] bool has_reached(Offset top) const {
    return cursor_.is_open() && offset_ >= top && !is_clogged_;
  }
  [[nodiscard]] const SharedTruth& truth() const { return truth_; }
  std::uint64_t delivered = 0;
  std::uint64_t recovered = 0;
  std::uint64_t gaps = 0;

 private:
  void subscribe();
  void unclog();
  void take(const Entry& entry);

  Hub& hub_;
  Shard& shard_;
  SharedTruth& truth_;
  SeededRandom& random_;
  StressFailures& failures_;
  const bool is_publisher_order_known_;
  Cursor cursor_;
  Epoch epoch_;
  Offset offset_ = 0;
  bool is_waiting_ = false;
  bool is_clogged_ = false;
  bool is_calm_ = false;
  std::vector<const Batch*> staged_;
  EntryRef half_;
  std::array<std::uint64_t, kPublishers> newest_{};  // by publisher
};

/// "publisher number" as one number, never 0.
inline std::uint64_t stress_id(std::uint64_t publisher, std::uint64_t number) {
  return (publisher << 48U) | number;
}

}  // namespace carillon
