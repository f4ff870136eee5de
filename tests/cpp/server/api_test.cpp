// What one request of the server API may cost, counted in publications per turn and in bytes per answer.
#include "server/api.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "hub/hub_fixture.hpp"
#include "server/fleet_channels.hpp"

namespace carillon {
namespace {

using Json = nlohmann::json;

struct ApiTest : HubFixture {
  ApiTest() : api(hub, limits, clock, {.key = "", .is_insecure = true, .version = ""}, {}) {
    api.set_channels(channels);
  }

  /// Asks on the first shard's thread; the answer may come in a later turn.
  void ask(const std::string& method, const Json& body, BodyBudget::Share body_memory = {}) {
    answer.reset();
    shards[0]->bind_to_this_thread();
    const std::string text = body.dump();
    api.handle({.method = "POST", .target = "", .headers = {}, .body = text}, std::move(body_memory),
               *parse_http_target("/api/" + method),
               [this](const HttpResponse& response) { answer = Json::parse(response.body); });
    Shard::unbind_this_thread();
  }
  Json result_of(const std::string& method, const Json& body) {
    ask(method, body);
    settle();
    EXPECT_TRUE(answer) << method;
    return answer ? answer->value("result", Json()) : Json();
  }
  static Json broadcast_of(int channels, std::size_t bytes) {
    Json body{{"channels", Json::array()}, {"data", std::string(bytes, 'x')}};
    for (int i = 0; i < channels; ++i) body["channels"].push_back("channel" + std::to_string(i));
    return body;
  }

  Limits limits;
  Fleet alone{store, clock, {}, [](const std::function<void()>& task) { task(); }};
  FleetChannels channels{hub, alone};
  Api api;
  std::optional<Json> answer;
};

TEST_F(ApiTest, ABroadcastIsPublishedInPiecesATurnEach) {
  ask("broadcast", broadcast_of(1'000, 10));
  EXPECT_EQ(hub.published(), 64U);
  for (std::uint64_t before = hub.published(); !answer; before = hub.published()) {
    turn(0);
    EXPECT_LE(hub.published() - before, 64U);
    EXPECT_GT(hub.published(), before);
  }
  EXPECT_EQ(hub.published(), 1'000U);
  const Json& responses = (*answer)["result"]["responses"];
  ASSERT_EQ(responses.size(), 1'000U);
  for (const Json& each : responses) EXPECT_EQ(each["result"]["offset"], 1);
}

TEST_F(ApiTest, ABatchIsCarriedOutInPiecesATurnEach) {
  for (const bool is_parallel : {false, true}) {
    Json commands = Json::array();
    for (int i = 0; i < 100; ++i) commands.push_back({{"publish", {{"channel", "a"}, {"data", i}}}});
    const std::uint64_t at_start = hub.published();
    ask("batch", {{"commands", commands}, {"parallel", is_parallel}});
    EXPECT_EQ(hub.published() - at_start, 16U);
    for (std::uint64_t before = hub.published(); !answer; before = hub.published()) {
      turn(0);
      EXPECT_LE(hub.published() - before, 16U);
      ASSERT_GT(hub.published(), before);
    }
    ASSERT_EQ((*answer)["replies"].size(), 100U);
    EXPECT_EQ((*answer)["replies"][99]["publish"]["offset"], at_start + 100);
  }
}

TEST_F(ApiTest, APieceOfABroadcastIsBoundedInBytesToo) {
  ask("broadcast", broadcast_of(11, 400'000));
  EXPECT_EQ(hub.published(), 2U);
  settle();
  EXPECT_EQ(hub.published(), 11U);
  EXPECT_TRUE(answer);
}

TEST_F(ApiTest, TheBodyOfABroadcastIsCountedUntilTheBroadcastHasEnded) {
  BodyBudget bodies(limits.body_bytes_total);
  ask("broadcast", broadcast_of(200, 10), bodies.take(5'000));
  for (int turns = 1; turns <= 3; ++turns) {
    EXPECT_FALSE(answer);
    EXPECT_EQ(bodies.bytes(), 5'000) << "channels are left";
    turn(0);
  }
  EXPECT_TRUE(answer);
  EXPECT_EQ(bodies.bytes(), 0);
  ask("channels", Json::object(), bodies.take(5'000));
  EXPECT_EQ(bodies.bytes(), 0) << "what has read its body needs it no more";
}

TEST_F(ApiTest, ABroadcastAnswersForEachChannelInOrderAndOutsideOfAShardAtOnce) {
  api.handle({.method = "POST", .body = R"({"channels":["a","\u0001","b"],"data":1})"}, {},
             *parse_http_target("/api/broadcast"),
             [this](const HttpResponse& response) { answer = Json::parse(response.body); });
  ASSERT_TRUE(answer);
  const Json& responses = (*answer)["result"]["responses"];
  ASSERT_EQ(responses.size(), 3U);
  EXPECT_EQ(responses[0]["result"]["offset"], 1);
  EXPECT_EQ(responses[1]["error"]["code"], 107);
  EXPECT_EQ(responses[2]["result"]["offset"], 1);
}

TEST_F(ApiTest, AHistoryAndAPresenceThatAreLongAreReadInPages) {
  limits.backlog_bytes = 2'000;  // of which an answer has half
  for (int i = 0; i < 50; ++i) {
    publish("a", std::string(100, '1'));
    hub.add_presence("a", {"client" + std::to_string(100 + i), "user" + std::to_string(i % 7), ""});
  }
  std::size_t publications = 0;
  Json since{{"offset", 0}, {"epoch", history("a", 0).top.epoch.text()}};
  for (int pages = 0; since["offset"] < 50; ++pages) {
    ASSERT_LT(pages, 50);
    const Json page = result_of("history", {{"channel", "a"}, {"limit", -1}, {"since", since}});
    EXPECT_EQ(page["offset"], 50);
    EXPECT_LE(page.dump().size(), 1'200U);
    publications += page["publications"].size();
    since["offset"] = page["publications"].back()["offset"];
  }
  EXPECT_EQ(publications, 50U);

  std::set<std::string> clients;
  std::string after;
  for (bool has_more = true; has_more;) {
    const Json page = result_of("presence", {{"channel", "a"}, {"after", after}});
    EXPECT_LE(page.dump().size(), 1'200U);
    for (const auto& [client, info] : page["presence"].items()) EXPECT_TRUE(clients.insert(client).second);
    ASSERT_FALSE(page["presence"].empty());
    after = *clients.rbegin();
    has_more = page.value("has_more", false);
  }
  EXPECT_EQ(clients.size(), 50U);
  const Json counts = result_of("presence_stats", {{"channel", "a"}});
  EXPECT_EQ(counts, (Json{{"num_clients", 50}, {"num_users", 7}}));
}

TEST_F(ApiTest, ChannelsAreListedInPagesByName) {
  limits.backlog_bytes = 2'000;
  std::deque<PlainReader> readers;
  std::set<std::string> names;
  for (int i = 0; i < 200; ++i) {
    const std::string name = (i % 2 == 0 ? "even:" : "odd:") + std::string(i % 30, 'x') + std::to_string(i);
    subscribe(readers.emplace_back(*shards[i % 2]), name);
    if (i % 2 == 0) names.insert(name);
  }
  std::set<std::string> found;
  std::string after;
  int pages = 0;
  for (bool has_more = true; has_more; ++pages) {
    ASSERT_LT(pages, 100);
    const Json page = result_of("channels", {{"pattern", "even:*"}, {"after", after}});
    EXPECT_LE(page.dump().size(), 1'200U);
    has_more = page.value("has_more", false);
    EXPECT_TRUE(!has_more || page.dump().size() > 800U) << "a page is full";
    for (const auto& [name, counts] : page["channels"].items()) {
      EXPECT_GT(name, after);
      EXPECT_EQ(counts["num_clients"], 1);
      found.insert(name);
    }
    after = *found.rbegin();
  }
  EXPECT_EQ(found, names);
  EXPECT_GT(result_of("channels", {{"after", after}})["channels"].size(), 15U) << "the odd ones, in part";
  EXPECT_EQ(result_of("channels", {{"pattern", "none"}}), (Json{{"channels", Json::object()}}));
}

TEST_F(ApiTest, UnreadCountsThatAreLongAreCutAndThatIsTold) {
  limits.backlog_bytes = 2'000;
  const std::vector<std::string> ann{"ann"};
  for (int i = 0; i < 100; ++i) {
    const std::string channel = "read" + std::to_string(i);
    hub.add_members(channel, ann, [](FanOutError, const MembersResult&) {});
    publish(channel, "1");
  }
  Json counts = result_of("unread", {{"user", "ann"}});
  EXPECT_EQ(counts["has_more"], true);
  EXPECT_GT(counts["unread"].size(), 30U);
  EXPECT_LE(counts.dump().size(), 1'100U);
  const Json inbox = result_of("inbox", {{"user", "ann"}, {"limit", 100}});
  EXPECT_EQ(inbox["has_more"], true);
  EXPECT_GT(inbox["items"].size(), 3U);
  EXPECT_LE(inbox.dump().size(), 1'200U);
  for (int i = 0; i < 98; ++i)
    hub.mark_read("ann", "read" + std::to_string(i), 1,
                  [](FanOutError error, StoreError /*store_error*/) { EXPECT_EQ(error, FanOutError::none); });
  counts = result_of("unread", {{"user", "ann"}});
  EXPECT_EQ(counts, (Json{{"unread", {{"read98", 1}, {"read99", 1}}}}));
}

TEST_F(ApiTest, ALedgerListsTheChannelsThatItIsAskedForAndSumsAll) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 20; ++i) subscribe(readers.emplace_back(*shards[0]), "channel" + std::to_string(i));
  for (int i = 0; i < 20; ++i) publish("channel" + std::to_string(i), "1");
  settle();
  const Json ledger = result_of("ledger", {{"limit", 3}});
  EXPECT_EQ(ledger["channels"].size(), 3U);
  EXPECT_EQ(ledger["subscriptions"], 20);
  EXPECT_EQ(ledger["delivered"], 20);
  EXPECT_EQ(ledger["is_balanced"], true);
}

}  // namespace
}  // namespace carillon
