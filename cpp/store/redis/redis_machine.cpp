#include "store/redis/redis_machine.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "store/redis/redis_errors.hpp"
#include "store/redis/redis_info.hpp"

namespace carillon {

RedisMachine::~RedisMachine() { close(); }

// ---- what is asked for

void RedisMachine::call(RedisCall call) {
  auto pending = std::make_unique<RedisPending>();
  pending->call = std::move(call);
  if (state_ != State::closed && waiting() >= options_.waiting_calls)
    return give_up(std::move(pending), StoreError::overloaded);
  const Millis deadline_ms = pending->call.deadline_ms;
  pending->deadline_ms = deadline_ms != 0 ? deadline_ms : clock_.now_ms() + options_.wait_ms;
  carry(std::move(pending));
}

void RedisMachine::carry(RedisPendingRef pending) {
  if (state_ == State::closed) return give_up(std::move(pending), StoreError::closed);
  if (!is_ready() && options_.while_unavailable == WhileUnavailable::fail)
    return give_up(std::move(pending), StoreError::unavailable);
  if (!pending->was_sent && !pending->was_lost && pending->redirections == 0) {
    waiting_.push_back(std::move(pending));
    return;
  }
  // In order of the deadlines, as they were asked for.
  const auto later = [](const PendingRef& left, const PendingRef& right) {
    return left->deadline_ms < right->deadline_ms;
  };
  again_.insert(std::upper_bound(again_.begin(), again_.end(), pending, later), std::move(pending));
}

std::vector<RedisPendingRef> RedisMachine::take_waiting() {
  std::vector<PendingRef> taken;
  taken.reserve(again_.size() + delayed_.size() + waiting_.size());
  for (PendingRef& each : std::exchange(again_, {})) taken.push_back(std::move(each));
  for (PendingRef& each : std::exchange(delayed_, {})) taken.push_back(std::move(each));
  for (PendingRef& each : std::exchange(waiting_, {})) taken.push_back(std::move(each));
  return taken;
}

void RedisMachine::tell(RedisCommand command) {
  if (is_ready()) output_.push_back(std::move(command));
}

void RedisMachine::flush() {
  if (is_ready()) {
    if (!(again_.empty() && waiting_.empty()) && !is_identity_fresh()) ask_identity();
    for (std::deque<PendingRef>* queue : {&again_, &waiting_}) {
      while (!queue->empty() && is_identity_fresh() && scripts_loading_ == 0) {
        PendingRef next = std::move(queue->front());
        queue->pop_front();
        send(std::move(next));
      }
    }
  }
  if (output_.empty()) return;
  const std::vector<RedisCommand> commands = std::exchange(output_, {});
  link_->send(commands);
}

void RedisMachine::send(PendingRef pending) {
  const RedisCall& call = pending->call;
  if (pending->is_asked) say_asking();
  if (call.script == RedisScript::count) {
    output_.push_back(call.words);
  } else {
    RedisCommand command{"EVALSHA", hashes_[static_cast<std::size_t>(call.script)]};
    command.add(call.keys.size());
    for (const std::string& key : call.keys) command.add(key);
    command.add(identity_);
    // In a cluster the way of announcing stands before the time (redis_scripts.cpp).
    std::string time = router_ == nullptr ? "" : pending->is_asked ? "a" : "s";
    if (options_.uses_own_clock) time += std::to_string(clock_.wall_ms());
    command.add(time);
    command.add(Epoch::from_bits(random_.next()).text());
    for (std::size_t i = 0; i < call.words.size(); ++i) command.add(call.words[i]);
    output_.push_back(std::move(command));
  }
  pending->was_sent = true;
  asked_.push_back({Asked::call, std::move(pending)});
}

void RedisMachine::say_asking() {
  output_.push_back(RedisCommand{"ASKING"});
  asked_.push_back({Asked::asking, nullptr});
}

void RedisMachine::tick() {
  const Millis now = clock_.now_ms();
  if (state_ == State::closed) return;
  give_up_late(now);
  for (PendingRef& each : std::exchange(delayed_, {})) {
    if (each->not_before_ms <= now) {
      ask_again(std::move(each));
    } else {
      delayed_.push_back(std::move(each));
    }
  }
  // What is announced comes, too, while what is asked does not arrive.
  if (asked_.empty()) replied_ms_ = now;
  if (is_ready() && now - replied_ms_ >= options_.endpoint.command_timeout_ms) {
    replied_ms_ = now;
    link_->renew("redis has answered nothing for " + std::to_string(options_.endpoint.command_timeout_ms) +
                 " ms (store.command_timeout_ms)");
  }
  if (is_ready() && now - identity_asked_ms_ >= kIdentityMs / 2) ask_identity();
}

void RedisMachine::give_up_late(Millis now) {
  // All of them are looked at: what was delayed is behind others that were asked for later.
  const auto is_late = [now](const PendingRef& each) { return each && each->deadline_ms <= now; };
  std::vector<PendingRef> late;
  const auto take_late = [&](auto& queue) {
    const auto begin = std::stable_partition(queue.begin(), queue.end(), std::not_fn(is_late));
    std::move(begin, queue.end(), std::back_inserter(late));
    queue.erase(begin, queue.end());
  };
  take_late(again_);
  take_late(waiting_);
  // A reply that comes after all is for nobody.
  for (Expected& each : asked_) {
    if (is_late(each.pending)) late.push_back(std::move(each.pending));
  }
  take_late(delayed_);
  for (PendingRef& each : late) give_up(std::move(each), StoreError::unavailable);
}

void RedisMachine::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  for (Expected& each : std::exchange(asked_, {})) {
    if (each.pending) give_up(std::move(each.pending), StoreError::closed);
  }
  for (PendingRef& each : std::exchange(again_, {})) give_up(std::move(each), StoreError::closed);
  for (PendingRef& each : std::exchange(delayed_, {})) give_up(std::move(each), StoreError::closed);
  for (PendingRef& each : std::exchange(waiting_, {})) give_up(std::move(each), StoreError::closed);
}

// ---- the link

void RedisMachine::on_link_up() {
  if (state_ == State::closed) return;
  state_ = State::preparing;
  replied_ms_ = clock_.now_ms();
  load_scripts();
  ask_identity();
  flush();
}

void RedisMachine::load_scripts() {
  if (scripts_loading_ > 0) return;
  scripts_loading_ = kRedisScripts;
  for (std::size_t i = 0; i < kRedisScripts; ++i) {
    const auto script = static_cast<RedisScript>(i);
    output_.push_back(RedisCommand{"SCRIPT", "LOAD", redis_script_text(script)});
    asked_.push_back({Asked::script, nullptr, script});
  }
}

void RedisMachine::ask_identity() {
  if (is_identity_asked_) return;
  is_identity_asked_ = true;
  identity_asked_ms_ = clock_.now_ms();
  output_.push_back(RedisCommand{"INFO", "replication"});
  asked_.push_back({Asked::identity, nullptr});
}

bool RedisMachine::is_identity_fresh() const { return clock_.now_ms() - identity_ms_ <= kIdentityMs; }

void RedisMachine::on_link_down(const std::string& reason) {
  if (state_ == State::closed) return;
  state_ = State::down;
  note_trouble(reason);
  output_.clear();
  scripts_loading_ = 0;
  is_identity_asked_ = false;
  // What was sent is sent again, ahead of the rest: a script knows whether it was carried out before.
  std::deque<Expected> asked = std::exchange(asked_, {});
  for (auto each = asked.rbegin(); each != asked.rend(); ++each) {
    if (!each->pending) continue;
    each->pending->was_lost = true;
    again_.push_front(std::move(each->pending));
  }
  give_up_with_link();
  if (options_.while_unavailable == WhileUnavailable::fail) refuse_waiting();
}

void RedisMachine::give_up_with_link() {
  std::vector<PendingRef> ended;
  const auto take = [&](auto& queue) {
    const auto begin = std::stable_partition(
        queue.begin(), queue.end(), [](const PendingRef& each) { return !each->call.is_for_this_link; });
    std::move(begin, queue.end(), std::back_inserter(ended));
    queue.erase(begin, queue.end());
  };
  take(again_);
  take(waiting_);
  take(delayed_);
  for (PendingRef& each : ended) give_up(std::move(each), StoreError::unavailable);
}

void RedisMachine::refuse_waiting() {
  for (PendingRef& each : std::exchange(again_, {})) give_up(std::move(each), StoreError::unavailable);
  for (PendingRef& each : std::exchange(delayed_, {})) give_up(std::move(each), StoreError::unavailable);
  for (PendingRef& each : std::exchange(waiting_, {})) give_up(std::move(each), StoreError::unavailable);
}

void RedisMachine::note_trouble(std::string reason) {
  trouble_ = std::move(reason);
  refused_.clear();
}

std::string_view RedisMachine::name_of(const RedisCall& call) {
  return call.script == RedisScript::count ? call.words[0] : redis_script_name(call.script);
}

void RedisMachine::note_success(const RedisCall& call) {
  // What is not permitted stays the trouble while other calls succeed.
  if (refused_.empty() ? call.is_write : refused_ == name_of(call)) note_trouble({});
}

// ---- what Redis answers

void RedisMachine::on_reply(RedisReply&& reply) {
  if (asked_.empty()) return;
  replied_ms_ = clock_.now_ms();
  Expected expected = std::move(asked_.front());
  asked_.pop_front();
  switch (expected.what) {
    case Asked::script:
      if (reply.is_error())
        return link_->renew("redis does not take the scripts: " + explain_redis_error(reply.text));
      hashes_[static_cast<std::size_t>(expected.script)] = std::move(reply.text);
      if (scripts_loading_ > 0) --scripts_loading_;
      return become_ready();
    case Asked::identity:
      return on_identity(reply);
    case Asked::asking:
      return;
    case Asked::adopt:
      return on_adopted(std::move(expected.pending), reply);
    case Asked::call:
      return on_call_reply(std::move(expected.pending), reply);
  }
}

void RedisMachine::become_ready() {
  if (state_ != State::preparing || scripts_loading_ > 0 || is_identity_asked_) return;
  state_ = State::ready;
  note_trouble({});
  listener_->on_ready();
}

void RedisMachine::on_identity(const RedisReply& reply) {
  is_identity_asked_ = false;
  if (reply.is_error()) {
    const RedisErrorKind kind = kind_of_redis_error(reply.text);
    if (kind == RedisErrorKind::later && is_ready())
      return note_trouble(reply.text);  // asked again by tick()
    return link_->renew("redis does not say which server it is: " + explain_redis_error(reply.text));
  }
  const std::string_view role = redis_info_value(reply.text, "role");
  const std::string_view identity = redis_info_value(reply.text, "master_replid");
  if (role != "master") return link_->renew("this redis is a replica");
  if (identity.empty()) return link_->renew("INFO of this redis has no master_replid");
  identity_ms_ = identity_asked_ms_;
  believe(identity);
  become_ready();
}

void RedisMachine::believe(std::string_view identity) {
  if (identity_ == identity) return;
  const bool is_first = identity_.empty();
  identity_ = identity;
  if (!is_first) listener_->on_new_primary();
}

void RedisMachine::on_call_reply(PendingRef pending, const RedisReply& reply) {
  if (!pending) return;
  if (reply.is_error()) return on_error(std::move(pending), reply);
  if (pending->call.script != RedisScript::count && reply.kind == RedisReply::Kind::array &&
      reply[0].text == "adopt")
    return adopt(std::move(pending));
  note_success(pending->call);
  pending->call.done(StoreError::none, reply);
}

void RedisMachine::adopt(PendingRef pending) {
  if (!is_ready() || scripts_loading_ > 0) return ask_again(std::move(pending));
  if (pending->is_asked) say_asking();
  RedisCommand command{"EVALSHA", hashes_[static_cast<std::size_t>(RedisScript::adopt)], "2"};
  command.add(pending->call.keys[0]).add(pending->call.keys[1]).add(identity_).add("");
  command.add(Epoch::from_bits(random_.next()).text()).add(options_.loss == RedisLoss::never ? "1" : "0");
  output_.push_back(std::move(command));
  asked_.push_back({Asked::adopt, std::move(pending)});
}

void RedisMachine::on_adopted(PendingRef pending, const RedisReply& reply) {
  if (reply.is_error()) {
    if (pending) on_error(std::move(pending), reply);
    return;
  }
  if (pending) ask_again(std::move(pending));
  if (reply[0].text != "is") return link_->renew("this redis is a replica");
  believe(reply[1].text);
}

void RedisMachine::on_error(PendingRef pending, const RedisReply& reply) {
  const RedisErrorKind kind = kind_of_redis_error(reply.text);
  pending->was_sent = pending->was_sent && kind == RedisErrorKind::other;  // it has done nothing
  switch (kind) {
    case RedisErrorKind::missing_script:
      ask_again(std::move(pending));
      return load_scripts();
    case RedisErrorKind::not_primary:
      ask_again(std::move(pending));
      return link_->renew("this redis is a replica");
    case RedisErrorKind::later:
    case RedisErrorKind::no_room:
      note_trouble(explain_redis_error(reply.text));
      if (router_ != nullptr && kind == RedisErrorKind::later) router_->on_map_doubt();
      if (options_.while_unavailable == WhileUnavailable::fail)
        return give_up(std::move(pending), StoreError::unavailable);
      return delay(std::move(pending));
    case RedisErrorKind::moved:
      if (router_ != nullptr) return router_->on_elsewhere(std::move(pending), reply.text);
      [[fallthrough]];
    case RedisErrorKind::refused:
    case RedisErrorKind::other:
      if (!pending->call.may_be_refused) note_refusal(pending->call, reply.text);
      return give_up(std::move(pending), StoreError::unavailable);
  }
}

void RedisMachine::note_refusal(const RedisCall& call, std::string_view error) {
  const bool is_script = call.script != RedisScript::count;
  const std::string script = is_script ? redis_script_text(call.script) : std::string();
  note_trouble(explain_redis_error(error, script));
  if (!missing_redis_right(error, script).empty()) refused_ = name_of(call);
}

void RedisMachine::delay(PendingRef pending) {
  pending->not_before_ms = clock_.now_ms() + pause();
  delayed_.push_back(std::move(pending));
}

Millis RedisMachine::pause() {
  const Millis whole = std::max<Millis>(options_.endpoint.retry_pause_ms, 2);
  return whole / 2 + static_cast<Millis>(random_.below(static_cast<std::uint64_t>(whole / 2)));
}

void RedisMachine::on_push(RedisReply&& push) {
  if (push[0].text == "message" || push[0].text == "smessage")
    listener_->on_message(push[1].text, push[2].text);
}

}  // namespace carillon
