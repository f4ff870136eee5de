#include "sim/redis/redis_keyspace.hpp"

#include <algorithm>

namespace carillon::sim {

RedisKey* RedisKeyspace::find(std::string_view name, Millis wall_ms) {
  const auto found = keys_.find(name);
  if (found == keys_.end()) return nullptr;
  if (found->second.ends_ms > wall_ms) return &found->second;
  erase(found);
  return nullptr;
}

RedisKey& RedisKeyspace::make(std::string_view name) {
  if (const auto before = keys_.find(name); before != keys_.end()) erase(before);
  RedisKey& key = keys_[std::string(name)];
  grow(key, kKeyBytes + name.size());
  return key;
}

bool RedisKeyspace::remove(std::string_view name, Millis wall_ms) {
  const auto found = keys_.find(name);
  if (found == keys_.end()) return false;
  const bool was_there = found->second.ends_ms > wall_ms;
  erase(found);
  return was_there;
}

void RedisKeyspace::erase(Keys::iterator key) {
  bytes_ -= key->second.bytes;
  keys_.erase(key);
}

std::vector<std::string> RedisKeyspace::names(Millis wall_ms) const {
  std::vector<std::string> names;
  for (const auto& [name, key] : keys_) {
    if (key.ends_ms > wall_ms) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<Millis> RedisKeyspace::lifetime_ms(std::string_view name, Millis wall_ms) const {
  const auto found = keys_.find(name);
  const bool has_end = found != keys_.end() && found->second.ends_ms != RedisKey::kNever;
  if (!has_end || found->second.ends_ms <= wall_ms) return std::nullopt;
  return found->second.ends_ms - wall_ms;
}

}  // namespace carillon::sim
