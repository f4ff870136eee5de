#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/redis/redis_link.hpp"
#include "store/redis/redis_options.hpp"

namespace carillon {

/// Where all links to Redis live, and whoever uses them: one task after another. AsioRedisThread is a thread
/// of this process; the simulator has one that runs in its time.
class RedisThread {
 public:
  using Time = std::chrono::steady_clock::time_point;

  virtual ~RedisThread() = default;

  /// Runs `task` there, in order of the calls. Thread-safe.
  virtual void post(std::function<void()> task) = 0;
  /// The same, and waits until it has run. Not from this thread itself.
  virtual void run(const std::function<void()>& task) = 0;
  /// Runs `task` there, once, `delay_ms` from now. It cannot be taken back. Only from this thread itself.
  virtual void after(Millis delay_ms, std::function<void()> task) = 0;
  /// A link that begins to connect at once. It is made, used and destroyed on this thread; `random` and
  /// `events` must outlive it. After its destruction no event comes.
  [[nodiscard]] virtual std::unique_ptr<RedisLink> link(const RedisEndpoint& endpoint, RandomSource& random,
                                                        RedisLinkEvents& events) = 0;
  /// The time by which wait() is limited.
  [[nodiscard]] virtual Time now() const = 0;
  /// Another thread waits for what this one does: it looks at `is_met` under the lock whenever `changed` is
  /// notified. Returns whether it is met.
  virtual bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Time until,
                    const std::function<bool()>& is_met) = 0;
};

/// Makes one. `on_mistake` is told what a task has thrown, on that thread; the thread goes on.
using MakeRedisThread =
    std::function<std::unique_ptr<RedisThread>(std::function<void(std::string_view)> on_mistake)>;

}  // namespace carillon
