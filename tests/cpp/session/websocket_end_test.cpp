#include <gtest/gtest.h>

#include <string>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

TEST(WebSocketEnd, TheClientsCloseIsAnsweredWithItsCode) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.send_frame(8, std::string("\x0f\xa1"
                                   "bye",
                                   5));
  world.run();
  EXPECT_EQ(client.close_code, 4001);
  EXPECT_TRUE(client.is_ended);
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_TRUE(world.hub.channels("*").empty());
  WsClient silent(world);
  silent.connect();
  silent.send_frame(8, "");
  world.run();
  EXPECT_EQ(silent.close_code, 0);
  EXPECT_TRUE(silent.is_ended);
}

TEST(WebSocketEnd, ADrainIsShutdownAndWaitsForTheClientsClose) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  world.loops[0]->shard.bind_to_this_thread();
  client.connection->session->drain();
  world.publish("a", "1");
  world.run();
  EXPECT_EQ(client.close_code, 3001);
  EXPECT_EQ(client.close_reason, "shutdown");
  EXPECT_FALSE(client.is_ended);
  EXPECT_TRUE(client.pushes.empty());
  client.send(R"({"id":77,"rpc":{}})");
  client.send_frame(9, "ping");
  world.run();
  EXPECT_TRUE(client.is_open());
  client.send_frame(8, "\x0b\xb9");
  world.run();
  EXPECT_TRUE(client.is_ended);
  EXPECT_EQ(world.ledger_of("a").account.returned, 1);
}

TEST(WebSocketEnd, AClientWhoseCloseWaitsBehindItsCommandsIsNotAskedForAnother) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
  World world(options);
  WsClient client(world);
  client.connect();
  client.kernel().room = 0;
  for (int i = 0; i < 100; ++i) client.send(R"({"id":2,"publish":{"channel":"c","data":1}})");
  client.send_frame(8, "\x03\xe8");
  world.run();
  EXPECT_FALSE(client.is_ended) << "commands wait for their replies to leave";
  client.connection->session->drain();
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.close_code, 3001);
  EXPECT_TRUE(client.is_ended) << "its close is known";
}

TEST(WebSocketEnd, WithoutTheClientsCloseTheConnectionEndsInTime) {
  World world;
  WsClient client(world);
  client.connect();
  world.loops[0]->shard.bind_to_this_thread();
  client.connection->session->disconnect(3503, "force disconnect");
  world.run();
  world.advance(world.options.limits.close_timeout_ms - 1);
  EXPECT_FALSE(client.is_ended);
  world.advance(1);
  EXPECT_TRUE(client.is_ended);
}

TEST(WebSocketEnd, TheCloseStandsBehindWhatWasUnderWay) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.kernel().room = 20;
  world.publish("a", Json(std::string(200, 'x')).dump());
  world.publish("a", "2");
  world.run();
  world.loops[0]->shard.bind_to_this_thread();
  client.connection->session->drain();
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(client.close_code, 3001);
  client.cut();
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.delivered, 1);
  EXPECT_EQ(account.returned, 1);
}

TEST(WebSocketEnd, ABrokenConnectionReturnsWhatItDidNotTake) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.kernel().is_broken = true;
  world.publish("a", "1");
  world.run();
  EXPECT_FALSE(client.is_open());
  EXPECT_EQ(world.ledger_of("a").account.returned, 1);
  EXPECT_EQ(world.present("a"), 0U);
}

}  // namespace
}  // namespace carillon::testing
