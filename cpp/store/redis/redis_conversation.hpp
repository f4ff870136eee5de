#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/redis/asio_redis_thread.hpp"
#include "store/redis/redis_command.hpp"
#include "store/redis/redis_link.hpp"
#include "store/redis/redis_options.hpp"
#include "store/redis/redis_reply.hpp"

namespace carillon {

/// A link for a command of the command line: it asks, and waits for the answer. All waits are bounded.
/// Throws StoreRefused, with a sentence, whenever there is no answer.
class RedisConversation final : private RedisLinkEvents {
 public:
  /// `patience_ms`: for each answer.
  RedisConversation(const RedisEndpoint& endpoint, RandomSource& random, Millis patience_ms);
  ~RedisConversation() override;
  RedisConversation(const RedisConversation&) = delete;
  RedisConversation& operator=(const RedisConversation&) = delete;

  /// Nothing is waited for beyond this time from now.
  void end_after(Millis ms) { end_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms); }
  /// Waits for a link, also for another one after the last was lost.
  void connect();
  /// The replies, in order; an error is a reply, too.
  [[nodiscard]] std::vector<RedisReply> ask(std::vector<RedisCommand> commands);
  [[nodiscard]] RedisReply ask(RedisCommand command);
  /// Sends a command that has no reply, but is confirmed by a push. Empty, or why it was refused: then the
  /// link is lost.
  [[nodiscard]] std::string confirm(RedisCommand command);

 private:
  void send(std::vector<RedisCommand> commands);
  template <typename IsMet>
  [[nodiscard]] bool wait(std::unique_lock<std::mutex>& lock, IsMet is_met);
  void on_link_up() override;
  void on_reply(RedisReply&& reply) override;
  void on_push(RedisReply&& push) override;
  void on_link_down(const std::string& reason) override;

  const Millis patience_ms_;
  std::chrono::steady_clock::time_point end_ = std::chrono::steady_clock::time_point::max();
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by the mutex.
  bool is_up_ = false;
  bool has_failed_ = false;
  std::string reason_;
  std::vector<RedisReply> replies_;
  std::size_t pushes_ = 0;
  // On the thread.
  std::unique_ptr<RedisLink> link_;
  AsioRedisThread thread_;  // ends first
};

}  // namespace carillon
