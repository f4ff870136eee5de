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
  tell_all(Telling::ask, topic, question, done);
}

void Fleet::order(std::string_view topic, std::string_view question, const Done& done) {
  tell_all(Telling::order, topic, question, done);
}

void Fleet::tell_all(Telling how, std::string_view topic, std::string_view question, const Done& done) {
  if (!is_shared()) return done({});
  std::uint64_t id = 0;
  bool is_closed = false;
  {
    const std::lock_guard lock(mutex_);
    is_closed = is_closed_;
    if (!is_closed_ && questions_.size() < options_.questions_max) {
      id = ++last_question_;
      questions_[id] = {.done = done, .deadline_ms = clock_.now_ms() + options_.answer_timeout_ms};
    }
  }
  if (is_closed || (id == 0 && how == Telling::ask)) return done({});
  std::string message = "ask " + std::to_string(id) + ' ';
  message.append(topic).append(1, '\n').append(question);
  if (id == 0) {  // nobody waits for the answers, but the order is given
    store_.order(message, [](StoreError, std::size_t) {});
    return done({});
  }
  auto told = [this, id](StoreError, std::size_t gateways) {
    std::unique_lock lock(mutex_);
    const auto found = questions_.find(id);
    if (found == questions_.end()) return;
    found->second.is_told = true;
    found->second.expected = gateways;
    finish_if_answered(std::move(lock), id);
  };
  if (how == Telling::order) {
    store_.order(message, std::move(told));
  } else {
    store_.tell("", message, std::move(told));
  }
}

void Fleet::finish_if_answered(std::unique_lock<std::mutex> lock, std::uint64_t id) {
  const auto found = questions_.find(id);
  if (!found->second.is_answered()) return;
  Question question = std::move(found->second);
  questions_.erase(found);
  lock.unlock();
  question.done(std::move(question.answers));
}

void Fleet::keep_house() {
  const Millis now = clock_.now_ms();
  std::vector<Question> late;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(questions_, [&](auto& each) {
      if (each.second.deadline_ms > now) return false;
      late.push_back(std::move(each.second));
      return true;
    });
  }
  for (Question& each : late) each.done(std::move(each.answers));
}

void Fleet::close() {
  std::map<std::uint64_t, Question> all;
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    all.swap(questions_);
  }
  for (auto& [id, each] : all) each.done(std::move(each.answers));
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
  found->second.answers.emplace_back(message);
  finish_if_answered(std::move(lock), id);
}

void Fleet::on_question(std::string_view from, std::string_view id, std::string_view topic,
                        std::string_view question) {
  const auto found = topics_.find(topic);
  // Of a later version: an empty answer, so that it need not wait.
  const Topic* const known = found == topics_.end() ? nullptr : &found->second;
  Answer answer = [this, to = std::string(from), id = std::string(id)](const std::string& text) {
    store_.tell(to, "answer " + id + '\n' + text, [](StoreError, std::size_t) {});
  };
  if (known == nullptr) return answer("");
  run_([known, question = std::string(question), answer = std::move(answer)] {
    try {
      (*known)(question, answer);
    } catch (const std::exception&) {
      answer("");  // it is written otherwise than here: by another version, or by somebody else
    }
  });
}

}  // namespace carillon
