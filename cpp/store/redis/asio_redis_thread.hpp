#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

#include "store/redis/redis_thread.hpp"

namespace carillon {

/// A thread of this process.
class AsioRedisThread final : public RedisThread {
 public:
  /// `on_mistake` is told what a task has thrown, on this thread; the thread goes on. Without it nobody is.
  explicit AsioRedisThread(std::function<void(std::string_view)> on_mistake = {});
  /// Waits for the task that runs; what has not begun is dropped. Every link must be gone by then.
  ~AsioRedisThread() override;
  AsioRedisThread(const AsioRedisThread&) = delete;
  AsioRedisThread& operator=(const AsioRedisThread&) = delete;

  void post(std::function<void()> task) override;
  void run(const std::function<void()>& task) override;
  void after(Millis delay_ms, std::function<void()> task) override;
  [[nodiscard]] std::unique_ptr<RedisLink> link(const RedisEndpoint& endpoint, RandomSource& random,
                                                RedisLinkEvents& events) override;
  [[nodiscard]] Time now() const override { return Time::clock::now(); }
  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Time until,
            const std::function<bool()>& is_met) override;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

[[nodiscard]] std::unique_ptr<RedisThread> make_asio_redis_thread(
    std::function<void(std::string_view)> on_mistake);

}  // namespace carillon
