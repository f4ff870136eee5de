// `since=oldest` and `last=N` on every transport.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "session/session_clients.hpp"
#include "session/websocket_journal.hpp"

namespace carillon::testing {
namespace {

WorldOptions short_history() {
  WorldOptions options;
  options.rules = {rule("short", [](ChannelOptions& o) { o.history_size = 3; }),
                   rule("live", [](ChannelOptions& o) { o.history_size = 0; })};
  return options;
}

struct Started {
  explicit Started(World& world) : client(world) {}
  SseClient client;
  [[nodiscard]] Json status(std::size_t index = 0) const { return *client.events("status").at(index).data; }
  [[nodiscard]] std::vector<int> offsets() const {
    std::vector<int> found;
    for (const SseBlock& block : client.events("")) found.push_back(block.data->value("offset", 0));
    return found;
  }
};

std::string publish_five(World& world, const std::string& channel) {
  Position top;
  for (int i = 1; i <= 5; ++i) top = world.publish(channel, std::to_string(i));
  return std::string(top.epoch.text());
}

TEST(Start, AStreamSaysWhetherItHasTheBeginning) {
  World world(short_history());
  const std::string a = publish_five(world, "a");
  publish_five(world, "short");
  publish_five(world, "live");
  const struct {
    std::string query;
    Json recovered;
    int offset;
    std::vector<int> offsets;
  } cases[] = {{"channel=a&since=oldest", true, 0, {1, 2, 3, 4, 5}},
               {"channel=a&last=2", nullptr, 3, {4, 5}},
               {"channel=a&last=0", nullptr, 5, {}},
               {"channel=a", nullptr, 5, {}},
               {"channel=a&since=" + a + ":3", true, 3, {4, 5}},
               {"channel=a&since=otherone:3", false, 0, {1, 2, 3, 4, 5}},
               {"channel=short&since=oldest", false, 2, {3, 4, 5}},
               {"channel=short&last=9", nullptr, 2, {3, 4, 5}},
               {"channel=live&since=oldest", nullptr, 0, {}},
               {"channel=live&last=2", nullptr, 0, {}}};
  for (const auto& each : cases) {
    SCOPED_TRACE(each.query);
    Started started(world);
    started.client.open(each.query);
    world.run();
    EXPECT_EQ(started.status()["recovered"], each.recovered);
    EXPECT_EQ(started.status()["offset"], each.offset);
    EXPECT_EQ(started.offsets(), each.offsets);
  }
}

TEST(Start, APollAnswersAtOnceIfThereIsSomething) {
  World world(short_history());
  const std::string a = publish_five(world, "a");
  publish_five(world, "short");
  HttpClient client(world);
  const auto polled = [&](const std::string& query) {
    const Response response = client.get("/poll?" + query);
    return response.status == 200 ? Json::parse(response.body) : Json();
  };
  Json body = polled("channel=a&since=oldest");
  EXPECT_EQ(body["publications"].size(), 5U);
  EXPECT_EQ(body["since"], a + ":5");
  EXPECT_EQ(body["status"][0]["recovered"], true);
  body = polled("channel=a&last=2");
  EXPECT_EQ(body["publications"].size(), 2U);
  EXPECT_EQ(body["status"][0]["recovered"], nullptr);
  body = polled("channel=short&since=oldest");
  EXPECT_EQ(body["publications"].size(), 3U);
  EXPECT_EQ(body["status"][0]["recovered"], false);
  body = polled("channel=a&since=otherone:9");
  EXPECT_EQ(body["publications"].size(), 5U) << "what the new log holds, behind the news of the loss";
  EXPECT_EQ(body["status"][0]["recovered"], false);

  world.hub.remove_history("a", [](StoreError) {});
  for (const std::string query :
       {"channel=a&since=oldest", "channel=empty&since=oldest", "channel=a&last=2"}) {
    HttpClient waits(world);
    waits.request("GET", "/poll?" + query);
    world.run();
    EXPECT_TRUE(waits.responses.empty()) << query << ": nothing is there, and nothing was lost";
  }
}

TEST(Start, SeveralChannelsStartAlikeOrEachAsItsPartSays) {
  World world(short_history());
  const std::string a = publish_five(world, "a");
  publish_five(world, "short");
  HttpClient client(world);
  const auto offsets = [&](const std::string& query) {
    std::map<std::string, std::vector<int>> found;
    const Json body = Json::parse(client.get("/poll?channel=a&channel=short&timeout=0&" + query).body);
    EXPECT_EQ(body["status"].size(), 2U);
    for (const Json& each : body["publications"]) found[each["channel"]].push_back(each["offset"]);
    return found;
  };
  using Found = std::map<std::string, std::vector<int>>;
  EXPECT_EQ(offsets("since=oldest"), (Found{{"a", {1, 2, 3, 4, 5}}, {"short", {3, 4, 5}}}));
  EXPECT_EQ(offsets("last=1"), (Found{{"a", {5}}, {"short", {5}}}));
  EXPECT_EQ(offsets("since=-,oldest"), (Found{{"short", {3, 4, 5}}}));
  EXPECT_EQ(offsets("since=" + a + ":4,oldest"), (Found{{"a", {5}}, {"short", {3, 4, 5}}}));
}

TEST(Start, ContradictionsAreRefusedByName) {
  World world;
  HttpClient client(world);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"since=oldest&last=2", "since and last: both are given"},
      {"last=", "last: not a whole number"},
      {"last=-1", "last: not a whole number"},
      {"last=many", "last: not a whole number"},
      {"since=newest", "since: not a position; give epoch:offset or oldest"}};
  for (const std::string path : {"/sse", "/poll"}) {
    for (const auto& [query, text] : cases) {
      const Response refused = client.get(path + "?channel=a&" + query);
      EXPECT_EQ(refused.status, 400) << query;
      EXPECT_NE(refused.body.find(text), std::string::npos) << refused.body;
    }
  }
  WsClient socket(world);
  socket.connect();
  for (const Json& body : std::vector<Json>{{{"since", "oldest"}, {"last", 2}},
                                            {{"since", "oldest"}, {"recover", true}},
                                            {{"last", 2}, {"recover", true}},
                                            {{"since", "newest"}},
                                            {{"since", "-"}}}) {
    EXPECT_EQ(error_of(socket.subscribe("a", body)), 107U) << body;
  }
  socket.subscribe("a", {{"last", -1}});
  EXPECT_EQ(socket.close_code, 3501) << "of the wrong type";
}

TEST(Start, AStreamThatReturnsBeforeItsStartIsAnsweredStartsThereAgain) {
  World world;
  publish_five(world, "a");
  publish_five(world, "b");
  for (const std::string start :
       {"since=oldest", "last=2", "since=otherone:1,otherone:2", "since=-,oldest"}) {
    SCOPED_TRACE(start);
    world.store.is_late = false;
    Started whole(world);
    whole.client.open("channel=a&channel=b&" + start);
    world.run();

    SseClient first(world);
    std::string id;  // that of the first channel's status: the second channel's start is not answered yet
    first.on_block = [&](const SseBlock& block) {
      if (block.id && id.empty()) id = *block.id;
    };
    first.open("channel=a&channel=b&" + start);
    world.run();
    ASSERT_FALSE(id.empty());
    Started again(world);
    again.client.open("channel=a&channel=b&" + start, "Last-Event-ID: " + id + "\r\n");
    world.run();
    EXPECT_EQ(again.offsets(), whole.offsets()) << id;
  }
}

TEST(Start, AnEventSourceWithLastGoesOnAtItsLastEventId) {
  World world;
  const std::string epoch = publish_five(world, "a");
  Started again(world);
  again.client.open("channel=a&last=4", "Last-Event-ID: " + epoch + ":4\r\n");
  world.run();
  EXPECT_EQ(again.offsets(), (std::vector<int>{5}));
  EXPECT_EQ(again.status()["recovered"], true);
}

TEST(Start, AWebSocketReplyHasTheFirstPageAndPushesTheRest) {
  WorldOptions options = short_history();
  options.limits.history_publications = 10;
  World world(options);
  for (int i = 0; i < 700; ++i) world.publish("a", "1");
  const struct {
    Json start;
    Offset from;
    Json recovered;  // null: there was nothing to recover
  } cases[] = {{{{"since", "oldest"}}, 0, true},
               {{{"last", 50}}, 650, nullptr},
               {{{"since", "otherone:3"}}, 0, false}};
  for (const auto& each : cases) {
    SCOPED_TRACE(each.start.dump());
    WsClient client(world);
    client.connect();
    const Journal journal(client, "a");
    const Json reply = client.subscribe("a", each.start)["subscribe"];
    EXPECT_EQ(reply.value("was_recovering", false), !each.recovered.is_null());
    EXPECT_EQ(reply.value("recovered", false), each.recovered == true);
    EXPECT_EQ(reply.value("offset", Offset{0}), each.from);
    EXPECT_EQ(reply["publications"].size(), 10U);
    EXPECT_EQ(journal.offsets, range(each.from + 1, 700));
  }
  EXPECT_EQ(world.ledger_of("a").account.delivered, 700 + 50 + 700);
  publish_five(world, "short");
  WsClient client(world);
  client.connect();
  const Json reply = client.subscribe("short", {{"since", "oldest"}})["subscribe"];
  EXPECT_EQ(reply["was_recovering"], true);
  EXPECT_FALSE(reply.contains("recovered"));
  EXPECT_EQ(reply["publications"].size(), 3U);
}

TEST(Start, AnSdkThatReturnsToAnotherLogStartsLiveAsItsProtocolSays) {
  World world;
  publish_five(world, "a");
  WsClient client(world);
  client.connect();
  const Json reply =
      client.subscribe("a", {{"recover", true}, {"offset", 1}, {"epoch", "otherone"}})["subscribe"];
  EXPECT_FALSE(reply.contains("recovered"));
  EXPECT_FALSE(reply.contains("publications"));
  EXPECT_EQ(reply["offset"], 5);
}

TEST(Start, AWebSocketThatWasSkippedMayStartWithTheOldest) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) {
    o.slow_consumer = SlowConsumer::skip;
    o.slow_consumer_entries = 10;
  })};
  World world(options);
  WsClient client(world);
  client.connect();
  const std::string epoch = client.subscribe("a")["subscribe"]["epoch"];
  client.kernel().room = 10;
  for (int i = 0; i < 60; ++i) {
    world.publish("a", "1");
    world.run();
  }
  client.kernel().room = Kernel::kAll;
  world.run();
  ASSERT_EQ(client.pushes_of("a", "unsubscribe").size(), 1U);
  Json reply = client.subscribe("a", {{"since", epoch + ":1"}})["subscribe"];
  EXPECT_FALSE(reply.contains("recovered")) << "it was skipped";
  EXPECT_EQ(reply["offset"], 60) << "and is not sent what the policy has skipped";
  client.command("unsubscribe", {{"channel", "a"}});
  reply = client.subscribe("a", {{"since", "oldest"}})["subscribe"];
  EXPECT_EQ(reply["recovered"], true);
}

TEST(Start, AStreamThatWaitsForItsStartIsNotTakenOverAndOneThatHasStartedIs) {
  World world(short_history());
  publish_five(world, "a");
  Started waiting(world), started(world);
  started.client.open("channel=a&since=oldest");
  world.run();
  HttpClient poll(world);
  poll.request("GET", "/poll?channel=b&last=3");
  world.run();
  ASSERT_TRUE(world.take_over());
  world.publish("a", "6");
  world.publish("b", "1");
  world.run();
  EXPECT_EQ(started.offsets(), (std::vector<int>{1, 2, 3, 4, 5, 6}));
  ASSERT_EQ(poll.responses.size(), 1U);
  const Json body = Json::parse(poll.responses.back().body);
  EXPECT_EQ(body["status"][0]["recovered"], nullptr) << "as it was told before the takeover";
  world.store.is_late = true;
  waiting.client.open("channel=c&since=oldest");
  world.run();
  EXPECT_FALSE(world.take_over());
  world.store.is_late = false;
  world.store.answer();
  world.run();
  EXPECT_EQ(waiting.status()["recovered"], true);
}

}  // namespace
}  // namespace carillon::testing
