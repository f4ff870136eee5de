// Subscriptions that the server makes for its clients: at connect, later, and what ends them.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

SubscriptionGrant grant(std::string channel, std::string info = {}, std::string data = {}) {
  SubscriptionGrant granted;
  granted.channel = std::move(channel);
  granted.info_json = std::move(info);
  granted.data_json = std::move(data);
  return granted;
}

Verdict with_subscriptions(std::vector<SubscriptionGrant> grants, std::string user = "ann") {
  Verdict verdict = allowed(std::move(user));
  verdict.identity.subscriptions = std::move(grants);
  return verdict;
}

/// From now on a hook answers connects.
void hook_connects(World& world) { world.access.slow.insert(Operation::connect); }

/// The client asks to connect; nothing is decided yet.
void ask_to_connect(WsClient& client, const Json& body = Json::object()) {
  client.open();
  client.send(Json({{"id", client.next_id++}, {"connect", body}}).dump());
}

/// It connects with what `verdict` grants; the reply's `connect`, or the whole reply.
Json connect_with(WsClient& client, Verdict verdict, const Json& body = Json::object()) {
  ask_to_connect(client, body);
  client.world.access.decide(std::move(verdict));
  client.world.run();
  if (client.replies.empty()) return {};
  return client.replies.back().value("connect", client.replies.back());
}

Json recovering(const std::string& channel, const Position& from) {
  return {
      {"subs",
       {{channel, {{"recover", true}, {"offset", from.offset}, {"epoch", std::string(from.epoch.text())}}}}}};
}

/// What the server does on the client's shard.
template <typename Act>
void on_shard(WsClient& client, Act act) {
  client.world.loops[client.socket->loop]->shard.post([&client, act] { act(*client.connection->session); });
  client.world.run();
}

SubscribeAnswer subscribe_by_server(WsClient& client, const SubscriptionGrant& granted,
                                    const std::optional<Since>& since = {}) {
  auto answer = std::make_shared<SubscribeAnswer>(SubscribeAnswer::failed);
  on_shard(client, [=](Session& session) {
    session.subscribe(granted, since, [answer](SubscribeAnswer given) { *answer = given; });
  });
  return *answer;
}

bool unsubscribe_by_server(WsClient& client, const std::string& channel) {
  auto answer = std::make_shared<bool>(false);
  on_shard(client, [=](Session& session) { *answer = session.unsubscribe(channel, kUnsubscribeByServer); });
  return *answer;
}

TEST(ServerSubscriptions, TheConnectReplyHasThem) {
  World world;
  hook_connects(world);
  const Position top = world.publish("news", "1");
  WsClient client(world);
  Verdict verdict = with_subscriptions({grant("news", "", R"({"hello":1})"), grant("#ann"), grant("news")});
  verdict.identity.data_json = R"({"welcome":true})";
  const Json reply = connect_with(client, std::move(verdict));
  EXPECT_EQ(reply["data"], Json({{"welcome", true}}));
  ASSERT_EQ(reply["subs"].size(), 2U);
  EXPECT_EQ(reply["subs"]["news"], Json({{"recoverable", true},
                                         {"positioned", true},
                                         {"epoch", std::string(top.epoch.text())},
                                         {"offset", 1},
                                         {"data", {{"hello", 1}}}}));
  EXPECT_EQ(world.present("news"), 1U);
  world.publish("news", "2");
  world.publish("#ann", "3");
  world.run();
  EXPECT_EQ(client.pushes_of("news", "pub"), std::vector<Json>{Json({{"data", 2}, {"offset", 2}})});
  EXPECT_EQ(client.pushes_of("#ann", "pub").size(), 1U);
}

TEST(ServerSubscriptions, TheReplyWaitsForTheStoreAndComesBeforeAnyPush) {
  World world;
  hook_connects(world);
  world.publish("a", "1");
  WsClient follower(world);  // keeps the channel open: it is here before the other one's is
  world.access.slow.clear();
  follower.connect();
  follower.subscribe("a");
  world.access.slow.insert(Operation::connect);
  WsClient client(world);
  std::vector<std::string> order;
  client.on_reply = [&](const Json& reply) { order.push_back(reply.contains("push") ? "push" : "reply"); };
  ask_to_connect(client);
  client.send(R"({"id":2,"publish":{"channel":"c","data":5}})");  // waits for the connect as all commands do
  world.store.is_late = true;
  world.access.decide(with_subscriptions({grant("a"), grant("b")}));
  world.run();
  world.publish("a", "2");
  world.run();
  EXPECT_TRUE(order.empty()) << "the store has still to open b";
  EXPECT_FALSE(world.take_over()) << "its answer can only come in this process";
  world.store.is_late = false;
  world.store.answer();
  world.run();
  ASSERT_GE(order.size(), 2U);
  EXPECT_EQ(order[0], "reply");
  EXPECT_EQ(client.replies[0]["connect"]["subs"]["a"]["offset"], 1);
  EXPECT_EQ(client.pushes_of("a", "pub"), std::vector<Json>{Json({{"data", 2}, {"offset", 2}})});
  EXPECT_EQ(client.replies[1], Json::parse(R"({"id":2,"publish":{}})"));
  EXPECT_TRUE(world.ledger_of("a").account.pending == 0);
}

TEST(ServerSubscriptions, AStoreThatFailsEndsTheConnectInAWayThatComesBack) {
  for (const bool is_late : {false, true}) {
    World world;
    hook_connects(world);
    WsClient client(world);
    ask_to_connect(client);
    world.store.is_late = is_late;
    world.store.is_unavailable = !is_late;
    world.access.decide(with_subscriptions({grant("a"), grant("b")}));
    world.store.is_unavailable = true;
    world.store.answer();
    world.run();
    EXPECT_EQ(client.close_code, 3004);
    EXPECT_TRUE(client.replies.empty());
    EXPECT_EQ(world.present("a"), 0U);
  }
}

TEST(ServerSubscriptions, AClientThatGoesWhileItWaitsLeavesNothing) {
  World world;
  hook_connects(world);
  auto client = std::make_unique<WsClient>(world);
  ask_to_connect(*client);
  world.store.is_late = true;
  world.access.decide(with_subscriptions({grant("a"), grant("b")}));
  world.run();
  client->cut();
  world.store.answer();
  world.run();
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_TRUE(world.hub.channels("*").empty());
}

TEST(ServerSubscriptions, AClientThatComesBackRecovers) {
  World world;
  hook_connects(world);
  const Position first = world.publish("a", "1");
  world.publish("a", "2");
  world.publish("a", "3");
  WsClient client(world);
  const Json subs = connect_with(client, with_subscriptions({grant("a")}), recovering("a", first))["subs"];
  EXPECT_EQ(subs["a"]["recovered"], true);
  EXPECT_EQ(subs["a"]["was_recovering"], true);
  EXPECT_EQ(subs["a"]["offset"], 1) << "the requested one";
  EXPECT_EQ(subs["a"]["publications"], Json::parse(R"([{"data":2,"offset":2},{"data":3,"offset":3}])"));
  world.publish("a", "4");
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub"), std::vector<Json>{Json({{"data", 4}, {"offset", 4}})});
  EXPECT_EQ(world.ledger_of("a").account.delivered, 3);

  WsClient other(world);
  const Json lost =
      connect_with(other, with_subscriptions({grant("a")}),
                   {{"subs", {{"a", {{"recover", true}, {"offset", 1}, {"epoch", "another1"}}}}}});
  EXPECT_EQ(lost["subs"]["a"]["was_recovering"], true);
  EXPECT_FALSE(lost["subs"]["a"].contains("recovered"));
  EXPECT_EQ(lost["subs"]["a"]["offset"], 4);
}

TEST(ServerSubscriptions, OneReplyHasRoomForSoMuchAndTheRestFollows) {
  WorldOptions options;
  options.limits.backlog_bytes = 4'000;  // half of it for a reply
  World world(options);
  hook_connects(world);
  std::vector<SubscriptionGrant> grants;
  Json subs = Json::object();
  for (const std::string channel : {"a", "b", "c", "d"}) {
    for (int i = 0; i < 3; ++i) world.publish(channel, Json(std::string(400, 'x')).dump());
    grants.push_back(grant(channel));
    subs[channel] = {{"recover", true}};
  }
  WsClient client(world);
  const Json reply = connect_with(client, with_subscriptions(grants), {{"subs", subs}});
  EXPECT_LT(reply.dump().size(), 4'000U);
  for (const std::string channel : {"a", "b", "c", "d"}) {
    EXPECT_EQ(reply["subs"][channel]["recovered"], true);
    std::vector<int> offsets;
    for (const Json& each : reply["subs"][channel].value("publications", Json::array()))
      offsets.push_back(each["offset"]);
    for (const Json& each : client.pushes_of(channel, "pub")) offsets.push_back(each["offset"]);
    EXPECT_EQ(offsets, (std::vector<int>{1, 2, 3})) << channel;
  }
}

TEST(ServerSubscriptions, WishesThatAreNoObjectAreABadRequest) {
  World world;
  for (const Json& subs : {Json(1), Json({{"a", 1}}), Json({{"a", {{"recover", "yes"}}}})}) {
    WsClient client(world);
    ask_to_connect(client, {{"subs", subs}});
    world.run();
    EXPECT_EQ(client.close_code, 3501) << subs;
  }
}

TEST(ServerSubscriptions, TheClientCannotSubscribeOnceMoreButUnsubscribe) {
  World world;
  hook_connects(world);
  WsClient client(world);
  connect_with(client, with_subscriptions({grant("a")}));
  EXPECT_EQ(error_of(client.subscribe("a")), 105U);
  EXPECT_EQ(client.command("unsubscribe", {{"channel", "a"}})["unsubscribe"], Json::object());
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_EQ(error_of(client.subscribe("a")), 0U);
}

TEST(ServerSubscriptions, PermissionsOfSubscribersSeeThem) {
  World world;
  hook_connects(world);
  WsClient client(world);
  connect_with(client, with_subscriptions({grant("a")}));
  world.access.slow.insert(Operation::publish);
  std::vector<bool> told;
  world.access.on_asked = [&](const Question& question) { told.push_back(question.is_subscribed); };
  client.send(R"({"id":7,"publish":{"channel":"a","data":1}})");
  client.send(R"({"id":8,"publish":{"channel":"b","data":1}})");
  EXPECT_EQ(told, (std::vector<bool>{true, false}));
}

TEST(ServerSubscriptions, WhatBelongsToASubscriptionIsShownThereAlone) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.join_leave = true; })};
  World world(options);
  hook_connects(world);
  WsClient client(world);
  Verdict verdict = with_subscriptions({grant("a", R"({"role":"host"})"), grant("b")});
  verdict.identity.info_json = R"({"name":"Ann"})";
  const std::string id = connect_with(client, std::move(verdict))["client"];
  const Json in_a = {
      {"user", "ann"}, {"client", id}, {"conn_info", {{"name", "Ann"}}}, {"chan_info", {{"role", "host"}}}};
  Json in_b = in_a;
  in_b.erase("chan_info");
  const auto presence = [&](const std::string& channel) {
    return client.command("presence", {{"channel", channel}})["presence"]["presence"][id];
  };
  EXPECT_EQ(presence("a"), in_a);
  EXPECT_EQ(presence("b"), in_b);
  world.access.slow.clear();
  WsClient other(world);
  other.connect();
  other.subscribe("a", {{"join_leave", true}});
  client.command("publish", {{"channel", "a"}, {"data", 1}});
  client.command("publish", {{"channel", "b"}, {"data", 1}});
  client.cut();
  world.run();
  EXPECT_EQ(other.pushes_of("a", "pub")[0]["info"], in_a);
  EXPECT_EQ(other.pushes_of("a", "leave"), std::vector<Json>{Json({{"info", in_a}})});
  EXPECT_EQ(other.command("history", {{"channel", "b"}, {"limit", 1}})["history"]["publications"][0]["info"],
            in_b);
}

TEST(ServerSubscriptions, AGrantOverridesTheOptionsOfItsChannel) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.presence = true; })};
  World world(options);
  hook_connects(world);
  WsClient watcher(world);
  SubscriptionGrant watching = grant("a");
  watching.overrides.join_leave = true;
  watching.overrides.force_push_join_leave = true;
  connect_with(watcher, with_subscriptions({watching}, "bob"));
  WsClient client(world);
  SubscriptionGrant hidden = grant("a");
  hidden.overrides.presence = false;
  hidden.overrides.join_leave = true;
  connect_with(client, with_subscriptions({hidden}));
  EXPECT_EQ(world.present("a"), 1U) << "the watcher alone";
  world.run();
  EXPECT_EQ(watcher.pushes_of("a", "join").size(), 2U) << "its own too";
  EXPECT_TRUE(client.pushes_of("a", "join").empty()) << "it announces, but is told nothing";
}

TEST(ServerSubscriptions, InsufficientStateEndsTheConnection) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) {
    o.history_size = 3;
    o.live_window_entries = 3;
  })};
  World world(options);
  hook_connects(world);
  for (const bool is_taken_over : {false, true}) {
    WsClient client(world);
    connect_with(client, with_subscriptions({grant("a")}));
    if (is_taken_over) {
      ASSERT_TRUE(world.take_over());
    }
    client.kernel().room = 10;
    for (int i = 0; i < 20; ++i) {
      world.publish("a", "1");
      world.run();
    }
    client.kernel().room = Kernel::kAll;
    world.run();
    EXPECT_EQ(client.close_code, 3010);
    EXPECT_TRUE(client.pushes_of("a", "unsubscribe").empty());
  }
}

TEST(ServerSubscriptions, MoreThanTheConnectionMayHaveIs3505) {
  WorldOptions options;
  options.limits.channels_per_connection = 2;
  World world(options);
  hook_connects(world);
  WsClient client(world);
  connect_with(client, with_subscriptions({grant("a"), grant("b"), grant("c")}));
  EXPECT_EQ(client.close_code, 3505);
  WsClient other(world);
  connect_with(other, with_subscriptions({grant("a"), grant("b")}));
  EXPECT_EQ(error_of(other.subscribe("c")), 106U);
  EXPECT_EQ(subscribe_by_server(other, grant("c")), SubscribeAnswer::limit_exceeded);
}

TEST(ServerSubscriptions, AnUnknownNamespaceIsAnErrorOfTheConnect) {
  WorldOptions options;
  options.rules = {{"chat:*", ChannelOptions{}, ChannelRules::Scope::by_namespace}};
  World world(options);
  hook_connects(world);
  WsClient client(world);
  EXPECT_EQ(error_of(connect_with(client, with_subscriptions({grant("chat:1"), grant("other:1")}))), 102U);
  EXPECT_EQ(world.present("chat:1"), 0U);
  WsClient wishing(world);
  connect_with(wishing, allowed("ann"), {{"subs", {{"other:1", Json::object()}}}});
  EXPECT_EQ(wishing.close_code, 3501);
}

TEST(ServerSubscriptions, WishesAreGrantedWhereTheClientMaySubscribe) {
  WorldOptions options;
  options.is_insecure = false;
  options.rules = {rule("open*", [](ChannelOptions& o) {
    o.allow_subscribe = true;
    o.allow_subscribe_for_anonymous = true;
  })};
  World world(options);
  world.publish("open1", "1");
  WsClient client(world);
  ask_to_connect(client, {{"subs", {{"open1", {{"recover", true}}}, {"closed", Json::object()}}}});
  world.run();
  const Json subs = client.replies.at(0)["connect"]["subs"];
  ASSERT_EQ(subs.size(), 1U) << subs;
  EXPECT_EQ(subs["open1"]["publications"].size(), 1U);
}

TEST(ServerSubscriptions, TheyGoOnInAnotherProcess) {
  World world;
  hook_connects(world);
  WsClient client(world);
  connect_with(client, with_subscriptions({grant("a", R"({"role":"host"})")}));
  world.publish("a", "1");
  world.run();
  ASSERT_TRUE(world.take_over());
  world.publish("a", "2");
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub").size(), 2U);
  EXPECT_EQ(error_of(client.subscribe("a")), 105U);
  client.command("publish", {{"channel", "a"}, {"data", 3}});
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub").back()["info"]["chan_info"], Json({{"role", "host"}}));
  const Json presence = client.command("presence", {{"channel", "a"}})["presence"]["presence"];
  EXPECT_EQ(presence.begin().value()["chan_info"], Json({{"role", "host"}}));
  EXPECT_TRUE(unsubscribe_by_server(client, "a"));
  EXPECT_EQ(world.present("a"), 0U);
}

TEST(ServerSubscriptions, ADrainDisconnectsTheirClients) {
  World world;
  hook_connects(world);
  WsClient client(world);
  connect_with(client, with_subscriptions({grant("a")}));
  world.loops[0]->shard.bind_to_this_thread();
  world.loops[0]->loop.drain(world.endpoint, 0);
  Shard::unbind_this_thread();
  world.advance(10);
  EXPECT_EQ(client.close_code, 3001);
}

// ---- later

TEST(ServerSubscriptions, TheServerSubscribesALiveClient) {
  World world;
  const Position first = world.publish("a", "1");
  world.publish("a", "2");
  WsClient client(world);
  client.connect();
  EXPECT_EQ(
      subscribe_by_server(client, grant("a", R"({"n":1})", R"({"d":2})"), Since::from(first.epoch.text(), 1)),
      SubscribeAnswer::subscribed);
  ASSERT_EQ(client.pushes.size(), 2U);
  EXPECT_EQ(client.pushes[0]["channel"], "a");
  EXPECT_EQ(client.pushes[0]["subscribe"]["epoch"], std::string(first.epoch.text()));
  EXPECT_EQ(client.pushes[0]["subscribe"]["offset"], 1);
  EXPECT_EQ(client.pushes[0]["subscribe"]["positioned"], true);
  EXPECT_EQ(client.pushes[0]["subscribe"]["recoverable"], true);
  EXPECT_EQ(client.pushes[0]["subscribe"]["data"], Json({{"d", 2}}));
  EXPECT_EQ(client.pushes[1]["pub"]["offset"], 2);
  EXPECT_EQ(world.present("a"), 1U);
  EXPECT_EQ(subscribe_by_server(client, grant("a")), SubscribeAnswer::already_subscribed);
  EXPECT_EQ(error_of(client.subscribe("a")), 105U);
}

TEST(ServerSubscriptions, WhileTheStoreThinksCommandsForTheChannelWait) {
  World world;
  WsClient client(world);
  client.connect();
  world.store.is_late = true;
  EXPECT_EQ(subscribe_by_server(client, grant("a")), SubscribeAnswer::failed) << "no answer yet";
  client.send(R"({"id":20,"subscribe":{"channel":"a"}})");
  client.send(R"({"id":21,"subscribe":{"channel":"b"}})");
  const std::size_t replies = client.replies.size();
  world.store.is_late = false;
  world.store.answer();
  world.run();
  EXPECT_EQ(client.pushes_of("a", "subscribe").size(), 1U);
  ASSERT_EQ(client.replies.size(), replies + 2);
  const auto reply = std::find_if(client.replies.begin(), client.replies.end(),
                                  [](const Json& each) { return each["id"] == 20; });
  EXPECT_EQ(error_of(*reply), 105U);
}

TEST(ServerSubscriptions, OneThatIsEndedBeforeItHasBegunIsNeverSeen) {
  World world;
  WsClient client(world);
  client.connect();
  world.store.is_late = true;
  subscribe_by_server(client, grant("a"));
  EXPECT_TRUE(unsubscribe_by_server(client, "a"));
  client.send(R"({"id":20,"subscribe":{"channel":"b"}})");
  EXPECT_TRUE(unsubscribe_by_server(client, "b"));
  world.store.is_late = false;
  world.store.answer();
  world.run();
  EXPECT_TRUE(client.pushes_of("a", "subscribe").empty());
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_TRUE(client.replies.back().contains("subscribe")) << "the client has asked, and is answered";
  EXPECT_EQ(client.pushes_of("b", "unsubscribe"),
            std::vector<Json>{Json({{"code", 2000}, {"reason", "server unsubscribe"}})});
  EXPECT_EQ(world.present("b"), 0U);
}

TEST(ServerSubscriptions, AnUnsubscribeByTheServerIsToldAndEndsTheFlow) {
  World world;
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  EXPECT_FALSE(unsubscribe_by_server(client, "b"));
  EXPECT_TRUE(client.pushes.empty()) << "nothing is said of what it never had";
  EXPECT_TRUE(unsubscribe_by_server(client, "a"));
  EXPECT_EQ(client.pushes_of("a", "unsubscribe"),
            std::vector<Json>{Json({{"code", 2000}, {"reason", "server unsubscribe"}})});
  EXPECT_EQ(world.present("a"), 0U);
  world.publish("a", "1");
  world.run();
  EXPECT_TRUE(client.pushes_of("a", "pub").empty());
  EXPECT_FALSE(unsubscribe_by_server(client, "a"));
}

// ---- the personal channel

TEST(PersonalChannel, EveryUserHasOneAndNobodyElse) {
  World world;
  hook_connects(world);
  world.shared.personal_channel = {true, "people", false};
  WsClient ann(world);
  EXPECT_TRUE(connect_with(ann, allowed("ann"))["subs"].contains("people:#ann"));
  WsClient anonymous(world);
  EXPECT_FALSE(connect_with(anonymous, allowed()).contains("subs"));
  WsClient again(world);
  EXPECT_TRUE(connect_with(again, allowed("ann"))["subs"].contains("people:#ann"));
  EXPECT_TRUE(ann.is_open());
  EXPECT_FALSE(ann.close_code);
}

TEST(PersonalChannel, WithASingleConnectionTheNewestStays) {
  WorldOptions options;
  options.shards = 2;
  World world(options);
  hook_connects(world);
  world.shared.personal_channel = {true, "", true};
  WsClient first(world, 0);
  WsClient bob(world, 0);
  connect_with(first, allowed("ann"));
  connect_with(bob, allowed("bob"));
  WsClient second(world, 1);
  connect_with(second, allowed("ann"));
  EXPECT_EQ(first.close_code, 3504);
  EXPECT_FALSE(second.close_code);
  ASSERT_TRUE(world.take_over());
  WsClient third(world, 0);
  connect_with(third, allowed("ann"));
  EXPECT_EQ(second.close_code, 3504) << "another process knows it, too";
  EXPECT_FALSE(bob.close_code);
  EXPECT_FALSE(third.close_code);
}

TEST(ServerSubscriptions, MapsAndSharedPollsAreNoSubscriptionsOfTheServerEither) {
  WorldOptions options;
  options.rules = {rule("map*", [](ChannelOptions& o) { o.subscription_type = SubscriptionType::map; })};
  World world(options);
  WsClient wishing(world);
  wishing.open();
  const Json subs = wishing.command("connect", {{"subs", {{"map", Json::object()}, {"a", Json::object()}}}});
  EXPECT_EQ(subs["connect"]["subs"].size(), 1U) << subs;
  hook_connects(world);
  WsClient granted(world);
  EXPECT_EQ(error_of(connect_with(granted, with_subscriptions({grant("map")}))), 103U);
}

TEST(UserConnections, OneMoreThanTheLimitIsClosed) {
  WorldOptions options;
  options.shards = 2;
  options.limits.user_connections = 2;
  World world(options);
  hook_connects(world);
  std::optional<WsClient> first(std::in_place, world, 0);
  WsClient second(world, 1);
  WsClient bob(world, 0);
  connect_with(*first, allowed("ann"));
  connect_with(second, allowed("ann"));
  connect_with(bob, allowed("bob"));
  WsClient third(world, 1);
  connect_with(third, allowed("ann"));
  EXPECT_EQ(third.close_code, 3504);
  for (WsClient* const each : {&*first, &second, &bob}) EXPECT_FALSE(each->close_code);
  ASSERT_TRUE(world.take_over());
  for (WsClient* const each : {&*first, &second, &bob}) EXPECT_FALSE(each->close_code) << "it ends nobody";
  WsClient fourth(world, 0);
  connect_with(fourth, allowed("ann"));
  EXPECT_EQ(fourth.close_code, 3504) << "another process counts them, too";
  first.reset();
  world.run();
  WsClient fifth(world, 0);
  connect_with(fifth, allowed("ann"));
  EXPECT_FALSE(fifth.close_code) << "there is room again";
  for (int i = 0; i < 3; ++i) {
    WsClient anonymous(world, 0);
    connect_with(anonymous, allowed(""));
    EXPECT_FALSE(anonymous.close_code);
  }
}

}  // namespace
}  // namespace carillon::testing
