#include <gtest/gtest.h>

#include <string>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

TEST(WebSocketFrames, EmptyAndMalformedOnesAreBadRequests) {
  for (const std::string text :
       {"", "\n", "{", "[]", "{\"id\":5}", "{\"id\":2,\"subscribe\":{}}", "{}\n\n{}",
        "{\"id\":2,\"unsubscribe\":{\"channel\":\"\"}}", "{\"id\":2,\"publish\":{\"data\":1}}"}) {
    World world;
    WsClient client(world);
    client.connect();
    client.send(text);
    world.run();
    EXPECT_EQ(client.close_code, 3501) << text;
  }
}

TEST(WebSocketFrames, WhatCameBeforeTheBadOneIsAnswered) {
  World world;
  WsClient client(world);
  client.connect();
  client.send("{\"id\":9,\"ping\":{}}\nnonsense\n{\"id\":10,\"ping\":{}}");
  world.run();
  EXPECT_EQ(client.replies.back(), Json::parse(R"({"id":9,"ping":{}})"));
  EXPECT_EQ(client.close_code, 3501);
}

TEST(WebSocketFrames, AProtocolErrorIsToldAndEndsTheConnectionAtOnce) {
  World world;
  WsClient client(world);
  client.connect();
  client.write("\x81\x05hello");  // without a mask
  world.run();
  EXPECT_EQ(client.close_code, 1002);
  EXPECT_FALSE(client.close_reason.empty());
  EXPECT_TRUE(client.is_ended);
}

TEST(WebSocketFrames, TooLongMessagesAreClosedWith1009) {
  World world;
  WsClient client(world);
  client.connect();
  client.send(std::string(65'537, ' '));
  world.run();
  EXPECT_EQ(client.close_code, 1009);
  EXPECT_TRUE(client.is_ended);
}

TEST(WebSocketFrames, WhatThisVersionHasNotIsAnsweredSo) {
  World world;
  WsClient client(world);
  client.connect();
  EXPECT_EQ(error_of(client.command("rpc", {{"method", "m"}})), 108U);
  EXPECT_EQ(error_of(client.command("refresh", {{"token", "t"}})), 108U);
  EXPECT_EQ(error_of(client.command("sub_refresh", {{"channel", "a"}, {"token", "t"}})), 108U);
  EXPECT_FALSE(client.close_code.has_value());
  client.send(R"({"send":{"data":1}})");
  world.run();
  EXPECT_EQ(client.close_code, 3508);
}

}  // namespace
}  // namespace carillon::testing
