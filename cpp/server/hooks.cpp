#include "server/hooks.hpp"

#include <algorithm>
#include <utility>

namespace carillon {

namespace {
Verdict denied(std::string reason) {
  Verdict verdict;
  verdict.reason = std::move(reason);
  return verdict;
}
}  // namespace

void EventLog::write(const ConnectionRecord& record) {
  if (!queue_) return;
  LogLine line;
  line.logger = "access";
  line.is_connection = true;
  line.connection_event = record.event;
  line.transport = record.transport;
  line.client = record.client;
  line.user = record.user;
  line.peer = record.peer;
  line.code = record.code;
  line.reason = record.reason;
  line.duration_ms = record.duration_ms;
  line.message.append(name_of(record.transport)).append(" ").append(name_of(record.event));
  if (!line.client.empty()) line.message.append(" ").append(line.client);
  if (!line.user.empty()) line.message.append(" (").append(line.user).append(")");
  if (!line.peer.empty()) line.message.append(" from ").append(line.peer);
  if (record.event != ConnectionEvent::connect) {
    line.message += ": " + (line.code != 0 ? std::to_string(line.code) + " " : std::string()) + line.reason;
  }
  push(std::move(line));
}

void EventLog::push(LogLine line) {
  if (!queue_->push(std::move(line))) lost_.fetch_add(1, std::memory_order_relaxed);
}

void EventLog::tell(OperatorNote note) {
  if (!queue_) return;
  LogLine line;
  line.logger = "server";
  line.level = note.level;
  line.event = note.event;
  line.message = std::move(note.message);
  line.numbers = std::move(note.numbers);
  push(std::move(line));
}

void HookAccess::set_hook(Operation operation, std::vector<std::string> patterns, Millis deadline_ms) {
  hooks_.at(static_cast<std::size_t>(operation)) = {std::move(patterns), deadline_ms};
}

std::optional<Verdict> HookAccess::answer(const Question& question) const {
  const Hook& hook = hooks_.at(static_cast<std::size_t>(question.operation));
  const bool is_hooked =
      std::any_of(hook.patterns.begin(), hook.patterns.end(), [&](const std::string& pattern) {
        return question.operation == Operation::connect || matches_pattern(pattern, question.channel);
      });
  if (is_hooked) return std::nullopt;
  return rules_.answer(question);
}

void HookAccess::ask(const Question& question, std::function<void(Verdict)> then) {
  HookQuestion asked;
  asked.operation = question.operation;
  asked.transport = question.transport;
  asked.client = question.client;
  asked.user = question.user;
  asked.channel = question.channel;
  asked.data = question.own_data ? question.own_data : std::make_shared<const std::string>(question.data);
  asked.token = question.token;
  {
    const std::lock_guard lock(mutex_);
    asked.id = next_++;
    const Millis deadline_ms = hooks_.at(static_cast<std::size_t>(question.operation)).deadline_ms;
    pending_[asked.id] = {std::move(then), clock_.now_ms() + deadline_ms};
  }
  const std::uint64_t id = asked.id;
  if (!queue_ || !queue_->push(std::move(asked))) resolve(id, denied("nobody is there to decide"));
}

bool HookAccess::resolve(std::uint64_t question, Verdict verdict) {
  std::function<void(Verdict)> then;
  {
    const std::lock_guard lock(mutex_);
    const auto found = pending_.find(question);
    if (found == pending_.end()) return false;
    then = std::move(found->second.then);
    pending_.erase(found);
  }
  then(std::move(verdict));
  return true;
}

void HookAccess::expire() {
  std::vector<std::function<void(Verdict)>> late;
  {
    const std::lock_guard lock(mutex_);
    const Millis now = clock_.now_ms();
    for (auto it = pending_.begin(); it != pending_.end();) {
      if (it->second.due_ms > now) {
        ++it;
        continue;
      }
      late.push_back(std::move(it->second.then));
      it = pending_.erase(it);
    }
  }
  for (const auto& then : late) then(denied("the hook did not answer in time"));
}

void HookAccess::clear() {
  const std::lock_guard lock(mutex_);
  pending_.clear();
}

}  // namespace carillon
