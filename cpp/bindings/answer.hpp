#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "bindings/without_gil.hpp"

namespace carillon {

/// An answer that usually is there at once (memory store), and is else awaited without the GIL.
template <typename Result>
class Answer {
 public:
  [[nodiscard]] auto receiver() {
    return [state = state_](const Result& result) {
      const std::lock_guard lock(state->mutex);
      state->result = result;
      state->is_there = true;
      state->there.notify_one();
    };
  }
  Result wait() {
    std::unique_lock lock(state_->mutex);
    if (!state_->is_there) {
      lock.unlock();
      wait_without_gil([this](auto duration) {
        std::unique_lock waiting(state_->mutex);
        return state_->there.wait_for(waiting, duration, [this] { return state_->is_there; });
      });
      lock.lock();
    }
    return std::move(state_->result);
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable there;
    Result result;
    bool is_there = false;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace carillon
