#include "hub/catch_up.hpp"

#include <utility>

namespace carillon {

void CatchUp::when_there_is_room(std::function<void()> ask) {
  std::unique_lock lock(mutex_);
  if (under_way_ >= at_once_) ++waits_;
  waiting_.push_back(std::move(ask));
  let_in(lock);
}

CatchUp::Figures CatchUp::figures() const {
  const std::lock_guard lock(mutex_);
  return {under_way_, waiting_.size(), waits_};
}

void CatchUp::done() {
  std::unique_lock lock(mutex_);
  --under_way_;
  let_in(lock);
}

void CatchUp::set_at_once(std::size_t at_once) {
  std::unique_lock lock(mutex_);
  at_once_ = at_once;
  let_in(lock);
}

void CatchUp::close() {
  std::deque<std::function<void()>> dropped;  // without the lock: a task may own what is done with its place
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  dropped.swap(waiting_);
}

void CatchUp::let_in(std::unique_lock<std::mutex>& lock) {
  if (is_letting_in_) return;
  is_letting_in_ = true;
  while (under_way_ < at_once_ && !waiting_.empty() && !is_closed_) {
    auto ask = std::move(waiting_.front());
    waiting_.pop_front();
    ++under_way_;
    lock.unlock();
    ask();
    ask = nullptr;  // what it owns may have a place of its own
    lock.lock();
  }
  is_letting_in_ = false;
}

}  // namespace carillon
