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

void take_questions(std::deque<HookQuestion>& queue, std::size_t questions_max,
                    std::vector<BridgeItem>& taken) {
  for (; questions_max > 0 && !queue.empty(); --questions_max) {
    taken.emplace_back().question = std::make_unique<HookQuestion>(std::move(queue.front()));
    queue.pop_front();
  }
}
}  // namespace

Bridge::Bridge(std::size_t capacity) : event_(make_event()), capacity_(std::max<std::size_t>(1, capacity)) {}

Bridge::~Bridge() { close(); }

bool Bridge::add(BridgeItem item) {
  const std::lock_guard lock(mutex_);
  if (is_closed_) return false;
  incoming_.push_back(std::move(item));
  count_in();
  return true;
}

void Bridge::count_in() {
  if (waiting_++ > 0) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_, &one, sizeof one);
}

bool Bridge::push(ReaderItem item) {
  BridgeItem bridged;
  bridged.reader = std::move(item);
  return add(std::move(bridged));
}

bool Bridge::push(HookQuestion question) {
  const std::lock_guard lock(mutex_);
  if (is_closed_) return false;
  (question.operation == Operation::connect ? connects_ : questions_).push_back(std::move(question));
  count_in();
  return true;
}

bool Bridge::push(LogLine line) {
  if (room() == 0) return false;
  BridgeItem bridged;
  bridged.line = std::make_unique<LogLine>(std::move(line));
  return add(std::move(bridged));
}

bool Bridge::push_reload(std::uint64_t request) {
  BridgeItem bridged;
  bridged.is_reload = true;
  bridged.completion = request;
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
    take_questions(connects_, std::max<std::size_t>(1, items_max / 2), taken);
    take_questions(questions_, std::max<std::size_t>(1, items_max / 16), taken);
    if (next_ == outgoing_.size()) {
      outgoing_.clear();
      next_ = 0;
      outgoing_.swap(incoming_);
    }
    const std::size_t room = items_max > taken.size() ? items_max - taken.size() : 0;
    const std::size_t count = std::min(room, outgoing_.size() - next_);
    const auto begin = outgoing_.begin() + static_cast<std::ptrdiff_t>(next_);
    taken.insert(taken.end(), std::make_move_iterator(begin),
                 std::make_move_iterator(begin + static_cast<std::ptrdiff_t>(count)));
    next_ += count;
    waiting_ -= taken.size();
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
  std::vector<std::function<void()>> resumes;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(is_closed_, true)) return;
    incoming_.clear();
    outgoing_.clear();
    connects_.clear();
    questions_.clear();
    next_ = waiting_ = 0;
    resumes.swap(resumes_);
    ::close(event_);
  }
  for (auto& resume : resumes) resume();  // readers that wait for room find it closed, and leave
}

}  // namespace carillon
