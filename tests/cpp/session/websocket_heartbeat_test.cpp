#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

TEST(WebSocketHeartbeat, TheFirstPingComesInTheSecondHalfOfTheInterval) {
  std::set<Millis> seen;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    WorldOptions options;
    options.seed = seed;
    World world(options);
    WsClient client(world);
    client.connect();
    const Millis interval = world.options.heartbeat.ping_interval_ms;
    Millis waited = interval / 2 - 1;
    world.advance(waited);
    EXPECT_EQ(client.heartbeats, 0U);
    for (; client.heartbeats == 0 && waited < interval; ++waited) world.advance(1);
    EXPECT_EQ(client.heartbeats, 1U);
    EXPECT_LE(waited, interval - 1);
    seen.insert(waited);
    world.advance(interval);
    EXPECT_EQ(client.heartbeats, 2U);
    EXPECT_FALSE(client.close_code.has_value());
  }
  EXPECT_GT(seen.size(), 30U);
}

TEST(WebSocketHeartbeat, PingsOfManyThatCameAtOnceAreSpreadOverHalfAnInterval) {
  constexpr std::size_t kMany = 1'000;
  World world;
  std::deque<WsClient> clients;
  for (std::size_t i = 0; i < kMany; ++i) {
    clients.emplace_back(world);
    clients.back().open();
    clients.back().send(R"({"id":1,"connect":{}})");
  }
  world.run();
  const Millis interval = world.options.heartbeat.ping_interval_ms;
  const auto pings = [&clients] {
    return std::accumulate(clients.begin(), clients.end(), std::size_t{0},
                           [](std::size_t sum, const WsClient& client) { return sum + client.heartbeats; });
  };
  world.advance(interval / 2);
  const std::size_t early = pings();
  EXPECT_LT(early, kMany / 50) << "a round trip after the first";
  // 250 ms by 250 ms, over the second half of the interval.
  constexpr Millis kStep = 250;
  const auto steps = static_cast<std::size_t>(interval / 2 / kStep);
  std::size_t before = early;
  std::size_t most = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    world.advance(kStep);
    const std::size_t now = pings();
    most = std::max(most, now - before);
    before = now;
  }
  EXPECT_EQ(before, kMany);
  EXPECT_LT(most, 2 * kMany / steps) << "one step has twice its share";
}

TEST(WebSocketHeartbeat, WithoutAPongTheConnectionIsClosed) {
  World world;
  WsClient client(world);
  client.answers_heartbeats = false;
  client.connect();
  while (client.heartbeats == 0) world.advance(1);
  world.advance(world.options.heartbeat.pong_timeout_ms - 1);
  client.command("publish", {{"channel", "a"}, {"data", 1}});  // other traffic is no pong
  EXPECT_FALSE(client.close_code.has_value());
  world.advance(1);
  EXPECT_EQ(client.close_code, 3012);
  EXPECT_EQ(world.loops[0]->counters.no_pong.load(), 1U);
}

TEST(WebSocketHeartbeat, ALatePongInTimeAndUnaskedOnesAreFine) {
  World world;
  WsClient client(world);
  client.answers_heartbeats = false;
  client.connect();
  client.send("{}");
  client.send("{}\n{}");
  client.send_frame(10, "unasked");
  while (client.heartbeats == 0) world.advance(1);
  world.advance(world.options.heartbeat.pong_timeout_ms - 1);
  client.send("{}");
  world.advance(1'000);
  EXPECT_FALSE(client.close_code.has_value());
}

TEST(WebSocketHeartbeat, NativePingsAreOfferedInTheQuery) {
  World world;
  WsClient client(world);
  client.open("?cf_ws_frame_ping_pong=true");
  const Json reply = client.command("connect", Json::object());
  EXPECT_FALSE(reply["connect"].contains("ping"));
  EXPECT_FALSE(reply["connect"].contains("pong"));
  while (client.pings.empty()) world.advance(1);
  client.send_frame(10, client.pings[0]);
  world.advance(world.options.heartbeat.pong_timeout_ms);
  EXPECT_FALSE(client.close_code.has_value());
  EXPECT_EQ(client.heartbeats, 0U);
  while (client.pings.size() < 2) world.advance(1);
  world.advance(world.options.heartbeat.pong_timeout_ms);
  EXPECT_EQ(client.close_code, 3012);
}

TEST(WebSocketHeartbeat, ZeroSwitchesItOff) {
  WorldOptions options;
  options.heartbeat.ping_interval_ms = 0;
  World world(options);
  WsClient client(world);
  client.open();
  EXPECT_FALSE(client.command("connect", Json::object())["connect"].contains("ping"));
  world.advance(1'000'000);
  EXPECT_EQ(client.heartbeats, 0U);
  EXPECT_TRUE(client.is_open());
}

TEST(WebSocketHeartbeat, WhileCloggedOnlyTheNewestPongAndOnePingWait) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.kernel().room = 20;
  world.publish("a", Json(std::string(500, 'x')).dump());
  world.run();
  ASSERT_TRUE(client.is_clogged());
  for (int i = 0; i < 10; ++i) client.send_frame(9, "ping" + std::to_string(i));
  // Three intervals: no byte too much, but some now and then, or it would count as stalled.
  for (int i = 0; i < 15; ++i) {
    client.kernel().room = 5;
    world.advance(world.options.heartbeat.ping_interval_ms / 5);
  }
  ASSERT_TRUE(client.is_clogged());
  EXPECT_TRUE(client.pongs.empty());
  EXPECT_FALSE(client.close_code.has_value());
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.pongs, std::vector<std::string>{"ping9"});
  EXPECT_EQ(client.heartbeats, 1U);
  world.advance(world.options.heartbeat.pong_timeout_ms);
  EXPECT_FALSE(client.close_code.has_value());
}

TEST(WebSocketHeartbeat, APongBehindCommandsThatAreNotReadDoesNotKillASlowReader) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
  options.limits.pipelined_bytes = 256;
  World world(options);
  WsClient client(world);
  client.answers_heartbeats = false;
  client.connect();
  while (client.heartbeats == 0) world.advance(1);
  client.kernel().room = 0;
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += R"({"id":9,"rpc":{}})"
            "\n";
  client.send(text);
  client.send("{}");
  for (Millis waited = 0; waited < 2 * world.options.heartbeat.pong_timeout_ms; waited += 1'000) {
    client.kernel().room = 30;
    world.advance(1'000);
  }
  ASSERT_TRUE(client.connection->is_reading_paused);
  EXPECT_FALSE(client.close_code.has_value());
  client.kernel().room = Kernel::kAll;
  world.advance(world.options.heartbeat.pong_timeout_ms);
  EXPECT_FALSE(client.close_code.has_value());
}

TEST(WebSocketHeartbeat, APingThatWaitsBehindALongReplyDoesNotKillASlowReader) {
  World world;
  WsClient client(world);
  client.connect();
  for (int i = 0; i < 50; ++i) world.publish("a", Json(std::string(1'000, 'x')).dump());
  world.advance(world.options.heartbeat.ping_interval_ms / 2 - 1);
  client.kernel().room = 100;
  client.send(R"({"id":90,"history":{"channel":"a","limit":-1}})");
  for (int i = 0; i < 400; ++i) {  // 40 s for the reply, the ping in its middle
    world.advance(100);
    if (client.is_open() && client.kernel().room < 1'000) client.kernel().room = 140;
  }
  EXPECT_FALSE(client.close_code.has_value());
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_GE(client.heartbeats, 1U);
  EXPECT_TRUE(client.is_open());
}

TEST(WebSocketHeartbeat, WhoTakesNothingIsDropped) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.kernel().room = 0;
  world.publish("a", "1");
  world.advance(world.options.limits.stall_timeout_ms - 1);
  EXPECT_TRUE(client.is_open());
  world.advance(1);
  EXPECT_FALSE(client.is_open());
  EXPECT_EQ(world.ledger_of("a").account.returned, 1);
}

}  // namespace
}  // namespace carillon::testing
