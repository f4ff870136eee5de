#include "proxy/backend.hpp"

#include <algorithm>
#include <utility>

namespace carillon {

namespace {
/// Time-outs are met in steps, so that one wake-up serves many questions.
constexpr Millis kBackendStepMs = 10;

/// A backend that has closed without an answer may have done what it was asked for all the same.
bool may_repeat(Operation operation) {
  return operation != Operation::rpc && operation != Operation::publish;
}
}  // namespace

Backend::~Backend() { counters_.open.fetch_sub(static_cast<std::int64_t>(queue_.size())); }

bool Backend::has_room(std::size_t bytes) const {
  if (queue_.size() < settings_.requests_max) return true;
  return queue_.size() < settings_.requests_max + settings_.waiting_max &&
         queue_.bytes() + bytes <= settings_.waiting_bytes_max;
}

void Backend::ask(HookQuestion question, Then then) {
  QuestionQueue::Open open;
  open.bytes = question.bytes();
  if (!has_room(open.bytes)) {
    counters_.refused.fetch_add(1, std::memory_order_relaxed);
    const std::string problem =
        "too many requests are under way and wait; raise limits.proxy_requests, limits.proxy_waiting or "
        "limits.proxy_waiting_bytes, or make the backend faster";
    parts_.tell(problem);
    return then(Verdict::undecided(problem));
  }
  question.id = next_++;
  const Millis due = clock_.now_ms() + settings_.timeout_ms;
  open.due_ms = (due + kBackendStepMs - 1) / kBackendStepMs * kBackendStepMs;
  open.asked_ms = clock_.now_ms();
  open.question = std::move(question);
  open.then = std::move(then);
  if (dues_.empty() || dues_.back() != open.due_ms) dues_.push_back(open.due_ms);
  counters_.open.fetch_add(1, std::memory_order_relaxed);
  queue_.add(std::move(open));
  hand_over();
  parts_.on_change();
}

void Backend::hand_over() {
  while (QuestionQueue::Open* open = queue_.next(settings_.requests_max)) {
    const Id id = open->question.id;
    UnderWay& asked = under_way_[id];
    asked.due_ms = open->due_ms;
    asked.question = std::move(open->question);
    asked.request = parts_.request_of(asked.question);
    asked.link = take_idle();
    asked.is_reused = asked.link != nullptr;
    if (!asked.is_reused) asked.link = make_link();
    send(id, asked);
  }
}

std::unique_ptr<BackendLink> Backend::take_idle() {
  std::unique_ptr<BackendLink> link;
  while (!link && !idle_.empty()) {
    link = std::move(idle_.back().link);  // the one that was used last is the least likely to be closed
    idle_.pop_back();
    if (!link->is_quiet()) link.reset();
  }
  return link;
}

std::unique_ptr<BackendLink> Backend::make_link() {
  counters_.connections.fetch_add(1, std::memory_order_relaxed);
  return parts_.make_link();
}

void Backend::send(Id id, UnderWay& asked) {
  asked.link->exchange(asked.request, [this, id](BackendResult result) { on_result(id, std::move(result)); });
}

void Backend::on_result(Id id, BackendResult result) {
  const auto found = under_way_.find(id);
  if (found == under_way_.end()) return;
  if (result.is_untouched && found->second.is_reused && may_repeat(found->second.question.operation)) {
    // It was closed while it was idle, or just then: once more.
    found->second.is_reused = false;
    found->second.link = make_link();
    return send(id, found->second);
  }
  UnderWay asked = std::move(found->second);
  under_way_.erase(found);
  std::optional<QuestionQueue::Open> open = queue_.finish(id);
  if (result.is_reusable && idle_.size() < settings_.idle_max)
    idle_.push_back({std::move(asked.link), clock_.now_ms()});
  hand_over();
  Verdict verdict;
  if (!result.is_answered) {
    verdict = Verdict::undecided(std::move(result.problem));
  } else if (result.status != 200) {
    verdict = Verdict::undecided("answered with status " + std::to_string(result.status));
  } else {
    verdict = parts_.read(asked.question, result.body);
  }
  if (open)
    counters_.latencies.at(static_cast<std::size_t>(asked.question.operation))
        .observe_ns((clock_.now_ms() - open->asked_ms) * 1'000'000);
  if (verdict.is_undecided) parts_.tell(verdict.reason);
  if (open && open->then) give(open->then, std::move(verdict));
  parts_.on_change();
}

void Backend::give(const Then& then, Verdict verdict) {
  counters_.open.fetch_sub(1, std::memory_order_relaxed);
  if (verdict.is_undecided) counters_.undecided.fetch_add(1, std::memory_order_relaxed);
  then(std::move(verdict));
}

void Backend::on_time(Millis now_ms) {
  while (!idle_.empty() && idle_.front().since_ms + settings_.idle_ms <= now_ms) idle_.pop_front();
  if (dues_.empty() || dues_.front() > now_ms) return parts_.on_change();
  while (!dues_.empty() && dues_.front() <= now_ms) dues_.pop_front();
  std::vector<Then> late;
  queue_.expire(now_ms, late);
  for (auto next = under_way_.begin(); next != under_way_.end();) {
    const auto asked = next++;
    if (asked->second.due_ms > now_ms) continue;
    queue_.finish(asked->first);
    under_way_.erase(asked);  // with its connection
  }
  hand_over();
  if (!late.empty()) {
    const std::string problem = "did not answer within " + std::to_string(settings_.timeout_ms) + " ms";
    parts_.tell(problem);
    for (const Then& then : late) give(then, Verdict::undecided(problem));
  }
  parts_.on_change();
}

std::optional<Millis> Backend::due_ms() const {
  std::optional<Millis> due;
  if (!dues_.empty()) due = dues_.front();
  if (!idle_.empty()) {
    const Millis idle_due = idle_.front().since_ms + settings_.idle_ms;
    due = due ? std::min(*due, idle_due) : idle_due;
  }
  return due;
}

}  // namespace carillon
