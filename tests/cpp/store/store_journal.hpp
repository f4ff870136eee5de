#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace carillon {

/// An announcement with its own copy of everything.
struct Announced {
  std::string channel;
  Epoch epoch;
  EntryRef entry;
  Offset offset = 0;
  FanOutMode mode = FanOutMode::write;
  std::size_t members = 0;
};

/// Notes what a store announces and answers, in order. Thread-safe.
class StoreJournal : public StoreListener {
 public:
  void on_announced(const Announcement& announcement) override {
    const std::lock_guard lock(mutex_);
    announced_.push_back({std::string(announcement.channel), announcement.epoch, announcement.entry,
                          announcement.entry->offset, announcement.mode, announcement.members});
    lines_.push_back(std::string(announcement.channel) + ':' + std::to_string(announcement.entry->offset));
    changed_.notify_all();
  }
  /// Adds a line of the test's own.
  void note(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    changed_.notify_all();
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  [[nodiscard]] std::vector<Announced> announced() const {
    const std::lock_guard lock(mutex_);
    return announced_;
  }
  /// False: there are fewer lines after ten seconds.
  [[nodiscard]] bool wait_for(std::size_t lines) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return lines_.size() >= lines; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::vector<Announced> announced_;
};

}  // namespace carillon
