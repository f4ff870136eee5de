#include "sim/redis/redis_wire.hpp"

#include <algorithm>
#include <utility>

namespace carillon::sim {

namespace {

/// A gateway's end of a connection, which is made again whenever it is lost (redis_link.hpp).
class SimulatedRedisLink final : public RedisLink {
 public:
  SimulatedRedisLink(Process& process, RedisServer& server, std::string gateway,
                     const RedisEndpoint& endpoint, RandomSource& random, RedisLinkEvents& events)
      : process_(process),
        server_(server),
        gateway_(std::move(gateway)),
        pause_ms_(endpoint.retry_pause_ms),
        random_(random),
        events_(events) {
    dial(process_.chance().between(200, 2'000));
  }
  ~SimulatedRedisLink() override { hang_up(); }
  SimulatedRedisLink(const SimulatedRedisLink&) = delete;
  SimulatedRedisLink& operator=(const SimulatedRedisLink&) = delete;

  void send(std::span<const RedisCommand> commands) override {
    // A process that has died sends nothing more; what it has sent is under way.
    if (connection_ && !process_.is_dead()) server_.receive(connection_, {commands.begin(), commands.end()});
  }
  void renew(const std::string& reason) override {
    if (!connection_) return;  // it pauses
    hang_up();
    rest();
    later(1, [this, reason] { events_.on_link_down(reason); });
  }

 private:
  template <typename Task>
  void later(Micros delay_us, Task task) {
    process_.after(delay_us, [alive = std::weak_ptr<bool>(alive_), task = std::move(task)]() mutable {
      if (!alive.expired()) task();
    });
  }
  void dial(Micros delay_us) {
    later(delay_us, [this] {
      connection_ = server_.connect(gateway_);
      // Where the process is stopped, it looks at what has come once it goes on.
      connection_->events = &awake_;
      connection_->lost = [this](const std::string& why) {
        later(1, [this, why, which = connection_.get()] {
          if (which != connection_.get()) return;
          hang_up();
          rest();
          events_.on_link_down(why);
        });
      };
      events_.on_link_up();
    });
  }
  void hang_up() {
    if (connection_) server_.hang_up(std::exchange(connection_, nullptr));
  }
  void rest() {
    const auto jitter = static_cast<Millis>(random_.below(static_cast<std::uint64_t>(pause_ms_) + 1));
    dial((pause_ms_ / 2 + jitter) * 1'000);
  }

  /// Hands what comes to the machine, in order, as soon as the process is awake.
  class Awake final : public RedisLinkEvents {
   public:
    explicit Awake(SimulatedRedisLink& link) : link_(link) {}
    void on_link_up() override {}
    void on_link_down(const std::string& /*reason*/) override {}
    void on_reply(RedisReply&& reply) override {
      pass(
          [reply = std::move(reply)](RedisLinkEvents& events) mutable { events.on_reply(std::move(reply)); });
    }
    void on_push(RedisReply&& push) override {
      pass([push = std::move(push)](RedisLinkEvents& events) mutable { events.on_push(std::move(push)); });
    }

   private:
    template <typename Give>
    void pass(Give give) {
      link_.later(0, [this, which = link_.connection_.get(), give = std::move(give)]() mutable {
        if (which == link_.connection_.get()) give(link_.events_);
      });
    }
    SimulatedRedisLink& link_;
  };

  Process& process_;
  RedisServer& server_;
  const std::string gateway_;
  const Millis pause_ms_;
  RandomSource& random_;
  RedisLinkEvents& events_;
  Awake awake_{*this};
  RedisConnectionRef connection_;  // none: it pauses
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

SimulatedRedisThread::SimulatedRedisThread(Process& process, RedisServer& server, std::string gateway)
    : process_(process), server_(server), gateway_(std::move(gateway)) {}

SimulatedRedisThread::~SimulatedRedisThread() { *alive_ = false; }

void SimulatedRedisThread::plan(Micros delay_us, std::function<void()> task) {
  process_.after(delay_us, [alive = alive_, task = std::move(task)] {
    if (*alive) task();
  });
}

void SimulatedRedisThread::post(std::function<void()> task) {
  const Micros now_us = process_.time().now_us();
  last_us_ = std::max(last_us_, now_us + process_.chance().between(1, 40));
  plan(last_us_ - now_us, std::move(task));
}

void SimulatedRedisThread::after(Millis delay_ms, std::function<void()> task) {
  plan(delay_ms * 1'000, std::move(task));
}

std::unique_ptr<RedisLink> SimulatedRedisThread::link(const RedisEndpoint& endpoint, RandomSource& random,
                                                      RedisLinkEvents& events) {
  return std::make_unique<SimulatedRedisLink>(process_, server_, gateway_, endpoint, random, events);
}

bool SimulatedRedisThread::wait(std::unique_lock<std::mutex>& lock, std::condition_variable& /*changed*/,
                                Time until, const std::function<bool()>& is_met) {
  VirtualTime& time = process_.time();
  const Micros end_us =
      std::chrono::duration_cast<std::chrono::microseconds>(until.time_since_epoch()).count();
  while (!is_met()) {
    if (process_.is_dead()) return false;
    lock.unlock();
    const bool has_run = time.run_one(end_us);
    lock.lock();
    if (!has_run) return is_met();
  }
  return true;
}

}  // namespace carillon::sim
