// Commands on sets, and on sorted sets whose scores are all 0.
#include <algorithm>
#include <array>

#include "sim/redis/redis_chosen.hpp"
#include "sim/redis/redis_execution.hpp"

namespace carillon::sim {

namespace {

using Members = decltype(RedisSet::members);

template <typename Kind>
Members& members_of(RedisKey& key) {
  return std::get<Kind>(key.value).members;
}

template <typename Kind>
bool add(RedisExecution& run, RedisKey& key, std::string_view member) {
  if (!members_of<Kind>(key).emplace(member).second) return false;
  run.keys.grow(key, RedisKeyspace::kItemBytes + member.size());
  return true;
}

template <typename Kind>
RedisReply remove_members(RedisExecution& run) {
  RedisKey* const key = run.find<Kind>();
  if (key == nullptr) return redis_number(0);
  Members& members = members_of<Kind>(*key);
  std::int64_t removed = 0;
  for (const std::string_view member : run.words.subspan(2)) {
    const auto found = members.find(member);
    if (found == members.end()) continue;
    members.erase(found);
    run.keys.shrink(*key, RedisKeyspace::kItemBytes + member.size());
    ++removed;
  }
  if (members.empty()) run.remove();
  if (removed > 0) run.changed();
  return redis_number(removed);
}

// ---- sets

RedisReply sadd(RedisExecution& run) {
  RedisKey& key = run.find_or_make<RedisSet>();
  std::int64_t added = 0;
  for (const std::string_view member : run.words.subspan(2)) added += add<RedisSet>(run, key, member) ? 1 : 0;
  if (added > 0) run.changed();
  return redis_number(added);
}

// SRANDMEMBER key [count]
RedisReply srandmember(RedisExecution& run) {
  const bool has_count = run.words.size() == 3;
  if (run.words.size() > 3) return redis_error("ERR syntax error");
  const std::int64_t count = has_count ? redis_integer_or_refuse(run.words[2]) : 1;
  if (count < 0) return redis_error("ERR syntax error (the model has no members that repeat)");
  RedisKey* const key = run.find<RedisSet>();
  if (key == nullptr) return has_count ? redis_array() : RedisReply{};
  const auto chosen = chosen_of(members_of<RedisSet>(*key), static_cast<std::uint64_t>(count), run.random);
  if (!has_count) return redis_text(*chosen.front());
  RedisReply reply = redis_array(chosen.size());
  for (const auto& member : chosen) reply.items.push_back(redis_text(*member));
  return reply;
}

// ---- sorted sets

RedisReply zadd(RedisExecution& run) {
  if (run.words.size() % 2 != 0) return redis_error("ERR syntax error");
  for (std::size_t i = 2; i < run.words.size(); i += 2) {
    if (run.words[i] != "0") return redis_error("ERR value is not a valid float (the model has only 0)");
  }
  RedisKey& key = run.find_or_make<RedisSortedSet>();
  std::int64_t added = 0;
  for (std::size_t i = 3; i < run.words.size(); i += 2)
    added += add<RedisSortedSet>(run, key, run.words[i]) ? 1 : 0;
  if (added > 0) run.changed();
  return redis_number(added);
}

RedisReply zcard(RedisExecution& run) {
  RedisKey* const key = run.find<RedisSortedSet>();
  return redis_number(key == nullptr ? 0
                                     : static_cast<std::int64_t>(members_of<RedisSortedSet>(*key).size()));
}

RedisReply zscore(RedisExecution& run) {
  RedisKey* const key = run.find<RedisSortedSet>();
  if (key == nullptr || !members_of<RedisSortedSet>(*key).contains(run.words[2])) return {};
  return redis_number(0);
}

bool is_bound(std::string_view bound) {
  return bound == "-" || bound == "+" || bound.starts_with('(') || bound.starts_with('[');
}

/// The first member that is not below the bound; `is_last`: that is above it.
Members::const_iterator place_of_bound(const Members& members, std::string_view bound, bool is_last) {
  if (bound == "-") return members.begin();
  if (bound == "+") return members.end();
  const bool is_behind = is_last ? bound[0] == '[' : bound[0] == '(';
  return is_behind ? members.upper_bound(bound.substr(1)) : members.lower_bound(bound.substr(1));
}

// ZRANGEBYLEX key min max [LIMIT offset count]
RedisReply zrangebylex(RedisExecution& run) {
  const std::size_t size = run.words.size();
  if (size != 4 && (size != 7 || !is_redis_word(run.words[4], "LIMIT")))
    return redis_error("ERR syntax error");
  const std::int64_t skipped = size == 4 ? 0 : redis_integer_or_refuse(run.words[5]);
  std::int64_t left = size == 4 ? -1 : redis_integer_or_refuse(run.words[6]);  // negative: all
  if (!is_bound(run.words[2]) || !is_bound(run.words[3]))
    return redis_error("ERR min or max not valid string range item");
  if (skipped != 0) return redis_error("ERR syntax error (the model has no offset but 0)");
  RedisKey* const key = run.find<RedisSortedSet>();
  RedisReply reply = redis_array();
  if (key == nullptr) return reply;
  const Members& members = members_of<RedisSortedSet>(*key);
  auto each = place_of_bound(members, run.words[2], false);
  const auto end = place_of_bound(members, run.words[3], true);
  if (end != members.end() && (each == members.end() || *end < *each)) return reply;
  for (; each != end && left != 0; ++each, --left) reply.items.push_back(redis_text(*each));
  return reply;
}

}  // namespace

std::span<const RedisCommandRow> redis_set_commands() {
  static constexpr std::array kCommands{
      RedisCommandRow{"SADD", -3, sadd, true},
      RedisCommandRow{"SREM", -3, remove_members<RedisSet>, true},
      RedisCommandRow{"SRANDMEMBER", -2, srandmember},
      RedisCommandRow{"ZADD", -4, zadd, true},
      RedisCommandRow{"ZREM", -3, remove_members<RedisSortedSet>, true},
      RedisCommandRow{"ZCARD", 2, zcard},
      RedisCommandRow{"ZSCORE", 3, zscore, false, RedisAnswer::real},
      RedisCommandRow{"ZRANGEBYLEX", -4, zrangebylex},
  };
  return kCommands;
}

}  // namespace carillon::sim
