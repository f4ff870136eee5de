// Channels whose subscribers are served by a sweep: only they wait for it. Whatever is read with a position
// is answered at once, on every transport, and no turn spins until the sweep (World::run() ends, or fails).
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

struct Sweep {
  std::string name;
  std::function<void(ChannelOptions&)> change;
  bool is_swept = true;
};

const std::array<Sweep, 6> kSweeps{{
    {"write", [](ChannelOptions&) {}, false},
    {"read", [](ChannelOptions& o) { o.fan_out = FanOut::read; }},
    {"hybrid",
     [](ChannelOptions& o) {
       o.fan_out = FanOut::hybrid;
       o.fan_out_threshold = 0;
     }},
    {"adaptive",
     [](ChannelOptions& o) {
       o.fan_out = FanOut::adaptive;
       o.fan_out_threshold = 0;
     }},
    {"batch_interval", [](ChannelOptions& o) { o.batch_interval_ms = 3'600'000; }},
    {"conflate",
     [](ChannelOptions& o) {
       o.batch_interval_ms = 3'600'000;
       o.conflate = true;
     }},
}};

/// A live subscriber stands where the last sweep has left it, behind publications 2 to 4.
struct SweptChannel : ::testing::TestWithParam<Sweep> {
  static constexpr Millis kSweepMs = 3'600'000;
  static WorldOptions options() {
    WorldOptions options;
    options.rules = {rule("*", [](ChannelOptions& o) {
      o.sweep_interval_ms = kSweepMs;
      o.history_ttl_ms = 10 * kSweepMs;
      GetParam().change(o);
    })};
    options.heartbeat.ping_interval_ms = 0;
    return options;
  }
  SweptChannel() {
    live.connect();
    live.subscribe("a");
    epoch = std::string(world.publish("a", "1").epoch.text());
    sweep();
    EXPECT_EQ(live.pushes_of("a", "pub").size(), 1U);
    for (int i = 2; i <= 4; ++i) world.publish("a", std::to_string(i));
    world.run();
    EXPECT_EQ(live.pushes_of("a", "pub").size(), GetParam().is_swept ? 1U : 4U);
  }
  void sweep() {
    world.run();
    world.clock.advance(kSweepMs);
    world.run();
  }
  /// What has been published since comes to everybody once.
  void expect_live(std::size_t count) {
    sweep();
    EXPECT_EQ(live.pushes_of("a", "pub").size(), count);
    EXPECT_EQ(world.ledger_of("a").account.pending, 0);
  }

  World world{options()};
  WsClient live{world};
  std::string epoch;
};

INSTANTIATE_TEST_SUITE_P(All, SweptChannel, ::testing::ValuesIn(kSweeps),
                         [](const auto& each) { return each.param.name; });

TEST_P(SweptChannel, APollWithAPositionIsAnsweredAtOnce) {
  HttpClient client(world);
  const Json body = Json::parse(client.get("/poll?channel=a&since=" + epoch + ":1").body);
  EXPECT_EQ(body["publications"].size(), 3U);
  EXPECT_EQ(body["since"], epoch + ":4");
  expect_live(4);
}

TEST_P(SweptChannel, APollOfTwoChannelsIsAnsweredAtOnce) {
  world.publish("b", "1");
  HttpClient client(world);
  client.get("/poll?channel=b&channel=a&since=-," + epoch + ":1");
  ASSERT_EQ(client.responses.size(), 1U);
  EXPECT_EQ(Json::parse(client.responses.back().body)["publications"].size(), 3U);
  expect_live(4);
}

TEST_P(SweptChannel, APollThatHasEverythingWaitsUntilTheNextSweepWithNews) {
  HttpClient client(world);
  client.request("GET", "/poll?channel=a&timeout=60&since=" + epoch + ":4");
  world.run();
  EXPECT_TRUE(client.responses.empty());
  world.publish("a", "5");
  world.run();
  EXPECT_EQ(client.responses.size(), GetParam().is_swept ? 0U : 1U);
  expect_live(5);
  ASSERT_EQ(client.responses.size(), 1U);
  EXPECT_EQ(Json::parse(client.responses.back().body)["publications"],
            Json::array({Json({{"channel", "a"}, {"offset", 5}, {"data", 5}})}));
}

TEST_P(SweptChannel, APollWithTimeoutZeroAndSmallPagesReachesTheEnd) {
  HttpClient client(world);
  Json body = Json::parse(client.get("/poll?channel=a&timeout=0&since=" + epoch + ":4").body);
  EXPECT_TRUE(body["publications"].empty());
  body = Json::parse(client.get("/poll?channel=a&timeout=0&since=" + epoch + ":2").body);
  EXPECT_EQ(body["publications"].size(), 2U);
  expect_live(4);
}

TEST_P(SweptChannel, AWebSocketThatResumesGetsEverythingInTheReply) {
  WsClient client(world);
  client.connect();
  const Json reply = client.subscribe("a", {{"recover", true}, {"offset", 1}, {"epoch", epoch}})["subscribe"];
  EXPECT_EQ(reply["recovered"], true);
  EXPECT_EQ(reply["publications"].size(), 3U);
  world.publish("a", "5");
  expect_live(5);
  EXPECT_EQ(client.pushes_of("a", "pub").size(), 1U) << "once, with the group";
}

TEST_P(SweptChannel, AWebSocketThatIsNewGetsOnlyWhatComes) {
  WsClient client(world);
  client.connect();
  EXPECT_EQ(client.subscribe("a")["subscribe"]["offset"], 4);
  world.publish("a", "5");
  expect_live(5);
  EXPECT_EQ(client.pushes_of("a", "pub"), std::vector<Json>{Json({{"data", 5}, {"offset", 5}})});
}

TEST_P(SweptChannel, HistoryShowsEverything) {
  WsClient client(world);
  client.connect();
  client.subscribe("a");
  const Json reply = client.command("history", {{"channel", "a"}, {"limit", 10}})["history"];
  EXPECT_EQ(reply["publications"].size(), 4U);
  const Json newest =
      client.command("history", {{"channel", "a"}, {"limit", 1}, {"reverse", true}})["history"];
  EXPECT_EQ(newest["publications"][0]["data"], 4);
}

TEST_P(SweptChannel, AnEventStreamWithAPositionBeginsWithWhatIsThere) {
  SseClient client(world);
  client.open("channel=a&since=" + epoch + ":1");
  world.run();
  EXPECT_EQ(client.events("").size(), 3U);
  EXPECT_EQ(client.last_id, epoch + ":4");
  world.publish("a", "5");
  expect_live(5);
  EXPECT_EQ(client.events("").size(), 4U);
  EXPECT_EQ(client.last_id, epoch + ":5");
}

TEST_P(SweptChannel, AStalledReaderCatchesUpWithoutSpinning) {
  SseClient client(world);
  client.open("channel=a&since=" + epoch + ":1");
  client.kernel().room = 300;
  world.run();
  ASSERT_TRUE(client.is_clogged());
  sweep();
  EXPECT_EQ(live.pushes_of("a", "pub").size(), 4U);
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.events("").size(), 3U);
}

}  // namespace
}  // namespace carillon::testing
