// Commands on keys of any kind, and on strings.
#include <array>
#include <limits>

#include "sim/redis/redis_execution.hpp"

namespace carillon::sim {

namespace {

RedisReply get(RedisExecution& run) {
  const RedisKey* const key = run.find<std::string>();
  return key == nullptr ? RedisReply{} : redis_text(std::get<std::string>(key->value));
}

/// The end of a lifetime that begins now.
Millis end_of(const RedisExecution& run, Millis lifetime_ms, std::string_view command) {
  if (lifetime_ms > std::numeric_limits<Millis>::max() - run.moment.wall_ms)
    throw RedisRefusal{"ERR invalid expire time in '" + std::string(command) + "' command"};
  return run.moment.wall_ms + lifetime_ms;
}

// SET key value [NX] [PX milliseconds]
RedisReply set(RedisExecution& run) {
  bool is_only_new = false;
  std::optional<Millis> lifetime_ms;
  for (std::size_t i = 3; i < run.words.size(); ++i) {
    if (is_redis_word(run.words[i], "NX")) {
      is_only_new = true;
    } else if (is_redis_word(run.words[i], "PX") && i + 1 < run.words.size() && !lifetime_ms) {
      lifetime_ms = redis_integer_or_refuse(run.words[++i]);
    } else {
      return redis_error("ERR syntax error");
    }
  }
  if (lifetime_ms && *lifetime_ms <= 0) return redis_error("ERR invalid expire time in 'set' command");
  const Millis ends_ms = lifetime_ms ? end_of(run, *lifetime_ms, "set") : RedisKey::kNever;
  if (is_only_new && run.keys.find(run.words[1], run.moment.wall_ms) != nullptr) return {};
  RedisKey& key = run.keys.make(run.words[1]);
  key.value.emplace<std::string>(run.words[2]);
  key.ends_ms = ends_ms;
  run.keys.grow(key, run.words[2].size());
  run.changed();
  return redis_text("OK");
}

RedisReply exists(RedisExecution& run) {
  std::int64_t found = 0;
  for (const std::string_view name : run.words.subspan(1))
    found += run.keys.find(name, run.moment.wall_ms) != nullptr ? 1 : 0;
  return redis_number(found);
}

RedisReply del(RedisExecution& run) {
  std::int64_t removed = 0;
  for (const std::string_view name : run.words.subspan(1))
    removed += run.keys.remove(name, run.moment.wall_ms) ? 1 : 0;
  if (removed > 0) run.changed();
  return redis_number(removed);
}

RedisReply pexpire(RedisExecution& run) {
  const Millis lifetime_ms = redis_integer_or_refuse(run.words[2]);
  const Millis ends_ms = end_of(run, lifetime_ms, "pexpire");
  RedisKey* const key = run.keys.find(run.words[1], run.moment.wall_ms);
  if (key == nullptr) return redis_number(0);
  if (lifetime_ms <= 0) {
    run.remove();
  } else {
    key->ends_ms = ends_ms;
  }
  run.changed();
  return redis_number(1);
}

RedisReply persist(RedisExecution& run) {
  RedisKey* const key = run.keys.find(run.words[1], run.moment.wall_ms);
  if (key == nullptr || key->ends_ms == RedisKey::kNever) return redis_number(0);
  key->ends_ms = RedisKey::kNever;
  run.changed();
  return redis_number(1);
}

}  // namespace

std::span<const RedisCommandRow> redis_key_commands() {
  static constexpr std::array kCommands{
      RedisCommandRow{"GET", 2, get},
      RedisCommandRow{"SET", -3, set, true, RedisAnswer::status},
      RedisCommandRow{"EXISTS", -2, exists},
      RedisCommandRow{"DEL", -2, del, true},
      RedisCommandRow{"PEXPIRE", 3, pexpire, true},
      RedisCommandRow{"PERSIST", 2, persist, true},
  };
  return kCommands;
}

}  // namespace carillon::sim
