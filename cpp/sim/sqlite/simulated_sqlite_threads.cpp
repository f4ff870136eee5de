#include "sim/sqlite/simulated_sqlite_threads.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace carillon::sim {

namespace {
constexpr Micros kThreadEndUs = 600'000'000;  // for a thread to end; one that does not is a mistake
}

std::thread SimulatedSqliteThreads::start(std::function<void()> run) {
  Thread& own = *threads_.emplace_back(std::make_unique<Thread>());
  std::thread thread([this, &own, run = std::move(run)] {
    {
      std::unique_lock lock(mutex_);
      own.has_turn.wait(lock, [&] { return running_ == &own; });
    }
    run();
    const std::lock_guard lock(mutex_);
    own.has_ended = true;
    running_ = nullptr;
    world_has_turn_.notify_one();
  });
  own.id = thread.get_id();
  own.is_due = true;
  plan(own, process_.chance().between(1, 60));
  return thread;
}

void SimulatedSqliteThreads::run(Thread& thread) {
  thread.is_due = false;
  ++thread.waits;
  std::unique_lock lock(mutex_);
  running_ = &thread;
  thread.has_turn.notify_one();
  world_has_turn_.wait(lock, [this] { return running_ == nullptr; });
}

void SimulatedSqliteThreads::suspend(Thread& thread) {
  std::unique_lock lock(mutex_);
  running_ = nullptr;
  world_has_turn_.notify_one();
  thread.has_turn.wait(lock, [&] { return running_ == &thread; });
}

void SimulatedSqliteThreads::plan(Thread& thread, Micros delay_us) {
  process_.after(delay_us, [this, alive = std::weak_ptr<bool>(alive_), &thread, waits = thread.waits] {
    if (alive.expired() || thread.has_ended || thread.waits != waits) return;
    run(thread);
  });
}

void SimulatedSqliteThreads::drive(const Thread& thread) {
  while (!thread.has_ended) {
    bool has_run = false;
    for (const auto& each : threads_) {
      if (each->has_ended || !each->is_due) continue;
      has_run = true;
      run(*each);
    }
    if (!has_run) throw std::logic_error("a thread of a store waits for nothing");
  }
}

void SimulatedSqliteThreads::join(std::thread& thread) {
  const auto found = std::find_if(threads_.begin(), threads_.end(),
                                  [&](const auto& each) { return each->id == thread.get_id(); });
  const Thread& own = **found;
  if (!process_.is_dead())
    process_.time().run_until(process_.time().now_us() + kThreadEndUs,
                              [&] { return own.has_ended || process_.is_dead(); });
  if (!own.has_ended) {
    for (const auto& each : threads_) each->is_due = true;
    drive(own);
  }
  thread.join();
}

SimulatedSqliteThreads::Time SimulatedSqliteThreads::now() const {
  return Time(std::chrono::microseconds(process_.time().now_us()) + ahead_);
}

bool SimulatedSqliteThreads::wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                                  Time until, const std::function<bool()>& is_met) {
  Thread* const own = running_;
  if (own == nullptr) {  // the world's own thread
    lock.unlock();
    const auto until_us =
        std::chrono::duration_cast<std::chrono::microseconds>(until.time_since_epoch()).count();
    const bool is_so = process_.time().run_until(until_us, [&] {
      const std::lock_guard again(*lock.mutex());
      return is_met();
    });
    lock.lock();
    return is_so;
  }
  while (!is_met()) {
    if (now() >= until) return false;
    if (process_.is_dead() && until != kForever) {
      ahead_ +=
          std::chrono::duration_cast<std::chrono::microseconds>(until - now()) + std::chrono::microseconds(1);
      return is_met();
    }
    own->waits_for = &changed;
    if (until != kForever)
      plan(*own, std::chrono::duration_cast<std::chrono::microseconds>(until - now()).count() + 1);
    lock.unlock();
    suspend(*own);
    lock.lock();
    own->waits_for = nullptr;
  }
  return true;
}

void SimulatedSqliteThreads::notify(std::condition_variable& changed) {
  for (const auto& each : threads_) {
    if (each->waits_for != &changed || each->is_due) continue;
    each->is_due = true;
    plan(*each, process_.chance().between(1, 60));
  }
}

void SimulatedSqliteThreads::sleep(std::chrono::microseconds time) {
  Thread* const own = running_;
  if (own == nullptr) return;
  own->is_due = true;
  if (process_.is_dead()) {
    ahead_ += time;
  } else {
    plan(*own, time.count());
  }
  suspend(*own);
}

}  // namespace carillon::sim
