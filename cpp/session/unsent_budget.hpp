#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace carillon {

/// The memory of unread replies, of all connections of a server together. Thread-safe.
class UnsentBudget {
 public:
  explicit UnsentBudget(const std::int64_t& bytes_max) : bytes_max_(bytes_max) {}

  void add(std::int64_t bytes) { bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t bytes_max() const { return bytes_max_; }
  [[nodiscard]] bool is_exceeded() const { return bytes() > bytes_max_; }

  void count_closed() { closed_.fetch_add(1, std::memory_order_relaxed); }
  /// Connections closed because it was exceeded, since the start.
  [[nodiscard]] std::uint64_t closed() const { return closed_.load(std::memory_order_relaxed); }

 private:
  const std::int64_t& bytes_max_;
  std::atomic<std::int64_t> bytes_{0};
  std::atomic<std::uint64_t> closed_{0};
};

/// The share of the budget used by the connections of one event loop. Belongs to the loop's thread.
class UnsentShare {
 public:
  explicit UnsentShare(UnsentBudget& budget) : budget_(budget) {}

  void add(std::int64_t bytes) {
    bytes_ += bytes;
    budget_.add(bytes);
  }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  UnsentBudget& budget_;
  std::int64_t bytes_ = 0;
};

/// Bytes of one connection that the kernel has not taken. Their memory counts in the share.
class UnsentBytes {
 public:
  explicit UnsentBytes(UnsentShare& share) : share_(share) { count(); }
  UnsentBytes(const UnsentBytes&) = delete;
  UnsentBytes& operator=(const UnsentBytes&) = delete;
  ~UnsentBytes() { share_.add(-counted_); }

  void append(std::string_view bytes) {
    text_.append(bytes);
    count();
  }
  /// The first `bytes` have been sent. Their memory is freed once they are half of it, because an outlet that
  /// is never quite empty would otherwise grow.
  void remove_front(std::size_t bytes) {
    sent_ += bytes;
    if (sent_ < text_.size() - sent_) return;
    text_ = std::string(view());
    sent_ = 0;
    count();
  }
  [[nodiscard]] std::string_view view() const { return std::string_view(text_).substr(sent_); }
  /// Bytes of memory, which are more than the unsent ones.
  [[nodiscard]] std::int64_t memory() const { return counted_; }

 private:
  void count() {
    const auto memory = static_cast<std::int64_t>(sizeof *this + text_.capacity());
    share_.add(memory - counted_);
    counted_ = memory;
  }

  UnsentShare& share_;
  std::string text_;
  std::size_t sent_ = 0;
  std::int64_t counted_ = 0;
};

}  // namespace carillon
