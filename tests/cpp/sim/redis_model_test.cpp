// What the model does by itself: it repeats itself, counts its bytes, and is followed by replicas.
#include <gtest/gtest.h>

#include <string>

#include "doubles/seeded_random.hpp"
#include "sim/redis_data.hpp"
#include "store/redis/redis_scripts.hpp"

namespace carillon::sim {

namespace {

constexpr Millis kNow = 1'700'000'000'000;
constexpr std::string_view kIdentity = "0123456789abcdef0123456789abcdef01234567";

struct RedisModelTest : ::testing::Test {
  RedisReply ask(const RedisCommand& command) { return data.execute(command, moment, effects); }
  std::string hash_of(RedisScript script) {
    return ask(RedisCommand{"SCRIPT", "LOAD", redis_script_text(script)}).text;
  }

  SeededRandom random{1};
  RedisData data{random};
  RedisMoment moment{.wall_ms = kNow, .identity = kIdentity};
  RedisEffects effects;
};

RedisCommand append_of(const std::string& hash, std::string_view group, std::string_view entries_max = "0") {
  return RedisCommand{"EVALSHA",   hash,
                      "3",         "h",
                      "s",         "g",
                      kIdentity,   "",
                      "abcdefgh",  "100000000",
                      group,       "600000",
                      "announced", "r",
                      entries_max, "0",
                      "86400000",  "300000",
                      "gateway",   "s",
                      "120",       "the bytes of the entry"};
}

TEST_F(RedisModelTest, AnAppendIsAnnouncedAndFollowed) {
  const RedisReply reply = ask(append_of(hash_of(RedisScript::append), "1"));
  ASSERT_EQ(reply.items.size(), 5U) << reply.text;
  EXPECT_EQ(reply[2].text, "1");
  EXPECT_EQ(reply[4].text, "1");
  ASSERT_EQ(effects.published.size(), 1U);
  EXPECT_EQ(effects.published[0].text, "a abcdefgh r 0 1\n1 22\nthe bytes of the entry");
  RedisData replica(random);
  replica.follow(effects.changes, moment);
  EXPECT_EQ(replica.names(kNow), (std::vector<std::string>{"h", "s"}));
  EXPECT_EQ(replica.bytes(), data.bytes());
}

}  // namespace

}  // namespace carillon::sim
