#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "session/session_clients.hpp"
#include "session/websocket_journal.hpp"

namespace carillon::testing {
namespace {

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

/// Not insecure; nothing is forced.
WorldOptions unforced(const std::function<void(ChannelOptions&)>& change) {
  WorldOptions options;
  options.is_insecure = false;
  options.rules = {rule("*", [&](ChannelOptions& o) {
    o.allow_subscribe = o.allow_subscribe_for_anonymous = true;
    o.force_recovery = o.force_positioning = false;
    change(o);
  })};
  return options;
}

TEST(WebSocketRecovery, WhoMayRecoverAndKnowItsPositionIsUpToTheChannel) {
  struct Case {
    const char* what;
    std::function<void(ChannelOptions&)> change;
    const char* wish;  // or null
    bool is_recoverable;
    bool is_positioned;
  };
  const auto nothing = [](ChannelOptions&) {};
  const auto may_recover = [](ChannelOptions& o) { o.allow_recovery = true; };
  const auto may_position = [](ChannelOptions& o) { o.allow_positioning = true; };
  const auto may_read = [](ChannelOptions& o) {
    o.allow_history_for_subscriber = o.allow_history_for_anonymous = true;
  };
  const auto forced = [](ChannelOptions& o) { o.force_recovery = true; };
  const auto positioned = [](ChannelOptions& o) { o.force_positioning = true; };
  const auto without = [](ChannelOptions& o) {
    o.history_size = 0;
    o.force_recovery = true;
  };
  for (const Case& each : {
           Case{"nothing", nothing, nullptr, false, false},
           Case{"nothing", nothing, "recoverable", false, false},
           Case{"nothing", nothing, "positioned", false, false},
           Case{"allow_recovery", may_recover, nullptr, false, false},
           Case{"allow_recovery", may_recover, "recoverable", true, true},
           Case{"allow_recovery", may_recover, "positioned", false, false},
           Case{"allow_positioning", may_position, "positioned", false, true},
           Case{"allow_positioning", may_position, "recoverable", false, false},
           Case{"allow_history", may_read, nullptr, false, false},
           Case{"allow_history", may_read, "recoverable", true, true},
           Case{"allow_history", may_read, "positioned", false, true},
           Case{"force_recovery", forced, nullptr, true, true},
           Case{"force_positioning", positioned, nullptr, false, true},
           Case{"no history", without, "recoverable", false, false},
       }) {
    World world(unforced(each.change));
    WsClient client(world);
    client.connect();
    world.publish("a", "1");
    Json body = Json::object();
    if (each.wish != nullptr) body[each.wish] = true;
    const Json result = client.subscribe("a", body)["subscribe"];
    EXPECT_EQ(result.value("recoverable", false), each.is_recoverable) << each.what << result;
    EXPECT_EQ(result.value("positioned", false), each.is_positioned) << each.what << result;
    EXPECT_EQ(result.contains("epoch"), each.is_positioned) << each.what << result;
    EXPECT_EQ(result.value("offset", 0), each.is_positioned ? 1 : 0) << each.what << result;
  }
}

TEST(WebSocketRecovery, WhereItIsOffThereIsNothingOfThePast) {
  World world(unforced([](ChannelOptions&) {}));
  WsClient client(world);
  client.connect();
  const Position first = world.publish("a", "1");
  world.publish("a", "2");
  const Json position = {{"recover", true}, {"offset", 1}, {"epoch", std::string(first.epoch.text())}};
  EXPECT_EQ(client.subscribe("a", position)["subscribe"], Json({{"was_recovering", true}}));
  client.command("unsubscribe", {{"channel", "a"}});
  EXPECT_EQ(client.subscribe("a", {{"last", 2}})["subscribe"], Json::object());
  client.command("unsubscribe", {{"channel", "a"}});
  Json strict = position;
  strict["flag"] = 2;
  EXPECT_EQ(error_of(client.subscribe("a", strict)), 112U);
  client.subscribe("a");
  world.publish("a", "3");
  world.run();
  ASSERT_EQ(client.pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["data"], 3);
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

}  // namespace
}  // namespace carillon::testing
