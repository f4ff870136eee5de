#include "session/question_queue.hpp"

#include <utility>

namespace carillon {

HookQuestion HookQuestion::of(const Question& question) {
  HookQuestion asked;
  asked.operation = question.operation;
  asked.transport = question.transport;
  asked.is_protobuf = question.is_protobuf;
  asked.client = question.client;
  asked.user = question.proved != nullptr ? question.proved->user : std::string(question.user);
  asked.is_proved = question.proved != nullptr;
  asked.channel = question.channel;
  asked.method = question.method;
  asked.data = question.own_data ? question.own_data : std::make_shared<const std::string>(question.data);
  if (question.proved == nullptr) asked.token = question.token;
  asked.request = question.request ? question.request : std::make_shared<const ClientRequest>();
  asked.code = question.code;
  asked.reason = question.reason;
  return asked;
}

void QuestionQueue::add(Open open) {
  const std::uint64_t id = open.question.id;
  const std::string& client = open.question.client;
  const auto found = askers_.try_emplace(client.empty() ? std::to_string(id) : client).first;
  Asker& asker = found->second;
  asker.name = found->first;
  open.asker = &asker;
  bytes_ += open.bytes;
  ++waiting_;
  leave_turns(asker);
  asker.waiting.emplace(id, std::move(open));
  rejoin_turns(asker);
}

QuestionQueue::Open* QuestionQueue::next(std::size_t slots) {
  if (turns_.empty() || asked_.size() >= slots) return nullptr;
  Asker& asker = *std::get<Asker*>(*turns_.begin());
  if (asker.slots >= slots - asked_.size()) return nullptr;  // the others have at least as many
  leave_turns(asker);
  auto node = asker.waiting.extract(asker.waiting.begin());
  ++asker.slots;
  --waiting_;
  rejoin_turns(asker);
  return &asked_.insert(std::move(node)).position->second;
}

std::optional<QuestionQueue::Open> QuestionQueue::finish(std::uint64_t id) {
  auto node = asked_.extract(id);
  if (node.empty()) return std::nullopt;
  Open& open = node.mapped();
  bytes_ -= open.bytes;
  leave_turns(*open.asker);
  --open.asker->slots;
  rejoin_turns(*open.asker);
  return std::move(open);
}

void QuestionQueue::expire(Millis now_ms, std::vector<Then>& late) {
  for (auto next = askers_.begin(); next != askers_.end();) {
    Asker& asker = (next++)->second;  // it may go
    leave_turns(asker);
    for (auto waiting = asker.waiting.begin(); waiting != asker.waiting.end();) {
      Open& open = waiting->second;
      if (open.due_ms > now_ms) {
        ++waiting;
        continue;
      }
      bytes_ -= open.bytes;
      --waiting_;
      late.push_back(std::move(open.then));
      waiting = asker.waiting.erase(waiting);
    }
    rejoin_turns(asker);
  }
  for (auto& [id, open] : asked_) {
    if (open.due_ms <= now_ms && open.then) late.push_back(std::exchange(open.then, nullptr));
  }
}

void QuestionQueue::leave_turns(Asker& asker) {
  if (!asker.waiting.empty()) turns_.erase({asker.slots, asker.waiting.begin()->first, &asker});
}

void QuestionQueue::rejoin_turns(Asker& asker) {
  if (!asker.waiting.empty()) {
    turns_.insert({asker.slots, asker.waiting.begin()->first, &asker});
  } else if (asker.slots == 0) {
    askers_.erase(askers_.find(asker.name));
  }
}

}  // namespace carillon
