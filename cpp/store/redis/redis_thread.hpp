#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/redis/redis_link.hpp"
#include "store/redis/redis_options.hpp"

namespace carillon {

/// The thread on which all links to Redis live, and whoever uses them.
class RedisThread {
 public:
  /// `on_mistake` is told what a task has thrown, on this thread; the thread goes on. Without it nobody is.
  explicit RedisThread(std::function<void(std::string_view)> on_mistake = {});
  /// Waits for the task that runs; what has not begun is dropped. Every link must be gone by then.
  ~RedisThread();
  RedisThread(const RedisThread&) = delete;
  RedisThread& operator=(const RedisThread&) = delete;

  /// Runs `task` there, in order of the calls. Thread-safe.
  void post(std::function<void()> task);
  /// The same, and waits until it has run. Not from this thread itself.
  void run(const std::function<void()>& task);
  /// Runs `task` there, once, `delay_ms` from now. It cannot be taken back. Only from this thread itself.
  void after(Millis delay_ms, std::function<void()> task);
  /// A link that begins to connect at once. It is made, used and destroyed on this thread; `random` and
  /// `events` must outlive it. After its destruction no event comes.
  [[nodiscard]] std::unique_ptr<RedisLink> link(const RedisEndpoint& endpoint, RandomSource& random,
                                                RedisLinkEvents& events);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace carillon
