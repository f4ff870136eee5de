#include "server/fleet.hpp"

#include <charconv>
#include <exception>
#include <utility>

namespace carillon {

namespace {

// Messages: "ask NUMBER TOPIC\nquestion" and "answer NUMBER\ntext".
std::string_view take_word(std::string_view& rest, char end) {
  const std::size_t size = std::min(rest.find(end), rest.size());
  const std::string_view word = rest.substr(0, size);
  rest.remove_prefix(std::min(size + 1, rest.size()));
  return word;
}

}  // namespace

void Fleet::ask(std::string_view topic, std::string_view question, const Done& done) {
  tell(Telling::ask, "", topic, question, [done](Result&& result) { done(std::move(result.answers)); });
}

void Fleet::order(std::string_view topic, std::string_view question, const Done& done) {
  tell(Telling::order, "", topic, question, [done](Result&& result) { done(std::move(result.answers)); });
}

void Fleet::ask_all(std::string_view topic, std::string_view question,
                    const std::function<void(const Result&)>& done) {
  tell(Telling::ask, "", topic, question, done);
}

void Fleet::ask_one(std::string_view gateway, std::string_view topic, std::string_view question,
                    const std::function<void(const Result&)>& done) {
  tell(Telling::ask_one, gateway, topic, question, done);
}

void Fleet::tell(Telling how, std::string_view to, std::string_view topic, std::string_view question,
                 const Finish& done) {
  if (!is_shared()) return done({.answers = {}, .end = End::answered});
  std::uint64_t id = 0;
  bool is_closed = false;
  {
    const std::lock_guard lock(mutex_);
    is_closed = is_closed_;
    const bool is_of_one = how == Telling::ask_one;
    if (!is_closed_ && (is_of_one || questions_.size() - asked_of_one_ < options_.questions_max)) {
      id = ++last_question_;
      if (is_of_one) ++asked_of_one_;
      questions_[id] = {
          .done = done, .is_of_one = is_of_one, .deadline_ms = clock_.now_ms() + options_.answer_timeout_ms};
    }
  }
  if (is_closed || (id == 0 && how == Telling::ask)) return done({});
  std::string message = "ask " + std::to_string(id) + ' ';
  message.append(topic).append(1, '\n').append(question);
  if (id == 0) {  // nobody waits for the answers, but the order is given
    store_.order(message, [](StoreError, std::size_t) {});
    return done({});
  }
  auto passed = [this, id, held = done](StoreError error, std::size_t gateways) {
    on_passed(id, error, gateways);
  };
  if (how == Telling::order) {
    store_.order(message, std::move(passed));
  } else {
    store_.tell(to, message, std::move(passed));
  }
}

void Fleet::on_passed(std::uint64_t id, StoreError error, std::size_t gateways) {
  std::unique_lock lock(mutex_);
  const auto found = questions_.find(id);
  if (found == questions_.end()) return;
  Question& question = found->second;
  // The question may still arrive, and its answer: what its asker does next must not come ahead of it.
  if (error == StoreError::outcome_unknown && question.is_of_one) return;
  question.is_told = true;
  question.result.asked = gateways;
  if (error == StoreError::none) return finish_if_answered(std::move(lock), id);
  question.result.end = error == StoreError::outcome_unknown ? End::late : End::not_asked;
  Question ended = take(found);
  lock.unlock();
  ended.done(std::move(ended.result));
}

Fleet::Question Fleet::take(Questions::iterator at) {
  Question question = std::move(at->second);
  questions_.erase(at);
  if (question.is_of_one) --asked_of_one_;
  return question;
}

void Fleet::finish_if_answered(std::unique_lock<std::mutex> lock, std::uint64_t id) {
  const auto found = questions_.find(id);
  if (!found->second.is_answered()) return;
  Question question = take(found);
  lock.unlock();
  question.result.end = End::answered;
  question.done(std::move(question.result));
}

void Fleet::keep_house() {
  const Millis now = clock_.now_ms();
  std::vector<Question> late;
  {
    const std::lock_guard lock(mutex_);
    for (auto each = questions_.begin(); each != questions_.end();) {
      const auto at = each++;
      if (at->second.deadline_ms <= now) late.push_back(take(at));
    }
  }
  for (Question& each : late) {
    each.result.end = End::late;
    each.done(std::move(each.result));
  }
}

void Fleet::close() {
  Questions all;
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    asked_of_one_ = 0;
    all.swap(questions_);
  }
  for (auto& [id, each] : all) {
    each.result.end = End::late;
    each.done(std::move(each.result));
  }
}

void Fleet::on_told(std::string_view from, std::string_view message) {
  std::string_view head = take_word(message, '\n');
  const std::string_view kind = take_word(head, ' ');
  const std::string_view number = take_word(head, ' ');
  if (kind == "ask") return on_question(from, number, head, message);
  std::uint64_t id = 0;
  std::from_chars(number.data(), number.data() + number.size(), id);
  if (kind != "answer" || id == 0) return;
  std::unique_lock lock(mutex_);
  const auto found = questions_.find(id);
  if (found == questions_.end()) return;  // too late
  found->second.result.answers.emplace_back(message);
  finish_if_answered(std::move(lock), id);
}

void Fleet::on_question(std::string_view from, std::string_view id, std::string_view topic,
                        std::string_view question) {
  const auto found = topics_.find(topic);
  Answer answer = [this, to = std::string(from), id = std::string(id)](const std::string& text) {
    store_.tell(to, "answer " + id + '\n' + text, [](StoreError, std::size_t) {});
  };
  // Of a later version: an empty answer, so that it need not wait.
  if (found == topics_.end()) return answer("");
  const auto act = [&topic = found->second.act, answer](std::string_view text) {
    try {
      topic(text, answer);
    } catch (const std::exception&) {
      answer("");  // it is written otherwise than here: by another version, or by somebody else
    }
  };
  if (found->second.kind == Kind::prompt) return act(question);
  auto task = [act, text = std::string(question)] { act(text); };
  if (found->second.kind == Kind::order) return run_(std::move(task));
  if (!run(question.size(), std::move(task))) answer(std::string(kBusy));
}

bool Fleet::run(std::size_t bytes, std::function<void()> task) {
  if (waiting_.fetch_add(1) >= options_.questions_max) {
    waiting_.fetch_sub(1);
    return false;
  }
  const auto memory =
      std::make_shared<BodyBudget::Share>(waiting_memory_.take(static_cast<std::int64_t>(bytes)));
  if (!memory->is_granted()) {
    waiting_.fetch_sub(1);
    return false;
  }
  run_([this, memory, task = std::move(task)] {
    waiting_.fetch_sub(1);
    task();
  });
  return true;
}

}  // namespace carillon
