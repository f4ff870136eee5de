#include <array>
#include <limits>

#include "sim/redis/redis_chosen.hpp"
#include "sim/redis/redis_execution.hpp"

namespace carillon::sim {

namespace {

using Fields = decltype(RedisHash::fields);

Fields& fields_of(RedisKey& key) { return std::get<RedisHash>(key.value).fields; }

/// True: the field is new.
bool put(RedisExecution& run, RedisKey& key, std::string_view field, std::string_view value) {
  Fields& fields = fields_of(key);
  const auto place = fields.lower_bound(field);
  if (place != fields.end() && place->first == field) {
    run.keys.shrink(key, place->second.size());
    run.keys.grow(key, value.size());
    place->second = value;
    return false;
  }
  fields.emplace_hint(place, field, value);
  run.keys.grow(key, RedisKeyspace::kItemBytes + field.size() + value.size());
  return true;
}

RedisReply hset(RedisExecution& run) {
  if (run.words.size() % 2 != 0) return redis_error("ERR wrong number of arguments for 'hset' command");
  RedisKey& key = run.find_or_make<RedisHash>();
  std::int64_t added = 0;
  for (std::size_t i = 2; i < run.words.size(); i += 2)
    added += put(run, key, run.words[i], run.words[i + 1]) ? 1 : 0;
  run.changed();
  return redis_number(added);
}

RedisReply hdel(RedisExecution& run) {
  RedisKey* const key = run.find<RedisHash>();
  if (key == nullptr) return redis_number(0);
  std::int64_t removed = 0;
  Fields& fields = fields_of(*key);
  for (const std::string_view field : run.words.subspan(2)) {
    const auto found = fields.find(field);
    if (found == fields.end()) continue;
    run.keys.shrink(*key, RedisKeyspace::kItemBytes + found->first.size() + found->second.size());
    fields.erase(found);
    ++removed;
  }
  if (fields.empty()) run.remove();
  if (removed > 0) run.changed();
  return redis_number(removed);
}

RedisReply value_of(RedisKey* key, std::string_view field) {
  if (key == nullptr) return {};
  const Fields& fields = fields_of(*key);
  const auto found = fields.find(field);
  return found == fields.end() ? RedisReply{} : redis_text(found->second);
}

RedisReply hget(RedisExecution& run) { return value_of(run.find<RedisHash>(), run.words[2]); }

RedisReply hmget(RedisExecution& run) {
  RedisKey* const key = run.find<RedisHash>();
  RedisReply reply = redis_array(run.words.size() - 2);
  for (const std::string_view field : run.words.subspan(2)) reply.items.push_back(value_of(key, field));
  return reply;
}

RedisReply hgetall(RedisExecution& run) {
  RedisKey* const key = run.find<RedisHash>();
  if (key == nullptr) return redis_array();
  RedisReply reply = redis_array(2 * fields_of(*key).size());
  for (const auto& [field, value] : fields_of(*key)) {
    reply.items.push_back(redis_text(field));
    reply.items.push_back(redis_text(value));
  }
  return reply;
}

RedisReply hlen(RedisExecution& run) {
  RedisKey* const key = run.find<RedisHash>();
  return redis_number(key == nullptr ? 0 : static_cast<std::int64_t>(fields_of(*key).size()));
}

RedisReply hincrby(RedisExecution& run) {
  const std::int64_t by = redis_integer_or_refuse(run.words[3]);
  RedisKey* const known = run.find<RedisHash>();
  const RedisReply before = value_of(known, run.words[2]);
  const std::optional<std::int64_t> number = before.is_nil() ? 0 : redis_integer(before.text);
  if (!number) return redis_error("ERR hash value is not an integer");
  using Limits = std::numeric_limits<std::int64_t>;
  if (by > 0 ? *number > Limits::max() - by : *number < Limits::min() - by)
    return redis_error("ERR increment or decrement would overflow");
  RedisReply reply = redis_number(*number + by);
  put(run, run.find_or_make<RedisHash>(), run.words[2], reply.text);
  run.changed();
  return reply;
}

// HRANDFIELD key [count [WITHVALUES]]
RedisReply hrandfield(RedisExecution& run) {
  const bool has_values = run.words.size() == 4;
  if (run.words.size() > 4 || (has_values && !is_redis_word(run.words[3], "WITHVALUES")))
    return redis_error("ERR syntax error");
  const std::int64_t count = run.words.size() < 3 ? 1 : redis_integer_or_refuse(run.words[2]);
  if (count < 0) return redis_error("ERR syntax error (the model has no fields that repeat)");
  RedisKey* const key = run.find<RedisHash>();
  if (run.words.size() < 3) {
    if (key == nullptr) return {};
    return redis_text(chosen_of(fields_of(*key), 1, run.random).front()->first);
  }
  RedisReply reply = redis_array();
  if (key == nullptr) return reply;
  for (const auto& field : chosen_of(fields_of(*key), static_cast<std::uint64_t>(count), run.random)) {
    // Pairs; a script gets them one behind the other.
    RedisReply pair = redis_array(2);
    RedisReply& where = has_values && !run.is_in_script ? pair : reply;
    where.items.push_back(redis_text(field->first));
    if (has_values) where.items.push_back(redis_text(field->second));
    if (&where == &pair) reply.items.push_back(std::move(pair));
  }
  return reply;
}

}  // namespace

std::span<const RedisCommandRow> redis_hash_commands() {
  static constexpr std::array kCommands{
      RedisCommandRow{"HSET", -4, hset, true},
      RedisCommandRow{"HDEL", -3, hdel, true},
      RedisCommandRow{"HGET", 3, hget},
      RedisCommandRow{"HMGET", -3, hmget},
      RedisCommandRow{"HGETALL", 2, hgetall},
      RedisCommandRow{"HLEN", 2, hlen},
      RedisCommandRow{"HINCRBY", 4, hincrby, true},
      RedisCommandRow{"HRANDFIELD", -2, hrandfield},
  };
  return kCommands;
}

}  // namespace carillon::sim
