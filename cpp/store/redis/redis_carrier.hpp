#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "store/redis/redis_command.hpp"
#include "store/redis/redis_reply.hpp"
#include "store/redis/redis_scripts.hpp"
#include "store/store.hpp"

namespace carillon {

/// A script to run, or a plain command.
struct RedisCall {
  using Done = std::function<void(StoreError, const RedisReply&)>;

  RedisScript script = RedisScript::count;  ///< count: `words` is a whole command
  std::vector<std::string> keys;            ///< of a script: the channel's hash and stream first
  RedisCommand words;                       ///< arguments from ARGV[4] on
  /// Its outcome is unknown when its answer does not come. If it is asked again, it has no further effect.
  bool is_write = false;
  /// Over another link it may be wrong, because what it builds on may be lost with this one: it is given up
  /// when the link is lost, and never sent again.
  bool is_for_this_link = false;
  bool may_be_refused = false;  ///< then nobody lacks it: it is no trouble
  Millis deadline_ms = 0;       ///< 0: RedisOptions::wait_ms from now
  Done done;                    ///< once
};

/// Hears what the machine learns beside the answers to calls.
class RedisMachineListener {
 public:
  virtual ~RedisMachineListener() = default;
  /// Calls are carried out from now on; nothing is subscribed to at Redis.
  virtual void on_ready() = 0;
  /// Another primary than before, or the same one again: it may have lost what was acknowledged.
  virtual void on_new_primary() = 0;
  /// Messages may have been lost; all is subscribed to again.
  virtual void on_doubt() = 0;
  /// A message of a Redis channel that was subscribed to.
  virtual void on_message(std::string_view channel, std::string_view message) = 0;
};

/// Carries calls out at Redis: RedisMachine at one server, RedisCluster at the nodes of a cluster.
class RedisCarrier {
 public:
  virtual ~RedisCarrier() = default;
  /// Before anything else.
  virtual void set_listener(RedisMachineListener* listener) = 0;
  /// Calls its continuation later, or at once if it is refused: overloaded, unavailable or closed.
  virtual void call(RedisCall call) = 0;
  /// (UN)SUBSCRIBE, while it is ready; otherwise nothing.
  virtual void tell(RedisCommand command) = 0;
  /// Sends what has been asked for. At the end of a turn.
  virtual void flush() = 0;
  /// Every 100 ms or so.
  virtual void tick() = 0;
  /// Answers all that waits: `outcome_unknown` if it may have been carried out.
  virtual void close() = 0;
  [[nodiscard]] virtual bool is_ready() const = 0;
  /// Are calls with this key carried out now?
  [[nodiscard]] virtual bool is_ready_for(std::string_view key) const = 0;
  [[nodiscard]] virtual std::size_t waiting() const = 0;
  /// Why calls are not carried out now; empty: they are.
  [[nodiscard]] virtual const std::string& trouble() const = 0;
};

/// A call on its way, with what is known of it.
struct RedisPending {
  RedisCall call;
  Millis deadline_ms = 0;
  Millis not_before_ms = 0;
  bool was_sent = false;  ///< and nothing has said that it was not carried out
  bool was_lost = false;  ///< it was sent over a link that broke
  // In a cluster:
  std::uint16_t slot = 0;
  std::uint16_t redirections = 0;
  bool is_asked = false;  ///< of a node to which its slot is about to move
};
using RedisPendingRef = std::unique_ptr<RedisPending>;

/// Answers with `error`, unless it may have been carried out.
inline void give_up(RedisPendingRef pending, StoreError error) {
  const bool may_be_done = (pending->was_sent || pending->was_lost) && pending->call.is_write;
  pending->call.done(may_be_done ? StoreError::outcome_unknown : error, RedisReply{});
}

}  // namespace carillon
