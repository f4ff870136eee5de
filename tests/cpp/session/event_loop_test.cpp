// What the turns of an event loop promise to many connections at once.
#include "loop/event_loop.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "session/session_clients.hpp"
#include "session/session_world.hpp"

namespace carillon::testing {
namespace {

/// So many publishes in one message.
std::string publishes(const std::string& channel, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += R"({"id":)" + std::to_string(10 + i) + R"(,"publish":{"channel":")" + channel + R"(","data":)" +
            std::to_string(i) + "}}\n";
  }
  return text;
}

struct Busy : ::testing::Test {
  Busy() {
    options.limits.read_ms_per_turn = 5;
    world = std::make_unique<World>(options);
  }
  std::vector<std::unique_ptr<WsClient>> connected(int count) {
    std::vector<std::unique_ptr<WsClient>> clients;
    for (int i = 0; i < count; ++i) {
      clients.push_back(std::make_unique<WsClient>(*world));
      clients.back()->connect();
    }
    return clients;
  }
  /// How long the client waits for the answer to a ping, in turns that may take their time.
  Millis wait_of(WsClient& client) {
    const Millis begin = world->clock.now_ms();
    const std::size_t before = client.replies.size();
    client.post(R"({"id":5,"ping":{}})");
    for (int turn = 0; turn < 10'000 && client.replies.size() == before; ++turn) world->turn();
    return world->clock.now_ms() - begin;
  }
  WorldOptions options;
  std::unique_ptr<World> world;
};

TEST_F(Busy, OneClientsCommandsDelayOthersByATurnsTime) {
  const auto clients = connected(2);
  world->access.on_question = [this] { world->clock.advance(1); };  // a command takes 1 ms
  clients[0]->post(publishes("a", 500));
  world->turn();
  EXPECT_LE(wait_of(*clients[1]), 2 * options.limits.read_ms_per_turn);
  world->run();
  EXPECT_EQ(clients[0]->replies.size(), 501U);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(clients[0]->replies[static_cast<std::size_t>(i) + 1]["id"], 10 + i);
}

TEST_F(Busy, ManyClientsWithMuchToDoTakeTurns) {
  const auto clients = connected(201);
  world->access.on_question = [this] { world->clock.advance(1); };
  for (std::size_t i = 0; i < 200; ++i) clients[i]->post(publishes("c" + std::to_string(i % 7), 50));
  // Each of those before it gets one command done, and then the next one in line.
  EXPECT_LE(wait_of(*clients[200]), 200 + options.limits.read_ms_per_turn);
  world->run();
  for (std::size_t i = 0; i < 200; ++i) EXPECT_EQ(clients[i]->replies.size(), 51U);
}

TEST_F(Busy, RequestsInAPipelineTakeTurnsAsWell) {
  const auto clients = connected(1);
  HttpClient eager(*world);
  std::string requests;
  for (int i = 0; i < 200; ++i) requests += "GET /now HTTP/1.1\r\nHost: localhost:8000\r\n\r\n";
  world->handler.on_request = [this] { world->clock.advance(1); };
  eager.socket->inbox.append(requests);
  eager.socket->has_news = true;
  world->turn();
  EXPECT_LE(wait_of(*clients[0]), 2 * options.limits.read_ms_per_turn);
  world->run();
  EXPECT_EQ(eager.responses.size(), 200U);
}

TEST_F(Busy, WhoseRequestsTakeTurnsIsAnsweredBeforeADrainSendsItAway) {
  HttpClient client(*world);
  world->handler.on_request = [this] { world->clock.advance(1); };
  for (int i = 0; i < 50; ++i)
    client.socket->inbox.append("GET /now HTTP/1.1\r\nHost: localhost:8000\r\n\r\n");
  client.socket->has_news = true;
  world->turn();
  ASSERT_LT(client.responses.size(), 50U);
  world->loops[0]->loop.drain(world->endpoint, 0);
  world->pass(1);
  world->run();
  EXPECT_EQ(client.responses.back().header("connection"), "close");
  EXPECT_TRUE(client.is_ended);
}

TEST_F(Busy, WhatAClientSaidBeforeItLeftIsCarriedOut) {
  const auto clients = connected(1);
  world->access.on_question = [this] { world->clock.advance(1); };
  clients[0]->post(publishes("a", 100));
  world->turn();
  clients[0]->socket->has_ended = clients[0]->socket->has_news = true;
  world->run();
  EXPECT_FALSE(clients[0]->is_open());
  EXPECT_EQ(world->publish("a", "1").offset, 101U);
}

TEST_F(Busy, WhatStandsBehindADisconnectIsNoFurtherMistakeOfTheClient) {
  const auto clients = connected(1);
  world->access.on_question = [this] { world->clock.advance(1); };
  clients[0]->post(publishes("a", 20) + R"({"send":{"data":1}})");
  clients[0]->post(publishes("a", 20));
  world->run();
  EXPECT_TRUE(clients[0]->close_code.has_value());
  EXPECT_EQ(world->publish("a", "1").offset, 21U);
  EXPECT_EQ(world->loops[0]->counters.bad_requests, 0U);
}

TEST_F(Busy, APongThatCameInTimeCountsThoughTheTurnOfItsDeadlineDoesNotReadIt) {
  options.heartbeat.ping_interval_ms = 10'000;
  options.heartbeat.pong_timeout_ms = 100;
  world = std::make_unique<World>(options);
  const auto busy = connected(8);
  WsClient client(*world);
  client.answers_heartbeats = false;
  client.connect();
  while (client.heartbeats == 0) world->advance(1);
  world->access.on_question = [this] { world->clock.advance(10); };
  for (const auto& each : busy) each->post(publishes("a", 3));
  client.post("{}");
  world->pass(100);
  world->run();
  EXPECT_FALSE(client.close_code.has_value());
}

TEST_F(Busy, WhatASessionHasPutAsideMovesWithIt) {
  const auto clients = connected(1);
  world->access.on_question = [this] { world->clock.advance(1); };
  clients[0]->post(publishes("a", 100));
  world->turn();
  ASSERT_LT(clients[0]->replies.size(), 50U);
  ASSERT_TRUE(world->take_over(1'000));
  world->run();
  EXPECT_EQ(clients[0]->replies.size(), 101U);
}

TEST_F(Busy, APongIsReadBeforeItsDeadlineIsJudged) {
  options.heartbeat.ping_interval_ms = 1'000;
  options.heartbeat.pong_timeout_ms = 100;
  world = std::make_unique<World>(options);
  const auto clients = connected(40);
  world->access.on_question = [this] { world->clock.advance(10); };
  for (int round = 0; round < 30; ++round) {
    for (const auto& client : clients) client->post(publishes("a", 3));
    world->advance(100);
  }
  for (const auto& client : clients) EXPECT_FALSE(client->close_code.has_value());
}

TEST(EventLoop, WhoeverElseHoldsASocketItIsWatchedNoMoreOnceItsConnectionIsGone) {
  World world;
  WsClient client(world);
  client.connect();
  ++client.socket->holders;  // as a forked child does
  const std::string id(client.connection->session->client_id());
  EXPECT_TRUE(world.loops[0]->loop.cut(id));
  world.run();
  ASSERT_NE(client.socket, nullptr);
  ASSERT_EQ(client.connection, nullptr);
  client.post("{}");
  world.run();
  world.network.sockets.erase(world.network.sockets.begin());
  client.socket = nullptr;
}

TEST(EventLoop, MoreThanABufferHoldsIsReadThoughOnlyOneEventCame) {
  World world;
  WsClient client(world);
  client.connect();
  for (int i = 0; i < 4; ++i)
    client.post(R"({"id":)" + std::to_string(10 + i) + R"(,"rpc":{"data":")" + std::string(60'000, 'x') +
                "\"}}");
  world.run();
  EXPECT_EQ(client.replies.size(), 5U);
}

TEST(EventLoop, WhoCanTakeAgainOrIsGoneIsNoLongerCountedAsClogged) {
  World world;
  const SessionCounters& counters = world.loops[0]->counters;
  WsClient client(world);
  client.connect();
  const auto clog = [&] {
    client.kernel().room = 0;
    client.send(R"({"id":10,"rpc":{}})");
    world.run();
    EXPECT_EQ(counters.clogged, 1U);
  };
  clog();
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(counters.clogged, 0U);
  clog();
  client.cut();
  world.run();
  EXPECT_EQ(counters.clogged, 0U);
}

TEST(EventLoop, WhatTheKernelHoldsIsMeasuredAndForgottenWithTheConnection) {
  World world;
  const SessionCounters& counters = world.loops[0]->counters;
  WsClient client(world);
  client.connect();
  client.kernel().held = 1'000;
  world.pass(1);
  EXPECT_EQ(counters.kernel_bytes, 1'000U);
  client.kernel().held = 300;
  world.pass(1);
  EXPECT_EQ(counters.kernel_bytes, 300U);
  client.cut();
  world.run();
  EXPECT_EQ(counters.kernel_bytes, 0U);
}

TEST(EventLoop, APipeThatBreaksWhileUnsentBytesLeaveEndsTheConnection) {
  World world;
  WsClient client(world);
  client.connect();
  client.kernel().room = 0;
  client.send(R"({"id":10,"rpc":{}})");
  world.run();
  ASSERT_TRUE(client.is_clogged());
  client.kernel().is_broken = true;
  client.kernel().room = 10;
  world.run();
  EXPECT_FALSE(client.is_open());
}

TEST(EventLoop, WhoTakesNothingIsDroppedAlsoWhereNothingElseIsDue) {
  WorldOptions options;
  options.heartbeat.ping_interval_ms = 0;
  World world(options);
  WsClient client(world);
  client.connect();
  world.advance(2 * options.limits.handshake_timeout_ms);  // nothing of it is on the wheel any more
  client.kernel().room = 0;
  client.send(R"({"id":10,"rpc":{}})");
  world.advance(options.limits.stall_timeout_ms + 10);
  EXPECT_FALSE(client.is_open());
}

TEST(EventLoop, MoreThanATickJudgesAreAllJudgedSoonAfter) {
  World world;
  std::vector<std::unique_ptr<HttpClient>> silent;
  for (int i = 0; i < 2'500; ++i) silent.push_back(std::make_unique<HttpClient>(world));
  world.advance(world.options.limits.handshake_timeout_ms + 10);
  EXPECT_TRUE(std::all_of(silent.begin(), silent.end(), [](const auto& each) { return each->is_ended; }));
}

TEST(EventLoop, WhoWasOverTheLimitAndHasGoneTakesNoPlaceAmongThem) {
  World world;
  for (int i = 0; i < 100; ++i) {
    HttpClient client(world, 0, true);
    world.run();
    client.cut();
    world.run();
  }
  EXPECT_EQ(world.shared.turned_away, 0U);
}

TEST(EventLoop, EachConnectionOverTheLimitIsRefusedServedOrClosedUnreadAndOnlyOneOfThem) {
  World world;
  const SessionCounters& counters = world.loops[0]->loop.counters();
  std::vector<std::unique_ptr<HttpClient>> all;
  const std::uint64_t most = world.shared.refusals_per_loop;
  for (std::uint64_t i = 0; i < most; ++i) {
    all.push_back(std::make_unique<HttpClient>(world, 0, true));
    all.back()->ends_with_server = false;
    const bool is_probe = i % 2 == 0;
    EXPECT_EQ(all.back()->get(is_probe ? "/health" : "/poll?channel=a").status, is_probe ? 200 : 503);
  }
  const auto come = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) all.push_back(std::make_unique<HttpClient>(world, 0, true));
    world.run();
  };
  come(most);
  EXPECT_EQ(world.shared.closed_unread, 0U) << "those that were closed for them had their answers";
  come(3);
  EXPECT_EQ(world.shared.closed_unread, 3U) << "silent ones, the oldest, were closed for others";
  EXPECT_EQ(world.shared.turned_away, 3U);
  EXPECT_EQ(counters.served_over_limit, most / 2);
  EXPECT_EQ(counters.refused, most / 2);
}

/// Is called when a connection ends, in the middle of its loop's turn.
struct OnClose final : ConnectionLog {
  void write(const ConnectionRecord& record) override {
    if (record.event == ConnectionEvent::close) then();
  }
  std::function<void()> then;
};

TEST(EventLoop, WhoIsCutWithBytesLaidOutIsForgottenAfterTheyHaveLeft) {
  World world;
  WorldLoop& one = *world.loops[0];
  OnClose log;
  world.shared.log = &log;
  WsClient client(world);
  client.connect();
  Outlet& outlet = client.connection->outlet;
  // Behind the flush of the turn that cuts it: the slice points at the outlet until the next one.
  log.then = [&] { one.output.add(outlet, "late"); };
  one.shard.bind_to_this_thread();
  EXPECT_TRUE(one.loop.cut(client.connection->session->client_id()));
  Shard::unbind_this_thread();
  world.turn();
  ASSERT_NE(client.socket, nullptr) << "it is gone, and a slice points at it";
  world.run();
  EXPECT_EQ(client.socket, nullptr);
  EXPECT_TRUE(one.output.is_empty());
}

TEST(EventLoop, VisitsItsSessionsInPiecesAndMissesNoneThatStays) {
  World world;
  std::deque<HttpClient> clients;
  for (int i = 0; i < 1'500; ++i) clients.emplace_back(world);
  const EventLoop& loop = world.loops[0]->loop;
  std::set<const Session*> visited;
  bool is_over = false;
  world.loops[0]->shard.bind_to_this_thread();
  loop.for_each_session([&](Session& session) { visited.insert(&session); }, [&] { is_over = true; });
  Shard::unbind_this_thread();
  EXPECT_EQ(visited.size(), 512U);
  for (std::size_t i = 0; i < 700; i += 7) clients[i].cut();  // places that the last ones take
  clients[1].request("GET", "/now");
  world.turn();
  EXPECT_EQ(clients[1].responses.size(), 1U) << "between two pieces";
  EXPECT_FALSE(is_over);
  world.run();
  EXPECT_TRUE(is_over);
  for (const HttpClient& client : clients) {
    EXPECT_TRUE(!client.is_open() || visited.contains(client.connection->session.get()));
  }
}

TEST(EventLoop, NobodyIsCutByTheNameThatAllHaveWhoHaveNone) {
  World world;
  HttpClient client(world);
  client.get("/now");
  EXPECT_FALSE(world.loops[0]->loop.cut(""));
  world.run();
  EXPECT_TRUE(client.is_open());
}

TEST(EventLoop, WhoWaitsForASlowHookIsAskedToLeaveLikeOthers) {
  for (const bool is_poll : {false, true}) {
    World world;
    world.access.slow = {Operation::subscribe};
    HttpClient poll(world);
    SseClient stream(world);
    is_poll ? poll.request("GET", "/poll?channel=a") : stream.open("channel=a");
    world.run();
    world.is_draining = true;
    world.loops[0]->loop.drain(world.endpoint, 0);
    world.advance(10);
    EXPECT_EQ(world.endpoint.asked, 0U) << "it does not wait for the hook";
    if (is_poll) {
      ASSERT_EQ(poll.responses.size(), 1U);
      EXPECT_EQ(poll.responses[0].status, 503);
      EXPECT_TRUE(poll.is_ended);
    } else {
      ASSERT_EQ(stream.blocks.size(), 1U);
      EXPECT_TRUE(stream.blocks[0].retry.has_value());
      EXPECT_TRUE(stream.is_ended);
    }
    world.access.decide(allowed());  // nobody waits for that any more
    world.run();
    EXPECT_LE(poll.responses.size() + stream.blocks.size(), 1U);
  }
}

}  // namespace
}  // namespace carillon::testing
