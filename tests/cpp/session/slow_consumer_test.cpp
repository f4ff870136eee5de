// A channel's policy for subscribers that fall behind, as clients of every transport see it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "session/session_clients.hpp"
#include "session/websocket_journal.hpp"

namespace carillon::testing {
namespace {

WorldOptions with(SlowConsumer policy) {
  WorldOptions options;
  options.rules = {rule("*", [policy](ChannelOptions& o) {
    o.slow_consumer = policy;
    o.slow_consumer_entries = 20;
  })};
  return options;
}

/// The client reads nothing while publications `first` to `last` come to channel a.
void stall(World& world, Client& client, int first, int last) {
  client.kernel().room = 150;  // the last frame is cut in its middle
  for (int n = first; n <= last; ++n) {
    world.publish("a", Json(std::string(100, 'x')).dump());
    world.run();
  }
}

void read_on(World& world, Client& client) {
  client.kernel().room = Kernel::kAll;
  world.run();
}

std::int64_t skipped(World& world) {
  EXPECT_TRUE(world.ledger().is_balanced());
  return world.ledger_of("a").account.dropped[static_cast<std::size_t>(DropReason::skipped)];
}

std::vector<Offset> offsets_of(const SseClient& client) {
  std::vector<Offset> offsets;
  for (const SseBlock& block : client.events("")) offsets.push_back((*block.data)["offset"]);
  return offsets;
}

Json resume_at(Offset offset, const std::string& epoch) {
  return {{"recover", true}, {"offset", offset}, {"epoch", epoch}};
}

TEST(SlowConsumer, WithWaitAllTransportsCatchUp) {
  World world(with(SlowConsumer::wait));
  WsClient socket(world);
  socket.connect();
  const Journal journal(socket, "a");
  socket.subscribe("a");
  SseClient stream(world);
  stream.open("channel=a");
  world.run();
  stream.kernel().room = 0;
  stall(world, socket, 1, 100);
  read_on(world, socket);
  read_on(world, stream);
  EXPECT_EQ(journal.offsets, range(1, 100));
  EXPECT_EQ(offsets_of(stream), range(1, 100));
  EXPECT_EQ(skipped(world), 0);
}

TEST(SlowConsumer, WithSkipAWebSocketIsToldInsufficientStateAndGoesOnAtTheTop) {
  World world(with(SlowConsumer::skip));
  WsClient client(world);
  client.connect();
  const Journal journal(client, "a");
  const std::string epoch = client.subscribe("a")["subscribe"]["epoch"];
  stall(world, client, 1, 100);
  read_on(world, client);
  const auto taken = static_cast<Offset>(journal.offsets.size());
  EXPECT_LT(taken, 5U);
  EXPECT_EQ(client.pushes.back(), Json::parse(R"({"channel":"a","unsubscribe":{"code":2500,
                                                 "reason":"insufficient state"}})"));
  EXPECT_EQ(skipped(world), 100 - static_cast<std::int64_t>(taken));
  // As SDKs answer it: with their position, from which the log could still bring everything.
  const Json reply = client.subscribe("a", resume_at(taken, epoch))["subscribe"];
  EXPECT_EQ(reply["was_recovering"], true);
  EXPECT_FALSE(reply.contains("recovered"));
  EXPECT_FALSE(reply.contains("publications"));
  EXPECT_EQ(reply["offset"], 100);
  world.publish("a", "101");
  world.run();
  EXPECT_EQ(journal.offsets.back(), 101U);
  EXPECT_FALSE(client.close_code.has_value());
  // Only what was passed over is refused, and only once.
  client.command("unsubscribe", {{"channel", "a"}});
  EXPECT_EQ(client.subscribe("a", resume_at(50, epoch))["subscribe"]["recovered"], true);
}

TEST(SlowConsumer, WhatCameBehindTheSkipIsRecovered) {
  World world(with(SlowConsumer::skip));
  WsClient client(world);
  client.connect();
  const std::string epoch = client.subscribe("a")["subscribe"]["epoch"];
  stall(world, client, 1, 100);
  read_on(world, client);
  world.publish("a", "101");
  const Json reply = client.subscribe("a", resume_at(100, epoch))["subscribe"];
  EXPECT_EQ(reply["recovered"], true);
  EXPECT_EQ(reply["publications"].size(), 1U);
}

TEST(SlowConsumer, ASkipIsRememberedOverATakeoverAndSoIsWhoHasFallenBehind) {
  World world(with(SlowConsumer::skip));
  WsClient told(world), behind(world);
  told.connect();
  behind.connect();
  const std::string epoch = told.subscribe("a")["subscribe"]["epoch"];
  behind.subscribe("a");
  behind.kernel().room = 0;
  stall(world, told, 1, 100);
  read_on(world, told);
  ASSERT_TRUE(world.take_over(1'000));
  EXPECT_FALSE(told.subscribe("a", resume_at(1, epoch))["subscribe"].contains("recovered"));
  EXPECT_TRUE(behind.pushes_of("a", "unsubscribe").empty());
  read_on(world, behind);
  EXPECT_EQ(behind.pushes_of("a", "unsubscribe").size(), 1U);
}

TEST(SlowConsumer, WithSkipAnEventStreamIsToldAndGoesOnAtTheTop) {
  World world(with(SlowConsumer::skip));
  SseClient client(world);
  client.open("channel=a");
  world.run();
  stall(world, client, 1, 100);
  read_on(world, client);
  world.publish("a", "101");
  world.run();
  const auto taken = static_cast<std::int64_t>(client.events("").size()) - 1;
  EXPECT_LT(taken, 5);
  const std::vector<SseBlock> told = client.events("status");
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ((*told[1].data)["recovered"], false);
  EXPECT_EQ((*told[1].data)["offset"], 100);
  EXPECT_TRUE(told[1].id->ends_with(":100")) << "where it would come back to";
  EXPECT_EQ(offsets_of(client).back(), 101U);
  EXPECT_EQ(skipped(world), 100 - taken);
  EXPECT_FALSE(client.is_ended);
}

TEST(SlowConsumer, WithDisconnectAWebSocketIsClosedWith3008AndResumes) {
  World world(with(SlowConsumer::disconnect));
  WsClient client(world);
  client.connect();
  std::string epoch;
  Offset taken = 0;
  {
    const Journal journal(client, "a");
    epoch = client.subscribe("a")["subscribe"]["epoch"];
    stall(world, client, 1, 100);
    EXPECT_FALSE(client.close_code.has_value());
    read_on(world, client);
    EXPECT_EQ(client.close_code, 3'008);
    EXPECT_EQ(client.close_reason, "slow");
    EXPECT_EQ(world.loops[0]->counters.slow.load(), 1U);
    taken = journal.offsets.size();
    client.on_reply = nullptr;
  }
  client.cut();
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.returned, 100 - static_cast<std::int64_t>(taken));
  EXPECT_EQ(skipped(world), 0);
  WsClient again(world);
  again.connect();
  const Journal journal(again, "a");
  EXPECT_EQ(again.subscribe("a", resume_at(taken, epoch))["subscribe"]["recovered"], true);
  world.run();
  EXPECT_EQ(journal.offsets, range(taken + 1, 100));
  EXPECT_FALSE(again.close_code.has_value()) << "it had far to go, but it is not slow";
}

TEST(SlowConsumer, WithDisconnectAnEventStreamEndsWithARetryAndResumes) {
  for (const char* query : {"channel=a", "channel=a&channel=b"}) {
    World world(with(SlowConsumer::disconnect));
    SseClient client(world);
    client.open(query);
    world.run();
    stall(world, client, 1, 100);
    read_on(world, client);
    EXPECT_TRUE(client.is_ended);
    ASSERT_TRUE(client.blocks.back().retry.has_value());
    EXPECT_GE(*client.blocks.back().retry, 2'000U);
    EXPECT_EQ(world.loops[0]->counters.slow.load(), 1U);
    const auto taken = static_cast<Offset>(client.events("").size());
    EXPECT_EQ(world.ledger_of("a").account.returned, 100 - static_cast<std::int64_t>(taken));
    SseClient again(world);
    again.open(query, "Last-Event-ID: " + client.last_id + "\r\n");
    world.run();
    EXPECT_EQ(offsets_of(again), range(taken + 1, 100)) << query;
    EXPECT_FALSE(again.is_ended);
    EXPECT_TRUE(world.ledger().is_balanced());
  }
}

TEST(SlowConsumer, APollIsAnsweredWithWhatThereIsWhateverThePolicyAndTheNextOneResumes) {
  // Its cursor lives from question to answer: how far it has to go is a resume, not a subscriber's lag.
  for (const SlowConsumer policy : {SlowConsumer::wait, SlowConsumer::skip, SlowConsumer::disconnect}) {
    World world(with(policy));
    HttpClient client(world);
    client.request("GET", "/poll?channel=a");
    world.run();
    stall(world, client, 1, 100);
    read_on(world, client);
    Json body = Json::parse(client.responses.back().body);
    EXPECT_EQ(body["publications"].size(), 1U);
    const Response next = client.get("/poll?channel=a&since=" + body["since"].get<std::string>());
    body = Json::parse(next.body);
    EXPECT_EQ(body["publications"].size(), 99U);
    EXPECT_EQ(body["status"][0]["recovered"], true);
    EXPECT_EQ(skipped(world), 0);
    EXPECT_EQ(world.ledger_of("a").account.delivered, 100);
  }
}

}  // namespace
}  // namespace carillon::testing
