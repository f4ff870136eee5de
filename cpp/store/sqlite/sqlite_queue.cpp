#include "store/sqlite/sqlite_queue.hpp"

#include <chrono>
#include <utility>

namespace carillon {

StoreError SqliteQueue::push(SqliteOperation& operation) {
  const bool is_append = std::holds_alternative<SqliteOperation::Append>(operation.what);
  bool is_due = false;
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return StoreError::closed;
    if (is_append) {
      // One alone is accepted whatever its size is.
      if (appends_ >= appends_max_ || (appends_ > 0 && bytes_ + operation.bytes > bytes_max_))
        return StoreError::overloaded;
      ++appends_;
      bytes_ += operation.bytes;
    } else if (!std::holds_alternative<SqliteOperation::Unfollow>(operation.what)) {
      if (calls_ >= calls_max_) return StoreError::overloaded;
      ++calls_;
    }
    waiting_.push_back(std::move(operation));
    is_due = waiting_.size() == wanted_;
  }
  if (is_due) threads_.notify(is_due_);
  return StoreError::none;
}

bool SqliteQueue::take(std::vector<SqliteOperation>& into, std::size_t wanted, std::int64_t linger_ns) {
  std::unique_lock lock(mutex_);
  if (linger_ns > 0 && waiting_.size() < wanted && !is_closed_) {
    wanted_ = wanted;
    threads_.wait(lock, is_due_, threads_.now() + std::chrono::nanoseconds(linger_ns),
                  [&] { return waiting_.size() >= wanted || is_closed_; });
    wanted_ = 1;
  }
  threads_.wait(lock, is_due_, SqliteThreads::kForever,
                [&] { return !waiting_.empty() || is_house_due_ || is_closed_; });
  into.clear();
  into.swap(waiting_);
  return !into.empty() || !is_closed_;
}

void SqliteQueue::take_after(std::vector<SqliteOperation>& into, Millis pause_ms) {
  std::unique_lock lock(mutex_);
  threads_.wait(lock, is_due_, threads_.now() + std::chrono::milliseconds(pause_ms),
                [&] { return is_closed_; });
  into.clear();
  into.swap(waiting_);
}

void SqliteQueue::release(std::span<const SqliteOperation> done) {
  const std::lock_guard lock(mutex_);
  for (const SqliteOperation& each : done) {
    if (std::holds_alternative<SqliteOperation::Append>(each.what)) {
      --appends_;
      bytes_ -= each.bytes;
    } else if (!std::holds_alternative<SqliteOperation::Unfollow>(each.what)) {
      --calls_;
    }
  }
}

void SqliteQueue::ask_for_house_keeping() {
  {
    const std::lock_guard lock(mutex_);
    is_house_due_ = true;
  }
  threads_.notify(is_due_);
}
bool SqliteQueue::take_house_keeping() {
  const std::lock_guard lock(mutex_);
  return std::exchange(is_house_due_, false);
}
void SqliteQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  threads_.notify(is_due_);
}
bool SqliteQueue::is_closed() const {
  const std::lock_guard lock(mutex_);
  return is_closed_;
}

}  // namespace carillon
