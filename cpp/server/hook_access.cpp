#include "server/hook_access.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace carillon {

void HookAccess::set_hook(Operation operation, std::vector<std::string> patterns, Millis deadline_ms) {
  hooks_.at(static_cast<std::size_t>(operation)) = {std::move(patterns), deadline_ms};
}

bool HookAccess::asks_hook(Operation operation, std::string_view subject) const {
  const Hook& hook = hooks_.at(static_cast<std::size_t>(operation));
  return std::any_of(hook.patterns.begin(), hook.patterns.end(),
                     [&](const std::string& pattern) { return matches_pattern(pattern, subject); });
}

std::optional<Verdict> HookAccess::answer(const Question& question) const {
  if (asks_hook(question.operation, question.subject())) return std::nullopt;
  return rules_.answer(question);
}

bool HookAccess::has_room(const QuestionQueue& queue, std::size_t bytes) const {
  if (queue.size() == 0) return true;  // a question that is larger than the limit is asked, too
  return queue.size() < static_cast<std::size_t>(limits_.hook_questions) &&
         queue.bytes() + bytes <= static_cast<std::size_t>(limits_.hook_question_bytes);
}

void HookAccess::ask(const Question& question, Then then) {
  QuestionQueue::Open open;
  HookQuestion& asked = open.question = HookQuestion::of(question);
  if (question.proved != nullptr) {
    asked.token = question.token;
  } else if (question.operation == Operation::connect) {
    if (const std::optional<Verdict> known = rules_.answer(question)) asked.user = known->identity.user;
  }
  const bool is_notice = question.operation == Operation::disconnect;
  open.bytes = asked.bytes();
  open.then = std::move(then);
  std::vector<Then> unasked;
  bool is_refused = false;
  {
    const std::lock_guard lock(mutex_);
    QuestionQueue& queue = queue_of(question.operation);
    is_refused = !has_room(queue, open.bytes);
    if (!is_refused) {
      asked.id = next_++;
      open.asked_ms = clock_.now_ms();
      open.due_ms =
          is_notice ? std::numeric_limits<Millis>::max()
                    : clock_.now_ms() + hooks_.at(static_cast<std::size_t>(question.operation)).deadline_ms;
      queue.add(std::move(open));
      hand_over(queue, unasked);
    }
  }
  if (is_refused && is_notice) {
    lost_notices_.fetch_add(1, std::memory_order_relaxed);
  } else if (is_refused) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    open.then(Verdict::undecided(
        "too many questions wait for hooks; raise limits.hook_questions or limits.hook_question_bytes"));
  }
  end_undecided(unasked, "no hook could be asked");
}

void HookAccess::hand_over(QuestionQueue& queue, std::vector<Then>& unasked) {
  while (QuestionQueue::Open* open = queue.next(static_cast<std::size_t>(limits_.hooks_at_once))) {
    const std::uint64_t id = open->question.id;
    if (application_ && application_->push(std::move(open->question))) continue;
    unasked.push_back(std::move(queue.finish(id)->then));
  }
}

bool HookAccess::resolve(std::uint64_t question, Verdict verdict) {
  Then then;
  std::vector<Then> unasked;
  {
    const std::lock_guard lock(mutex_);
    for (QuestionQueue& queue : queues_) {
      std::optional<QuestionQueue::Open> open = queue.finish(question);
      if (!open) continue;
      then = std::move(open->then);
      latencies_.at(static_cast<std::size_t>(open->question.operation))
          .observe_ns((clock_.now_ms() - open->asked_ms) * 1'000'000);
      hand_over(queue, unasked);
      break;
    }
  }
  end_undecided(unasked, "no hook could be asked");
  if (!then) return false;
  if (verdict.is_undecided) undecided_.fetch_add(1, std::memory_order_relaxed);
  then(std::move(verdict));
  return true;
}

void HookAccess::expire() {
  std::vector<Then> late;
  {
    const std::lock_guard lock(mutex_);
    const Millis now = clock_.now_ms();
    for (QuestionQueue& queue : queues_) queue.expire(now, late);
  }
  end_undecided(late, "the hook did not answer in time");
}

void HookAccess::end_undecided(const std::vector<Then>& questions, const char* reason) {
  undecided_.fetch_add(questions.size(), std::memory_order_relaxed);
  for (const Then& then : questions) then(Verdict::undecided(reason));
}

void HookAccess::clear() {
  std::array<QuestionQueue, 3> forgotten;  // destroyed without the lock: a continuation may own anything
  const std::lock_guard lock(mutex_);
  queues_.swap(forgotten);
}

std::size_t HookAccess::open() const {
  const std::lock_guard lock(mutex_);
  std::size_t questions = 0;
  for (const QuestionQueue& queue : queues_) questions += queue.size();
  return questions;
}

}  // namespace carillon
