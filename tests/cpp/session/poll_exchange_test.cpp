#include <gtest/gtest.h>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

Json body_of(const HttpClient& client) {
  EXPECT_FALSE(client.responses.empty());
  if (client.responses.empty()) return nullptr;
  EXPECT_EQ(client.responses.back().status, 200);
  return Json::parse(client.responses.back().body);
}

TEST(Poll, WaitsUntilSomethingIsNew) {
  World world;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a");
  world.advance(10'000);
  EXPECT_TRUE(client.responses.empty());
  EXPECT_EQ(world.loops[0]->counters.polls.load(), 1U);
  const Position first = world.publish("a", "1");
  world.run();
  EXPECT_EQ(client.responses.back().header("x-accel-buffering"), "no");
  EXPECT_EQ(client.responses.back().header("cache-control"), "no-store");
  EXPECT_EQ(body_of(client), Json({{"publications", {Json::parse(R"({"channel":"a","offset":1,"data":1})")}},
                                   {"since", std::string(first.epoch.text()) + ":1"},
                                   {"status",
                                    {{{"channel", "a"},
                                      {"recovered", nullptr},
                                      {"epoch", std::string(first.epoch.text())},
                                      {"offset", 0}}}}}));
  EXPECT_EQ(world.loops[0]->counters.polls.load(), 0U);
  EXPECT_EQ(world.ledger_of("a").account.delivered, 1);
}

TEST(Poll, BringsAtOnceWhatIsNewerThanSince) {
  World world;
  HttpClient client(world);
  Position top;
  for (int i = 1; i <= 5; ++i) top = world.publish("a", std::to_string(i));
  const std::string epoch(top.epoch.text());
  client.get("/poll?channel=a&since=" + epoch + ":2");
  const Json body = body_of(client);
  EXPECT_EQ(body["publications"].size(), 3U);
  EXPECT_EQ(body["since"], epoch + ":5");
  EXPECT_EQ(body["status"],
            Json::array({Json({{"channel", "a"}, {"recovered", true}, {"epoch", epoch}, {"offset", 2}})}));
  client.request("GET", "/poll?channel=a&since=" + epoch + ":5");
  world.run();
  EXPECT_EQ(client.responses.size(), 1U) << "nothing is newer: it waits";
}

TEST(Poll, ATimeoutIsAnEmptyListWithAPosition) {
  World world;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a&timeout=2.5");
  world.advance(2'499);
  EXPECT_TRUE(client.responses.empty());
  world.advance(1);
  const Json body = body_of(client);
  EXPECT_TRUE(body["publications"].empty());
  const std::string since = body["since"];
  ASSERT_EQ(since.size(), 10U);
  world.publish("a", "1");
  client.get("/poll?channel=a&since=" + since);
  EXPECT_EQ(body_of(client)["publications"].size(), 1U);
}

TEST(Poll, TheTimeoutHasADefaultALimitAndMayBeZero) {
  World world;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a");
  world.advance(24'999);
  EXPECT_TRUE(client.responses.empty());
  world.advance(1);
  EXPECT_EQ(client.responses.size(), 1U);
  client.request("GET", "/poll?channel=a&timeout=900");
  world.advance(59'999);
  EXPECT_EQ(client.responses.size(), 1U);
  world.advance(1);
  EXPECT_EQ(client.responses.size(), 2U);
  EXPECT_TRUE(Json::parse(client.get("/poll?channel=a&timeout=0").body)["publications"].empty());
  EXPECT_EQ(client.responses.size(), 3U);
  for (const char* bad : {"x", "-1", "", "inf", "nan", "1e12", "5s"}) {
    const Response refused = client.get(std::string("/poll?channel=a&timeout=") + bad);
    EXPECT_EQ(refused.status, 400) << bad;
    EXPECT_NE(refused.body.find("timeout"), std::string::npos);
  }
}

TEST(Poll, TimeoutZeroBringsAllThatIsThere) {
  World world;
  HttpClient client(world);
  for (int i = 0; i < 900; ++i) world.publish("a", "1");
  client.get("/poll?channel=a&timeout=0&since=" + std::string(world.publish("a", "1").epoch.text()) + ":1");
  EXPECT_EQ(body_of(client)["publications"].size(), 900U);
}

TEST(Poll, AtOnceWhenThePositionIsUnrecoverable) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.history_size = 2; })};
  World world(options);
  HttpClient client(world);
  Position top;
  for (int i = 0; i < 9; ++i) top = world.publish("a", "1");
  const std::string epoch(top.epoch.text());
  for (const auto& [since, offset] : {std::pair(epoch + ":3", 7),  // what is kept follows
                                      {epoch + ":10", 9},
                                      {std::string("otherone:9"), 7},
                                      {std::string("x:9"), 7}}) {
    client.get("/poll?channel=a&since=" + since);
    const Json body = body_of(client);
    EXPECT_EQ(
        body["status"],
        Json::array({Json({{"channel", "a"}, {"recovered", false}, {"epoch", epoch}, {"offset", offset}})}))
        << since;
    EXPECT_EQ(body["publications"].size(), static_cast<std::size_t>(9 - offset));
    EXPECT_EQ(body["since"], epoch + ":9");
  }
}

TEST(Poll, LimitsByCountAndBytesLoseNothing) {
  for (const bool is_by_bytes : {false, true}) {
    WorldOptions options;
    if (is_by_bytes) {
      options.limits.poll_bytes = 500;
    } else {
      options.limits.poll_publications = 7;
    }
    World world(options);
    HttpClient client(world);
    std::string since = std::string(world.publish("a", "0").epoch.text()) + ":0,-";
    for (int i = 1; i < 600; ++i) world.publish("a", std::to_string(i));
    std::vector<int> got;
    int answers = 0;
    while (got.size() < 600 && answers < 600) {
      client.get("/poll?channel=a&channel=b&timeout=0&since=" + since);
      const Json body = body_of(client);
      EXPECT_LE(body["publications"].size(), is_by_bytes ? 14U : 7U);
      for (const Json& each : body["publications"]) got.push_back(each["data"]);
      since = body["since"];
      ++answers;
    }
    ASSERT_EQ(got.size(), 600U);
    for (int i = 0; i < 600; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
    EXPECT_EQ(world.ledger_of("a").account.delivered, 600);
    EXPECT_EQ(world.ledger_of("a").unbalanced, 0U);
  }
}

TEST(Poll, SeveralChannelsWithPartsThatHaveNoPosition) {
  WorldOptions options;
  options.rules = {rule("live", [](ChannelOptions& o) { o.history_size = 0; })};
  World world(options);
  HttpClient client(world);
  const std::string a(world.publish("a", "1").epoch.text());
  const std::string b(world.publish("b", "1").epoch.text());
  client.get("/poll?channel=a&channel=live&channel=b&since=" + a + ":0,-,");
  const Json body = body_of(client);
  EXPECT_EQ(body["since"], a + ":1,-," + b + ":1");
  ASSERT_EQ(body["publications"].size(), 1U);
  std::vector<Json> recovered;
  for (const Json& each : body["status"]) recovered.push_back(each["recovered"]);
  EXPECT_EQ(recovered, (std::vector<Json>{true, nullptr, nullptr}));
  client.request("GET", "/poll?channel=a&channel=live&channel=b&since=" + body["since"].get<std::string>());
  world.run();
  EXPECT_EQ(client.responses.size(), 1U);
  world.publish("live", "9");
  world.run();
  EXPECT_EQ(body_of(client)["publications"], Json::parse(R"([{"channel":"live","data":9}])"));
}

TEST(Poll, AnAnswerThatIsCutIsReturned) {
  World world;
  HttpClient client(world);
  const std::string epoch(world.publish("a", Json(std::string(500, 'x')).dump()).epoch.text());
  client.kernel().room = 200;
  client.get("/poll?channel=a&since=" + epoch + ":0");
  EXPECT_EQ(world.ledger_of("a").account.pending, 1);
  client.cut();
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.delivered, 0);
  EXPECT_EQ(account.returned, 1);
  EXPECT_EQ(world.loops[0]->counters.polls.load(), 0U);
}

TEST(Poll, AWaitingOneEndsWithItsClient) {
  World world;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a");
  world.run();
  EXPECT_EQ(world.hub.channels("*").size(), 1U);
  client.cut();
  EXPECT_TRUE(world.hub.channels("*").empty());
  EXPECT_EQ(world.loops[0]->counters.polls.load(), 0U);
}

TEST(Poll, WhoLeavesInTheSameBreathAsItSendsMoreThanIsReadAheadIsNoticed) {
  WorldOptions options;
  options.limits.pipelined_bytes = 256;
  World world(options);
  HttpClient client(world);
  const std::string since = std::string(world.publish("a", "1").epoch.text()) + ":1";
  std::string requests =
      "GET /poll?channel=a&timeout=50&since=" + since + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (int i = 0; i < 20; ++i) requests += "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const HttpClient staying(world);
  client.socket->has_ended = true;  // the end comes with the bytes, in one event
  client.write(requests);
  world.run();
  EXPECT_TRUE(world.hub.channels("*").empty());
  EXPECT_EQ(world.loops[0]->counters.polls.load(), 0U);
}

TEST(Poll, TheStoreIsAwaitedEvenPastTheTimeout) {
  World world;
  HttpClient client(world);
  world.store.is_late = true;
  client.request("GET", "/poll?channel=a&timeout=1&since=otherone:5");
  world.advance(5'000);
  EXPECT_TRUE(client.responses.empty());
  world.store.is_late = false;
  world.store.answer();
  world.run();
  const Json body = body_of(client);
  EXPECT_EQ(body["status"][0]["recovered"], false);
  EXPECT_NE(body["since"], "-") << "the position is not lost";
}

TEST(Poll, WithoutAStoreItIsTemporarilyUnavailable) {
  World world;
  HttpClient client(world);
  const std::string a(world.publish("a", "1").epoch.text());
  HttpClient holder(world);
  holder.request("GET", "/poll?channel=a&timeout=60");
  world.store.is_unavailable = true;
  const Response refused = client.get("/poll?channel=a&channel=b&since=" + a + ":0,-");
  EXPECT_EQ(refused.status, 503);
  EXPECT_FALSE(refused.header("retry-after").empty());
  EXPECT_EQ(client.get("/now").status, 200) << "the connection is still good";
  EXPECT_EQ(world.ledger_of("a").account.delivered, 0);
}

TEST(Poll, WhatWasGatheredBeforeTheStoreFailedIsNotDelivered) {
  World world;
  const std::string a(world.publish("a", "1").epoch.text());
  HttpClient holder(world);  // keeps channel a open in the hub
  holder.request("GET", "/poll?channel=a&timeout=60");
  world.run();
  world.store.is_late = true;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a&channel=new&since=" + a + ":0,-");
  world.run();
  EXPECT_TRUE(client.responses.empty());
  world.store.is_unavailable = true;
  world.store.answer();
  world.run();
  ASSERT_EQ(client.responses.size(), 1U);
  EXPECT_EQ(client.responses[0].status, 503);
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.delivered, 0);
  EXPECT_EQ(account.returned, 1);
}

TEST(Poll, JoinAndLeaveWakeNobody) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.join_leave = true; })};
  World world(options);
  HttpClient client(world);
  client.request("GET", "/poll?channel=a");
  world.run();
  WsClient member(world);
  member.connect();
  member.subscribe("a");
  member.cut();
  world.run();
  EXPECT_TRUE(client.responses.empty());
  world.publish("a", "1");
  world.run();
  EXPECT_EQ(body_of(client)["publications"].size(), 1U);
  EXPECT_TRUE(world.ledger().is_balanced());
}

TEST(Poll, ADrainEndsAConnectionWhoseAnswerIsOnItsWay) {
  World world;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a");
  world.run();
  client.kernel().room = 10;
  world.publish("a", "1");
  world.run();
  world.is_draining = true;
  world.loops[0]->shard.bind_to_this_thread();
  client.connection->session->drain();
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(body_of(client)["publications"].size(), 1U);
  EXPECT_TRUE(client.is_ended) << "nobody would ask it again";
}

TEST(Poll, ADrainAnswersWithThePosition) {
  World world;
  HttpClient client(world);
  client.request("GET", "/poll?channel=a");
  world.run();
  world.is_draining = true;
  world.loops[0]->shard.bind_to_this_thread();
  client.connection->session->drain();
  world.run();
  EXPECT_EQ(body_of(client)["since"].get<std::string>().size(), 10U);
  EXPECT_EQ(client.responses.back().header("connection"), "close");
  EXPECT_TRUE(client.is_ended);
}

}  // namespace
}  // namespace carillon::testing
