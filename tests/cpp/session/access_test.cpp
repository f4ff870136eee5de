#include <gtest/gtest.h>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

TEST(Access, NothingBehindAConnectIsLookedAtBeforeItIsKnownWhoAsks) {
  World world;
  world.access.slow = {Operation::connect};
  WsClient client(world);
  client.open();
  client.send(
      "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n"
      "{\"id\":3,\"publish\":{\"channel\":\"a\",\"data\":1}}");
  client.send("{\"id\":4,\"publish\":{\"channel\":\"a\",\"data\":2}}");
  world.run();
  EXPECT_TRUE(client.replies.empty());
  world.access.decide(allowed("ann"));
  world.run();
  ASSERT_EQ(client.replies.size(), 4U);
  EXPECT_TRUE(client.replies[0].contains("connect"));
  EXPECT_TRUE(client.replies[1].contains("subscribe"));
  EXPECT_TRUE(client.replies[2].contains("publish"));
  EXPECT_EQ(client.replies[3]["id"], 4);
  ASSERT_EQ(client.pushes_of("a", "pub").size(), 2U);
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["info"]["user"], "ann");
}

TEST(Access, WhoIsDeniedAtConnectIsClosedForGoodUnlessTheHookSaysOtherwise) {
  for (const auto& [verdict, code] : {std::pair{denied(), 3507}, std::pair{denied(4501, "no entry"), 4501}}) {
    World world;
    world.access.slow = {Operation::connect};
    WsClient client(world);
    client.open();
    client.send("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    world.run();
    world.access.decide(verdict);
    world.run();
    EXPECT_TRUE(client.replies.empty());
    EXPECT_EQ(client.close_code, code);
    EXPECT_EQ(world.present("a"), 0U);
  }
}

TEST(Access, ASubscribeWaitsForItsHookWhileOtherChannelsGoOn) {
  World world;
  WsClient client(world);
  client.connect();
  world.access.slow = {Operation::subscribe};
  EXPECT_TRUE(client.command("subscribe", {{"channel", "a"}}).is_null());
  EXPECT_TRUE(client.command("publish", {{"channel", "b"}, {"data", 1}}).contains("publish"));
  EXPECT_TRUE(client.command("subscribe", {{"channel", "a"}}).is_null());
  world.access.decide(allowed());
  world.run();
  ASSERT_EQ(client.replies.size(), 4U);
  EXPECT_TRUE(client.replies[2].contains("subscribe"));
  EXPECT_EQ(error_of(client.replies[3]), 105U) << "the hook is not asked about what is subscribed already";
  world.publish("a", "2");
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub").size(), 1U);
}

TEST(Access, ADeniedSubscribeLeavesNothingBehind) {
  World world;
  WsClient client(world);
  client.connect();
  world.access.slow = {Operation::subscribe};
  client.command("subscribe", {{"channel", "a"}});
  world.access.decide(denied(403, "members only"));
  world.run();
  EXPECT_EQ(client.replies.back()["error"]["code"], 403);
  EXPECT_EQ(client.replies.back()["error"]["message"], "members only");
  EXPECT_EQ(world.present("a"), 0U);
  world.access.slow.clear();
  EXPECT_TRUE(client.subscribe("a").contains("subscribe"));
}

TEST(Access, APublishMayBeChangedOrRefused) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  world.access.slow = {Operation::publish};
  client.command("publish", {{"channel", "a"}, {"data", {{"text", "rude"}}}});
  Verdict changed = allowed();
  changed.data = "{\"text\":\"kind\"}";
  world.access.decide(changed);
  client.command("publish", {{"channel", "a"}, {"data", 2}});
  world.access.decide(denied());
  world.run();
  ASSERT_EQ(client.pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["data"]["text"], "kind");
  EXPECT_EQ(client.replies.back()["error"]["code"], 103);
}

TEST(Access, AnAnswerForAClientThatHasGoneIsForNobody) {
  World world;
  WsClient client(world);
  client.connect();
  world.access.slow = {Operation::subscribe, Operation::publish};
  client.command("subscribe", {{"channel", "a"}});
  client.command("publish", {{"channel", "b"}, {"data", 1}});
  client.cut();
  world.run();
  world.access.decide(allowed());
  world.access.decide(allowed());
  world.run();
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_EQ(world.hub.published(), 0U);
}

TEST(Access, AnAnswerThatComesWhileAClosedSessionStillLivesIsForNobody) {
  World world;
  WsClient socket(world);
  socket.connect();
  world.access.slow = {Operation::subscribe};
  socket.command("subscribe", {{"channel", "a"}});
  SseClient stream(world);
  stream.open("channel=a");
  HttpClient poller(world);
  poller.request("GET", "/poll?channel=a&timeout=20");
  world.run();
  for (Client* client :
       {static_cast<Client*>(&socket), static_cast<Client*>(&stream), static_cast<Client*>(&poller)}) {
    client->cut();
    world.access.decide(allowed());  // no turn in between: the session is closed and not yet destroyed
    world.run();
    EXPECT_EQ(world.present("a"), 0U);
    EXPECT_TRUE(world.hub.channels("a").empty());
  }
  EXPECT_EQ(world.lanes[0]->counters.sse, 0U);
  EXPECT_EQ(world.lanes[0]->counters.polls, 0U);
}

TEST(Access, PlainTransportsPassTheSameSeam) {
  World world;
  world.access.slow = {Operation::connect, Operation::subscribe};
  SseClient stream(world);
  stream.open("channel=a&channel=b&user=ann");
  world.run();
  EXPECT_FALSE(stream.head);
  for (const Verdict& verdict : {allowed("ann"), allowed(), allowed()}) {
    world.access.decide(verdict);
    world.run();
  }
  ASSERT_TRUE(stream.head);
  EXPECT_EQ(stream.head->status, 200);
  EXPECT_EQ(stream.events("status").size(), 2U);
  EXPECT_EQ(world.access.asked,
            (std::vector<std::string>{"connect ann", "subscribe anna", "subscribe annb"}));

  HttpClient poller(world);
  poller.request("GET", "/poll?channel=a&timeout=0");
  poller.request("GET", "/now");
  world.run();
  EXPECT_TRUE(poller.responses.empty());
  world.access.decide(allowed());
  world.run();
  world.access.decide(denied(0, "not today"));
  world.run();
  ASSERT_EQ(poller.responses.size(), 2U);
  EXPECT_EQ(poller.responses[0].status, 403);
  EXPECT_NE(poller.responses[0].body.find("not today"), std::string::npos);
  EXPECT_EQ(poller.responses[1].status, 200);
}

}  // namespace
}  // namespace carillon::testing
