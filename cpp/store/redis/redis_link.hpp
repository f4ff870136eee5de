#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/redis/redis_command.hpp"
#include "store/redis/redis_reply.hpp"

namespace carillon {

/// The first item of a push that no server sends: SSUBSCRIBE or SUNSUBSCRIBE was refused, with this error.
inline constexpr std::string_view kSubscriptionRefused = "refused";

/// Receives what comes over a link, on its thread, in the order in which Redis wrote it.
class RedisLinkEvents {
 public:
  virtual ~RedisLinkEvents() = default;
  /// The link is made: the server has accepted user and password, and speaks RESP3. Nothing of an earlier
  /// link comes any more.
  virtual void on_link_up() = 0;
  /// The reply to the oldest command that has none. (P|S)SUBSCRIBE and (P|S)UNSUBSCRIBE have no reply, only
  /// pushes.
  virtual void on_reply(RedisReply&& reply) = 0;
  /// A message, or the confirmation of a subscription: the whole push, as an array.
  virtual void on_push(RedisReply&& push) = 0;
  /// No reply to what was sent comes any more; the link is made again, with a pause. `reason` is a sentence
  /// for the operator, without a secret. Also when a link could not be made.
  virtual void on_link_down(const std::string& reason) = 0;
};

/// A connection to one Redis server, which is made again whenever it is lost. All is on one thread.
class RedisLink {
 public:
  virtual ~RedisLink() = default;
  /// In this order, in one piece. Only while it is up.
  virtual void send(std::span<const RedisCommand> commands) = 0;
  /// Gives this connection up, resolves the address again (the server is no primary any more), and makes
  /// another one.
  virtual void renew(const std::string& reason) = 0;
};

}  // namespace carillon
