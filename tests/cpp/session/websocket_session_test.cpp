#include <gtest/gtest.h>

#include <set>

#include "session/session_world.hpp"

namespace carillon::testing {
namespace {

ChannelRules::Rule rule(std::string pattern, const std::function<void(ChannelOptions&)>& change = {}) {
  ChannelOptions options;
  if (change) change(options);
  return {std::move(pattern), options};
}

std::uint32_t error_of(const Json& reply) {
  return reply.is_object() && reply.contains("error") ? reply["error"]["code"].get<std::uint32_t>() : 0;
}

/// Offsets of the publications of a channel, in the order in which they came: in subscribe replies and
/// pushes.
struct Journal {
  explicit Journal(WsClient& client, std::string its_channel) : channel(std::move(its_channel)) {
    client.on_reply = [this](const Json& reply) {
      if (reply.contains("subscribe")) {
        for (const Json& each : reply["subscribe"].value("publications", Json::array())) add(each);
      }
      if (reply.contains("push") && reply["push"].value("channel", "") == channel &&
          reply["push"].contains("pub")) {
        add(reply["push"]["pub"]);
      }
    };
  }
  void add(const Json& publication) { offsets.push_back(publication.value("offset", Offset{0})); }
  std::string channel;
  std::vector<Offset> offsets;
};

std::vector<Offset> range(Offset first, Offset last) {
  std::vector<Offset> all;
  for (Offset offset = first; offset <= last; ++offset) all.push_back(offset);
  return all;
}

// ---- connect

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

// ---- frames

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

TEST(WebSocketFrames, SendIsNotAvailableAndRpcAndRefreshAreAnsweredSo) {
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

// ---- heartbeat

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
  EXPECT_EQ(world.lanes[0]->counters.no_pong.load(), 1U);
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

// ---- subscribe

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
  options.rules = {rule("open*", [](ChannelOptions& o) { o.allow_subscribe = true; })};
  World world(options);
  WsClient client(world);
  client.connect();
  const std::string too_long(256, 'a');
  EXPECT_EQ(error_of(client.subscribe(too_long)), 107U);
  EXPECT_EQ(error_of(client.subscribe("closed")), 103U);
  EXPECT_EQ(error_of(client.subscribe("open1")), 0U);
  EXPECT_EQ(error_of(client.subscribe("open1")), 105U);
  EXPECT_EQ(error_of(client.subscribe("open2")), 0U);
  EXPECT_EQ(error_of(client.subscribe(too_long)), 107U) << "before the limit";
  EXPECT_EQ(error_of(client.subscribe("open2")), 105U) << "before the limit";
  EXPECT_EQ(error_of(client.subscribe("closed")), 106U) << "before permission";
  EXPECT_EQ(error_of(client.command("unsubscribe", {{"channel", "open2"}})), 0U);
  EXPECT_EQ(error_of(client.subscribe("open3", {{"type", 1}})), 103U);
  EXPECT_EQ(error_of(client.subscribe("open3", {{"tf", {{"op", "eq"}}}})), 107U);
  EXPECT_EQ(error_of(client.subscribe("open3", {{"delta", "fossil"}, {"flag", 1}})), 0U);
  client.subscribe("open4", {{"delta", "other"}});
  EXPECT_EQ(client.close_code, 3501);
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

TEST(WebSocketSubscribe, UnsubscribeBeforeTheStoreHasAnsweredIsAnsweredBehindTheSubscribe) {
  World world;
  WsClient client(world);
  client.connect();
  world.store.is_late = true;
  client.send(R"({"id":10,"subscribe":{"channel":"a"}})");
  client.send(R"({"id":11,"unsubscribe":{"channel":"a"}})");
  client.send(R"({"id":12,"unsubscribe":{"channel":"a"}})");
  world.run();
  world.store.is_late = false;
  world.store.answer();
  world.run();
  std::vector<Json> ids;
  for (std::size_t i = 1; i < client.replies.size(); ++i) ids.push_back(client.replies[i]["id"]);
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids, (std::vector<Json>{10, 11, 12}));
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_EQ(error_of(client.subscribe("a")), 0U);
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

// ---- recovery

TEST(WebSocketRecovery, WhatWasMissedStandsInTheReply) {
  World world;
  WsClient client(world);
  client.connect();
  const std::string epoch = client.subscribe("a")["subscribe"]["epoch"];
  client.command("unsubscribe", {{"channel", "a"}});
  for (int i = 1; i <= 5; ++i) world.publish("a", std::to_string(i));
  const Json reply = client.subscribe("a", {{"recover", true}, {"offset", 2}, {"epoch", epoch}})["subscribe"];
  EXPECT_EQ(reply["was_recovering"], true);
  EXPECT_EQ(reply["recovered"], true);
  EXPECT_EQ(reply["offset"], 2) << "the requested one";
  EXPECT_EQ(reply["epoch"], epoch);
  EXPECT_EQ(reply["publications"],
            Json::parse(R"([{"data":3,"offset":3},{"data":4,"offset":4},{"data":5,"offset":5}])"));
  world.publish("a", "6");
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub"), std::vector<Json>{Json::parse(R"({"data":6,"offset":6})")});
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.delivered, 4);
  EXPECT_EQ(account.pending, 0);
}

TEST(WebSocketRecovery, NothingMissedIsRecoveredToo) {
  World world;
  WsClient client(world);
  client.connect();
  const Position top = world.publish("a", "1");
  const Json reply = client.subscribe(
      "a", {{"recover", true}, {"offset", 1}, {"epoch", std::string(top.epoch.text())}})["subscribe"];
  EXPECT_EQ(reply["recovered"], true);
  EXPECT_EQ(reply["offset"], 1);
  EXPECT_FALSE(reply.contains("publications"));
}

TEST(WebSocketRecovery, FromZeroWithoutAnEpochBringsEverything) {
  World world;
  WsClient client(world);
  client.connect();
  const Position top = world.publish("a", "1");
  const Json reply = client.subscribe("a", {{"recover", true}})["subscribe"];
  EXPECT_EQ(reply["recovered"], true);
  EXPECT_EQ(reply["publications"][0]["epoch"], top.epoch.text());
}

TEST(WebSocketRecovery, WhatCannotBeRecoveredIsToldWithTheTop) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.history_size = 3; })};
  World world(options);
  WsClient client(world);
  client.connect();
  Position top;
  for (int i = 0; i < 10; ++i) top = world.publish("a", "1");
  const std::string epoch(top.epoch.text());
  const std::vector<Json> hopeless = {{{"recover", true}, {"offset", 10}, {"epoch", "otherone"}},
                                      {{"recover", true}, {"offset", 10}, {"epoch", "short"}},
                                      {{"recover", true}, {"offset", 6}, {"epoch", epoch}},
                                      {{"recover", true}, {"offset", 11}, {"epoch", epoch}}};
  for (Json body : hopeless) {
    const Json reply = client.subscribe("a", body)["subscribe"];
    EXPECT_EQ(reply["was_recovering"], true) << body;
    EXPECT_FALSE(reply.contains("recovered")) << body;
    EXPECT_FALSE(reply.contains("publications")) << body;
    EXPECT_EQ(reply["offset"], 10) << body;
    EXPECT_EQ(reply["epoch"], epoch);
    client.command("unsubscribe", {{"channel", "a"}});
    body["flag"] = 3;
    EXPECT_EQ(error_of(client.subscribe("a", body)), 112U) << body;
    EXPECT_EQ(world.present("a"), 0U);
    EXPECT_TRUE(world.hub.channels("*").empty());
  }
  EXPECT_EQ(
      client.subscribe(
          "a", {{"recover", true}, {"offset", 7}, {"epoch", epoch}, {"flag", 3}})["subscribe"]["recovered"],
      true);
}

TEST(WebSocketRecovery, MoreThanAPageFollowsAsPushesWithoutGapOrDuplicate) {
  for (const bool is_by_bytes : {false, true}) {
    WorldOptions options;
    if (is_by_bytes) {
      options.limits.recovery_bytes = 1'000;
    } else {
      options.limits.history_publications = 10;
    }
    World world(options);
    WsClient client(world);
    client.connect();
    for (int i = 0; i < 700; ++i) world.publish("a", Json(std::string(90, 'x')).dump());
    const Journal journal(client, "a");
    const Json reply = client.subscribe("a", {{"recover", true}, {"offset", 100}})["subscribe"];
    EXPECT_EQ(reply["recovered"], true);
    EXPECT_EQ(reply["offset"], 100);
    EXPECT_EQ(reply["publications"].size(), 10U);
    EXPECT_EQ(journal.offsets, range(101, 700));
    EXPECT_EQ(world.ledger_of("a").account.delivered, 600);
  }
}

TEST(WebSocketRecovery, OnACloggedConnectionEverythingFollowsAsPushes) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("b");
  for (int i = 0; i < 20; ++i) world.publish("a", "1");
  const Journal journal(client, "a");
  client.kernel().room = 10;
  world.publish("b", "1");
  world.run();
  client.send(R"({"id":50,"subscribe":{"channel":"a","recover":true,"offset":5}})");
  world.run();
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.replies.back()["subscribe"]["recovered"], true);
  EXPECT_EQ(client.replies.back()["subscribe"]["offset"], 5);
  EXPECT_FALSE(client.replies.back()["subscribe"].contains("publications"))
      << "they wait in the log, not here";
  EXPECT_EQ(journal.offsets, range(6, 20));
  EXPECT_EQ(world.ledger_of("a").account.delivered, 15);
}

TEST(WebSocketRecovery, AConnectionCutInsideTheReplyReturnsThePage) {
  World world;
  WsClient client(world);
  client.connect();
  for (int i = 0; i < 20; ++i) world.publish("a", "1");
  client.kernel().room = 40;
  client.send(R"({"id":50,"subscribe":{"channel":"a","recover":true,"offset":5}})");
  world.run();
  EXPECT_EQ(world.ledger_of("a").account.pending, 15);
  client.cut();
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.returned, 15);
  EXPECT_EQ(account.delivered, 0);
}

TEST(WebSocketRecovery, AGapIsToldAsInsufficientStateAndTheClientMayComeBackAtOnce) {
  WorldOptions options;
  options.limits.channels_per_connection = 1;
  options.rules = {rule("*", [](ChannelOptions& o) {
    o.history_size = 4;
    o.live_window_entries = 4;
  })};
  World world(options);
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  Journal journal(client, "a");
  client.kernel().room = 10;
  world.publish("a", "1");
  world.run();
  for (int i = 0; i < 20; ++i) {
    world.publish("a", "1");
    world.run();
  }
  client.kernel().room = Kernel::kAll;
  world.turn();
  ASSERT_EQ(client.pushes_of("a", "unsubscribe").size(), 1U);
  EXPECT_EQ(client.pushes_of("a", "unsubscribe")[0],
            Json::parse(R"({"code":2500,"reason":"insufficient state"})"));
  EXPECT_EQ(journal.offsets, range(1, 1));
  const Json reply = client.subscribe("a", {{"recover", true}, {"offset", 1}})["subscribe"];
  EXPECT_FALSE(reply.contains("recovered"));
  EXPECT_EQ(reply["offset"], 21);
  EXPECT_EQ(world.present("a"), 1U);
  world.publish("a", "1");
  world.run();
  EXPECT_EQ(journal.offsets.back(), 22U);
  const LedgerRow row = world.ledger_of("a");
  EXPECT_EQ(row.account.delivered, 2);
  EXPECT_EQ(row.subscriptions, 1U);
}

// ---- publish, presence, history

TEST(WebSocketPublish, ReplyStandsBeforeTheOwnPublicationAndDataIsPassedOnAsItCame) {
  World world;
  WsClient client(world);
  client.connect("?user=ann");
  client.subscribe("a");
  std::vector<std::string> order;
  client.on_reply = [&](const Json& reply) { order.push_back(reply.contains("push") ? "push" : "reply"); };
  client.send("{\"id\":50,\"publish\":{\"channel\":\"a\",\"data\":{ \"x\": 1.0, \"a\": \"\\u0041\" }}}");
  world.run();
  EXPECT_EQ(order, (std::vector<std::string>{"reply", "push"}));
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["info"]["user"], "ann");
}

TEST(WebSocketPublish, Refusals) {
  WorldOptions options;
  options.is_insecure = false;
  options.limits.publication_bytes = 100;
  options.rules = {rule("open*", [](ChannelOptions& o) { o.allow_publish = true; })};
  World world(options);
  WsClient client(world);
  client.connect();
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "open"}, {"data", 1}})), 0U);
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "closed"}, {"data", 1}})), 103U);
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "open"}})), 107U);
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "open"}, {"data", 1}, {"type", 1}})), 107U);
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "open"}, {"data", std::string(98, 'x')}})), 0U);
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "open"}, {"data", std::string(99, 'x')}})), 107U);
  EXPECT_EQ(world.hub.published(), 2U);
}

TEST(WebSocketPublish, BinaryFromElsewhereComesAsBase64) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  world.publish("a", std::string("\0\xff", 2), {}, ContentType::binary);
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["data"], Json::parse(R"({"b64":"AP8="})"));
}

TEST(WebSocketPresence, CountsConnectionsAndUsersAndIsRemovedOnClose) {
  World world;
  WsClient ann(world);
  ann.connect("?user=ann");
  WsClient nobody(world);
  nobody.connect();
  WsClient ann_too(world);
  ann_too.connect("?user=ann");
  for (WsClient* each : {&ann, &nobody, &ann_too}) each->subscribe("a");
  const Json stats = nobody.command("presence_stats", {{"channel", "a"}})["presence_stats"];
  EXPECT_EQ(stats, Json::parse(R"({"num_clients":3,"num_users":2})"));
  const Json found = nobody.command("presence", {{"channel", "a"}})["presence"]["presence"];
  const std::string id = ann.replies[0]["connect"]["client"];
  EXPECT_EQ(found.size(), 3U);
  EXPECT_EQ(found[id], Json({{"user", "ann"}, {"client", id}}));
  ann.cut();
  ann_too.send_frame(8, "\x03\xe8");
  world.run();
  EXPECT_EQ(nobody.command("presence_stats", {{"channel", "a"}})["presence_stats"]["num_clients"], 1);
  EXPECT_EQ(nobody.command("presence", {{"channel", "empty"}})["presence"],
            Json::parse(R"({"presence":{}})"));
  EXPECT_EQ(nobody.command("presence_stats", {{"channel", "empty"}})["presence_stats"],
            Json::parse(R"({"num_clients":0,"num_users":0})"));
}

TEST(WebSocketPresence, AQuickReconnectIsNotUndoneByTheOldConnectionsEnd) {
  World world;
  WsClient old(world);
  old.connect("?user=ann");
  old.subscribe("a");
  WsClient fresh(world);
  fresh.connect("?user=ann");
  fresh.subscribe("a");
  old.cut();
  world.run();
  EXPECT_EQ(world.present("a"), 1U);
}

TEST(WebSocketPresence, IsRefusedWhereItIsOffAndWhereItIsForbidden) {
  WorldOptions options;
  options.is_insecure = false;
  options.rules = {rule("off", [](ChannelOptions& o) { o.presence = o.allow_presence = false; }),
                   rule("free", [](ChannelOptions& o) { o.allow_presence = o.allow_history = true; }),
                   rule("live", [](ChannelOptions& o) { o.history_size = 0; })};
  World world(options);
  WsClient client(world);
  client.connect();
  for (const char* name : {"presence", "presence_stats"}) {
    EXPECT_EQ(error_of(client.command(name, {{"channel", "off"}})), 108U);
    EXPECT_EQ(error_of(client.command(name, {{"channel", "closed"}})), 103U);
    EXPECT_EQ(error_of(client.command(name, {{"channel", "free"}})), 0U);
  }
  EXPECT_EQ(error_of(client.command("history", {{"channel", "live"}})), 108U);
  EXPECT_EQ(error_of(client.command("history", {{"channel", "closed"}})), 103U);
  EXPECT_EQ(error_of(client.command("history", {{"channel", "free"}})), 0U);
}

TEST(WebSocketNotices, JoinComesToTheJoinerToo) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.join_leave = true; })};
  World world(options);
  WsClient first(world);
  first.connect("?user=first");
  first.subscribe("a", {{"join_leave", true}});
  WsClient second(world);
  second.connect("?user=second");
  second.subscribe("a", {{"join_leave", true}});
  WsClient third(world);  // does not wish for notices
  third.connect("?user=third");
  third.subscribe("a");
  world.publish("a", "1");
  second.command("unsubscribe", {{"channel", "a"}});
  first.subscribe("b", {{"join_leave", true}});
  second.subscribe("b", {{"join_leave", true}});
  second.cut();
  world.run();
  const auto who = [](const std::vector<Json>& notices) {
    std::vector<std::string> users;
    for (const Json& each : notices) users.push_back(each["info"]["user"]);
    return users;
  };
  EXPECT_EQ(who(first.pushes_of("a", "join")), (std::vector<std::string>{"first", "second", "third"}));
  EXPECT_EQ(who(second.pushes_of("a", "join")), (std::vector<std::string>{"second", "third"}));
  EXPECT_EQ(who(first.pushes_of("a", "leave")), (std::vector<std::string>{"second"}));
  EXPECT_TRUE(second.pushes_of("a", "leave").empty());
  EXPECT_EQ(who(first.pushes_of("b", "leave")), (std::vector<std::string>{"second"}));
  std::vector<std::string> order;
  for (const Json& push : first.pushes) {
    if (push["channel"] != "a") continue;
    for (const char* kind : {"join", "pub", "leave"}) {
      if (push.contains(kind)) order.emplace_back(kind);
    }
  }
  EXPECT_TRUE(third.pushes_of("a", "join").empty() && third.pushes_of("a", "leave").empty());
  EXPECT_EQ(order, (std::vector<std::string>{"join", "join", "join", "pub", "leave"}));
}

TEST(WebSocketHistory, LimitsSinceAndReverse) {
  WorldOptions options;
  options.limits.history_publications = 4;
  World world(options);
  WsClient client(world);
  client.connect();
  Position top;
  for (int i = 0; i < 9; ++i) top = world.publish("a", "1");
  const std::string epoch(top.epoch.text());
  const auto offsets = [&](Json body) {
    body["channel"] = "a";
    const Json reply = client.command("history", body);
    EXPECT_EQ(reply["history"]["offset"], 9);
    EXPECT_EQ(reply["history"]["epoch"], epoch);
    std::vector<Offset> found;
    for (const Json& each : reply["history"]["publications"]) found.push_back(each["offset"]);
    return found;
  };
  EXPECT_EQ(offsets({}), std::vector<Offset>{});
  EXPECT_EQ(offsets({{"limit", 2}}), (std::vector<Offset>{1, 2}));
  EXPECT_EQ(offsets({{"limit", -1}}), (std::vector<Offset>{1, 2, 3, 4}));
  EXPECT_EQ(offsets({{"limit", 100}}), (std::vector<Offset>{1, 2, 3, 4}));
  EXPECT_EQ(offsets({{"limit", 2}, {"since", {{"offset", 5}, {"epoch", epoch}}}}),
            (std::vector<Offset>{6, 7}));
  EXPECT_EQ(offsets({{"limit", 2}, {"reverse", true}}), (std::vector<Offset>{9, 8}));
  EXPECT_EQ(offsets({{"limit", 2}, {"reverse", true}, {"since", {{"offset", 5}}}}),
            (std::vector<Offset>{4, 3}));
  EXPECT_EQ(
      error_of(client.command("history", {{"channel", "a"}, {"reverse", true}, {"since", {{"offset", 0}}}})),
      107U);
  EXPECT_EQ(error_of(client.command("history",
                                    {{"channel", "a"}, {"limit", 1}, {"since", {{"epoch", "otherone"}}}})),
            112U);
}

// ---- backlog

TEST(WebSocketBacklog, NoCommandIsReadWhileRepliesWaitAndNoneIsLost) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
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
  EXPECT_LT(world.lanes[0]->counters.commands.load(), 60U)
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

TEST(WebSocketBacklog, ADisconnectWhileCommandsAreHeldLetsTheClosingHandshakeThrough) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
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
      world.lanes[0]->shard.bind_to_this_thread();
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
  EXPECT_LT(client.connection->outlet.pending_bytes(), 1'200U) << "the rest of one frame, and no more";
  EXPECT_EQ(world.ledger_of("a").account.pending, 300);
  client.kernel().room = Kernel::kAll;
  client.kernel().most = 777;
  world.run();
  EXPECT_EQ(journal.offsets, range(1, 300));
  EXPECT_EQ(world.ledger_of("a").account.delivered, 300);
}

// ---- the end

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
  world.lanes[0]->shard.bind_to_this_thread();
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

TEST(WebSocketEnd, WithoutTheClientsCloseTheConnectionEndsInTime) {
  World world;
  WsClient client(world);
  client.connect();
  world.lanes[0]->shard.bind_to_this_thread();
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
  world.lanes[0]->shard.bind_to_this_thread();
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

TEST(WebSocketWorld, WithSeveralShardsEverySubscriberSeesOneOrder) {
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
