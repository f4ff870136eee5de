// What a takeover may meet: questions of every kind, drains that begin at any moment, listeners that come.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "server/blocking_client.hpp"
#include "server/hook_access.hpp"
#include "server/reload.hpp"
#include "server/server_takeover.hpp"

namespace carillon {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

const std::vector<std::pair<std::string, std::string>> kQuestions = {
    {"stats", "{}"},
    {"publish", R"({"channel":"a","data":1})"},
    {"broadcast", R"({"channels":["a","b","c"],"data":1})"},
    {"history", R"({"channel":"a","limit":1})"},
    {"presence", R"({"channel":"a"})"},
    {"presence_stats", R"({"channel":"a"})"},
    {"channels", "{}"},
    {"info", "{}"},
    {"ledger", "{}"},
    {"add_members", R"({"channel":"m","users":["u","v"]})"},
    {"remove_members", R"({"channel":"m","users":["v"]})"},
    {"members", R"({"channel":"m"})"},
    {"inbox", R"({"user":"u"})"},
    {"unread", R"({"user":"u"})"},
    {"mark_read", R"({"user":"u","channel":"m","offset":1})"},
    {"set_fanout", R"({"channel":"m","strategy":"write"})"},
    {"fanout", R"({"channel":"m"})"},
};

/// Asks everything, again and again, on one connection.
class Asker {
 public:
  Asker(std::uint16_t port, std::size_t first) : client_(port), next_(first) {
    thread_ = std::thread([this] {
      while (!is_over_ && problem_.empty()) ask();
    });
  }
  ~Asker() { std::ignore = end(); }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;
  /// The first answer that was none.
  std::string end() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
    return problem_;
  }

 private:
  void ask() {
    const auto& [method, body] = kQuestions[next_++ % kQuestions.size()];
    const std::string answer = client_.call(method, body);
    if (answer.find("\"result\"") == std::string::npos) {
      problem_ = method + " was answered '" + answer + "' " + client_.problem();
    }
  }

  BlockingClient client_;
  std::size_t next_;
  std::string problem_;
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

/// Does the server end it, within five seconds?
bool ends(BlockingClient& stream) {
  for (int tries = 0; tries < 100 && stream.problem().empty(); ++tries) stream.read_sse();
  return !stream.problem().empty();
}

TEST_F(ServerTakeover, WhateverIsAskedMeanwhileChangesNothing) {
  Server& first = start(2);
  for (int i = 0; i < 5'000; ++i) {  // statistics of which take a while
    first.publish(i == 0 ? "m" : "channel-" + std::to_string(i), {.data = "1"}, {},
                  [](const AppendResult&) {});
  }
  std::vector<std::unique_ptr<Asker>> askers;
  for (std::size_t i = 0; i < 4; ++i) askers.push_back(std::make_unique<Asker>(port, i * 4));
  std::jthread embedder([&](const std::stop_token& is_over) {  // the application, in the serving process
    while (!is_over.stop_requested()) {
      Server& server = *current.load();
      std::ignore = server.stats();
      std::ignore = server.listeners();
      std::ignore = server.connections();
      std::ignore = server.ledger();
    }
  });
  for (const std::size_t threads : {1U, 3U, 2U, 1U, 2U, 2U}) {
    const TakeoverReport report = take_over(threads);
    EXPECT_EQ(report.left_behind, 0U);
    EXPECT_LT(report.pause_ms, 30'000) << "takeover.timeout_ms";
  }
  embedder.request_stop();
  embedder.join();
  for (const auto& asker : askers) EXPECT_EQ(asker->end(), "");
  EXPECT_TRUE(json::parse(servers.back()->ledger())["is_balanced"].get<bool>());
}

TEST_F(ServerTakeover, ADrainThatBeginsWhileTheLogsGoAheadIsCarriedOnHere) {
  Server& server = start(2, {{"shutdown", {{"pace", "0s"}, {"timeout", "5s"}}}});
  for (int i = 0; i < 40; ++i) {  // more than a socket takes
    server.publish("room", {.data = "\"" + std::string(500'000, 'x') + "\""}, {}, [](const AppendResult&) {});
  }
  BlockingClient stream(port);
  stream.open_sse("other", "");
  HandoverChannel successor = ask();
  HandoverMessage message = successor.receive(std::chrono::steady_clock::now() + std::chrono::seconds(5));
  EXPECT_TRUE(message.descriptors.empty()) << "the logs go ahead, and wait for somebody to read them";
  BlockingClient operator_(port);
  EXPECT_EQ(operator_.call("drain", "{}"), R"({"result":{"connections":2}})");
  constexpr std::uint32_t kEntries = 5;
  while (message.kind == kEntries) {
    message = successor.receive(std::chrono::steady_clock::now() + std::chrono::seconds(5));
  }
  EXPECT_EQ(message.kind, 2U) << "a refusal";
  EXPECT_NE(message.body.find("asked to leave"), std::string::npos) << message.body;
  EXPECT_TRUE(ends(stream)) << "it was asked to leave";
  EXPECT_TRUE(server.is_draining());
  EXPECT_FALSE(server.given_away());
}

/// Hooks that do not answer by themselves.
struct SilentHooks final : HookQueue {
  bool push(HookQuestion question) override {
    asked = question.id;
    return true;
  }
  std::atomic<std::uint64_t> asked{0};
};

TEST_F(ServerTakeover, ADrainThatBeginsWhileThreadsAreStoppedIsCarriedOnHere) {
  const auto hooks = std::make_shared<SilentHooks>();
  servers.push_back(make(2));
  Server& server = *servers.back();
  server.set_events(nullptr, hooks);
  server.set_hook(Operation::connect, {"*"}, 60'000);
  server.start();
  port = server.port();
  server.offer_takeover();
  BlockingClient client(port);
  auto polled = std::async(std::launch::async, [&] { client.poll("room", ""); });
  while (hooks->asked == 0) std::this_thread::sleep_for(milliseconds(1));
  auto taking = std::async(std::launch::async, [this]() -> std::string {
    try {
      make(2)->take_over();
      return "taken";
    } catch (const HandoverError& error) {
      return error.what();
    }
  });
  std::future<std::size_t> listening;  // waits from when all are told to stop
  do listening = std::async(std::launch::async, [&] { return server.listen("127.0.0.1", 0); });
  while (listening.wait_for(milliseconds(100)) == std::future_status::ready);
  const auto drained = server.begin_drain(5'000, 0);
  EXPECT_EQ(taking.wait_for(milliseconds(0)), std::future_status::timeout) << "a thread waits for its hook";
  Verdict verdict;
  verdict.is_allowed = true;
  server.resolve(hooks->asked, std::move(verdict));
  EXPECT_NE(taking.get().find("asked to leave"), std::string::npos);
  EXPECT_FALSE(server.given_away());
  polled.wait();
  EXPECT_TRUE(drained.get());
}

TEST_F(ServerTakeover, AReloadWhileThreadsAreStoppedIsRefusedAndTheTakeoverGoesOn) {
  const auto hooks = std::make_shared<SilentHooks>();
  servers.push_back(make(2));
  Server& server = *servers.back();
  server.set_events(nullptr, hooks);
  server.set_hook(Operation::connect, {"*"}, 60'000);
  server.start();
  port = server.port();
  server.offer_takeover();
  BlockingClient client(port);
  auto polled = std::async(std::launch::async, [&] { client.poll("room", ""); });
  while (hooks->asked == 0) std::this_thread::sleep_for(milliseconds(1));
  servers.push_back(make(2));
  auto taking = std::async(std::launch::async, [this] { servers.back()->take_over(); });
  std::string refusal;
  while (refusal.empty()) {
    try {
      ServerConfig next = server.config();
      next.channels.at(0).options.history_size ^= 1U;
      server.reload(std::move(next));
      std::this_thread::sleep_for(milliseconds(1));
    } catch (const ReloadRefused& error) {
      refusal = error.what();
    }
  }
  EXPECT_NE(refusal.find("a takeover is under way"), std::string::npos) << refusal;
  Verdict verdict;
  verdict.is_allowed = true;
  server.resolve(hooks->asked, std::move(verdict));
  taking.get();
  while (!server.given_away()) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_THROW(server.reload(server.config()), ReloadRefused) << "another process has taken over";
  polled.wait();
}

TEST_F(ServerTakeover, ReloadsAtAnyMoment) {
  start(2).publish("m", {.data = "1"}, {}, [](const AppendResult&) {});
  std::atomic<bool> is_over{false};
  std::atomic<int> reloads{0};
  std::thread reloader([&] {
    for (std::size_t round = 0; !is_over; ++round) {
      Server& server = *current.load();
      ServerConfig next = server.config();
      next.channels.at(0).options.history_size = 90'000 + round % 2;
      try {
        server.reload(std::move(next));
        ++reloads;
      } catch (const ReloadRefused&) {  // another process takes over, or has
      } catch (const ServerStopped&) {
      }
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  Asker asker(port, 0);
  for (int round = 0; round < 4; ++round) {
    const int before = reloads;
    while (reloads < before + 5) std::this_thread::sleep_for(milliseconds(1));
    take_over(2);
  }
  const int before = reloads;
  while (reloads < before + 5) std::this_thread::sleep_for(milliseconds(1));
  is_over = true;
  reloader.join();
  EXPECT_EQ(asker.end(), "");
}

TEST_F(ServerTakeover, ADrainThatBeginsAtAnyMomentIsCarriedOnByTheOneWhoServes) {
  int taken = 0;
  int refused = 0;
  for (int round = 0; round < 24; ++round) {
    Server& old = start(2);
    std::vector<std::unique_ptr<BlockingClient>> streams;
    for (int i = 0; i < 6; ++i) {
      streams.push_back(std::make_unique<BlockingClient>(port));
      streams.back()->open_sse("room", "");
    }
    std::optional<BlockingClient> operator_(std::in_place, port);
    std::atomic<bool> has_begun{false};
    std::thread asking([&] {
      while (!has_begun) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::microseconds(250 * (round % 12)));
      EXPECT_NE(operator_->call("drain", R"({"deadline_ms":5000,"pace_ms":0})").find("\"result\""),
                std::string::npos)
          << operator_->problem();
    });
    servers.push_back(make(2));
    Server& successor = *servers.back();
    bool is_taken = false;
    has_begun = true;
    try {
      successor.take_over();
      is_taken = true;
    } catch (const HandoverError& error) {
      EXPECT_NE(std::string(error.what()).find("asked to leave"), std::string::npos) << error.what();
    }
    asking.join();
    ++(is_taken ? taken : refused);
    Server& serving = is_taken ? successor : old;
    EXPECT_TRUE(serving.is_draining());
    for (const auto& stream : streams) EXPECT_TRUE(ends(*stream)) << "was asked to leave? " << is_taken;
    streams.clear();
    operator_.reset();
    EXPECT_TRUE(serving.drain(5'000, 0)) << "joined: all have left";
    for (const auto& server : servers) server->stop();
    servers.clear();
    port = 0;
  }
  EXPECT_EQ(taken + refused, 24);
}

TEST_F(ServerTakeover, ADrainInTheProcessItselfAtAnyMomentEndsWithNobodyLeftThere) {
  for (int round = 0; round < 24; ++round) {
    Server& old = start(2);
    std::vector<std::unique_ptr<BlockingClient>> streams;
    for (int i = 0; i < 6; ++i) {
      streams.push_back(std::make_unique<BlockingClient>(port));
      streams.back()->open_sse("room", "");
    }
    const bool is_whole = round < 12;
    std::atomic<bool> has_begun{false};
    auto drained = std::async(std::launch::async, [&] {
      while (!has_begun) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::microseconds(250 * (round % 12)));
      if (is_whole) return old.drain(5'000, 0);  // as after SIGTERM
      const auto drain = old.begin_listener_drain(old.listen("127.0.0.1", 0), 5'000, 0);
      return drain.get();
    });
    servers.push_back(make(2));
    Server& successor = *servers.back();
    bool is_taken = false;
    has_begun = true;
    try {
      successor.take_over();
      is_taken = true;
    } catch (const HandoverError& error) {
      EXPECT_NE(std::string(error.what()).find(is_whole ? "asked to leave" : "drained"), std::string::npos)
          << error.what();
    }
    if (is_taken) {
      EXPECT_EQ(json::parse(successor.stats())["sse"], 6)
          << "they are somebody else's now, and were not asked";
    } else if (is_whole) {
      for (const auto& stream : streams) EXPECT_TRUE(ends(*stream)) << "was asked to leave?";
    }
    streams.clear();
    EXPECT_TRUE(drained.get());
    for (const auto& server : servers) server->stop();
    servers.clear();
    port = 0;
  }
}

}  // namespace
}  // namespace carillon
