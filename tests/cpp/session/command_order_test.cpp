// The order of one client's commands where hooks and stores answer late.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "protocol/ws_frame.hpp"
#include "session/session_clients.hpp"
#include "session/websocket_journal.hpp"

namespace carillon::testing {
namespace {

std::string command_text(int id, const std::string& name, const Json& body) {
  return Json{{"id", id}, {name, body}}.dump() + "\n";
}
std::string publish_text(int id, const std::string& channel, const Json& data) {
  return command_text(id, "publish", {{"channel", channel}, {"data", data}});
}

/// Ids of the replies behind that to connect, in order.
std::vector<int> ids_of(const WsClient& client) {
  std::vector<int> ids;
  for (const Json& reply : client.replies) ids.push_back(reply["id"]);
  ids.erase(ids.begin());
  return ids;
}

std::vector<Json> history_of(World& world, const std::string& channel) {
  std::vector<Json> data;
  HistoryQuery query;
  query.limit = -1;
  world.hub.history(channel, query, [&](const HistoryResult& found) {
    for (const EntryRef& entry : found.entries) data.push_back(Json::parse(entry->publication.data));
  });
  return data;
}

TEST(CommandOrder, APublishHookThatTakes10SecondsDelaysNothingElsewhere) {
  World world;
  world.access.slow = {Operation::publish};
  world.access.quick_channels = {"quick"};
  WsClient client(world);
  client.connect();
  client.send(publish_text(10, "slow", 1));
  client.send(publish_text(11, "slow", 2));
  world.run();
  for (int second = 0; second < 10; ++second) {
    const int id = 20 + 10 * second;
    const std::string channel = "other" + std::to_string(second);
    client.send(command_text(id, "subscribe", {{"channel", channel}}) +
                publish_text(id + 1, "quick", second) + command_text(id + 2, "rpc", Json::object()) +
                command_text(id + 3, "ping", Json::object()));
    client.send_frame(9, "native");
    world.run();
    EXPECT_EQ(ids_of(client), (std::vector<int>{id, id + 1, id + 2, id + 3}));
    EXPECT_EQ(client.pongs.size(), 1U);
    client.replies.resize(1);
    client.pongs.clear();
    world.advance(1'000);
  }
  EXPECT_EQ(world.access.asked, std::vector<std::string>{"publish slow"}) << "the second waits for the first";
  for (int i = 0; i < 2; ++i) {
    world.access.decide(allowed());
    world.run();
  }
  EXPECT_EQ(ids_of(client), (std::vector<int>{10, 11}));
  EXPECT_EQ(history_of(world, "slow"), (std::vector<Json>{1, 2}));
  EXPECT_EQ(world.loops[0]->counters.commands_under_way, 0U);
}

TEST(CommandOrder, MountUnmountMountIsSubscribedWhateverTheFirstHookSays) {
  for (const Verdict& first : {allowed(), denied(), denied(4000, "go")}) {
    World world;
    world.access.slow = {Operation::subscribe};
    WsClient client(world);
    client.connect();
    client.send(command_text(10, "subscribe", {{"channel", "a"}}));
    client.send(command_text(11, "unsubscribe", {{"channel", "a"}}));
    client.send(command_text(12, "subscribe", {{"channel", "a"}}));
    world.run();
    EXPECT_EQ(ids_of(client), std::vector<int>{11}) << "answered at once";
    world.access.decide(first);
    world.run();
    EXPECT_EQ(ids_of(client), std::vector<int>{11}) << "the answer of the first is dropped";
    EXPECT_EQ(world.present("a"), 0U);
    world.access.decide(allowed());
    world.run();
    EXPECT_EQ(ids_of(client), (std::vector<int>{11, 12}));
    EXPECT_TRUE(client.replies.back().contains("subscribe"));
    EXPECT_EQ(world.present("a"), 1U);
    world.publish("a", "1");
    world.run();
    EXPECT_EQ(client.pushes_of("a", "pub").size(), 1U);
    EXPECT_TRUE(client.command("unsubscribe", {{"channel", "a"}}).contains("unsubscribe"));
    EXPECT_EQ(world.present("a"), 0U);
  }
}

TEST(CommandOrder, MountUnmountMountWithALateStore) {
  World world;
  WsClient client(world);
  client.connect();
  world.store.is_late = true;
  client.send(command_text(10, "subscribe", {{"channel", "a"}}));
  client.send(command_text(11, "unsubscribe", {{"channel", "a"}}));
  client.send(command_text(12, "unsubscribe", {{"channel", "a"}}));
  client.send(command_text(13, "subscribe", {{"channel", "a"}}));
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{11, 12}));
  world.store.is_late = false;
  world.store.answer();
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{11, 12, 13}));
  EXPECT_EQ(world.present("a"), 1U);
  world.publish("a", "1");
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(world.ledger_of("a").subscriptions, 1U);
}

TEST(CommandOrder, AnUnsubscribeThatWaitsCancelsASubscribeBeforeItBegins) {
  World world;
  world.access.slow = {Operation::publish, Operation::subscribe};
  WsClient client(world);
  client.connect();
  client.send(publish_text(10, "a", 1) + command_text(11, "subscribe", {{"channel", "a"}}) +
              command_text(12, "history", {{"channel", "a"}}) +
              command_text(13, "unsubscribe", {{"channel", "a"}}) +
              command_text(14, "subscribe", {{"channel", "a"}}));
  world.run();
  EXPECT_TRUE(ids_of(client).empty());
  world.access.decide(allowed());
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{10, 12, 13}));
  EXPECT_EQ(world.access.asked, (std::vector<std::string>{"publish a", "subscribe a"}));
  world.access.decide(allowed());
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{10, 12, 13, 14}));
  EXPECT_EQ(world.present("a"), 1U);
}

TEST(CommandOrder, AnUnsubscribeCancelsBothTheSubscribeUnderWayAndTheOneBehindIt) {
  World world;
  world.access.slow = {Operation::subscribe};
  WsClient client(world);
  client.connect();
  client.send(command_text(10, "subscribe", {{"channel", "a"}}));
  client.send(command_text(11, "subscribe", {{"channel", "a"}}));
  client.send(command_text(12, "unsubscribe", {{"channel", "a"}}));
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{12}));
  EXPECT_EQ(world.access.asked, (std::vector<std::string>{"subscribe a"}));
}

TEST(CommandOrder, WhatWaitsBehindACancelledSubscribeGoesOnAtOnce) {
  World world;
  world.access.slow = {Operation::subscribe};
  WsClient client(world);
  client.connect();
  client.send(command_text(10, "subscribe", {{"channel", "a"}}));
  client.send(command_text(11, "history", {{"channel", "a"}}));
  client.send(command_text(12, "unsubscribe", {{"channel", "a"}}));
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{11, 12}));
}

TEST(CommandOrder, PublishesOfOneSenderKeepTheirOrder) {
  World world;
  world.access.slow = {Operation::publish};
  WsClient client(world);
  client.connect();
  std::string text;
  for (int i = 0; i < 12; ++i) text += publish_text(10 + i, "a", i) + publish_text(30 + i, "b", i);
  client.send(text);
  world.run();
  // The hook answers the newest question first.
  while (!world.access.waiting.empty()) {
    EXPECT_LE(world.access.waiting.size(), 2U);
    world.access.decide(allowed(), world.access.waiting.size() - 1);
    world.run();
  }
  std::vector<Json> all;
  for (int i = 0; i < 12; ++i) all.emplace_back(i);
  EXPECT_EQ(history_of(world, "a"), all);
  EXPECT_EQ(history_of(world, "b"), all);
  EXPECT_EQ(ids_of(client).size(), 24U);
}

TEST(CommandOrder, SubscribeAndHistoryHaveNoHole) {
  World world;
  world.access.slow = {Operation::subscribe};
  WsClient client(world);
  client.connect();
  client.send(command_text(10, "subscribe", {{"channel", "a"}}) +
              command_text(11, "history", {{"channel", "a"}, {"limit", 100}}));
  world.run();
  world.publish("a", "1");
  world.run();
  EXPECT_TRUE(ids_of(client).empty()) << "a history read now would lack what comes before the subscription";
  world.publish("a", "2");
  world.access.decide(allowed());
  world.publish("a", "3");
  world.run();
  world.publish("a", "4");
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{10, 11}));
  std::vector<Offset> offsets;
  for (const Json& each : client.replies.back()["history"]["publications"]) offsets.push_back(each["offset"]);
  for (const Json& each : client.pushes_of("a", "pub")) {
    if (each["offset"] > offsets.back()) offsets.push_back(each["offset"]);
  }
  EXPECT_EQ(offsets, range(1, 4));
}

TEST(CommandOrder, BehindALateStoreTheCommandsOfAChannelKeepTheirOrder) {
  World world;
  WsClient client(world);
  client.connect();
  world.store.is_late = true;
  client.send(publish_text(10, "a", 1) + command_text(11, "subscribe", {{"channel", "a"}}) +
              publish_text(12, "a", 2) + command_text(13, "history", {{"channel", "a"}, {"limit", 10}}) +
              command_text(14, "presence", {{"channel", "a"}}) +
              command_text(15, "unsubscribe", {{"channel", "a"}}) + publish_text(20, "b", 1));
  world.run();
  EXPECT_TRUE(ids_of(client).empty());
  for (int i = 0; i < 10; ++i) {
    world.store.answer();
    world.run();
  }
  std::vector<int> of_a = ids_of(client);
  EXPECT_EQ(std::erase(of_a, 20), 1U);
  EXPECT_EQ(of_a, (std::vector<int>{10, 12, 13, 14, 15})) << "the subscribe was cancelled";
  EXPECT_EQ(history_of(world, "a"), (std::vector<Json>{1, 2}));
  EXPECT_EQ(world.loops[0]->counters.commands_under_way, 0U);
}

TEST(CommandOrder, WhoIsSentAwayByAHookHasNothingCarriedOutBehindIt) {
  World world;
  world.access.slow = {Operation::publish};
  WsClient client(world);
  client.connect();
  client.send(publish_text(10, "a", 1) + publish_text(11, "a", 2) + publish_text(12, "b", 1) +
              command_text(13, "subscribe", {{"channel", "a"}}));
  world.run();
  world.access.decide(denied(4003, "banned"));
  world.run();
  EXPECT_EQ(client.close_code, 4003);
  world.access.decide(allowed());  // of b: too late
  world.run();
  EXPECT_TRUE(ids_of(client).empty());
  EXPECT_EQ(world.hub.published(), 0U);
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_EQ(world.loops[0]->counters.commands_under_way, 0U);
}

TEST(CommandOrder, WhatWaitsWhenTheConnectionEndsIsNotCarriedOut) {
  World world;
  world.access.slow = {Operation::publish, Operation::subscribe};
  for (const bool is_cut : {true, false}) {
    WsClient client(world);
    client.connect();
    client.send(publish_text(10, "a", 1) + publish_text(11, "a", 2) +
                command_text(12, "subscribe", {{"channel", "b"}}));
    world.run();
    EXPECT_EQ(world.access.waiting.size(), 2U);
    is_cut ? client.cut() : client.send_frame(8, "\x03\xe8");
    world.run();
    while (!world.access.waiting.empty()) world.access.decide(allowed());
    world.run();
    EXPECT_EQ(world.hub.published(), 0U);
    EXPECT_EQ(world.present("b"), 0U);
    EXPECT_EQ(world.loops[0]->counters.commands_under_way, 0U);
  }
}

TEST(CommandOrder, ConnectIsABarrierButControlFramesPassIt) {
  World world;
  world.access.slow = {Operation::connect};
  WsClient client(world);
  client.open();
  client.send(command_text(1, "connect", Json::object()));
  client.send(command_text(2, "subscribe", {{"channel", "a"}}));
  client.send(command_text(3, "ping", Json::object()));
  client.send_frame(9, "native");
  world.run();
  EXPECT_TRUE(client.replies.empty());
  EXPECT_EQ(client.pongs, std::vector<std::string>{"native"});
  world.access.decide(allowed("ann"));
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{2, 3}));
}

TEST(CommandOrder, WithConcurrency1AllCommandsWaitForEachOther) {
  WorldOptions options;
  options.limits.concurrency = 1;
  World world(options);
  world.access.slow = {Operation::publish};
  world.access.quick_channels = {"b"};
  WsClient client(world);
  client.connect();
  client.send(publish_text(10, "a", 1) + publish_text(11, "b", 1) + command_text(12, "rpc", Json::object()) +
              command_text(13, "ping", Json::object()));
  world.run();
  EXPECT_EQ(ids_of(client), std::vector<int>{13});
  world.access.decide(allowed());
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{13, 10, 11, 12}));
}

// ---- what is under way is bounded

TEST(CommandsUnderWay, BeyondTheirNumberCommandsWaitUnreadWhileControlFramesAreAnswered) {
  WorldOptions options;
  options.limits.commands_under_way = 4;
  options.limits.pipelined_bytes = 4'000;
  World world(options);
  world.access.slow = {Operation::publish};
  WsClient client(world);
  client.connect();
  const SessionCounters& counters = world.loops[0]->counters;
  for (int i = 0; i < 10; ++i) client.send(publish_text(10 + i, "c" + std::to_string(i), i));
  client.send_frame(9, "native");
  world.run();
  EXPECT_EQ(world.access.waiting.size(), 4U);
  EXPECT_EQ(counters.commands, 5U) << "connect, and four";
  EXPECT_EQ(counters.commands_under_way, 4U);
  EXPECT_EQ(counters.command_pauses, 1U);
  EXPECT_EQ(client.pongs, std::vector<std::string>{"native"});
  EXPECT_FALSE(client.connection->is_reading_paused);
  for (int i = 10; i < 60; ++i) client.send(publish_text(10 + i, "c" + std::to_string(i), i));
  world.run();
  EXPECT_TRUE(client.connection->is_reading_paused) << "limits.pipelined_bytes";
  for (int i = 0; i < 60; ++i) {
    ASSERT_FALSE(world.access.waiting.empty()) << i;
    EXPECT_LE(world.access.waiting.size(), 4U);
    world.access.decide(allowed());
    world.run();
  }
  EXPECT_EQ(ids_of(client).size(), 60U);
  EXPECT_FALSE(client.connection->is_reading_paused);
  EXPECT_EQ(counters.commands_under_way, 0U);
}

TEST(CommandsUnderWay, AreBoundedInBytesAsWell) {
  WorldOptions options;
  options.limits.commands_under_way_bytes = 1'000;
  World world(options);
  world.access.slow = {Operation::publish};
  WsClient client(world);
  client.connect();
  std::string text;
  for (int i = 0; i < 10; ++i) text += publish_text(10 + i, "a", std::string(400, 'x'));
  client.send(text);
  client.send(publish_text(30, "b", std::string(5'000, 'x')));
  world.run();
  EXPECT_EQ(world.loops[0]->counters.commands_under_way, 3U);
  for (int i = 0; i < 11; ++i) {
    world.access.decide(allowed());
    world.run();
  }
  EXPECT_EQ(ids_of(client).size(), 11U) << "one that is larger than the limit passes alone";
}

TEST(CommandsUnderWay, CancelledSubscribesCountUntilTheyAreAnswered) {
  WorldOptions options;
  options.limits.commands_under_way = 8;
  World world(options);
  world.access.slow = {Operation::subscribe};
  WsClient client(world);
  client.connect();
  std::string text;
  for (int i = 0; i < 100; ++i) {
    text += command_text(10 + 2 * i, "subscribe", {{"channel", "a"}}) +
            command_text(11 + 2 * i, "unsubscribe", {{"channel", "a"}});
  }
  client.send(text);
  world.run();
  EXPECT_LE(world.access.waiting.size(), 8U)
      << "a client must not ask hooks without a bound by changing its mind";
  while (!world.access.waiting.empty()) {
    world.access.decide(allowed());
    world.run();
  }
  EXPECT_EQ(ids_of(client).size(), 100U);
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_EQ(world.loops[0]->counters.commands_under_way, 0U);
}

TEST(CommandsUnderWay, ThePongDeadlineIsSuspendedWhileTheServerDoesNotRead) {
  WorldOptions options;
  options.limits.commands_under_way = 1;
  World world(options);
  WsClient client(world);
  client.answers_heartbeats = false;
  client.connect();
  while (client.heartbeats == 0) world.advance(1);
  world.access.slow = {Operation::publish};
  client.send(publish_text(10, "a", 1));
  client.send(publish_text(11, "b", 2));
  client.send("{}");  // the pong, behind what is not read
  world.run();
  world.advance(3 * world.options.heartbeat.pong_timeout_ms);
  EXPECT_FALSE(client.close_code.has_value());
  world.access.slow = {};
  world.access.decide(allowed());
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{10, 11}));
  world.advance(world.options.heartbeat.pong_timeout_ms);
  EXPECT_FALSE(client.close_code.has_value());
}

TEST(CommandsUnderWay, WhoCouldNotBeReadHasAllItsTimeForAPongAgain) {
  WorldOptions options;
  options.limits.commands_under_way = 1;
  World world(options);
  WsClient client(world);
  client.answers_heartbeats = false;
  client.connect();
  while (client.heartbeats == 0) world.advance(1);
  const Millis timeout_ms = world.options.heartbeat.pong_timeout_ms;
  world.access.slow = {Operation::publish};
  client.send(publish_text(10, "a", 1));
  client.send(publish_text(11, "b", 2));
  world.advance(timeout_ms - 1);
  world.access.slow = {};
  world.access.decide(allowed());
  world.run();
  EXPECT_EQ(ids_of(client), (std::vector<int>{10, 11}));
  world.advance(timeout_ms - 1);
  client.send("{}");
  world.advance(timeout_ms);
  EXPECT_FALSE(client.close_code.has_value());
}

TEST(CommandsUnderWay, ACloseDoesNotWaitForAnswersButForWhatCanBeRead) {
  WorldOptions options;
  options.limits.commands_under_way = 1;
  options.limits.backlog_bytes = 1'024;
  World world(options);
  {
    world.access.slow = {Operation::publish};
    WsClient client(world);
    client.connect();
    client.send(publish_text(10, "a", 1));
    client.send(publish_text(11, "b", 2));
    client.send_frame(8, "\x03\xe8");
    world.run();
    EXPECT_EQ(client.close_code, 1000);
    EXPECT_TRUE(client.is_ended);
    world.access.decide(allowed());
    world.run();
    EXPECT_EQ(world.hub.published(), 0U);
  }
  world.access.slow = {};
  WsClient client(world);
  client.connect();
  client.kernel().room = 0;
  std::string text;
  for (int i = 0; i < 300; ++i) text += publish_text(100 + i, "c", i);
  client.send(text);
  client.send(publish_text(500, "c", 300));
  client.send_frame(8, "\x03\xe8");
  world.run();
  EXPECT_LT(world.hub.published(), 300U) << "queued: the replies wait for their reader";
  EXPECT_FALSE(client.is_ended);
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(world.hub.published(), 301U);
  EXPECT_EQ(client.close_code, 1000);
  EXPECT_TRUE(client.is_ended);
}

TEST(CommandsUnderWay, WhatWaitsUnreadIsTakenOverWithTheCloseBehindIt) {
  WorldOptions options;
  options.limits.backlog_bytes = 1'024;
  World world(options);
  WsClient client(world);
  client.connect();
  client.kernel().room = 0;
  std::string text;
  for (int i = 0; i < 100; ++i) text += publish_text(100 + i, "c", i);
  for (int i = 0; i < 2; ++i) client.send(text);
  std::string frame;
  append_ws_client_frame(frame, WsOpcode::text, true, 0x12345678, publish_text(400, "c", "last"));
  client.write(frame.substr(0, 20));
  world.run();
  ASSERT_TRUE(world.take_over(123'456));
  client.write(frame.substr(20));
  client.send_frame(9, "native");
  client.send_frame(8, "\x03\xe9");
  world.run();
  ASSERT_TRUE(world.take_over(123'456));
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(history_of(world, "c").size(), 201U);
  EXPECT_EQ(history_of(world, "c").back(), "last");
  EXPECT_EQ(client.replies.size(), 202U);
  EXPECT_EQ(client.close_code, 1001);
  EXPECT_TRUE(client.is_ended);
}

// ---- stories

/// A client that subscribes, unsubscribes, publishes and asks on three channels at random, while hooks and
/// the store answer when they like, and other questions are pending elsewhere.
void tell_story(std::uint64_t seed, std::size_t& takeovers) {
  WorldOptions options;
  options.seed = seed;
  options.limits.commands_under_way = static_cast<std::int64_t>(2 + seed % 9);
  options.limits.concurrency = static_cast<std::int64_t>(seed % 4 == 0 ? seed % 3 : 0);
  options.limits.pipelined_bytes = 300;
  World world(options);
  SeededRandom& random = world.random;
  world.access.slow = {Operation::publish, Operation::subscribe};
  WsClient client(world);
  client.connect();
  const std::vector<std::string> channels{"a", "b", "c"};
  std::map<std::string, std::vector<Json>> published;
  std::map<std::string, std::vector<int>> ids;  // of the commands that are answered in any case
  std::map<std::string, bool> is_wanted;
  int id = 10;
  const auto send = [&](const std::string& name, const std::string& channel, Json body) {
    body["channel"] = channel;
    if (name != "subscribe") ids[channel].push_back(id);
    client.send(command_text(id++, name, body));
  };
  const auto let_answer = [&] {
    if (!world.access.waiting.empty() && random.below(2) == 0)
      world.access.decide(allowed(), random.below(world.access.waiting.size()));
    if (random.below(3) == 0) world.store.answer();
    if (random.below(3) == 0) world.turn();
    if (random.below(8) == 0) takeovers += world.take_over(1'000) ? 1 : 0;  // not while answers are to come
  };
  for (int step = 0; step < 80; ++step) {
    const std::string& channel = channels[random.below(channels.size())];
    world.store.is_late = random.below(2) == 0;
    switch (random.below(5)) {
      case 0:
        is_wanted[channel] = true;
        send("subscribe", channel, Json::object());
        break;
      case 1:
        is_wanted[channel] = false;
        send("unsubscribe", channel, Json::object());
        break;
      case 2:
        send("history", channel, {{"limit", 1}});
        break;
      default:
        published[channel].emplace_back(step);
        send("publish", channel, {{"data", step}});
    }
    let_answer();
    EXPECT_LE(world.access.waiting.size(), static_cast<std::size_t>(options.limits.commands_under_way));
  }
  world.store.is_late = false;
  do {
    world.store.answer();
    if (!world.access.waiting.empty()) world.access.decide(allowed());
    world.run();
  } while (!world.access.waiting.empty());
  ASSERT_TRUE(client.is_open());
  EXPECT_EQ(world.loops[0]->counters.commands_under_way, 0U);
  for (const std::string& channel : channels) {
    SCOPED_TRACE(channel);
    EXPECT_EQ(history_of(world, channel), published[channel]);
    std::vector<int> answered = ids_of(client);
    std::erase_if(answered, [&](int each) {
      return std::find(ids[channel].begin(), ids[channel].end(), each) == ids[channel].end();
    });
    EXPECT_EQ(answered, ids[channel]) << "each is answered once, in order of arrival";
    EXPECT_EQ(world.present(channel), is_wanted[channel] ? 1U : 0U) << "the last wish counts";
    const std::size_t before = client.pushes_of(channel, "pub").size();
    world.publish(channel, "\"end\"");
    world.run();
    EXPECT_EQ(client.pushes_of(channel, "pub").size() - before, is_wanted[channel] ? 1U : 0U);
  }
  EXPECT_TRUE(world.ledger().is_balanced());
}

TEST(CommandOrder, RandomStoriesWithSlowAnswersEndAsTheClientWished) {
  std::size_t takeovers = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    tell_story(seed, takeovers);
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(takeovers, 30U);
}

}  // namespace
}  // namespace carillon::testing
