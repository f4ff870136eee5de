#include "store/redis/asio_redis_thread.hpp"

#include <pthread.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <exception>
#include <future>
#include <thread>
#include <utility>

#include "store/redis/asio_redis_link.hpp"

namespace carillon {

namespace asio = boost::asio;

struct AsioRedisThread::Parts {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  std::function<void(std::string_view)> on_mistake;
  std::thread thread;

  void run() {
    ::pthread_setname_np(::pthread_self(), "carillon-redis");
    for (;;) {
      try {
        io.run();
        return;
      } catch (const std::exception& mistake) {
        if (on_mistake) on_mistake(mistake.what());
      }
    }
  }
};

AsioRedisThread::AsioRedisThread(std::function<void(std::string_view)> on_mistake)
    : parts_(std::make_unique<Parts>()) {
  parts_->on_mistake = std::move(on_mistake);
  // Signals are for the threads of the application.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  parts_->thread = std::thread([parts = parts_.get()] { parts->run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

AsioRedisThread::~AsioRedisThread() {
  parts_->io.stop();
  parts_->thread.join();
}

void AsioRedisThread::post(std::function<void()> task) { asio::post(parts_->io, std::move(task)); }

void AsioRedisThread::run(const std::function<void()>& task) {
  std::promise<void> done;
  asio::post(parts_->io, [&] {
    try {
      task();
      done.set_value();
    } catch (...) {
      done.set_exception(std::current_exception());
    }
  });
  done.get_future().get();
}

void AsioRedisThread::after(Millis delay_ms, std::function<void()> task) {
  auto timer = std::make_unique<asio::steady_timer>(parts_->io, std::chrono::milliseconds(delay_ms));
  asio::steady_timer& waiting = *timer;
  waiting.async_wait([timer = std::move(timer), task = std::move(task)](const boost::system::error_code& ec) {
    if (!ec) task();
  });
}

std::unique_ptr<RedisLink> AsioRedisThread::link(const RedisEndpoint& endpoint, RandomSource& random,
                                                 RedisLinkEvents& events) {
  return make_redis_link(parts_->io, endpoint, random, events);
}

bool AsioRedisThread::wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Time until,
                           const std::function<bool()>& is_met) {
  return changed.wait_until(lock, until, is_met);
}

std::unique_ptr<RedisThread> make_asio_redis_thread(std::function<void(std::string_view)> on_mistake) {
  return std::make_unique<AsioRedisThread>(std::move(on_mistake));
}

}  // namespace carillon
