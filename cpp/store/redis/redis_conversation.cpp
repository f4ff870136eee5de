#include "store/redis/redis_conversation.hpp"

#include <algorithm>
#include <utility>

#include "store/owned_store.hpp"

namespace carillon {

RedisConversation::RedisConversation(const RedisEndpoint& endpoint, RandomSource& random, Millis patience_ms)
    : patience_ms_(patience_ms) {
  thread_.run([&] { link_ = thread_.link(endpoint, random, *this); });
}

RedisConversation::~RedisConversation() {
  thread_.run([this] { link_.reset(); });
}

template <typename IsMet>
bool RedisConversation::wait(std::unique_lock<std::mutex>& lock, IsMet is_met) {
  const auto until =
      std::min(end_, std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms_));
  return changed_.wait_until(lock, until, is_met);
}

void RedisConversation::connect() {
  std::unique_lock lock(mutex_);
  has_failed_ = false;
  if (!wait(lock, [this] { return is_up_ || has_failed_; }))
    throw StoreRefused(reason_.empty() ? "redis does not answer in time" : reason_);
  if (!is_up_) throw StoreRefused(reason_);
}

void RedisConversation::send(std::vector<RedisCommand> commands) {
  thread_.post([this, commands = std::move(commands)] {
    if (link_) link_->send(commands);
  });
}

std::vector<RedisReply> RedisConversation::ask(std::vector<RedisCommand> commands) {
  std::unique_lock lock(mutex_);
  if (!is_up_) throw StoreRefused(reason_);
  replies_.clear();
  const std::size_t expected = commands.size();
  send(std::move(commands));
  if (!wait(lock, [&] { return !is_up_ || replies_.size() >= expected; }))
    throw StoreRefused("redis does not answer in time");
  if (replies_.size() < expected) throw StoreRefused(reason_);
  return std::exchange(replies_, {});
}

RedisReply RedisConversation::ask(RedisCommand command) {
  std::vector<RedisCommand> commands;
  commands.push_back(std::move(command));
  return std::move(ask(std::move(commands)).front());
}

std::string RedisConversation::confirm(RedisCommand command) {
  std::unique_lock lock(mutex_);
  if (!is_up_) throw StoreRefused(reason_);
  const std::size_t before = pushes_;
  std::vector<RedisCommand> commands;
  commands.push_back(std::move(command));
  send(std::move(commands));
  if (!wait(lock, [&] { return !is_up_ || pushes_ > before; }))
    throw StoreRefused("redis does not answer in time");
  return pushes_ > before ? std::string() : reason_;
}

void RedisConversation::on_link_up() {
  const std::lock_guard lock(mutex_);
  is_up_ = true;
  changed_.notify_all();
}

void RedisConversation::on_reply(RedisReply&& reply) {
  const std::lock_guard lock(mutex_);
  replies_.push_back(std::move(reply));
  changed_.notify_all();
}

void RedisConversation::on_push(RedisReply&& push) {
  static_cast<void>(push);
  const std::lock_guard lock(mutex_);
  ++pushes_;
  changed_.notify_all();
}

void RedisConversation::on_link_down(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  is_up_ = false;
  has_failed_ = true;
  reason_ = reason;
  changed_.notify_all();
}

}  // namespace carillon
