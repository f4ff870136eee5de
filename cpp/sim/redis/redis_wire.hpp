#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "sim/process.hpp"
#include "sim/redis/redis_server.hpp"
#include "store/redis/redis_thread.hpp"

namespace carillon::sim {

/// The thread of a gateway's store in Redis, in simulated time: what ships runs on it unchanged.
class SimulatedRedisThread final : public RedisThread {
 public:
  SimulatedRedisThread(Process& process, RedisServer& server, std::string gateway);
  ~SimulatedRedisThread() override;
  SimulatedRedisThread(const SimulatedRedisThread&) = delete;
  SimulatedRedisThread& operator=(const SimulatedRedisThread&) = delete;

  void post(std::function<void()> task) override;
  void run(const std::function<void()>& task) override { task(); }
  void after(Millis delay_ms, std::function<void()> task) override;
  [[nodiscard]] std::unique_ptr<RedisLink> link(const RedisEndpoint& endpoint, RandomSource& random,
                                                RedisLinkEvents& events) override;
  [[nodiscard]] static Time time_of(Micros us) { return Time(std::chrono::microseconds(us)); }
  [[nodiscard]] Time now() const override { return time_of(process_.time().now_us()); }
  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Time until,
            const std::function<bool()>& is_met) override;

 private:
  void plan(Micros delay_us, std::function<void()> task);

  Process& process_;
  RedisServer& server_;
  const std::string gateway_;
  Micros last_us_ = 0;  // when what was posted last runs
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace carillon::sim
