#include <gtest/gtest.h>

#include <string>

#include "session/session_clients.hpp"
#include "session/websocket_journal.hpp"

namespace carillon::testing {
namespace {

TEST(WebSocketBacklog, NoCommandIsReadWhileRepliesWaitAndNoneIsLost) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
  options.limits.pipelined_bytes = 256;
  World world(options);
  WsClient client(world);
  client.connect();
  client.kernel().room = 0;
  std::uint32_t id = 100;
  for (int frame = 0; frame < 30; ++frame) {
    std::string text;
    for (int i = 0; i < 10; ++i) text += R"({"id":)" + std::to_string(id++) + R"(,"rpc":{}})" + "\n";
    client.send(text);
    if (frame % 7 == 0) world.turn();
  }
  world.run();
  EXPECT_LT(world.loops[0]->counters.commands.load(), 60U)
      << "more commands were read than the backlog allows";
  EXPECT_LT(client.connection->outlet.pending_bytes(), 1'200U);
  EXPECT_TRUE(client.connection->is_reading_paused);
  for (int i = 0; i < 1'000; ++i) {
    client.kernel().room = 37;
    world.run();
  }
  client.kernel().room = Kernel::kAll;
  world.run();
  ASSERT_EQ(client.replies.size(), 301U);
  for (std::uint32_t i = 0; i < 300; ++i) EXPECT_EQ(client.replies[i + 1]["id"], 100 + i);
  EXPECT_FALSE(client.connection->is_reading_paused);
  EXPECT_EQ(error_of(client.command("rpc", Json::object())), 108U);
}

TEST(WebSocketBacklog, WhatWasSentIsGivenBackWhileTheOutletIsNeverQuiteEmpty) {
  WorldOptions options;
  options.limits.backlog_bytes = 4'096;
  World world(options);
  WsClient client(world);
  client.connect();
  client.kernel().room = 0;
  constexpr std::uint32_t kCommands = 4'000;
  std::int64_t most = 0;
  for (std::uint32_t i = 0; i < kCommands; ++i) {
    client.post(R"({"id":)" + std::to_string(100 + i) + R"(,"rpc":{}})");
    if (i > 20) client.kernel().room = 60;  // a little less than a reply
    world.turn();
    ASSERT_TRUE(client.is_clogged());
    most = std::max(most, world.shared.unsent.bytes());
  }
  EXPECT_LT(most, 20'000) << "it holds more than it has still to send";
  client.kernel().room = Kernel::kAll;
  world.run();
  ASSERT_EQ(client.replies.size(), 1 + kCommands);
  for (std::uint32_t i = 0; i < kCommands; ++i) EXPECT_EQ(client.replies[i + 1]["id"], 100 + i);
}

TEST(WebSocketBacklog, ItHoldsAlsoInsideOneTurnWhereTheKernelTakesAll) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
  World world(options);
  WsClient client(world);
  client.connect();
  std::string text;
  for (int i = 0; i < 300; ++i) text += R"({"id":)" + std::to_string(100 + i) + R"(,"rpc":{}})" + "\n";
  client.send(text);
  EXPECT_LT(client.connection->outlet.pending_bytes(), 1'200U);
  world.run();
  EXPECT_EQ(client.replies.size(), 301U);
}

TEST(WebSocketBacklog, ADisconnectWhileCommandsAreQueuedLetsTheClosingHandshakeThrough) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
  options.limits.pipelined_bytes = 256;
  for (const bool is_malformed : {false, true}) {
    World world(options);
    WsClient client(world);
    client.connect();
    client.kernel().room = 0;
    std::string text;
    for (int i = 0; i < 100; ++i) text += R"({"id":)" + std::to_string(100 + i) + R"(,"rpc":{}})" + "\n";
    if (is_malformed) text += "nonsense\n";
    client.send(text);
    client.send(R"({"id":500,"rpc":{}})");
    world.run();
    ASSERT_TRUE(client.connection->is_reading_paused);
    if (!is_malformed) {
      world.loops[0]->shard.bind_to_this_thread();
      client.connection->session->drain();
    }
    client.kernel().room = Kernel::kAll;
    world.run();
    EXPECT_EQ(client.close_code, is_malformed ? 3501 : 3001);
    ASSERT_TRUE(client.is_open());
    client.send_frame(8, "\x0b\xb9");
    world.run();
    EXPECT_TRUE(client.is_ended) << "the peer's close was not read";
  }
}

TEST(WebSocketBacklog, PublicationsDoNotQueueForASlowReader) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  const Journal journal(client, "a");
  client.kernel().room = 50;
  for (int i = 0; i < 300; ++i) {
    world.publish("a", Json(std::string(1'000, 'x')).dump());
    world.run();
  }
  EXPECT_LT(client.connection->outlet.pending_bytes(), 1'200U) << "the end of one frame, and no more";
  EXPECT_EQ(world.ledger_of("a").account.pending, 300);
  client.kernel().room = Kernel::kAll;
  client.kernel().most = 777;
  world.run();
  EXPECT_EQ(journal.offsets, range(1, 300));
  EXPECT_EQ(world.ledger_of("a").account.delivered, 300);
}

}  // namespace
}  // namespace carillon::testing
