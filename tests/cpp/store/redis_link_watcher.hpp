#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "env/random.hpp"
#include "store/redis/asio_redis_thread.hpp"
#include "store/redis_process.hpp"

namespace carillon {

/// A text of a reply, short enough to be compared: "text", ":number", "-ERROR", "nil", "[a b]".
inline std::string told(const RedisReply& reply) {
  switch (reply.kind) {
    case RedisReply::Kind::nil:
      return "nil";
    case RedisReply::Kind::number:
      return ':' + reply.text;
    case RedisReply::Kind::error:
      return '-' + reply.text.substr(0, reply.text.find(' '));
    case RedisReply::Kind::array: {
      std::string text = "[";
      for (const RedisReply& item : reply.items) text += (text.size() == 1 ? "" : " ") + told(item);
      return text + ']';
    }
    default:
      return reply.text;
  }
}

/// A link, and a journal of what it tells.
class LinkWatcher : public RedisLinkEvents {
 public:
  explicit LinkWatcher(const RedisEndpoint& endpoint) {
    thread_.run([&] { link_ = thread_.link(endpoint, random_, *this); });
  }
  ~LinkWatcher() override {
    thread_.run([&] { link_.reset(); });
  }

  void on_link_up() override { note("up"); }
  void on_reply(RedisReply&& reply) override {
    if (on_each_reply) on_each_reply(reply);
    note(told(reply));
  }
  void on_push(RedisReply&& push) override { note("> " + told(push)); }
  void on_link_down(const std::string& reason) override { note("down: " + reason); }

  void send(const std::vector<RedisCommand>& commands) {
    thread_.run([&] { link_->send(commands); });
  }
  void renew(const std::string& reason) {
    thread_.run([&] { link_->renew(reason); });
  }

  /// Waits until the journal has that many lines, and returns it. Fewer: after the time.
  std::vector<std::string> lines(std::size_t count,
                                 std::chrono::milliseconds time = std::chrono::milliseconds(30'000)) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time, [&] { return journal_.size() >= count; });
    return journal_;
  }
  /// Waits for a line that begins so, from line `from` on; its number, or the size of the journal.
  std::size_t line(const std::string& start, std::size_t from = 0,
                   std::chrono::milliseconds time = std::chrono::milliseconds(60'000)) {
    std::unique_lock lock(mutex_);
    std::size_t at = from;
    changed_.wait_for(lock, time, [&] {
      while (at < journal_.size() && !journal_[at].starts_with(start)) ++at;
      return at < journal_.size();
    });
    return at;
  }
  std::string at(std::size_t index) {
    const std::lock_guard lock(mutex_);
    return index < journal_.size() ? journal_[index] : "(nothing)";
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    journal_.clear();
  }
  AsioRedisThread& thread() { return thread_; }
  RedisLink& link() { return *link_; }

  std::function<void(const RedisReply&)> on_each_reply;

 private:
  void note(std::string line) {
    const std::lock_guard lock(mutex_);
    journal_.push_back(std::move(line));
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> journal_;
  SystemRandom random_;
  AsioRedisThread thread_;
  std::unique_ptr<RedisLink> link_;
};

class RedisLinkTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = RedisProcess::missing(); !why.empty()) GTEST_SKIP() << why;
  }
};

}  // namespace carillon
