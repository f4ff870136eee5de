#include "bindings/bridge.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

namespace carillon {

namespace {
int make_event() {
  const int event = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (event < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return event;
}
}  // namespace

Bridge::Bridge(std::size_t capacity) : event_(make_event()), capacity_(std::max<std::size_t>(1, capacity)) {}

Bridge::~Bridge() { close(); }

bool Bridge::add(BridgeItem item) {
  const std::lock_guard lock(mutex_);
  if (is_closed_) return false;
  incoming_.push_back(std::move(item));
  if (waiting_++ > 0) return true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_, &one, sizeof one);
  return true;
}

bool Bridge::push(ReaderItem item) {
  BridgeItem bridged;
  bridged.reader = std::move(item);
  return add(std::move(bridged));
}

bool Bridge::push(HookQuestion question) {
  BridgeItem bridged;
  bridged.question = std::make_unique<HookQuestion>(std::move(question));
  return add(std::move(bridged));
}

bool Bridge::push(LogLine line) {
  if (room() == 0) return false;
  BridgeItem bridged;
  bridged.line = std::make_unique<LogLine>(std::move(line));
  return add(std::move(bridged));
}

void Bridge::push_completion(std::uint64_t completion, const AppendResult& result) {
  BridgeItem bridged;
  bridged.is_completion = true;
  bridged.completion = completion;
  bridged.result = result;
  add(std::move(bridged));
}

void Bridge::limit(std::size_t items_max) {
  const std::lock_guard lock(mutex_);
  capacity_ = std::min(capacity_, std::max<std::size_t>(1, items_max));
}

std::vector<BridgeItem> Bridge::take(std::size_t items_max) {
  std::vector<BridgeItem> taken;
  std::vector<std::function<void()>> resumes;
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return taken;
    if (next_ == outgoing_.size()) {
      outgoing_.clear();
      next_ = 0;
      outgoing_.swap(incoming_);
    }
    const std::size_t count = std::min(items_max, outgoing_.size() - next_);
    const auto begin = outgoing_.begin() + static_cast<std::ptrdiff_t>(next_);
    taken.assign(std::make_move_iterator(begin),
                 std::make_move_iterator(begin + static_cast<std::ptrdiff_t>(count)));
    next_ += count;
    waiting_ -= count;
    if (waiting_ == 0) {  // under the lock, so that no push comes in between
      std::uint64_t value = 0;
      [[maybe_unused]] const ssize_t read = ::read(event_, &value, sizeof value);
    }
    if (waiting_ <= capacity_ / 2) resumes.swap(resumes_);
  }
  for (auto& resume : resumes) resume();
  return taken;
}

std::size_t Bridge::room() const {
  const std::lock_guard lock(mutex_);
  // An empty queue takes any batch: else one larger than the capacity would never come.
  if (waiting_ == 0) return std::numeric_limits<std::size_t>::max();
  return waiting_ < capacity_ ? capacity_ - waiting_ : 0;
}

void Bridge::when_room(std::function<void()> resume) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_ > 0) {
      resumes_.push_back(std::move(resume));
      return;
    }
  }
  resume();
}

void Bridge::close() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(is_closed_, true)) return;
  incoming_.clear();
  outgoing_.clear();
  next_ = waiting_ = 0;
  resumes_.clear();
  ::close(event_);
}

}  // namespace carillon
