#include <gtest/gtest.h>

#include <string>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

TEST(WebSocketConnect, AnswersWithIdVersionAndPing) {
  World world;
  WsClient client(world);
  client.open();
  const Json reply = client.command("connect", Json::object());
  EXPECT_EQ(client.head->status, 101);
  EXPECT_EQ(reply["connect"]["version"], "1.2.3");
  EXPECT_EQ(reply["connect"]["ping"], 25);
  EXPECT_EQ(reply["connect"]["pong"], true);
  const std::string id = reply["connect"]["client"];
  ASSERT_EQ(id.size(), 36U);
  EXPECT_EQ(id[14], '4');
  WsClient other(world);
  other.open();
  EXPECT_NE(other.command("connect", Json::object())["connect"]["client"], id);
}

TEST(WebSocketConnect, TheTimeIsToldWhereThatIsWanted) {
  for (const bool is_wanted : {false, true}) {
    World world;
    world.shared.tells_time = is_wanted;
    WsClient client(world);
    client.open();
    const Json result = client.command("connect", Json::object())["connect"];
    EXPECT_EQ(result.value("time", 0LL), is_wanted ? world.clock.wall_ms() : 0);
  }
}

TEST(WebSocketConnect, AHookThatIsLaterThanTheHandshakeTimeOutIsNotTheClientsFault) {
  World world;
  world.access.slow.insert(Operation::connect);
  WsClient client(world);
  client.open();
  client.send(R"({"id":1,"connect":{}})");
  world.pass(world.shared.limits.handshake_timeout_ms + 1'000);
  world.run();
  EXPECT_FALSE(client.close_code.has_value());
  world.access.decide(allowed("ann"));
  world.run();
  ASSERT_EQ(client.replies.size(), 1U);
  EXPECT_TRUE(client.replies[0].contains("connect"));
}

TEST(WebSocketConnect, AnyOtherCommandBeforeItIsABadRequest) {
  for (const char* name : {"subscribe", "publish", "unsubscribe", "history", "presence", "rpc", "ping"}) {
    World world;
    WsClient client(world);
    client.open();
    client.command(name, {{"channel", "a"}, {"data", 1}});
    EXPECT_EQ(client.close_code, 3501) << name;
    EXPECT_EQ(client.close_reason, "bad request") << name;
    EXPECT_TRUE(client.replies.empty()) << name;
  }
}

TEST(WebSocketConnect, ASecondOneIsABadRequest) {
  World world;
  WsClient client(world);
  client.connect();
  client.command("connect", Json::object());
  EXPECT_EQ(client.close_code, 3501);
}

TEST(WebSocketConnect, SubscribeAndPublishMayComeInTheSameFrame) {
  World world;
  WsClient client(world);
  client.open();
  client.send(R"({"id":1,"connect":{}}
{"id":2,"subscribe":{"channel":"a"}}
{"id":3,"publish":{"channel":"a","data":{"n":1}}}
)");
  world.run();
  ASSERT_EQ(client.replies.size(), 3U);
  EXPECT_EQ(client.replies[2], Json::parse(R"({"id":3,"publish":{}})"));
  ASSERT_EQ(client.pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["data"], Json({{"n", 1}}));
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["info"]["client"], client.replies[0]["connect"]["client"]);
}

TEST(WebSocketConnect, CommandsMayFollowTheHandshakeInOnePieceAndInSingleBytes) {
  for (const std::size_t piece : {Kernel::kAll, std::size_t{1}, std::size_t{7}}) {
    World world;
    WsClient client(world);
    std::string text =
        "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: "
        "websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
    // As client frames, unmasked by key 0.
    for (const std::string command :
         {R"({"id":1,"connect":{}})", R"({"id":2,"subscribe":{"channel":"a"}})"}) {
      text += '\x81';
      text += static_cast<char>(0x80 | command.size());
      text += std::string(4, '\0') + command;
    }
    client.write(text, piece);
    world.run();
    EXPECT_EQ(client.replies.size(), 2U) << piece;
  }
}

TEST(WebSocketConnect, WithoutOneInTimeTheConnectionIsStale) {
  World world;
  WsClient client(world);
  client.open();
  world.advance(world.options.limits.handshake_timeout_ms - 1);
  EXPECT_FALSE(client.close_code.has_value());
  world.advance(1);
  EXPECT_EQ(client.close_code, 3502);
  world.advance(world.options.limits.close_timeout_ms);
  EXPECT_TRUE(client.is_ended);
}

TEST(WebSocketConnect, WhatStandsBehindARefusedConnectIsNotReadHoweverLateTheHookIs) {
  World world;
  world.access.slow.insert(Operation::connect);
  WsClient client(world);
  client.open();
  client.send("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
  world.access.decide(denied(1'000, "no"));
  world.run();
  ASSERT_EQ(client.replies.size(), 1U);
  EXPECT_EQ(error_of(client.replies[0]), 1'000U);
  EXPECT_FALSE(client.close_code.has_value()) << "the client knows what to do";
  client.send(R"({"id":3,"subscribe":{"channel":"a"}})");
  world.run();
  EXPECT_EQ(client.close_code, 3501);
}

}  // namespace
}  // namespace carillon::testing
