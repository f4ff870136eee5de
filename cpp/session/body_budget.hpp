#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace carillon {

/// Memory for the bodies of HTTP requests that are being read or carried out, of all connections together.
/// Thread-safe.
class BodyBudget {
 public:
  explicit BodyBudget(const std::int64_t& bytes_max) : bytes_max_(bytes_max) {}

  /// Memory for one body, given back by its destructor.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { swap(other); }
    Share& operator=(Share&& other) noexcept {
      Share taken(std::move(other));
      swap(taken);
      return *this;
    }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    ~Share() {
      if (budget_ != nullptr) budget_->bytes_.fetch_sub(bytes_, std::memory_order_relaxed);
    }
    [[nodiscard]] bool is_granted() const { return budget_ != nullptr; }

   private:
    friend class BodyBudget;
    Share(BodyBudget& budget, std::int64_t bytes) : budget_(&budget), bytes_(bytes) {}
    void swap(Share& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
    }
    BodyBudget* budget_ = nullptr;
    std::int64_t bytes_ = 0;
  };

  /// Refused if the bodies being read would then exceed the limit.
  [[nodiscard]] Share take(std::int64_t bytes) {
    if (bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes > bytes_max_) {
      bytes_.fetch_sub(bytes, std::memory_order_relaxed);
      refused_.fetch_add(1, std::memory_order_relaxed);
      return {};
    }
    return {*this, bytes};
  }
  /// Announced by the bodies that are there now, or on their way.
  [[nodiscard]] std::int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  /// Number of bodies refused since the start.
  [[nodiscard]] std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  const std::int64_t& bytes_max_;
  std::atomic<std::int64_t> bytes_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace carillon
