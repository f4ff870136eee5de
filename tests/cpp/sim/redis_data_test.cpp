// The model answers the commands of the store as a real Redis does, whatever the keys are.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "doubles/seeds.hpp"
#include "sim/redis_pair.hpp"

namespace carillon::sim {

namespace {

struct RedisDataTest : RedisPairTest {
  std::string one_of(std::initializer_list<std::string_view> words) {
    return std::string(words.begin()[pair->random().below(words.size())]);
  }
  /// Mostly one of the kind that is meant.
  std::string key(std::string_view kind) {
    return (pair->random().chance(92) ? std::string(kind)
                                      : one_of({"string", "hash", "list", "set", "sorted", "stream"})) +
           one_of({"1", "2", "3"});
  }
  std::string word() { return one_of({"a", "b", "c", "ab", "", "7", "-3", "x y", "9223372036854775807"}); }
  std::string bound() { return one_of({"-", "+", "[a", "(a", "[b", "(b", "[", "(", "(x", "a"}); }
  std::string number() { return one_of({"0", "1", "2", "5", "-1", "-2", "100", "one", "", "01", "1.5"}); }
  std::string id() {
    return one_of({"1", "2", "3-1", "3-2", "4-0", "5-7", "6", "7-1", "8", "9", "10-10", "0-0", "0-1", "none",
                   "3-", "18446744073709551615-18446744073709551615"});
  }
  std::string range_id() { return one_of({"-", "+", "1", "3", "3-1", "3-2", "5", "8", "0", "none"}); }
  std::string lifetime() { return one_of({"1200000", "3600000", "7200000", "0", "-5", "soon"}); }

  void ask_on_strings_and_keys() {
    const std::string any = key(one_of({"string", "hash", "list", "set", "sorted", "stream"}));
    switch (pair->random().below(9)) {
      case 0:
        pair->ask({"GET", key("string")});
        break;
      case 1:
        pair->ask({"SET", key("string"), word()});
        break;
      case 2:
        pair->ask({"SET", key("string"), word(), "PX", lifetime()});
        break;
      case 3:
        pair->ask({"SET", key("string"), word(), "NX"});
        break;
      case 4:
        pair->ask({"SET", key("string"), word(), "NX", "PX", lifetime()});
        break;
      case 5:
        pair->ask({"EXISTS", any, key("string")});
        break;
      case 6:
        pair->ask({"PEXPIRE", any, lifetime()});
        break;
      case 7:
        pair->ask({"PERSIST", any});
        break;
      default:
        if (pair->random().chance(30)) pair->ask({"DEL", any, key("hash")});
        break;
    }
  }
  void ask_on_hashes() {
    switch (pair->random().below(9)) {
      case 0:
        pair->ask({"HSET", key("hash"), word(), word()});
        break;
      case 1:
        pair->ask({"HSET", key("hash"), word(), word(), word(), word()});
        break;
      case 2:
        pair->ask({"HDEL", key("hash"), word(), word()});
        break;
      case 3:
        pair->ask({"HGET", key("hash"), word()});
        break;
      case 4:
        pair->ask({"HMGET", key("hash"), word(), word(), word()});
        break;
      case 5:
        pair->ask({"HGETALL", key("hash")}, kPairs);
        break;
      case 6:
        pair->ask({"HLEN", key("hash")});
        break;
      case 7:
        pair->ask({"HINCRBY", key("hash"), word(), one_of({"1", "-1", "5", "x", "9223372036854775807"})});
        break;
      default:
        pair->ask({"HRANDFIELD", key("hash"), "100", "WITHVALUES"}, kAny);
        break;
    }
  }
  void ask_on_lists() {
    switch (pair->random().below(6)) {
      case 0:
        pair->ask({"RPUSH", key("list"), word()});
        break;
      case 1:
        pair->ask({"RPUSH", key("list"), word(), word(), word()});
        break;
      case 2:
        pair->ask({"LPOP", key("list")});
        break;
      case 3:
        pair->ask({"LRANGE", key("list"), number(), number()});
        break;
      case 4:
        pair->ask({"LINDEX", key("list"), one_of({"0", "1", "-1", "-3", "9"})});
        break;
      default:
        pair->ask({"LSET", key("list"), one_of({"0", "1", "-1", "-3", "9"}), word()});
        break;
    }
  }
  void ask_on_sets() {
    switch (pair->random().below(9)) {
      case 0:
        pair->ask({"SADD", key("set"), word(), word()});
        break;
      case 1:
        pair->ask({"SREM", key("set"), word(), word()});
        break;
      case 2:
        pair->ask({"SRANDMEMBER", key("set"), "100"}, kAny);
        break;
      case 3:
        pair->ask({"ZADD", key("sorted"), "0", word()});
        break;
      case 4:
        pair->ask({"ZREM", key("sorted"), word()});
        break;
      case 5:
        pair->ask({"ZCARD", key("sorted")});
        break;
      case 6:
        pair->ask({"ZSCORE", key("sorted"), word()});
        break;
      case 7:
        pair->ask({"ZRANGEBYLEX", key("sorted"), bound(), bound()});
        break;
      default:
        pair->ask({"ZRANGEBYLEX", key("sorted"), bound(), bound(), "LIMIT", "0", number()});
        break;
    }
  }
  void ask_on_streams() {
    switch (pair->random().below(7)) {
      case 0:
        pair->ask({"XADD", key("stream"), id(), "d", word()});
        break;
      case 1:
        pair->ask({"XADD", key("stream"), id(), "d", word(), "c"});
        break;
      case 2:
        pair->ask({"XADD", key("stream"), "MAXLEN", number(), id(), "d", word()});
        break;
      case 3:
        pair->ask({"XTRIM", key("stream"), "MAXLEN", number()});
        break;
      case 4:
        pair->ask({"XTRIM", key("stream"), "MINID", id()});
        break;
      case 5:
        pair->ask({one_of({"XRANGE", "XREVRANGE"}), key("stream"), range_id(), range_id()});
        break;
      default:
        pair->ask(
            {one_of({"XRANGE", "XREVRANGE"}), key("stream"), range_id(), range_id(), "COUNT", number()});
        break;
    }
  }
};

TEST_F(RedisDataTest, RandomCommandsHaveTheSameRepliesAndLeaveTheSameKeys) {
  const Seeds seeds = seeds_to_play(60);
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    SCOPED_TRACE("CARILLON_SEED=" + std::to_string(seed));
    pair->begin(seed);
    for (int i = 0; i < 400; ++i) {
      switch (pair->random().below(5)) {
        case 0:
          ask_on_strings_and_keys();
          break;
        case 1:
          ask_on_hashes();
          break;
        case 2:
          ask_on_lists();
          break;
        case 3:
          ask_on_sets();
          break;
        default:
          ask_on_streams();
          break;
      }
      if (i % 100 != 99) continue;
      ASSERT_NO_FATAL_FAILURE(pair->compare());
    }
  }
}

TEST_F(RedisDataTest, AnIdOfRedisOwnFollowsTheLastOneThatIsAheadOfTheTime) {
  pair->ask({"XADD", "s", "9007199254740000-5", "d", "x"});
  pair->ask({"XADD", "s", "MAXLEN", "1", "*", "d", "y"});
  pair->ask({"XTRIM", "s", "MAXLEN", "0"});
  pair->ask({"XADD", "s", "*", "d", "z"});
  pair->ask({"XADD", "s", "9007199254740000-18446744073709551615", "d", "z"});
  EXPECT_EQ(pair->ask({"XADD", "s", "*", "d", "z"}).text, "9007199254740001-0");
  pair->compare();
}

TEST_F(RedisDataTest, CommandsWithoutKeysAndWrongNumbersOfWords) {
  for (const RedisCommand& command : {RedisCommand{"PING"},
                                      RedisCommand{"ECHO", "a word"},
                                      RedisCommand{"PUBLISH", "channel", "text"},
                                      RedisCommand{"SPUBLISH", "channel", "text"},
                                      RedisCommand{"SELECT", "0"},
                                      RedisCommand{"SELECT", "none"},
                                      RedisCommand{"CLIENT", "SETNAME", "carillon"},
                                      RedisCommand{"get", "nothing"},
                                      RedisCommand{"GET"},
                                      RedisCommand{"HSET", "k", "field"},
                                      RedisCommand{"HSET", "k", "f", "v", "odd"},
                                      RedisCommand{"LPOP"},
                                      RedisCommand{"SET", "k", "value", "NONE"},
                                      RedisCommand{"XADD", "k", "none", "field", "value"},
                                      RedisCommand{"XTRIM", "k", "MAXLEN", "none"},
                                      RedisCommand{"HRANDFIELD", "k"},
                                      RedisCommand{"SRANDMEMBER", "k"},
                                      RedisCommand{"LSET", "k", "0", "value"},
                                      RedisCommand{"ZRANGEBYLEX", "k", "-", "+", "LIMIT", "0"},
                                      RedisCommand{"EVALSHA", std::string(40, 'a'), "0"},
                                      RedisCommand{"EVALSHA", std::string(40, 'a'), "x"},
                                      RedisCommand{"EVALSHA", std::string(40, 'a'), "1"},
                                      RedisCommand{"EVALSHA", std::string(40, 'a'), "-1"},
                                      RedisCommand{"EVALSHA", std::string(40, 'a')}})
    pair->ask(command);
  pair->compare();
}

TEST_F(RedisDataTest, ReadsOfAllSizesOfCertainContainers) {
  for (int size = 0; size < 6; ++size) {
    for (int count = 0; count < 8; ++count) {
      const RedisReply fields = pair->ask({"HRANDFIELD", "h", std::to_string(count)}, kCount);
      const RedisReply members = pair->ask({"SRANDMEMBER", "s", std::to_string(count)}, kCount);
      EXPECT_EQ(fields.items.size(), static_cast<std::size_t>(std::min(size, count)));
      EXPECT_EQ(members.items.size(), static_cast<std::size_t>(std::min(size, count)));
    }
    pair->ask({"HSET", "h", "field" + std::to_string(size), "value"});
    pair->ask({"SADD", "s", "member" + std::to_string(size)});
  }
  pair->compare();
}

// ---- scripts of a test

TEST_F(RedisDataTest, ValuesAndErrorsOfScripts) {
  for (const std::string_view text : {
           "return 1.9",
           "return -1.9",
           "return true",
           "return false",
           "return nil",
           "return 'text'",
           "return {1, 2.5, 'three', true, {false, {}}, nil, 'never'}",
           "return {ok = 'fine'}",
           "return {err = 'MINE and more'}",
           "return {redis.call('GET', 'nothing'), 'after'}",
           "return #redis.call('HMGET', 'nothing', 'a', 'b', 'c')",
           "return type(redis.call('HMGET', 'nothing', 'a')[1])",
           "return redis.call('SET', 'a', 1).ok",
           "return redis.call('SET', 'a', 1)",
           "redis.call('SET', 'a', 1.5) return redis.call('GET', 'a')",
           "redis.call('SET', 'a', 2^53) return redis.call('GET', 'a')",
           "redis.call('SET', 'a', 1e20) return redis.call('GET', 'a')",
           "redis.call('SET', 'a', -0.1) return redis.call('GET', 'a')",
           "return redis.call('HSET', 'a', 'f', 'v')",
           "local e = redis.pcall('HSET', 'a', 'f', 'v') return {type(e), e.err}",
           "return redis.pcall('HSET', 'a', 'f', 'v')",
           "\n\nredis.call('HSET', 'a', 'f', 'v')",
           "redis.call('DEL', 'a') redis.call('HSET', 'h', 'f', 'v') return redis.call('NOSUCHTHING')",
           "return redis.call('HSET', 'h')",
           "return redis.call('GET', {})",
           "return redis.call('GET', false)",
           "return redis.call()",
           "return nothing",
           "something = 1",
           "return nil .. 'x'",
           "error('mine')",
           "error({err = 'MINE too'})",
           "return #KEYS .. ARGV[1] .. (ARGV[3] or '-')",
           "return redis.call('ZADD', 'z', 0, 'm')",
           "return {redis.call('ZSCORE', 'z', 'm'), type(redis.call('ZSCORE', 'z', 'm'))}",
           "return redis.call('HRANDFIELD', 'h', 9, 'WITHVALUES')",
           "return redis.call('HGETALL', 'h')",
           "return string.format('%.0f', 2^52) .. string.rep('x', 3) .. tostring(0.1)",
           "local t = {} for i = 1, 300 do t[i] = i end return redis.call('RPUSH', 'l', unpack(t))",
           "return redis.call('EVALSHA', 'x', 0)",
           "return os.time()",
           "return",
           "return (",
       }) {
    pair->run_text(std::string(text));
  }
  pair->compare();
}

}  // namespace

}  // namespace carillon::sim
