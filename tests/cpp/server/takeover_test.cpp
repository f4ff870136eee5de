// Whole servers that take over from each other, in one process: descriptors and memory are as separate as
// between two. Meant for ThreadSanitizer, too.
#include "server/takeover.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/blocking_client.hpp"
#include "server/event_log.hpp"
#include "server/hook_access.hpp"
#include "server/server.hpp"
#include "server/server_takeover.hpp"

namespace carillon {
namespace {

using nlohmann::json;
using Time = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::uint32_t kTaken = 4;  // as on the wire

/// A client that keeps one connection the whole time.
class Stayer {
 public:
  Stayer(std::uint16_t port, int transport, std::string epoch)
      : transport_(transport), epoch_(std::move(epoch)), client_(port) {
    if (transport_ == 0) client_.open_websocket("room", epoch_, 0);
    if (transport_ == 1) client_.open_sse("room", epoch_ + ":0");
    thread_ = std::thread([this] {
      while (!is_over_ && problem_.empty()) read();
    });
  }
  ~Stayer() { end(); }
  void end() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] Offset last() const { return last_; }
  [[nodiscard]] bool is_over() const { return is_over_; }
  [[nodiscard]] std::string problem() const { return problem_ + client_.problem(); }

 private:
  void read() {
    std::vector<std::uint64_t> offsets;
    if (transport_ == 0) offsets = client_.read_websocket();
    if (transport_ == 1) offsets = client_.read_sse();
    if (transport_ == 2) offsets = client_.poll("room", epoch_ + ":" + std::to_string(last_));
    for (const std::uint64_t offset : offsets) {
      if (offset != last_ + 1)
        problem_ = "after " + std::to_string(last_) + " came " + std::to_string(offset);
      last_ = offset;
    }
    if (!client_.problem().empty()) is_over_ = true;
  }

  const int transport_;
  const std::string epoch_;
  BlockingClient client_;
  std::atomic<Offset> last_{0};
  std::string problem_;
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

/// Stayers on all transports, and a publisher that goes on until the end.
class Audience {
 public:
  Audience(ServerTakeover& test, std::size_t stayers) {
    top_ = test.publish(number_);
    for (std::size_t i = 0; i < stayers; ++i) {
      stayers_.push_back(std::make_unique<Stayer>(test.port, i % 3, std::string(top_.epoch.text())));
    }
    publisher_ = std::thread([this, &test] {
      while (!is_over_) {
        top_ = test.publish(++number_);
        top_offset_ = top_.offset;
        std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
  }
  ~Audience() {
    is_over_ = true;
    if (publisher_.joinable()) publisher_.join();
  }
  /// Waits until everybody has received some more, or has a problem.
  void wait_for_more() const {
    const Offset goal = top_offset_ + 50;
    for (const auto& stayer : stayers_) {
      while (stayer->last() < goal && !stayer->is_over()) std::this_thread::sleep_for(milliseconds(1));
    }
  }
  /// Everybody has got everything, once and in order, on the connection that he began with.
  void expect_whole() {
    is_over_ = true;
    publisher_.join();
    const auto until = Time::now() + std::chrono::seconds(20);
    for (const auto& stayer : stayers_) {
      while (stayer->last() < top_.offset && stayer->problem().empty() && Time::now() < until)
        std::this_thread::sleep_for(milliseconds(5));
      stayer->end();
      EXPECT_EQ(stayer->problem(), "");
      EXPECT_EQ(stayer->last(), top_.offset);
    }
    EXPECT_EQ(top_.offset, static_cast<Offset>(number_) + 1);
  }

 private:
  std::atomic<bool> is_over_{false};
  int number_ = 0;
  Position top_;
  std::atomic<Offset> top_offset_{0};
  std::vector<std::unique_ptr<Stayer>> stayers_;
  std::thread publisher_;
};

TEST_F(ServerTakeover, FiveInARowAreNotNoticedByAnybody) {
  start(2);
  Audience audience(*this, 9);
  for (const std::size_t threads : {3U, 1U, 2U, 4U, 2U}) {
    audience.wait_for_more();
    const TakeoverReport report = take_over(threads);
    EXPECT_EQ(report.process, ::getpid());
    EXPECT_EQ(report.connections, 9U);
    EXPECT_EQ(report.left_behind, 0U);
  }
  audience.wait_for_more();
  audience.expect_whole();
  const json ledger = json::parse(servers.back()->ledger());
  EXPECT_TRUE(ledger["is_balanced"].get<bool>()) << ledger.dump(1);
  EXPECT_EQ(json::parse(servers.back()->stats())["connections"], 9);
}

TEST_F(ServerTakeover, AReaderThatStandsGetsTheRestOfACutFrameFromTheNewOne) {
  start(2, {{"limits", {{"kernel_backlog_bytes", 4'096}}}});
  const std::string epoch(publish(0).epoch.text());
  BlockingClient socket(port);
  socket.open_websocket("room", epoch, 0);
  BlockingClient stream(port);
  stream.open_sse("room", epoch + ":0");
  const auto clogged = [this] { return json::parse(servers.back()->stats())["clogged"].get<int>(); };
  constexpr Offset kMost = 20'000;
  Offset top = 1;
  for (; clogged() < 2 && top < kMost; ++top) {
    servers.back()->publish("room", {.data = "\"" + std::string(20'000, 'x') + "\""}, {},
                            [](const AppendResult&) {});
  }
  ASSERT_EQ(clogged(), 2);
  take_over(1);
  EXPECT_EQ(clogged(), 2);
  const auto expect_all = [&](BlockingClient& client, auto read) {
    Offset last = 0;
    const auto until = Time::now() + std::chrono::seconds(20);
    while (last < top && client.problem().empty() && Time::now() < until) {
      for (const std::uint64_t offset : read()) {
        ASSERT_EQ(offset, last + 1);
        last = offset;
      }
    }
    EXPECT_EQ(client.problem(), "");
    EXPECT_EQ(last, top);
  };
  expect_all(socket, [&] { return socket.read_websocket(); });
  expect_all(stream, [&] { return stream.read_sse(); });
  EXPECT_TRUE(json::parse(servers.back()->ledger())["is_balanced"].get<bool>());
}

TEST_F(ServerTakeover, WhoeverFailsOnTheWayTheRunningServerGoesOn) {
  Server& server = start(2, {{"takeover", {{"timeout_ms", 1'000}}}});
  Audience audience(*this, 9);
  const auto pause = [] { std::this_thread::sleep_for(milliseconds(50)); };
  for (int round = 0; round < 3; ++round) {
    std::ignore = HandoverChannel::connect(socket());  // says nothing and leaves
    pause();
    std::ignore = ask();  // dies while the snapshot is made or sent
    pause();
    {
      HandoverChannel dying = ask();  // has everything, and dies
      const HandoverMessage message = snapshot_of(dying);
      EXPECT_EQ(message.descriptors.size(), 2U + 9U);
    }
    pause();
    HandoverChannel sleeping = ask();  // has everything, and says so too late
    std::ignore = snapshot_of(sleeping);
    std::this_thread::sleep_for(milliseconds(1'300));
    EXPECT_THROW(sleeping.send(kTaken, {}, {}, Time::now() + milliseconds(100)), HandoverError);
    pause();
  }
  EXPECT_FALSE(server.given_away().has_value());
  take_over(2);  // and it can be taken over still
  audience.expect_whole();
  EXPECT_TRUE(json::parse(servers.back()->ledger())["is_balanced"].get<bool>());
}

TEST_F(ServerTakeover, WhoDiesInTheMiddleOfTheSnapshotLeavesTheRunningServerServing) {
  Server& server = start(1, {{"takeover", {{"timeout_ms", 1'000}}}});
  for (int i = 0; i < 20'000; ++i) {  // more than a socket takes
    server.publish("room-" + std::to_string(i), {.data = "1"}, {}, [](const AppendResult&) {});
  }
  BlockingClient client(port);
  client.open_sse("room", "");
  {
    HandoverChannel channel = ask();
    EXPECT_TRUE(channel.receive(Time::now() + std::chrono::seconds(5)).descriptors.empty());  // the logs
    std::this_thread::sleep_for(milliseconds(200));  // and what comes then is not read
  }
  for (int number = 1; client.read_sse().empty() && client.problem().empty(); ++number) publish(number);
  EXPECT_EQ(client.problem(), "");
  EXPECT_FALSE(server.given_away().has_value());
}

TEST_F(ServerTakeover, AStopEndsAHandOverThatIsUnderWay) {
  Server& server = start(1);
  HandoverChannel channel = ask();
  std::ignore = snapshot_of(channel);
  const auto begin = Time::now();
  server.stop();
  EXPECT_LT(Time::now() - begin, milliseconds(3'000)) << "takeover.timeout_ms is five seconds";
}

/// Takes every question, and never answers.
class SilentQueue final : public HookQueue, public LogQueue {
 public:
  bool push(HookQuestion /*question*/) override { return true; }
  bool push(LogLine /*line*/) override { return true; }
};

TEST_F(ServerTakeover, AServerThatWaitedInVainIsAsQuickAsBefore) {
  servers.push_back(make(1, {{"takeover", {{"timeout_ms", 1'000}}}}));
  Server& server = *servers.back();
  const auto queue = std::make_shared<SilentQueue>();
  server.set_events(queue, queue);
  server.set_hook(Operation::subscribe, {"slow"}, 60'000);
  server.start();
  current = &server;
  port = server.port();
  server.offer_takeover();
  const Position first = publish(1);
  const std::string since = std::string(first.epoch.text()) + ":0";
  BlockingClient asking(port);
  asking.open_websocket("slow", "", 0);
  BlockingClient client(port);
  EXPECT_EQ(client.poll("room", since).size(), 1U);
  {
    HandoverChannel channel = ask();  // for half of the time the answer is waited for: what comes is not read
    std::this_thread::sleep_for(milliseconds(50));
    BlockingClient meanwhile(port);
    EXPECT_EQ(client.poll("room", since).size(), 1U);
  }
  const auto begin = Time::now();
  for (int i = 0; i < 40; ++i) EXPECT_EQ(client.poll("room", since).size(), 1U);
  EXPECT_LT(Time::now() - begin, milliseconds(800)) << "a tick each would take two seconds";
}

TEST_F(ServerTakeover, ASuccessorThatIsNotHeardAnyMoreLetsGoWithoutAWord) {
  Server& server = start(2);
  Audience audience(*this, 9);
  std::vector<HandoverMessage> messages;
  {
    HandoverChannel channel = ask();
    do messages.push_back(channel.receive(Time::now() + std::chrono::seconds(5)));
    while (messages.back().descriptors.empty());
  }
  // The same, from one who does not wait for the answer.
  const std::string elsewhere = (directory / "impatient.sock").string();
  HandoverListener listener(elsewhere);
  std::thread impatient([&] {
    std::optional<HandoverChannel> channel = listener.accept();
    std::ignore = channel->receive(Time::now() + std::chrono::seconds(5));
    EXPECT_FALSE(channel->decide(kTaken, Time::now()));
    for (const HandoverMessage& message : messages) {
      std::vector<int> numbers;
      for (const Descriptor& each : message.descriptors) numbers.push_back(each.get());
      channel->send(message.kind, message.body, numbers, Time::now() + std::chrono::seconds(5));
    }
  });
  try {
    make(2, {{"takeover", {{"socket", elsewhere}}}})->take_over();
    ADD_FAILURE() << "nobody has heard it";
  } catch (const HandoverError& error) {
    EXPECT_NE(std::string(error.what()).find("gone"), std::string::npos)
        << "not before its last word: " << error.what();
  }
  impatient.join();
  audience.expect_whole();
  EXPECT_FALSE(server.given_away().has_value());
}

TEST_F(ServerTakeover, AnotherFormatIsRefusedAtOnce) {
  start(1);
  HandoverChannel channel = ask("7 9 4.0");
  const HandoverMessage refusal = channel.receive(Time::now() + std::chrono::seconds(5));
  EXPECT_EQ(refusal.kind, 2U);
  EXPECT_NE(refusal.body.find("format " + std::to_string(kSnapshotFormat)), std::string::npos)
      << refusal.body;
  EXPECT_TRUE(refusal.descriptors.empty());
}

TEST_F(ServerTakeover, AServerThatDrainsIsLeftAlone) {
  Server& server = start(1);
  server.drain(0, 0);
  try {
    make(1)->take_over();
    FAIL();
  } catch (const HandoverError& error) {
    EXPECT_NE(std::string(error.what()).find("asked to leave"), std::string::npos) << error.what();
  }
}

TEST_F(ServerTakeover, AnotherAddressIsAnErrorAndTheRunningServerGoesOn) {
  Server& server = start(1);
  BlockingClient client(port);
  client.open_sse("room", "");
  try {
    make(1, {{"http_server", {{"address", "127.0.0.2"}}}})->take_over();
    FAIL();
  } catch (const HandoverError& error) {
    EXPECT_NE(std::string(error.what()).find("http_server.address"), std::string::npos) << error.what();
  }
  for (int number = 1; client.read_sse().empty() && client.problem().empty(); ++number) publish(number);
  EXPECT_EQ(client.problem(), "");
  EXPECT_FALSE(server.given_away().has_value());
}

TEST_F(ServerTakeover, WhereNobodyListensTheErrorNamesTheRemedy) {
  port = 1;
  try {
    make(1)->take_over();
    FAIL();
  } catch (const HandoverError& error) {
    EXPECT_NE(std::string(error.what()).find("without --takeover"), std::string::npos) << error.what();
  }
}

TEST_F(ServerTakeover, ASocketThatADeadServerLeftBehindIsReplacedAndALiveOneIsNot) {
  {
    HandoverListener dead(socket());
  }  // leaves its path
  ASSERT_TRUE(std::filesystem::exists(socket()));
  Server& server = start(1);
  EXPECT_THROW(HandoverListener another(socket()), HandoverError);
  const auto mode = std::filesystem::status(socket()).permissions();
  EXPECT_EQ(mode & std::filesystem::perms::all,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  server.stop();
  EXPECT_FALSE(std::filesystem::exists(socket()));
}

TEST_F(ServerTakeover, WhoPublishesAtTheOldOneAfterwardsIsToldSo) {
  Server& old = start(1);
  servers.push_back(make(1));
  servers.back()->take_over();
  while (!old.given_away()) std::this_thread::sleep_for(milliseconds(1));
  StoreError error = StoreError::none;
  old.publish("room", {.data = "1"}, {}, [&](const AppendResult& result) { error = result.error; });
  EXPECT_EQ(error, StoreError::closed);
}

}  // namespace
}  // namespace carillon
