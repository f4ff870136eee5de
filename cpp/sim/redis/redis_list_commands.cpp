#include <algorithm>
#include <array>

#include "sim/redis/redis_execution.hpp"

namespace carillon::sim {

namespace {

using Items = decltype(RedisList::items);

Items& items_of(RedisKey& key) { return std::get<RedisList>(key.value).items; }

RedisReply rpush(RedisExecution& run) {
  RedisKey& key = run.find_or_make<RedisList>();
  for (const std::string_view item : run.words.subspan(2)) {
    items_of(key).emplace_back(item);
    run.keys.grow(key, RedisKeyspace::kItemBytes + item.size());
  }
  run.changed();
  return redis_number(static_cast<std::int64_t>(items_of(key).size()));
}

RedisReply lpop(RedisExecution& run) {
  RedisKey* const key = run.find<RedisList>();
  if (key == nullptr) return {};
  RedisReply reply = redis_text(items_of(*key).front());
  run.keys.shrink(*key, RedisKeyspace::kItemBytes + reply.text.size());
  items_of(*key).pop_front();
  if (items_of(*key).empty()) run.remove();
  run.changed();
  return reply;
}

RedisReply lrange(RedisExecution& run) {
  std::int64_t first = redis_integer_or_refuse(run.words[2]);
  std::int64_t last = redis_integer_or_refuse(run.words[3]);
  RedisKey* const key = run.find<RedisList>();
  RedisReply reply = redis_array();
  if (key == nullptr) return reply;
  const Items& items = items_of(*key);
  const auto size = static_cast<std::int64_t>(items.size());
  if (first < 0) first = std::max<std::int64_t>(first + size, 0);
  if (last < 0) last += size;
  last = std::min(last, size - 1);
  for (std::int64_t i = first; i <= last; ++i)
    reply.items.push_back(redis_text(items[static_cast<std::size_t>(i)]));
  return reply;
}

/// nullptr: the list has no such item.
std::string* item_at(RedisKey& key, std::int64_t index) {
  Items& items = items_of(key);
  const auto size = static_cast<std::int64_t>(items.size());
  if (index < 0) index += size;
  return index < 0 || index >= size ? nullptr : &items[static_cast<std::size_t>(index)];
}

RedisReply lindex(RedisExecution& run) {
  RedisKey* const key = run.find<RedisList>();
  if (key == nullptr) return {};
  const std::string* const item = item_at(*key, redis_integer_or_refuse(run.words[2]));
  return item == nullptr ? RedisReply{} : redis_text(*item);
}

RedisReply lset(RedisExecution& run) {
  RedisKey* const key = run.find<RedisList>();
  if (key == nullptr) return redis_error("ERR no such key");
  std::string* const item = item_at(*key, redis_integer_or_refuse(run.words[2]));
  if (item == nullptr) return redis_error("ERR index out of range");
  run.keys.shrink(*key, item->size());
  run.keys.grow(*key, run.words[3].size());
  *item = run.words[3];
  run.changed();
  return redis_text("OK");
}

}  // namespace

std::span<const RedisCommandRow> redis_list_commands() {
  static constexpr std::array kCommands{
      RedisCommandRow{"RPUSH", -3, rpush, true},
      RedisCommandRow{"LPOP", 2, lpop, true},
      RedisCommandRow{"LRANGE", 4, lrange},
      RedisCommandRow{"LINDEX", 3, lindex},
      RedisCommandRow{"LSET", 4, lset, true, RedisAnswer::status},
  };
  return kCommands;
}

}  // namespace carillon::sim
