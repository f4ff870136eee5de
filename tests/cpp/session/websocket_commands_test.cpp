#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/json_span.hpp"
#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

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
  options.rules = {
      rule("open*", [](ChannelOptions& o) { o.allow_publish = o.allow_publish_for_anonymous = true; })};
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
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["binary"], true);
}

TEST(WebSocketPublish, NullFalseZeroAndTheEmptyTextArePublished) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  const std::vector<Json> values{nullptr, false, 0, ""};
  for (const Json& value : values) {
    EXPECT_TRUE(client.command("publish", {{"channel", "a"}, {"data", value}}).contains("publish")) << value;
  }
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "a"}})), 107U) << "no data at all";
  std::vector<Json> got;
  for (const Json& push : client.pushes_of("a", "pub")) got.push_back(push["data"]);
  EXPECT_EQ(got, values);
}

TEST(WebSocketPublish, WhatIsTooDeepIsRefusedWithoutHarmToTheConnection) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  const auto nested = [](int depth) {
    Json value = 1;
    for (int i = 0; i < depth; ++i) value = Json::array({value});
    return value;
  };
  const Json refused = client.command("publish", {{"channel", "a"}, {"data", nested(kJsonDepthMax + 1)}});
  EXPECT_EQ(error_of(refused), 107U);
  EXPECT_NE(refused["error"]["message"].get<std::string>().find("64"), std::string::npos);
  EXPECT_EQ(error_of(client.command("rpc", {{"method", "carillon.inbox"}, {"data", nested(70)}})), 107U);
  const Json deepest = nested(kJsonDepthMax);
  EXPECT_TRUE(client.command("publish", {{"channel", "a"}, {"data", deepest}}).contains("publish"));
  ASSERT_EQ(client.pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(client.pushes_of("a", "pub")[0]["data"], deepest);
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
                   rule("free",
                        [](ChannelOptions& o) {
                          o.allow_presence = o.allow_presence_for_anonymous = true;
                          o.allow_history = o.allow_history_for_anonymous = true;
                        }),
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

TEST(WebSocketPermissions, ASubscriberMayDoWhatItsChannelGrantsToSubscribers) {
  WorldOptions options;
  options.is_insecure = false;
  options.rules = {rule("room", [](ChannelOptions& o) {
    o.allow_subscribe = true;
    o.allow_publish_for_subscriber = o.allow_presence_for_subscriber = o.allow_history_for_subscriber = true;
  })};
  World world(options);
  world.access.slow = {Operation::connect};
  WsClient client(world);
  client.open();
  client.send("{\"id\":1,\"connect\":{}}");
  world.run();
  world.access.decide(allowed("ann"));
  world.run();
  client.next_id = 2;
  const auto expect_all = [&](std::uint32_t error) {
    EXPECT_EQ(error_of(client.command("publish", {{"channel", "room"}, {"data", 1}})), error);
    for (const char* name : {"presence", "presence_stats", "history"})
      EXPECT_EQ(error_of(client.command(name, {{"channel", "room"}})), error) << name;
  };
  expect_all(103);
  EXPECT_EQ(error_of(client.subscribe("room")), 0U);
  expect_all(0);
  client.command("unsubscribe", {{"channel", "room"}});
  expect_all(103);
}

/// Two formats of payloads, a channel without one, and one for what is empty.
WorldOptions formats() {
  WorldOptions options;
  options.rules = {
      rule("json", [](ChannelOptions& o) { o.publication_format = PublicationFormat::json; }),
      rule("object", [](ChannelOptions& o) { o.publication_format = PublicationFormat::json_object; }),
      rule("binary", [](ChannelOptions& o) { o.publication_format = PublicationFormat::binary; })};
  return options;
}

TEST(WebSocketPublish, TheFormatOfTheChannelIsChecked) {
  World world(formats());
  WsClient client(world);
  client.connect();
  const auto error = [&](const char* channel, const Json& data) {
    return error_of(client.command("publish", {{"channel", channel}, {"data", data}}));
  };
  for (const Json& data : {Json(1), Json("text"), Json(nullptr), Json::array({Json::object()})}) {
    EXPECT_EQ(error("json", data), 0U) << data;
    EXPECT_EQ(error("object", data), 107U) << data;
    EXPECT_EQ(error("binary", data), 0U) << data;
    EXPECT_EQ(error("any", data), 0U) << data;
  }
  EXPECT_EQ(error("object", {{"n", 1}}), 0U);
  for (const char* channel : {"json", "object", "any"})
    EXPECT_EQ(error_of(client.command("publish", {{"channel", channel}})), 107U) << channel;
  client.subscribe("binary");
  EXPECT_EQ(error_of(client.command("publish", {{"channel", "binary"}})), 0U) << "may be empty";
  world.run();
  EXPECT_EQ(client.pushes_of("binary", "pub").back()["data"], Json({{"b64", ""}}));
}

TEST(WebSocketPublish, WhatAHookPublishesInsteadHasTheFormatToo) {
  World world(formats());
  WsClient client(world);
  client.connect();
  world.access.slow = {Operation::publish};
  client.command("publish", {{"channel", "object"}, {"data", {{"n", 1}}}});
  Verdict replaced = allowed();
  replaced.data = "7";
  world.access.decide(replaced);
  world.run();
  EXPECT_EQ(client.replies.back()["error"]["code"], 107);
  EXPECT_EQ(world.hub.published(), 0U);
}

TEST(WebSocketNotices, GoToThoseWhoAskAndMayReadThePresenceOrToAllIfForced) {
  struct Case {
    bool is_forced;
    bool may_read;
    bool wishes;
    std::size_t joins;
  };
  for (const Case& each :
       {Case{false, false, false, 0}, Case{false, false, true, 0}, Case{false, true, false, 0},
        Case{false, true, true, 2}, Case{true, false, false, 2}, Case{true, true, true, 2}}) {
    WorldOptions options;
    options.is_insecure = false;
    options.rules = {rule("*", [&](ChannelOptions& o) {
      o.join_leave = o.allow_subscribe = o.allow_subscribe_for_anonymous = true;
      o.force_push_join_leave = each.is_forced;
      o.allow_presence_for_subscriber = o.allow_presence_for_anonymous = each.may_read;
    })};
    World world(options);
    WsClient client(world);
    client.connect();
    Json body = Json::object();
    if (each.wishes) body["join_leave"] = true;
    client.subscribe("a", body);
    WsClient other(world);
    other.connect();
    other.subscribe("a");
    world.run();
    EXPECT_EQ(client.pushes_of("a", "join").size(), each.joins)
        << each.is_forced << each.may_read << each.wishes;
  }
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

}  // namespace
}  // namespace carillon::testing
