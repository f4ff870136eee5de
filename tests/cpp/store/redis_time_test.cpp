// The clock of Redis, as a gateway sees it by its signs of life.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "store/redis/redis_gateways.hpp"
#include "store/redis/redis_presence.hpp"
#include "store/redis_world.hpp"

namespace carillon {
namespace {

struct RedisTime : RedisWorld {
  RedisTime() {
    gateways.set_on_beat([](bool) {});
    come_up();
    gateways.on_ready();
    turn();
    reply(text_reply("OK"));  // the layout
  }
  /// Redis answers the sign of life that is under way after a while, at this time of its own.
  void answer_beat(Millis redis_ms, Millis after_ms = 0) {
    clock.advance(after_ms);
    reply(array_reply({"ok", std::to_string(redis_ms)}));
    answer_info();
  }
  void next_beat() {
    clock.advance(options.heartbeat_ms);
    gateways.tick();
    turn();
    answer_info();
  }

  /// The machine asks from time to time whether it is the same Redis, ahead of anything else.
  void answer_info() {
    const Words names = take_names();
    if (std::find(names.begin(), names.end(), "INFO") != names.end()) answer_identity("i1");
  }

  RedisGateways gateways{options, keys, "gatewayA", machine, clock, random};
};

TEST_F(RedisTime, LiesBetweenQuestionAndAnswer) {
  EXPECT_FALSE(gateways.time());
  answer_beat(50'000, 40);
  ASSERT_TRUE(gateways.time());
  EXPECT_EQ(gateways.time()->earliest_ms, 50'000);
  EXPECT_EQ(gateways.time()->latest_ms, 50'040);
  clock.advance(1'000);
  EXPECT_EQ(gateways.time()->earliest_ms, 51'000);
  EXPECT_EQ(gateways.time()->latest_ms, 51'040);
}

TEST_F(RedisTime, ASlowSignOfLifeDoesNotPutInDoubtWhatIsKnown) {
  answer_beat(50'000, 10);
  next_beat();
  answer_beat(55'000, 2'000);
  EXPECT_EQ(gateways.time()->latest_ms - gateways.time()->earliest_ms, 10) << "nothing would be in time";
  EXPECT_EQ(gateways.time()->earliest_ms, 50'000 + options.heartbeat_ms + 2'000);
  next_beat();
  answer_beat(70'000, 150);
  EXPECT_EQ(gateways.time()->earliest_ms, 70'000) << "its clock was set";
  EXPECT_EQ(gateways.time()->latest_ms, 70'150);
}

TEST_F(RedisTime, AnOldAnswerGivesWayToASlowOne) {
  answer_beat(50'000, 10);
  Millis redis_ms = 50'000;
  for (Millis passed = 0; passed <= 2'000 * 1'000; passed += options.heartbeat_ms) {  // half an hour
    next_beat();
    redis_ms += options.heartbeat_ms + 300 + 1;  // its clock goes faster
    answer_beat(redis_ms, 300);
  }
  EXPECT_GT(gateways.time()->latest_ms, redis_ms - 1'000) << "clocks drift apart";
}

TEST_F(RedisTime, OfAnotherRedisIsNotKnownBeforeItHasAnswered) {
  answer_beat(50'000);
  gateways.rename();  // as after a failover
  EXPECT_FALSE(gateways.time());
  gateways.on_ready();
  turn();
  reply(text_reply("OK"));
  answer_beat(90'000, 2'000);
  EXPECT_EQ(gateways.time()->latest_ms, 92'000) << "the first answer counts, however slow";
}

struct PresenceReads : RedisTime {
  static std::string entry(const std::string& client, const std::string& gateway) {
    return client + std::string(1, '\0') + gateway + "1:u2:{}0:";
  }
  /// Redis answers who is alive.
  void list(const std::vector<std::string>& ids) {
    std::vector<std::string> texts{"ok", "50000"};
    for (const std::string& id : ids) texts.insert(texts.end(), {id, "50000", "other 1.2"});
    reply(array_reply(texts));
    answer_info();
  }
};

TEST_F(PresenceReads, DoNotClearUpBehindAGatewayThatHasComeSinceTheyLooked) {
  RedisPresence presence{options, keys, machine, gateways, clock, random};
  list({gateways.id()});
  take_sent();
  std::optional<PresenceResult> result;
  presence.page("news", "", 1'000'000, [&](const PresenceResult& found) { result = found; });
  turn();
  take_sent();
  reply(array_reply({entry("1", "BBBBBBBB")}));
  take_sent();
  list({gateways.id(), "BBBBBBBB"});
  take_sent();
  reply(array_reply({entry("1", "BBBBBBBB"), entry("2", "CCCCCCCC")}));
  take_sent();
  list({gateways.id(), "BBBBBBBB", "CCCCCCCC"});
  take_sent();
  reply(array_reply({entry("2", "CCCCCCCC")}));
  turn();
  const Words sent = take_names();
  EXPECT_EQ(std::count(sent.begin(), sent.end(), "presence_clear"), 0) << "it is alive";
  ASSERT_TRUE(result);
  EXPECT_EQ(result->members.size(), 2U);
}

}  // namespace
}  // namespace carillon
