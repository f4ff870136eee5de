// All that clients do not read has a total: those who do not read bear it.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

struct UnsentTotal : ::testing::Test {
  static WorldOptions options_with(std::size_t shards) {
    WorldOptions options;
    options.shards = shards;
    options.heartbeat.ping_interval_ms = 0;
    options.limits.backlog_bytes = 16'384;
    options.limits.unsent_bytes_total = 262'144;
    return options;
  }
  void begin(std::size_t shards = 1) {
    world = std::make_unique<World>(options_with(shards));
    for (int i = 0; i < 5; ++i) world->publish("a", '"' + std::string(1'000, 'x') + '"');
    reader = std::make_unique<WsClient>(*world);
    reader->connect();
  }
  WsClient& add_deaf(std::size_t lane = 0) {
    deaf.push_back(std::make_unique<WsClient>(*world, lane));
    deaf.back()->connect();
    deaf.back()->kernel().room = 0;
    return *deaf.back();
  }
  static void ask(WsClient& client, int count = 1) {
    for (int i = 0; i < count && client.is_open(); ++i) {
      client.post(R"({"id":)" + std::to_string(client.next_id++) +
                  R"(,"history":{"channel":"a","limit":5}})");
    }
  }
  [[nodiscard]] std::int64_t unread() const { return world->shared.unsent.bytes(); }
  [[nodiscard]] std::int64_t limit() const { return world->options.limits.unsent_bytes_total; }
  [[nodiscard]] auto open_ones() const {
    return std::count_if(deaf.begin(), deaf.end(), [](const auto& each) { return each->is_open(); });
  }

  std::unique_ptr<World> world;
  std::unique_ptr<WsClient> reader;
  std::vector<std::unique_ptr<WsClient>> deaf;
};

TEST_F(UnsentTotal, ManyWhoAskAndDoNotReadStayBelowItAndEverybodyElseIsServed) {
  begin();
  std::size_t answers = 0;
  for (int i = 0; i < 100; ++i) {
    ask(add_deaf(), 5);
    ask(*reader);
    world->turn();
    world->turn();
    EXPECT_LE(unread(), limit());
    EXPECT_EQ(reader->replies.size(), ++answers + 1);
    if (i % 10 == 0) world->pass(50);
  }
  EXPECT_TRUE(reader->is_open());
  EXPECT_GE(open_ones(), 5);
  EXPECT_EQ(static_cast<std::int64_t>(world->shared.unsent.closed()), 100 - open_ones());
  EXPECT_EQ(world->loops[0]->counters.slow, world->shared.unsent.closed());
  for (const auto& each : deaf) each->cut();
  EXPECT_EQ(unread(), 0);
}

TEST_F(UnsentTotal, WhoReadsSlowlyAndWhoHasLittleUnreadStay) {
  begin();
  WsClient subscriber(*world);  // the end of one frame waits for it, and longest of all
  subscriber.connect();
  subscriber.subscribe("b");
  subscriber.kernel().room = 10;
  world->publish("b", "\"a publication\"");
  world->run();
  ASSERT_TRUE(subscriber.is_clogged());
  WsClient slow(*world);
  slow.connect();
  slow.kernel().room = 100;
  ask(slow, 3);
  for (int i = 0; i < 100; ++i) {
    ask(add_deaf(), 3);
    slow.kernel().room = 100;
    world->pass(100);
    world->run();
    EXPECT_LE(unread(), limit());
  }
  EXPECT_LT(open_ones(), 20);
  EXPECT_TRUE(subscriber.is_open());
  EXPECT_TRUE(slow.is_open());
}

TEST_F(UnsentTotal, WhoTakesNothingForLongGoesBeforeWhoHoldsMoreAndTakesSome) {
  begin();
  for (int i = 0; i < 10; ++i) ask(add_deaf());
  WsClient& slow = add_deaf();
  ask(slow, 3);
  world->run();
  for (int i = 0; i < 5; ++i) {
    world->pass(1'000);
    slow.kernel().room = 100;
    world->run();
  }
  const std::size_t before = deaf.size();
  while (world->shared.unsent.closed() == 0 && deaf.size() < 100) {
    ask(add_deaf(), 3);
    world->run();
  }
  EXPECT_GT(world->shared.unsent.closed(), 0U);
  EXPECT_TRUE(slow.is_open());
  EXPECT_TRUE(std::all_of(deaf.begin() + static_cast<std::ptrdiff_t>(before), deaf.end(),
                          [](const auto& each) { return each->is_open(); }));
}

TEST_F(UnsentTotal, OverItNoFurtherCommandIsReadOfThoseWhoDoNotRead) {
  begin(2);
  ask(add_deaf(0), 1);
  world->run();
  const std::int64_t one_reply = unread();
  ASSERT_LT(one_reply, limit() / 2);
  // The other loop takes all there is, and has not had its tick yet.
  world->shared.unsent.add(limit());
  ask(*deaf[0], 3);
  world->run();
  EXPECT_EQ(unread(), one_reply + limit());
  EXPECT_TRUE(deaf[0]->is_open()) << "its loop has no more than its share";
  ask(*reader, 3);
  world->run();
  EXPECT_EQ(reader->replies.size(), 4U);
  deaf[0]->kernel().room = Kernel::kAll;
  world->run();
  EXPECT_EQ(deaf[0]->replies.size(), 5U) << "they were read once it had read";
  world->shared.unsent.add(-limit());
}

TEST_F(UnsentTotal, ALoopThatHoldsMoreThanItsShareGivesWayToTheOthersAtItsNextTick) {
  begin(2);
  while (unread() < limit() * 3 / 4) {
    ask(add_deaf(1));
    world->run();
  }
  EXPECT_EQ(world->shared.unsent.closed(), 0U);
  const auto theirs = deaf.size();
  while (unread() <= limit()) {
    ask(add_deaf(0));
    world->run();
  }
  EXPECT_EQ(world->shared.unsent.closed(), 0U);
  world->pass(50);
  world->run();
  EXPECT_LE(unread(), limit());
  EXPECT_GT(world->shared.unsent.closed(), 0U);
  EXPECT_TRUE(std::all_of(deaf.begin() + static_cast<std::ptrdiff_t>(theirs), deaf.end(),
                          [](const auto& each) { return each->is_open(); }));
}

TEST_F(UnsentTotal, ItMovesWithTheConnections) {
  begin();
  ask(add_deaf(), 2);
  world->run();
  const std::int64_t before = unread();
  ASSERT_GT(before, 5'000);
  ASSERT_TRUE(world->take_over());
  EXPECT_GT(unread(), 5'000);
  EXPECT_LE(unread(), before);
  deaf[0]->kernel().room = Kernel::kAll;
  world->run();
  EXPECT_EQ(unread(), 0);
  EXPECT_EQ(deaf[0]->replies.size(), 3U);
}

TEST_F(UnsentTotal, AnswersToARequestPipelineCountAsWell) {
  begin();
  HttpClient client(*world);
  client.kernel().room = 0;
  world->handler.big_bytes = 10'000;
  for (int i = 0; i < 50; ++i) client.request("GET", "/big");
  world->run();
  EXPECT_GT(unread(), 10'000);
  EXPECT_LE(unread(), limit());
  client.kernel().room = Kernel::kAll;
  world->run();
  EXPECT_EQ(client.responses.size(), 50U);
  EXPECT_EQ(unread(), 0);
}

}  // namespace
}  // namespace carillon::testing
