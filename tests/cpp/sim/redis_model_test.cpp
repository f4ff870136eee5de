// What the model has beside the answers of Redis: it repeats itself, is copied, counted and followed.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "sim/redis/redis_data.hpp"
#include "store/redis/redis_scripts.hpp"

namespace carillon::sim {

namespace {

using Names = std::vector<std::string>;

constexpr Millis kNow = 1'700'000'000'000;
constexpr std::string_view kIdentity = "0123456789abcdef0123456789abcdef01234567";

struct RedisModelTest : ::testing::Test {
  RedisReply ask(const RedisCommand& command) { return ask(data, command); }
  RedisReply ask(RedisData& of, const RedisCommand& command) { return of.execute(command, moment, effects); }
  std::string load(RedisScript script) {
    return ask(RedisCommand{"SCRIPT", "LOAD", redis_script_text(script)}).text;
  }
  static RedisCommand append_of(const std::string& hash, std::string_view group) {
    RedisCommand command{"EVALSHA", hash, "2", "h", "s", kIdentity, "", "abcdefgh", "100000000"};
    command.add(group)
        .add("600000")
        .add("announced")
        .add("r")
        .add("10")
        .add("0")
        .add("3600000")
        .add("300000");
    return command.add("gateway").add("s").add("122").add("the bytes of the entry");
  }

  SeededRandom random{1};
  RedisData data{random};
  RedisMoment moment{.wall_ms = kNow, .identity = kIdentity};
  RedisEffects effects;
};

TEST_F(RedisModelTest, AnAppendIsAnnouncedAndFollowed) {
  const RedisReply reply = ask(append_of(load(RedisScript::append), "1"));
  ASSERT_EQ(reply.items.size(), 5U) << reply.text;
  EXPECT_EQ(reply[4].text, "1");
  ASSERT_EQ(effects.published.size(), 1U);
  EXPECT_EQ(effects.published[0].channel, "announced");
  EXPECT_FALSE(effects.published[0].is_sharded);
  EXPECT_EQ(effects.published[0].text, "a abcdefgh r 0 1\n1 22\nthe bytes of the entry");
  RedisData replica(random);
  replica.follow(effects.changes, moment);
  EXPECT_EQ(replica.names(kNow), (Names{"h", "s"}));
  EXPECT_EQ(replica.bytes(), data.bytes());
  EXPECT_EQ(ask(replica, {"XRANGE", "s", "-", "+"}).items.size(), 1U);
}

TEST_F(RedisModelTest, AReplicaGetsTheIdThatThePrimaryHasChosen) {
  ask({"XADD", "s", "*", "d", "x"});
  RedisData replica(random);
  replica.follow(effects.changes, {.wall_ms = kNow + 5, .is_primary = false});
  EXPECT_EQ(ask(replica, {"XRANGE", "s", "-", "+"})[0][0].text, std::to_string(kNow) + "-0");
}

TEST_F(RedisModelTest, WhatChangesNothingIsNoChange) {
  ask({"SET", "a", "1"});
  ask({"SADD", "set", "x"});
  effects = {};
  for (const RedisCommand& command : {RedisCommand{"GET", "a"},
                                      {"SET", "a", "2", "NX"},
                                      {"SADD", "set", "x"},
                                      {"DEL", "none"},
                                      {"PEXPIRE", "none", "5"},
                                      {"PERSIST", "a"},
                                      {"HDEL", "none", "f"},
                                      {"XTRIM", "none", "MAXLEN", "0"},
                                      {"LPOP", "none"},
                                      {"HSET", "a", "f", "v"},
                                      {"PUBLISH", "c", "m"}})
    ask(command);
  EXPECT_TRUE(effects.changes.empty()) << effects.changes[0][0];
}

TEST_F(RedisModelTest, AReplicaRefusesWhatWritesAlsoInAScript) {
  const std::string hash = load(RedisScript::append);
  moment.is_primary = false;
  EXPECT_TRUE(ask({"SET", "a", "1"}).text.starts_with("READONLY "));
  EXPECT_TRUE(ask({"GET", "a"}).is_nil());
  EXPECT_TRUE(ask(append_of(hash, "1")).text.starts_with("READONLY "));
  EXPECT_TRUE(data.names(kNow).empty());
  const std::string adopt = load(RedisScript::adopt);
  EXPECT_EQ(ask({"EVALSHA", adopt, "2", "h", "s", kIdentity, "", "abcdefgh", "0"})[0].text, "not_primary");
}

TEST_F(RedisModelTest, AKeyEndsAtItsMoment) {
  ask({"SET", "a", "1", "PX", "1000"});
  ask({"HSET", "h", "f", "v"});
  ask({"PEXPIRE", "h", "500"});
  const std::size_t both = data.bytes();
  moment.wall_ms = kNow + 499;
  EXPECT_EQ(ask({"HGET", "h", "f"}).text, "v");
  EXPECT_EQ(data.lifetime_ms("h", moment.wall_ms), 1);
  moment.wall_ms = kNow + 500;
  EXPECT_EQ(data.names(moment.wall_ms), Names{"a"});
  EXPECT_EQ(data.lifetime_ms("h", moment.wall_ms), std::nullopt);
  EXPECT_TRUE(ask({"HGET", "h", "f"}).is_nil());
  EXPECT_LT(data.bytes(), both);
  moment.wall_ms = kNow + 1'000;
  EXPECT_EQ(ask({"SET", "a", "2", "NX"}).text, "OK");
  EXPECT_EQ(data.lifetime_ms("a", moment.wall_ms), std::nullopt);
}

TEST_F(RedisModelTest, BytesAreThoseOfWhatIsThere) {
  const auto grows = [this](const RedisCommand& command) {
    const std::size_t before = data.bytes();
    ask(command);
    return static_cast<std::int64_t>(data.bytes()) - static_cast<std::int64_t>(before);
  };
  for (const RedisCommand& command : {RedisCommand{"SET", "a", "1"},
                                      {"HSET", "h", "f", "v"},
                                      {"RPUSH", "l", "x", "y"},
                                      {"SADD", "s", "x"},
                                      {"ZADD", "z", "0", "x"},
                                      {"XADD", "x", "1-1", "d", "v"}})
    EXPECT_GT(grows(command), 0) << command[0];
  EXPECT_EQ(grows({"SET", "a", "1234567890"}), 9);
  EXPECT_EQ(grows({"HSET", "h", "f", "vvv"}), 2);
  EXPECT_EQ(grows({"LSET", "l", "0", "xxx"}), 2);
  EXPECT_EQ(grows({"SADD", "s", "x"}), 0);
  EXPECT_LT(grows({"LPOP", "l"}), 0);
  EXPECT_LT(grows({"XTRIM", "x", "MAXLEN", "0"}), 0);
  EXPECT_EQ(data.names(kNow), (Names{"a", "h", "l", "s", "x", "z"}));
  ask({"HDEL", "h", "f"});
  ask({"SREM", "s", "x"});
  ask({"ZREM", "z", "x"});
  ask({"LPOP", "l"});
  EXPECT_EQ(data.names(kNow), (Names{"a", "x"}));
  ask({"DEL", "a", "x"});
  EXPECT_EQ(data.bytes(), 0U);
}

TEST_F(RedisModelTest, ACopyIsASnapshotWithItsScripts) {
  const std::string hash = load(RedisScript::append);
  ask(append_of(hash, "1"));
  RedisData copy = data;
  ask(append_of(hash, "2"));
  EXPECT_EQ(ask(copy, {"HGET", "h", "o"}).text, "1");
  EXPECT_EQ(ask(copy, append_of(hash, "2"))[2].text, "2");
  EXPECT_EQ(copy.bytes(), data.bytes());
  copy.forget_scripts();
  EXPECT_TRUE(ask(copy, append_of(hash, "3")).text.starts_with("NOSCRIPT "));
  EXPECT_EQ(ask(append_of(hash, "3"))[2].text, "3");
}

TEST_F(RedisModelTest, ScriptsRunOnThreadsThatHaveNotLoadedThem) {
  const std::string hash = load(RedisScript::append);
  RedisReply reply;
  std::thread([&] { reply = ask(append_of(hash, "1")); }).join();
  EXPECT_EQ(reply[2].text, "1") << reply.text;
}

TEST_F(RedisModelTest, ChanceIsThatOfTheSource) {
  for (char member = 'a'; member <= 'z'; ++member) {
    ask({"SADD", "s", std::string(1, member)});
    ask({"HSET", "h", std::string(1, member), "v"});
  }
  const auto chosen = [this](std::uint64_t seed, const RedisCommand& command) {
    SeededRandom of_seed(seed);
    RedisData same(of_seed);
    same.follow(effects.changes, moment);
    std::string all;
    RedisEffects ignored;
    const RedisReply reply = same.execute(command, moment, ignored);
    for (const RedisReply& item : reply.items) all += item.text;
    return all;
  };
  for (const RedisCommand& command : {RedisCommand{"SRANDMEMBER", "s", "5"}, {"HRANDFIELD", "h", "5"}}) {
    EXPECT_EQ(chosen(1, command).size(), 5U);
    EXPECT_EQ(chosen(1, command), chosen(1, command));
    EXPECT_NE(chosen(1, command), chosen(2, command));
  }
}

TEST_F(RedisModelTest, PublishAnswersHowManyHearIt) {
  const std::function<std::int64_t(std::string_view, bool)> hearers = [](std::string_view channel,
                                                                         bool sharded) {
    return static_cast<std::int64_t>(channel.size()) + (sharded ? 100 : 0);
  };
  moment.hearers = &hearers;
  EXPECT_EQ(ask({"PUBLISH", "four", "m"}).number(), 4);
  EXPECT_EQ(ask({"SPUBLISH", "four", "m"}).number(), 104);
  EXPECT_TRUE(effects.published[1].is_sharded);
}

TEST_F(RedisModelTest, WhatTheModelLacksIsAnError) {
  for (const RedisCommand& command : {RedisCommand{"KEYS", "*"},
                                      {"SCRIPT", "FLUSH"},
                                      {"SET", "a", "1", "EX", "5"},
                                      {"XADD", "s", "NOMKSTREAM", "*", "d", "x"},
                                      {"XADD", "s", "MAXLEN", "~", "5", "1-1", "d", "x"},
                                      {"XTRIM", "s", "MAXLEN", "~", "5"},
                                      {"ZADD", "z", "1", "m"},
                                      {"ZADD", "z", "NX", "0", "m"},
                                      {"SRANDMEMBER", "s", "-1"},
                                      {"LPOP", "l", "2"},
                                      {"PEXPIRE", "a", "5", "NX"}})
    EXPECT_TRUE(ask(command).text.starts_with("ERR ")) << command[0];
  EXPECT_TRUE(data.names(kNow).empty());
}

}  // namespace

}  // namespace carillon::sim
