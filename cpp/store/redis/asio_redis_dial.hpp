#pragma once

#include <memory>
#include <span>
#include <string>

#include "store/redis/redis_command.hpp"
#include "store/redis/redis_options.hpp"
#include "store/redis/redis_reply.hpp"

namespace boost::asio {
class io_context;  // NOLINT(readability-identifier-naming)
}

namespace carillon {

/// Whom to call, and what is said there first.
struct RedisPeer {
  RedisAddress address;
  std::string unix_socket;  ///< a path; empty: TCP
  std::string role;         ///< for people: "redis"
  RedisLogin login;
  std::string login_options;  ///< for people: where the login is written
  int database = 0;
};

class RedisDialEvents {
 public:
  virtual ~RedisDialEvents() = default;
  virtual void on_dial_up() = 0;
  virtual void on_dial_reply(RedisReply&& reply) = 0;
  virtual void on_dial_push(RedisReply&& push) = 0;
  /// The last event.
  virtual void on_dial_down(const std::string& reason) = 0;
};

/// One connection to one server, once.
class RedisDial {
 public:
  virtual ~RedisDial() = default;
  virtual void start() = 0;
  /// Only while it is up.
  virtual void send(std::span<const RedisCommand> commands) = 0;
  /// No event comes any more.
  virtual void hang_up() = 0;
  /// For people: "redis at HOST:PORT".
  [[nodiscard]] virtual const std::string& name() const = 0;
};

/// TLS and timeouts are those of `endpoint`.
[[nodiscard]] std::shared_ptr<RedisDial> make_redis_dial(boost::asio::io_context& io,
                                                         const RedisEndpoint& endpoint, RedisPeer peer,
                                                         RedisDialEvents& events);

}  // namespace carillon
