#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

TEST(WebSocketSubscribe, TellsEpochAndTopOfAnEmptyAndAFullChannel) {
  World world;
  WsClient client(world);
  client.connect();
  const Json empty = client.subscribe("a")["subscribe"];
  EXPECT_EQ(empty["recoverable"], true);
  EXPECT_EQ(empty["positioned"], true);
  EXPECT_EQ(empty["epoch"].get<std::string>().size(), 8U);
  EXPECT_FALSE(empty.contains("offset"));
  EXPECT_FALSE(empty.contains("was_recovering"));
  for (int i = 0; i < 3; ++i) world.publish("b", "1");
  EXPECT_EQ(client.subscribe("b")["subscribe"]["offset"], 3);
  EXPECT_TRUE(client.pushes.empty());
}

TEST(WebSocketSubscribe, WithoutHistoryThereIsNoPosition) {
  WorldOptions options;
  options.rules = {rule("live*", [](ChannelOptions& o) { o.history_size = 0; })};
  World world(options);
  WsClient client(world);
  client.connect();
  EXPECT_EQ(client.subscribe("live")["subscribe"], Json::object());
  EXPECT_EQ(client.command("unsubscribe", {{"channel", "live"}})["unsubscribe"], Json::object());
  EXPECT_EQ(client.subscribe("live", {{"recover", true}, {"offset", 1}, {"epoch", "abc"}})["subscribe"],
            Json({{"was_recovering", true}}));
  world.publish("live", "7");
  world.run();
  ASSERT_EQ(client.pushes_of("live", "pub").size(), 1U);
  EXPECT_FALSE(client.pushes_of("live", "pub")[0].contains("offset"));
}

TEST(WebSocketSubscribe, ErrorsComeInTheProtocolsOrder) {
  WorldOptions options;
  options.is_insecure = false;
  options.limits.channels_per_connection = 2;
  options.rules = {
      rule("*open*", [](ChannelOptions& o) { o.allow_subscribe = o.allow_subscribe_for_anonymous = true; })};
  World world(options);
  WsClient client(world);
  client.connect();
  const std::string too_long(256, 'a');
  EXPECT_EQ(error_of(client.subscribe(too_long)), 107U);
  EXPECT_EQ(error_of(client.subscribe("closed")), 103U);
  EXPECT_EQ(error_of(client.subscribe("$open")), 103U) << "without a token";
  EXPECT_EQ(error_of(client.subscribe("open1")), 0U);
  EXPECT_EQ(error_of(client.subscribe("open1")), 105U);
  EXPECT_EQ(error_of(client.subscribe("open2")), 0U);
  EXPECT_EQ(error_of(client.subscribe(too_long)), 107U) << "before the limit";
  EXPECT_EQ(error_of(client.subscribe("open2")), 105U) << "before the limit";
  EXPECT_EQ(error_of(client.subscribe("closed")), 106U) << "before permission";
  EXPECT_EQ(error_of(client.command("unsubscribe", {{"channel", "open2"}})), 0U);
  EXPECT_EQ(error_of(client.subscribe("open3", {{"type", 1}})), 103U);
  EXPECT_EQ(error_of(client.subscribe("open3", {{"type", 4}})), 108U);
  EXPECT_EQ(error_of(client.subscribe("open3", {{"tf", {{"op", "eq"}}}})), 107U);
  EXPECT_EQ(error_of(client.subscribe("open3", {{"delta", "fossil"}, {"flag", 1}})), 0U);
  client.subscribe("open4", {{"delta", "other"}});
  EXPECT_EQ(client.close_code, 3501);
}

TEST(WebSocketSubscribe, MapsAndSharedPollsAreRefusedAlsoWhereAChannelIsOfTheirType) {
  WorldOptions options;
  options.rules = {
      rule("map*", [](ChannelOptions& o) { o.subscription_type = SubscriptionType::map; }),
      rule("poll*", [](ChannelOptions& o) { o.subscription_type = SubscriptionType::shared_poll; })};
  World world(options);
  WsClient client(world);
  client.connect();
  EXPECT_EQ(error_of(client.subscribe("map", {{"type", 1}, {"phase", 2}})), 103U);
  EXPECT_EQ(error_of(client.subscribe("map")), 103U) << "a stream, where a map is configured";
  EXPECT_EQ(error_of(client.subscribe("poll", {{"type", 4}})), 108U);
  EXPECT_EQ(error_of(client.subscribe("poll")), 103U);
  EXPECT_EQ(error_of(client.subscribe("stream")), 0U);
}

TEST(WebSocketSubscribe, NamesMayHoldAnyTextButControlCharacters) {
  World world;
  WsClient client(world);
  client.connect();
  for (const std::string& name : {std::string("rooms/7/a b"), std::string("\U0001F514"),
                                  std::string("#x\"\\y"), std::string(255, 'a')}) {
    EXPECT_EQ(error_of(client.subscribe(name)), 0U) << name;
    world.publish(name, "1");
    world.run();
    EXPECT_EQ(client.pushes_of(name, "pub").size(), 1U) << name;
  }
  for (const std::string& name :
       {std::string(256, 'a'), std::string("a\nb"), std::string("a\x7f"), std::string("\0", 1)}) {
    EXPECT_EQ(error_of(client.subscribe(name)), 107U) << name;
    EXPECT_EQ(error_of(client.command("publish", {{"channel", name}, {"data", 1}})), 107U) << name;
  }
}

TEST(WebSocketSubscribe, UnsubscribeAlwaysSucceedsAndEndsTheFlow) {
  World world;
  WsClient client(world);
  client.connect();
  EXPECT_EQ(client.command("unsubscribe", {{"channel", "never"}}),
            Json::parse(R"({"id":2,"unsubscribe":{}})"));
  client.subscribe("a");
  EXPECT_EQ(world.present("a"), 1U);
  client.command("unsubscribe", {{"channel", "a"}});
  EXPECT_EQ(world.present("a"), 0U);
  world.publish("a", "1");
  world.run();
  EXPECT_TRUE(client.pushes.empty());
}

TEST(WebSocketSubscribe, UnsubscribeBehindACutFrameLetsItsEndLeave) {
  WorldOptions options;
  options.limits.channels_per_connection = 1;  // what is leaving does not count
  World world(options);
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.kernel().room = 30;
  for (int i = 0; i < 5; ++i) world.publish("a", Json(std::string(100, 'x')).dump());
  world.run();
  ASSERT_TRUE(client.is_clogged());
  client.send(R"({"id":50,"unsubscribe":{"channel":"a"}})");
  client.send(R"({"id":51,"subscribe":{"channel":"a"}})");
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(client.replies.back()["subscribe"]["offset"], 5);
  world.publish("a", "6");
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub").size(), 2U);
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.delivered, 2);
  EXPECT_EQ(account.returned, 4);
}

TEST(WebSocketSubscribe, AnUnavailableStoreIsATemporaryError) {
  World world;
  WsClient client(world);
  client.connect();
  world.store.is_unavailable = true;
  const Json reply = client.subscribe("a");
  EXPECT_EQ(error_of(reply), 100U);
  EXPECT_EQ(reply["error"]["temporary"], true);
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "a"}, {"data", 1}})), 100U);
  EXPECT_EQ(error_of(client.command("history", {{"channel", "a"}})), 100U);
  world.store.is_unavailable = false;
  EXPECT_EQ(error_of(client.subscribe("a")), 0U);
}

TEST(WebSocketSubscribe, AConnectionThatBreaksWhileTheStoreThinksIsForgotten) {
  World world;
  auto client = std::make_unique<WsClient>(world);
  client->connect();
  world.store.is_late = true;
  client->send(R"({"id":10,"subscribe":{"channel":"a"}})");
  client->send(R"({"id":11,"publish":{"channel":"b","data":1}})");
  client->send(R"({"id":12,"history":{"channel":"c","limit":1}})");
  client->cut();
  world.store.answer();
  world.run();
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_TRUE(world.hub.channels("*").empty());
}

TEST(WebSocketSubscribe, WithSeveralShardsEverySubscriberSeesOneOrder) {
  WorldOptions options;
  options.shards = 4;
  World world(options);
  std::vector<std::unique_ptr<WsClient>> clients;
  for (std::size_t i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<WsClient>(world, i % 4));
    clients.back()->connect();
    clients.back()->subscribe("a");
  }
  for (int i = 0; i < 20; ++i) {
    for (const auto& client : clients) {
      client->send(R"({"id":50,"publish":{"channel":"a","data":)" + std::to_string(i) + "}}");
    }
  }
  world.run();
  for (const auto& client : clients) {
    EXPECT_EQ(client->pushes.size(), 160U);
    EXPECT_EQ(client->pushes, clients[0]->pushes);
  }
  EXPECT_EQ(world.ledger_of("a").account.delivered, 8 * 160);
}

}  // namespace
}  // namespace carillon::testing
