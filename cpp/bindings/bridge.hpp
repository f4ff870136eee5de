#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/event_log.hpp"
#include "server/hook_access.hpp"
#include "server/reader.hpp"
#include "server/reload.hpp"
#include "store/store.hpp"

namespace carillon {

/// One item for Python: of a reader, the answer to a publish, or a request.
struct BridgeItem {
  ReaderItem reader;
  std::unique_ptr<HookQuestion> question;
  std::unique_ptr<LogLine> line;
  bool is_completion = false;
  bool is_reload = false;
  std::uint64_t completion = 0;  ///< of a reload: the request
  AppendResult result;
};

/// Carries items from the shards to one Python event loop: a bounded queue, and an eventfd that is readable
/// while something waits. No shard ever takes the GIL. push(), room() and when_room() from any thread; take()
/// from the loop's.
///
/// Connects, other questions and everything else have a queue each. Questions are bounded where they come
/// from (limits.hooks_at_once).
class Bridge final : public ReaderQueue, public HookQueue, public LogQueue, public ReloadQueue {
 public:
  explicit Bridge(std::size_t capacity);
  ~Bridge() override;
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  [[nodiscard]] int descriptor() const { return event_; }
  /// Up to `items_max` items, oldest first in each queue: connects, of which there are half at most, then
  /// other questions, a sixteenth at most (each is code of the application that a later connect waits for),
  /// then the rest. The eventfd is reset once nothing is left.
  std::vector<BridgeItem> take(std::size_t items_max);
  void push_completion(std::uint64_t completion, const AppendResult& result);
  /// At most `items_max` publications wait from now on; of several servers on a loop, the least limit holds.
  void limit(std::size_t items_max);
  /// Drops what waits and gives the eventfd back, which the loop must have let go of; later pushes are
  /// dropped, too. Readers that wait for room are resumed.
  void close();

  [[nodiscard]] std::size_t room() const override;
  bool push(ReaderItem item) override;
  bool push(HookQuestion question) override;
  /// False also when the bridge is full: the log gives way first.
  bool push(LogLine line) override;
  bool push_reload(std::uint64_t request) override;
  void when_room(std::function<void()> resume) override;

 private:
  /// Under the lock: something waits now that did not before.
  void count_in();
  bool add(BridgeItem item);

  const int event_;
  mutable std::mutex mutex_;
  std::size_t capacity_;
  std::vector<BridgeItem> incoming_;
  std::vector<BridgeItem> outgoing_;  // taken from by the loop; only its thread touches it
  std::size_t next_ = 0;              // in outgoing_
  std::deque<HookQuestion> connects_;
  std::deque<HookQuestion> questions_;  // all but connects
  std::size_t waiting_ = 0;             // items in all of these
  std::vector<std::function<void()>> resumes_;
  bool is_closed_ = false;
};

}  // namespace carillon
