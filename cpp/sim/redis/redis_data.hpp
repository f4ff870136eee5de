#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/redis/redis_command.hpp"
#include "store/redis/redis_reply.hpp"

namespace carillon::sim {

/// What a command has done beside its answer.
struct RedisEffects {
  struct Message {
    std::string channel;
    std::string text;
    bool is_sharded = false;  ///< SPUBLISH
  };
  std::vector<Message> published;     ///< in order
  std::vector<RedisCommand> changes;  ///< the commands that have changed data, as a replica gets them
};

/// What a command asks its server for.
struct RedisMoment {
  Millis wall_ms = 0;         ///< for TIME and lifetimes
  std::string_view identity;  ///< `master_replid` of INFO
  bool is_primary = true;     ///< the role of INFO; a replica refuses commands that write
  /// The connections that hear a channel, which is what (S)PUBLISH answers; nullptr: none. The flag: sharded.
  const std::function<std::int64_t(std::string_view channel, bool is_sharded)>* hearers = nullptr;
};

/// The keys of one Redis server, and the commands that Carillon's store gives it, with the meaning and the
/// errors that Redis 7 gives them. Scripts run in Lua 5.1, as in Redis, so that the simulator runs those that
/// ship. It knows no network, no connections and no time of its own; a copy is a snapshot.
/// Deterministic: equal calls on equal data with an equal random source have equal results.
class RedisData {
 public:
  explicit RedisData(RandomSource& random);
  ~RedisData();
  RedisData(const RedisData& other);             ///< with the scripts that were loaded
  RedisData& operator=(const RedisData& other);  ///< the same

  /// Carries one command out. Not (UN)SUBSCRIBE and what else belongs to a connection.
  [[nodiscard]] RedisReply execute(const RedisCommand& command, const RedisMoment& moment,
                                   RedisEffects& effects);
  /// Carries out what the primary has changed (RedisEffects::changes), on a replica too. `moment` is that of
  /// the primary's command, so that lifetimes end at the same time.
  void follow(const std::vector<RedisCommand>& changes, const RedisMoment& moment);
  /// Forgets the scripts, as a restart does.
  void forget_scripts();
  /// Bytes of keys and values, about; counted as they change. A key that has ended counts until a command
  /// names it.
  [[nodiscard]] std::size_t bytes() const;
  /// Names of the keys, sorted.
  [[nodiscard]] std::vector<std::string> names(Millis wall_ms) const;
  /// What is left of a key's life; nothing: it has no end, or there is no such key.
  [[nodiscard]] std::optional<Millis> lifetime_ms(std::string_view name, Millis wall_ms) const;

 private:
  struct Keys;
  RandomSource* random_;
  std::unique_ptr<Keys> keys_;
};

}  // namespace carillon::sim
