#pragma once

#include <array>
#include <string_view>

namespace carillon {

/// A command that a gateway uses, by itself or in a script (redis_scripts.hpp).
struct RedisNeededCommand {
  std::string_view name;   ///< as an ACL has it
  std::string_view trial;  ///< what shows whether it is permitted, and changes nothing; see RedisCheckup
};

/// All of them: docs/redis.md has the same list, and `carillon doctor` tries each.
/// In a trial, K stands for a key and C for a channel of Redis that nobody else uses. Most trials have an
/// argument that Redis refuses, after it has looked whether the command is permitted. An empty trial: the
/// command has been used when there is a link; or it has no reply, and is tried in another way.
inline constexpr std::array kRedisNeededCommands{
    RedisNeededCommand{"hello", ""},
    RedisNeededCommand{"ping", "PING"},
    RedisNeededCommand{"select", "SELECT none"},
    RedisNeededCommand{"info", "INFO replication"},
    RedisNeededCommand{"evalsha", "EVALSHA 0000000000000000000000000000000000000000 0"},
    RedisNeededCommand{"script|load", "SCRIPT LOAD return"},
    RedisNeededCommand{"subscribe", ""},
    RedisNeededCommand{"unsubscribe", ""},
    RedisNeededCommand{"publish", "PUBLISH C nothing"},
    RedisNeededCommand{"time", "TIME"},
    RedisNeededCommand{"hget", "HGET K field"},
    RedisNeededCommand{"hset", "HSET K field value odd"},
    RedisNeededCommand{"hdel", "HDEL K field"},
    RedisNeededCommand{"hmget", "HMGET K field"},
    RedisNeededCommand{"hgetall", "HGETALL K"},
    RedisNeededCommand{"hincrby", "HINCRBY K field none"},
    RedisNeededCommand{"hlen", "HLEN K"},
    RedisNeededCommand{"hrandfield", "HRANDFIELD K"},
    RedisNeededCommand{"get", "GET K"},
    RedisNeededCommand{"set", "SET K value NONE"},
    RedisNeededCommand{"exists", "EXISTS K"},
    RedisNeededCommand{"persist", "PERSIST K"},
    RedisNeededCommand{"xadd", "XADD K none field value"},
    RedisNeededCommand{"xtrim", "XTRIM K MAXLEN none"},
    RedisNeededCommand{"xrange", "XRANGE K - +"},
    RedisNeededCommand{"xrevrange", "XREVRANGE K + -"},
    RedisNeededCommand{"zadd", "ZADD K none member"},
    RedisNeededCommand{"zrem", "ZREM K member"},
    RedisNeededCommand{"zcard", "ZCARD K"},
    RedisNeededCommand{"zscore", "ZSCORE K member"},
    RedisNeededCommand{"zrangebylex", "ZRANGEBYLEX K - +"},
    RedisNeededCommand{"srem", "SREM K member"},
    RedisNeededCommand{"srandmember", "SRANDMEMBER K"},
    RedisNeededCommand{"lpop", "LPOP K"},
    RedisNeededCommand{"lrange", "LRANGE K 0 0"},
    RedisNeededCommand{"lindex", "LINDEX K 0"},
    RedisNeededCommand{"lset", "LSET K 0 value"},
    // These two can only be tried by writing: what they write is removed by the next two.
    RedisNeededCommand{"sadd", "SADD K member"},
    RedisNeededCommand{"rpush", "RPUSH K value"},
    RedisNeededCommand{"pexpire", "PEXPIRE K 1000"},
    RedisNeededCommand{"del", "DEL K"},
};

/// What a gateway needs in a cluster as well.
inline constexpr std::array kRedisClusterCommands{
    RedisNeededCommand{"cluster|info", "CLUSTER INFO"},
    RedisNeededCommand{"cluster|slots", "CLUSTER SLOTS"},
    RedisNeededCommand{"asking", "ASKING"},
    RedisNeededCommand{"echo", "ECHO nothing"},
    RedisNeededCommand{"spublish", "SPUBLISH C nothing"},
    RedisNeededCommand{"ssubscribe", ""},
    RedisNeededCommand{"sunsubscribe", ""},
};

}  // namespace carillon
