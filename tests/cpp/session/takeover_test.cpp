// What another process goes on with, seen by clients that must notice nothing.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/ws_frame.hpp"
#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

constexpr Millis kOtherClock = 123'456;  // the other process's clock has another zero

std::vector<Json> data_of(const WsClient& client, std::string_view channel) {
  std::vector<Json> data;
  for (const Json& push : client.pushes_of(channel, "pub")) data.push_back(push["data"]);
  return data;
}

TEST(Takeover, APartOfAFrameFromTheClientIsCompletedByTheRest) {
  std::string frame;
  append_ws_client_frame(frame, WsOpcode::text, true, 0x12345678,
                         R"({"id":9,"publish":{"channel":"a","data":"whole"}})");
  for (std::size_t cut = 1; cut < frame.size(); ++cut) {
    World world;
    WsClient client(world);
    client.connect();
    client.subscribe("a");
    client.write(frame.substr(0, cut));
    world.run();
    ASSERT_TRUE(world.take_over(kOtherClock));
    client.write(frame.substr(cut));
    world.run();
    ASSERT_EQ(data_of(client, "a"), std::vector<Json>{"whole"}) << cut;
    ASSERT_EQ(client.replies.back()["id"], 9) << cut;
  }
}

TEST(Takeover, APartOfAMessageInFragmentsIsCompletedByTheRest) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  std::string first;
  append_ws_client_frame(first, WsOpcode::text, false, 7, R"({"id":9,"publish":{"channel":"a","data":"gr)");
  append_ws_client_frame(first, WsOpcode::continuation, false, 8, "\xC3");
  client.write(first);
  ASSERT_TRUE(world.take_over(kOtherClock));
  client.send_frame(9, "between");
  std::string rest;
  append_ws_client_frame(rest, WsOpcode::continuation, true, 9, "\xBC\xC3\x9F\"}}");
  client.write(rest);
  world.run();
  EXPECT_EQ(data_of(client, "a"), std::vector<Json>{"grüß"});
  EXPECT_EQ(client.pongs, std::vector<std::string>{"between"});
}

TEST(Takeover, TheRestOfACutFrameLeavesFirst) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.kernel().room = 30;  // inside the first push
  for (int i = 1; i <= 5; ++i) world.publish("a", std::to_string(i));
  world.run();
  ASSERT_TRUE(client.is_clogged());
  for (int i = 6; i <= 8; ++i) world.publish("a", std::to_string(i));
  ASSERT_TRUE(world.take_over(kOtherClock));
  EXPECT_TRUE(client.is_clogged());
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(data_of(client, "a"), (std::vector<Json>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(world.ledger_of("a").account.delivered, 8);
}

TEST(Takeover, AStalledReaderIsDroppedWhenItsTimeIsOverAndNotBefore) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.kernel().room = 3;
  world.publish("a", "1");
  world.advance(world.options.limits.stall_timeout_ms - 1'000);
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.advance(999);
  EXPECT_TRUE(client.is_open());
  world.advance(1);
  EXPECT_FALSE(client.is_open());
}

TEST(Takeover, APingThatIsUnderWayIsAwaitedForTheRestOfItsTime) {
  for (const bool answers : {true, false}) {
    World world;
    WsClient client(world);
    client.answers_heartbeats = false;
    client.connect();
    while (client.heartbeats == 0) world.advance(1);
    world.advance(world.options.heartbeat.pong_timeout_ms - 100);
    ASSERT_TRUE(world.take_over(kOtherClock));
    world.advance(99);
    ASSERT_FALSE(client.close_code.has_value());
    if (answers) client.send("{}");
    world.advance(1);
    EXPECT_EQ(client.close_code.has_value(), !answers);
    if (!answers) {
      EXPECT_EQ(client.close_code, 3012);
      continue;
    }
    const std::size_t before = client.heartbeats;
    world.advance(world.options.heartbeat.ping_interval_ms - world.options.heartbeat.pong_timeout_ms);
    EXPECT_EQ(client.heartbeats, before + 1) << "the next ping has its time, too";
  }
}

TEST(Takeover, AClientKeepsItsIdItsSubscriptionsAndItsWishes) {
  WorldOptions options;
  ChannelOptions watched;
  watched.join_leave = true;
  options.rules = {{"watched", watched}};
  World world(options);
  WsClient client(world);
  client.connect();
  const std::string id = client.replies.back()["connect"]["client"];
  client.subscribe("watched", {{"join_leave", true}});
  WsClient plain(world, 0);
  plain.connect();
  plain.subscribe("watched");
  const std::size_t joins = client.pushes_of("watched", "join").size();

  ASSERT_TRUE(world.take_over(kOtherClock));
  world.run();
  EXPECT_TRUE(client.pushes_of("watched", "leave").empty()) << "nobody has left";
  EXPECT_EQ(client.pushes_of("watched", "join").size(), joins) << "nobody has come";
  EXPECT_EQ(world.present("watched"), 2U);
  EXPECT_EQ(client.connection->session->client_id(), id);
  EXPECT_EQ(error_of(client.command("subscribe", {{"channel", "watched"}})), 105U) << "it is subscribed";
  plain.cut();
  world.run();
  EXPECT_EQ(client.pushes_of("watched", "leave").size(), 1U);
  EXPECT_EQ(world.present("watched"), 1U);
}

TEST(Takeover, AStreamOfSeveralChannelsGoesOnWithItsTokens) {
  World world;
  const std::string a(world.publish("a", "1").epoch.text());
  const std::string b(world.publish("b", "1").epoch.text());
  SseClient client(world);
  client.open("channel=a&channel=b");
  world.run();
  world.publish("b", "2");
  world.run();
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.publish("a", "2");
  world.run();
  ASSERT_EQ(client.events("").size(), 2U);
  EXPECT_EQ(client.last_id, a + ":2," + b + ":2");
  EXPECT_EQ(client.events("status").size(), 2U) << "a takeover is no new start";
}

TEST(Takeover, AStreamThatWasGrantedNoticesGoesOnGettingThem) {
  WorldOptions options;
  options.is_insecure = false;
  options.rules = {rule("*", [](ChannelOptions& o) { o.allow_subscribe_for_anonymous = true; })};
  World world(options);
  world.access.slow = {Operation::subscribe};
  SubscriptionGrant granted;
  granted.overrides.join_leave = true;
  granted.overrides.force_push_join_leave = true;
  const auto open = [&](SseClient& client) {
    client.open("channel=a");
    world.run();
    Verdict verdict = allowed();
    verdict.subscription = granted;
    world.access.decide(verdict);
    world.run();
  };
  SseClient first(world);
  open(first);
  granted.overrides.force_push_join_leave = false;
  SseClient other(world);
  open(other);
  ASSERT_EQ(first.events("join").size(), 2U);
  ASSERT_TRUE(world.take_over());
  SseClient last(world);
  open(last);
  EXPECT_EQ(first.events("join").size(), 3U);
  EXPECT_TRUE(other.events("join").empty());
}

TEST(Takeover, ACommentComesWhenItIsDue) {
  World world;
  SseClient client(world);
  client.open("channel=a");
  world.run();
  world.advance(client.connection->session->deadline() - world.clock.now_ms() - 10);
  ASSERT_TRUE(world.take_over(kOtherClock));
  const std::size_t before = client.blocks.size();
  world.advance(9);
  EXPECT_EQ(client.blocks.size(), before);
  world.advance(1);
  ASSERT_EQ(client.blocks.size(), before + 1);
  EXPECT_TRUE(client.blocks.back().is_comment);
}

TEST(Takeover, AWaitingPollIsAnsweredByANewPublicationOrItsTimeout) {
  for (const bool is_news : {true, false}) {
    World world;
    const std::string epoch(world.publish("a", "1").epoch.text());
    HttpClient client(world);
    client.request("GET", "/poll?channel=a&timeout=20&since=" + epoch + ":1");
    world.advance(19'000);
    ASSERT_TRUE(world.take_over(kOtherClock));
    world.advance(999);
    ASSERT_TRUE(client.responses.empty());
    if (is_news) world.publish("a", "2");
    world.advance(is_news ? 0 : 1);
    world.run();
    ASSERT_EQ(client.responses.size(), 1U);
    const Json body = Json::parse(client.responses.back().body);
    EXPECT_EQ(body["publications"].size(), is_news ? 1U : 0U);
    EXPECT_EQ(body["since"], epoch + (is_news ? ":2" : ":1"));
    EXPECT_EQ(client.get("/now").status, 200) << "the connection goes on";
  }
}

TEST(Takeover, AnAnswerThatIsLeavingLeavesWhole) {
  World world;
  HttpClient client(world);
  client.kernel().room = 1'000;
  client.request("GET", "/big");
  client.request("GET", "/now");
  world.run();
  ASSERT_TRUE(world.take_over(kOtherClock));
  client.kernel().room = Kernel::kAll;
  world.run();
  ASSERT_EQ(client.responses.size(), 2U);
  EXPECT_EQ(client.responses[0].body.size(), world.handler.big_bytes);
  EXPECT_EQ(client.responses[1].body, R"("/now")");
}

TEST(Takeover, APartOfARequestIsCompletedByTheRest) {
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\nhello world"
      "GET /now HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (std::size_t cut = 1; cut < request.size(); ++cut) {
    World world;
    HttpClient client(world);
    client.write(request.substr(0, cut));
    world.run();
    ASSERT_TRUE(world.take_over(kOtherClock));
    client.write(request.substr(cut));
    world.run();
    ASSERT_EQ(client.responses.size(), 2U) << cut;
    ASSERT_EQ(client.responses[0].body, "hello world") << cut;
  }
}

TEST(Takeover, ARequestWhoseHeadIsKnownIsCountedOnceAndItsBodyAskedForOnce) {
  World world;
  HttpClient client(world);
  client.write(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
  world.run();
  ASSERT_EQ(client.responses.size(), 1U);
  EXPECT_EQ(client.responses[0].status, 100);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(world.take_over(kOtherClock));
    client.write(i == 0 ? "hello" : " worl");
    world.run();
    EXPECT_EQ(world.loops[0]->counters.requests, 0U) << "the first process has counted it";
  }
  EXPECT_EQ(client.responses.size(), 1U);
  client.write("d");
  world.run();
  ASSERT_EQ(client.responses.size(), 2U);
  EXPECT_EQ(client.responses[1].body, "hello world");
  EXPECT_EQ(client.get("/now").status, 200);
  EXPECT_EQ(world.loops[0]->counters.requests, 1U);
}

TEST(Takeover, ARequestBehindAWaitingPollIsAnsweredAfterIt) {
  World world;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a");
  client.request("GET", "/now");
  world.run();
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.publish("a", "1");
  world.run();
  ASSERT_EQ(client.responses.size(), 2U);
  EXPECT_EQ(client.responses[1].body, R"("/now")");
}

TEST(Takeover, AnAnswerThatIsBeingGatheredKeepsToItsLimit) {
  WorldOptions options;
  options.limits.poll_publications = 300;  // more than one batch
  World world(options);
  const std::string epoch(world.publish("a", "1").epoch.text());
  for (int i = 2; i <= 900; ++i) world.publish("a", std::to_string(i));
  HttpClient client(world);
  client.request("GET", "/poll?channel=a&since=" + epoch + ":0");
  world.turn();
  ASSERT_TRUE(client.responses.empty()) << "a turn brings a batch of them";
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.run();
  ASSERT_EQ(client.responses.size(), 1U);
  const Json body = Json::parse(client.responses[0].body);
  EXPECT_EQ(body["publications"].size(), 300U);
  EXPECT_EQ(body["since"], epoch + ":300");
}

TEST(Takeover, AnAnswerThatWaitsForTheEndOfTheTurnLeaves) {
  World world;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a&channel=b&since=unknown:1,unknown:2");
  ASSERT_TRUE(world.take_over(kOtherClock)) << "before any turn";
  world.run();
  ASSERT_EQ(client.responses.size(), 1U) << "and not when its time is up";
  EXPECT_EQ(Json::parse(client.responses[0].body)["status"].size(), 2U) << "with the news of both";
}

TEST(Takeover, ASubscriptionThatIsLeavingTakesNoPlaceOfOthers) {
  WorldOptions options;
  options.limits.channels_per_connection = 1;
  World world(options);
  const std::string epoch(world.publish("a", "1").epoch.text());
  WsClient client(world);
  client.connect();
  client.kernel().room = 3;  // inside the reply, which brings what was missed
  client.subscribe("a", {{"recover", true}, {"epoch", epoch}, {"offset", 0}});
  client.command("unsubscribe", {{"channel", "a"}});
  ASSERT_TRUE(client.is_clogged());
  ASSERT_TRUE(world.take_over(kOtherClock));
  client.command("subscribe", {{"channel", "b"}});
  client.kernel().room = Kernel::kAll;
  world.run();
  ASSERT_EQ(client.replies.size(), 4U);
  for (const Json& reply : client.replies) EXPECT_EQ(error_of(reply), 0U) << reply;
  EXPECT_EQ(error_of(client.command("subscribe", {{"channel", "c"}})), 106U) << "b has the place";
}

TEST(Takeover, ARequestThatIsNeverCompletedHasTheRestOfItsTime) {
  World world;
  HttpClient client(world);
  client.write("GET /now HTTP/1.1\r\nHo");
  world.advance(world.options.limits.handshake_timeout_ms - 500);
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.advance(499);
  EXPECT_TRUE(client.responses.empty());
  world.advance(1);
  ASSERT_EQ(client.responses.size(), 1U);
  EXPECT_EQ(client.responses[0].status, 408);
}

TEST(Takeover, CommandsThatWaitForTheirRepliesToLeaveAreNotLost) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
  World world(options);
  WsClient client(world);
  client.connect();
  client.kernel().room = 0;
  std::string text;
  for (int i = 0; i < 100; ++i) text += R"({"id":)" + std::to_string(100 + i) + R"(,"rpc":{}})" + "\n";
  for (int i = 0; i < 3; ++i) client.send(text);
  world.run();
  for (int i = 0; i < 40; ++i) {
    client.kernel().room = 173;
    world.run();
    ASSERT_TRUE(world.take_over(kOtherClock));
  }
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.replies.size(), 301U);
}

TEST(Takeover, ACloseBehindCommandsThatWaitIsStillKnown) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
  World world(options);
  WsClient client(world);
  client.connect();
  client.kernel().room = 0;
  for (int i = 0; i < 100; ++i) client.send(R"({"id":2,"publish":{"channel":"c","data":1}})");
  client.send_frame(8, "\x03\xe8");
  world.run();
  ASSERT_FALSE(client.is_ended) << "commands wait for their replies to leave";
  ASSERT_TRUE(world.take_over(kOtherClock));
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.replies.size(), 101U);
  EXPECT_EQ(client.close_code, 1000);
  EXPECT_TRUE(client.is_ended);
}

TEST(Takeover, APongThatWaitsForItsSocketIsStillSent) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  client.kernel().room = 20;
  world.publish("a", Json(std::string(500, 'x')).dump());
  world.run();
  ASSERT_TRUE(client.is_clogged());
  client.send_frame(9, "ping");
  world.run();
  ASSERT_TRUE(world.take_over(kOtherClock));
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.pongs, std::vector<std::string>{"ping"});
}

TEST(Takeover, AProtobufClientKeepsItsEncoding) {
  World world;
  WsClient client(world);
  client.open("?format=protobuf");
  client.send_frame(2, std::string_view("\x04\x08\x01\x22\x00", 5));  // connect
  client.send_frame(2, "\x07\x08\x02\x2A\x03\x0A\x01n");              // subscribe to n
  world.run();
  ASSERT_EQ(client.binaries.size(), 2U);
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.publish("n", "{}");
  world.run();
  client.send_frame(2, std::string_view("\x04\x08\x03\x5A\x00", 5));  // ping
  world.run();
  ASSERT_EQ(client.binaries.size(), 4U);
  EXPECT_NE(client.binaries[2].find("{}"), std::string::npos);
  EXPECT_EQ(client.binaries[3], std::string_view("\x04\x08\x03\x62\x00", 5));
}

TEST(Takeover, IsNotTheMomentWhileASessionWaitsForAnAnswer) {
  World world;
  world.access.slow = {Operation::subscribe};
  WsClient client(world);
  client.connect();
  client.send(R"({"id":9,"subscribe":{"channel":"a"}})");
  world.run();
  EXPECT_FALSE(world.take_over());
  EXPECT_TRUE(client.connection->session->has_open_question());
  Verdict yes;
  yes.is_allowed = true;
  world.access.decide(yes);
  world.run();
  EXPECT_TRUE(world.take_over());
  world.publish("a", "1");
  world.run();
  EXPECT_EQ(data_of(client, "a"), std::vector<Json>{1});
}

TEST(Takeover, AConnectOnWhichAHookDecidesIsAskedOnceMore) {
  for (const bool is_pipelined : {true, false}) {
    World world;
    world.access.slow = {Operation::connect};
    WsClient client(world);
    client.open("?user=ann");
    const std::string connect = R"({"id":1,"connect":{"data":{"tab":7}}})";
    const std::string subscribe = R"({"id":2,"subscribe":{"channel":"a"}})";
    if (is_pipelined) {
      client.send(connect + "\n" + subscribe + "\n");
    } else {
      client.send(connect);
      client.send(subscribe);
    }
    client.send(R"({"id":3,"ping":{}})");
    world.run();
    ASSERT_EQ(world.access.waiting.size(), 1U);
    ASSERT_TRUE(world.take_over(kOtherClock)) << "nobody waits for the hook";
    world.run();
    ASSERT_EQ(world.access.waiting.size(), 1U) << "the new process asks";
    EXPECT_EQ(world.access.asked, (std::vector<std::string>{"connect claims ann", "connect claims ann"}));
    EXPECT_EQ(world.access.given.back().data, R"({"tab":7})");
    EXPECT_TRUE(client.replies.empty());
    world.access.decide(allowed("ann"));
    world.run();
    ASSERT_EQ(client.replies.size(), 3U);
    EXPECT_TRUE(client.replies[0].contains("connect"));
    EXPECT_TRUE(client.replies[1].contains("subscribe"));
    EXPECT_EQ(client.replies[2]["id"], 3);
    EXPECT_FALSE(client.close_code.has_value());
  }
}

TEST(Takeover, AConnectThatIsAnsweredInTheOldProcessAfterAllGoesOnThere) {
  World world;
  world.access.slow = {Operation::connect, Operation::subscribe};
  WsClient other(world);
  other.open();
  other.send(R"({"id":1,"connect":{}})");
  world.run();
  world.access.decide(allowed());
  world.run();
  other.send(R"({"id":2,"subscribe":{"channel":"a"}})");
  WsClient client(world);
  client.open();
  client.send(R"({"id":1,"connect":{}})");
  world.run();
  ASSERT_FALSE(world.take_over()) << "the subscribe is answered here";
  ASSERT_EQ(world.access.waiting.size(), 2U);
  world.access.decide(allowed("ann"), 1);
  world.run();
  ASSERT_EQ(client.replies.size(), 1U) << "once";
  EXPECT_TRUE(client.replies[0].contains("connect"));
}

TEST(Takeover, AConnectThatIsRefusedThereMayBeTriedAgainWithinTheUsualTime) {
  World world;
  world.access.slow = {Operation::connect};
  WsClient client(world);
  client.open();
  client.send(R"({"id":1,"connect":{}})");
  world.run();
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.run();
  world.access.decide(denied(111, "too many requests"));
  world.run();
  ASSERT_EQ(error_of(client.replies.back()), 111U);
  world.advance(world.options.limits.handshake_timeout_ms - 1);
  EXPECT_FALSE(client.close_code.has_value());
  world.advance(1);
  EXPECT_EQ(client.close_code, 3502);
}

TEST(Takeover, AStreamOrPollWhoseHookIsSlowIsSentAwayAtOnce) {
  World world;
  world.access.slow = {Operation::connect};
  SseClient stream(world);
  stream.open("channel=a");
  HttpClient poll(world);
  poll.request("GET", "/poll?channel=a");
  world.run();
  ASSERT_EQ(world.access.waiting.size(), 2U);
  EXPECT_EQ(world.take_over_without_askers(), 2U);
  ASSERT_TRUE(stream.head);
  EXPECT_EQ(stream.head->status, 200);
  ASSERT_FALSE(stream.blocks.empty());
  EXPECT_GE(stream.blocks.back().retry.value_or(0), 2'000U);
  EXPECT_TRUE(stream.is_ended);
  ASSERT_EQ(poll.responses.size(), 1U);
  EXPECT_EQ(poll.responses[0].status, 503);
  EXPECT_FALSE(poll.responses[0].header("retry-after").empty());
}

TEST(Takeover, AClosingHandshakeIsFinished) {
  World world;
  WsClient client(world);
  client.connect();
  client.connection->session->disconnect(3501, "go");
  world.run();
  ASSERT_EQ(client.close_code, 3501);
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.advance(world.options.limits.close_timeout_ms - 1);
  EXPECT_FALSE(client.is_ended);
  world.advance(1);
  EXPECT_TRUE(client.is_ended);
}

TEST(Takeover, ThePublisherThatTriesAgainPublishesOnce) {
  World world;
  const Position first = world.publish("a", "1", {.idempotency_key = "key"});
  ASSERT_TRUE(world.take_over(kOtherClock));
  EXPECT_EQ(world.publish("a", "1", {.idempotency_key = "key"}), first);
  EXPECT_EQ(world.publish("a", "2").offset, 2U);
  world.clock.advance(300'000);  // the default window
  EXPECT_EQ(world.publish("a", "1", {.idempotency_key = "key"}).offset, 3U);
}

TEST(Takeover, HistoryAndEpochGoOn) {
  World world;
  Position top;
  for (int i = 1; i <= 9; ++i) top = world.publish("a", std::to_string(i));
  const std::string epoch(top.epoch.text());
  ASSERT_TRUE(world.take_over(kOtherClock));
  WsClient client(world);
  client.connect();
  const Json reply = client.subscribe("a", {{"recover", true}, {"epoch", epoch}, {"offset", 4}});
  EXPECT_EQ(reply["subscribe"]["recovered"], true);
  EXPECT_EQ(reply["subscribe"]["publications"].size(), 5U);
}

TEST(Takeover, ADormantChannelIsRemembered) {
  World world;
  const Position first = world.publish("a", "1");
  world.clock.advance(400'000);
  world.hub.keep_house();
  ASSERT_EQ(world.hub.channels_in_use(), 0U);
  ASSERT_TRUE(world.take_over(kOtherClock));
  EXPECT_EQ(world.publish("a", "2"), (Position{first.epoch, 2}));
}

TEST(Takeover, TheAccountsGoOn) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  for (int i = 1; i <= 3; ++i) world.publish("a", std::to_string(i));
  world.run();
  {
    SseClient gone(world);
    gone.open("channel=a");
    world.run();
    world.publish("a", "4");
    world.run();
  }
  ASSERT_TRUE(world.take_over(kOtherClock));
  world.publish("a", "5");
  world.run();
  const LedgerRow row = world.ledger_of("a");  // which must balance
  EXPECT_EQ(row.account.delivered, 6) << "five to one, one to the other";
  EXPECT_EQ(row.account.published, 6);
  EXPECT_EQ(row.subscriptions, 1U);
}

}  // namespace
}  // namespace carillon::testing
