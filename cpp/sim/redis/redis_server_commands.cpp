// Commands that touch no key.
#include <array>

#include "sim/redis/redis_execution.hpp"

namespace carillon::sim {

namespace {

RedisReply ping(RedisExecution& /*run*/) { return redis_text("PONG"); }
RedisReply echo(RedisExecution& run) { return redis_text(run.words[1]); }
/// What is about the connection alone.
RedisReply accept(RedisExecution& /*run*/) { return redis_text("OK"); }

RedisReply select(RedisExecution& run) {
  static_cast<void>(redis_integer_or_refuse(run.words[1]));
  return redis_text("OK");
}

RedisReply time(RedisExecution& run) {
  RedisReply reply = redis_array(2);
  reply.items.push_back(redis_text(std::to_string(run.moment.wall_ms / 1'000)));
  reply.items.push_back(redis_text(std::to_string(run.moment.wall_ms % 1'000 * 1'000)));
  return reply;
}

RedisReply info(RedisExecution& run) {
  const std::string role = run.moment.is_primary ? "master" : "slave";
  return redis_text("# Replication\r\nrole:" + role +
                    "\r\nmaster_replid:" + std::string(run.moment.identity) + "\r\n");
}

RedisReply publish_to(RedisExecution& run, bool is_sharded) {
  run.effects.published.push_back({std::string(run.words[1]), std::string(run.words[2]), is_sharded});
  const bool is_known = run.moment.hearers != nullptr && *run.moment.hearers;
  return redis_number(is_known ? (*run.moment.hearers)(run.words[1], is_sharded) : 0);
}
RedisReply publish(RedisExecution& run) { return publish_to(run, false); }
RedisReply spublish(RedisExecution& run) { return publish_to(run, true); }

}  // namespace

std::span<const RedisCommandRow> redis_server_commands() {
  static constexpr std::array kCommands{
      RedisCommandRow{"PING", 1, ping, false, RedisAnswer::status},
      RedisCommandRow{"ECHO", 2, echo},
      RedisCommandRow{"HELLO", -1, accept, false, RedisAnswer::status},
      RedisCommandRow{"SELECT", 2, select, false, RedisAnswer::status},
      RedisCommandRow{"CLIENT", -2, accept, false, RedisAnswer::status},
      RedisCommandRow{"TIME", 1, time},
      RedisCommandRow{"INFO", -1, info},
      RedisCommandRow{"PUBLISH", 3, publish},
      RedisCommandRow{"SPUBLISH", 3, spublish},
  };
  return kCommands;
}

}  // namespace carillon::sim
