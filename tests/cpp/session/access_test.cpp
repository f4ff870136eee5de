#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "protocol/centrifuge_codes.hpp"
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
  EXPECT_EQ(world.loops[0]->counters.sse, 0U);
  EXPECT_EQ(world.loops[0]->counters.polls, 0U);
}

TEST(Access, AConnectThatNobodyDecidesSendsTheClientAwayForAWhile) {
  World world;
  world.access.slow = {Operation::connect};
  WsClient client(world);
  client.open();
  client.send("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
  world.run();
  world.access.decide(Verdict::undecided("late"));
  world.run();
  EXPECT_TRUE(client.replies.empty());
  ASSERT_TRUE(client.close_code);
  EXPECT_EQ(*client.close_code, kDisconnectServerError.code) << "SDKs reconnect after a code below 3500";
  EXPECT_EQ(world.present("a"), 0U);

  for (const Operation operation : {Operation::connect, Operation::subscribe}) {
    world.access.slow = {operation};
    SseClient stream(world);
    stream.open("channel=a");
    HttpClient poller(world);
    poller.request("GET", "/poll?channel=a&timeout=0");
    world.run();
    world.access.decide(Verdict::undecided("late"));
    world.access.decide(Verdict::undecided("late"));
    world.run();
    ASSERT_TRUE(stream.head);
    EXPECT_EQ(stream.head->status, 200) << "EventSource ends for good on any other";
    EXPECT_TRUE(stream.events("status").empty());
    EXPECT_TRUE(!stream.blocks.empty() && stream.blocks.back().retry);
    EXPECT_TRUE(stream.is_ended);
    ASSERT_EQ(poller.responses.size(), 1U);
    EXPECT_EQ(poller.responses[0].status, 503);
    EXPECT_FALSE(poller.responses[0].header("retry-after").empty());
  }
}

TEST(Access, ASubscribeOrPublishThatNobodyDecidesMayBeTriedAgain) {
  World world;
  WsClient client(world);
  client.connect();
  world.access.slow = {Operation::subscribe, Operation::publish};
  client.command("subscribe", {{"channel", "a"}});
  client.command("publish", {{"channel", "b"}, {"data", 1}});
  world.access.decide(Verdict::undecided("late"));
  world.access.decide(Verdict::undecided("late"));
  world.run();
  ASSERT_GE(client.replies.size(), 2U);
  for (std::size_t i = client.replies.size() - 2; i < client.replies.size(); ++i) {
    EXPECT_EQ(client.replies[i]["error"]["code"], 100);
    EXPECT_EQ(client.replies[i]["error"]["temporary"], true);
  }
  EXPECT_FALSE(client.close_code);
  EXPECT_EQ(world.hub.published(), 0U);
  world.access.slow.clear();
  EXPECT_TRUE(client.subscribe("a").contains("subscribe"));
}

/// Not insecure, but for what the rules of its channels let everybody do.
WorldOptions strict() {
  WorldOptions options;
  options.is_insecure = false;
  options.rules = {rule("*", [](ChannelOptions& channel) {
    channel.allow_subscribe = channel.allow_publish = channel.allow_presence = true;
    channel.allow_subscribe_for_anonymous = channel.allow_publish_for_anonymous = true;
    channel.allow_presence_for_anonymous = true;
    channel.presence = channel.join_leave = true;
  })};
  return options;
}

/// What a client that claims to be ann is taken for by others, and by the inbox.
void expect_anonymous(World& world, WsClient& client) {
  client.next_id = 2;  // behind the connect command
  ASSERT_TRUE(client.subscribe("a").contains("subscribe"));
  EXPECT_TRUE(client.command("publish", {{"channel", "a"}, {"data", 1}}).contains("publish"));
  world.run();
  ASSERT_EQ(client.pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["info"]["user"], "");
  const Json presence = client.command("presence", {{"channel", "a"}});
  ASSERT_EQ(presence["presence"]["presence"].size(), 1U);
  for (const Json& each : presence["presence"]["presence"]) EXPECT_EQ(each["user"], "");
  EXPECT_EQ(client.connection->session->user(), "");
  for (const char* method : {"carillon.inbox", "carillon.unread", "carillon.mark_read"}) {
    const Json reply = client.command("rpc", {{"method", method}, {"data", Json::object()}});
    EXPECT_EQ(reply["error"]["code"], 103) << method;
  }
}

TEST(Access, WhatAClientClaimsIsNoIdentity) {
  for (const bool is_hooked : {false, true}) {
    World world(strict());
    if (is_hooked) world.access.slow = {Operation::connect};
    WsClient client(world);
    client.open("?user=ann");
    client.send("{\"id\":1,\"connect\":{\"name\":\"ann\",\"data\":{\"user\":\"ann\"}}}");
    world.run();
    if (is_hooked) world.access.decide(allowed());
    world.run();
    expect_anonymous(world, client);
  }
}

TEST(Access, AClaimStaysAClaimInAnotherProcess) {
  World world(strict());
  WsClient client(world);
  client.open("?user=ann");
  world.run();
  ASSERT_TRUE(world.take_over());
  world.access.slow = {Operation::connect};
  client.send("{\"id\":1,\"connect\":{}}");
  world.run();
  EXPECT_EQ(world.access.asked, std::vector<std::string>{"connect claims ann"});
  world.access.decide(allowed());
  world.run();
  expect_anonymous(world, client);
}

TEST(Access, TheHooksOfAChannelHearWhoItIsAndNotWhoItSaysItIs) {
  World world(strict());
  SseClient stream(world);
  world.access.slow = {Operation::subscribe};
  stream.open("channel=a&user=ann");
  HttpClient poller(world);
  poller.request("GET", "/poll?channel=a&timeout=0&user=ann");
  WsClient client(world);
  client.connect("?user=ann");
  client.command("subscribe", {{"channel", "a"}});
  EXPECT_EQ(world.access.asked, (std::vector<std::string>{"subscribe a", "subscribe a", "subscribe a"}));
  for (int i = 0; i < 3; ++i) world.access.decide(allowed());
  world.run();
  EXPECT_EQ(stream.connection->session->user(), "");
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
            (std::vector<std::string>{"connect claims ann", "subscribe anna", "subscribe annb"}));

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

TEST(Access, AHookGetsTheRequestThatTheClientCameWith) {
  World world;
  world.access.slow = {Operation::connect, Operation::subscribe};
  const std::string headers = "Authorization: bearer t1\r\nCookie: session=abc\r\nX-Room: 7\r\n";
  SseClient stream(world);
  stream.open("channel=a&user=ann&token=t2&data=%7B%22n%22%3A1%7D", headers);
  HttpClient poller(world);
  poller.request("GET", "/poll?channel=a&token=t2&data=7");
  WsClient socket(world);
  socket.open("?token=t2&data=8&user=ann");
  socket.send(R"({"id":1,"connect":{}})");
  WsClient explicit_one(world);
  explicit_one.open("?token=t2&data=8");
  explicit_one.send(R"({"id":1,"connect":{"token":"t3","data":9}})");
  world.run();
  ASSERT_EQ(world.access.given.size(), 4U);
  const auto [token, data, request] = world.access.given[0];
  EXPECT_EQ(token, "t1");
  EXPECT_EQ(data, R"({"n":1})");
  EXPECT_EQ(request->parameter("user"), "ann");
  EXPECT_EQ(request->address, "192.0.2.1") << "without its port";
  EXPECT_NE(std::find(request->headers.begin(), request->headers.end(),
                      std::pair<std::string, std::string>("cookie", "session=abc")),
            request->headers.end());
  EXPECT_EQ(world.access.given[1].token, "t2");
  EXPECT_EQ(world.access.given[1].data, "7");
  EXPECT_EQ(world.access.given[2].token, "t2") << "the upgrade's, as the command has none";
  EXPECT_EQ(world.access.given[2].data, "8");
  EXPECT_EQ(world.access.given[3].token, "t3");
  EXPECT_EQ(world.access.given[3].data, "9");
  while (!world.access.waiting.empty()) {
    world.access.decide(allowed());
    world.run();
  }
  EXPECT_EQ(world.access.given.size(), 6U) << "the stream's and the poll's channels";
  EXPECT_EQ(world.access.given[4].token, "t1");
  EXPECT_EQ(world.access.given[4].request, request);
  socket.command("subscribe", {{"channel", "b"}, {"token", "t4"}, {"data", 10}});
  EXPECT_EQ(world.access.given[6].token, "t4") << "of this channel";
  EXPECT_EQ(world.access.given[6].data, "10");
  EXPECT_EQ(world.access.given[6].request, world.access.given[2].request);
}

TEST(Access, WhatOnlyAConnectHookWantsIsNotKept) {
  for (const bool is_wanted_later : {false, true}) {
    World world;
    world.access.slow = {Operation::connect};
    if (is_wanted_later) world.access.slow.insert(Operation::publish);
    WsClient client(world);
    client.connect("?user=ann");
    const std::weak_ptr<const ClientRequest> request = std::exchange(world.access.given, {})[0].request;
    EXPECT_FALSE(request.expired());
    world.access.decide(allowed());
    world.run();
    EXPECT_EQ(request.expired(), !is_wanted_later);
  }
}

TEST(Access, ATakeoverBringsWhatHooksAreGivenLater) {
  World world;
  world.access.slow = {Operation::publish};
  WsClient client(world);
  client.connect("?room=7");
  ASSERT_TRUE(world.take_over());
  client.command("publish", {{"channel", "a"}, {"data", 1}});
  ASSERT_EQ(world.access.given.size(), 1U);
  EXPECT_EQ(world.access.given[0].request->parameter("room"), "7");
  EXPECT_EQ(world.access.given[0].request->address, "192.0.2.1");
}

TEST(Access, TheReasonOfADenialReachesTheClientOnEveryTransport) {
  World world;
  world.access.slow = {Operation::connect};
  WsClient socket(world);
  socket.connect();
  world.access.decide(denied(0, "members only"));
  world.run();
  EXPECT_EQ(socket.close_code, 3507);
  EXPECT_EQ(socket.close_reason, "members only");
  WsClient mute(world);
  mute.connect();
  world.access.decide(denied(4501));
  world.run();
  EXPECT_EQ(mute.close_reason, "permission denied") << "SDKs take an empty reason for 'reconnect'";
  for (const char* path : {"/sse", "/poll"}) {
    HttpClient plain(world);
    plain.request("GET", std::string(path) + "?channel=a");
    world.run();
    world.access.decide(denied(109, "token expired"));
    world.run();
    EXPECT_EQ(plain.responses.back().status, 401);
    EXPECT_EQ(Json::parse(plain.responses.back().body),
              (Json{{"error", {{"code", 109}, {"message", "token expired"}}}}));
  }
  world.access.slow = {Operation::subscribe, Operation::publish};
  WsClient member(world);
  member.connect();
  for (const auto& [name, body] : {std::pair("subscribe", Json{{"channel", "a"}}),
                                   std::pair("publish", Json{{"channel", "a"}, {"data", 1}})}) {
    member.command(name, body);
    world.access.decide(denied(0, "members only"));
    world.run();
    EXPECT_EQ(member.replies.back()["error"], (Json{{"code", 103}, {"message", "members only"}}));
  }
}

}  // namespace
}  // namespace carillon::testing
