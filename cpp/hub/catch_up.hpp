#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

namespace carillon {

/// Lets only so many at a time ask the store, or hold what they have read from it. After a lost link every
/// followed channel has to be compared, and many have to be filled: all at once they would use up what a
/// store lets wait, and who publishes or subscribes meanwhile would be refused. Thread-safe.
class CatchUp final {
 public:
  explicit CatchUp(std::size_t at_once) : at_once_(at_once) {}

  /// Calls `ask` when there is room: now, or in a later done(). Each `ask` leads to one call of done().
  void when_there_is_room(std::function<void()> ask);
  void done();
  /// Whoever waits is dropped, and nobody is let in any more.
  void close();
  /// Another bound. Whoever has been let in stays.
  void set_at_once(std::size_t at_once);

  struct Figures {
    std::size_t under_way = 0;  ///< now
    std::size_t waiting = 0;    ///< for room, now
    std::uint64_t waits = 0;    ///< times that one had to wait for room, ever
  };
  [[nodiscard]] Figures figures() const;

 private:
  void let_in(std::unique_lock<std::mutex>& lock);

  mutable std::mutex mutex_;  // guards all below; not held while one asks
  std::size_t at_once_;
  std::size_t under_way_ = 0;
  std::uint64_t waits_ = 0;
  bool is_closed_ = false;
  bool is_letting_in_ = false;  // on some thread, maybe this one: a store may answer at once
  std::deque<std::function<void()>> waiting_;
};

}  // namespace carillon
