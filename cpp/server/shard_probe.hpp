#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>

#include "env/clock.hpp"
#include "hub/shard.hpp"

namespace carillon {

/// Asks the threads of shards for a sign of life: each runs a task that does nothing else. Thread-safe.
class ShardProbe {
 public:
  /// Begins to ask, unless an earlier question is still unanswered. So a thread that stands still gets one
  /// task, however often it is asked.
  void ask(std::span<Shard* const> shards);
  /// Have all threads answered, within `timeout_ms` from now? Blocks until then.
  [[nodiscard]] bool is_answered(Millis timeout_ms);

 private:
  struct Question {
    std::mutex mutex;  // guards what follows
    std::condition_variable changed;
    std::size_t missing = 0;
    bool has_lost_one = false;  // a thread has died
  };
  std::mutex mutex_;
  std::shared_ptr<Question> open_;  // guarded by the mutex; null: none
};

}  // namespace carillon
