#include "store/sqlite/sqlite_threads.hpp"

#include <utility>

namespace carillon {

std::thread SqliteThreads::start(std::function<void()> run) { return std::thread(std::move(run)); }

void SqliteThreads::join(std::thread& thread) { thread.join(); }

SqliteThreads::Time SqliteThreads::now() const { return std::chrono::steady_clock::now(); }

bool SqliteThreads::wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Time until,
                         const std::function<bool()>& is_met) {
  if (until != kForever) return changed.wait_until(lock, until, is_met);
  changed.wait(lock, is_met);
  return true;
}

void SqliteThreads::notify(std::condition_variable& changed) { changed.notify_all(); }

void SqliteThreads::sleep(std::chrono::microseconds time) { std::this_thread::sleep_for(time); }

SqliteThreads& SqliteThreads::of_system() {
  static SqliteThreads threads;
  return threads;
}

}  // namespace carillon
