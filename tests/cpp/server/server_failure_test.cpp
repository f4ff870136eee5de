// A thread of the server dies of an exception: it is told, and nobody waits for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "server/blocking_client.hpp"
#include "server/server.hpp"

namespace carillon {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

class Lines final : public LogQueue {
 public:
  bool push(LogLine line) override {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    return true;
  }
  std::vector<LogLine> errors() {
    const std::lock_guard lock(mutex_);
    std::vector<LogLine> found;
    std::copy_if(lines_.begin(), lines_.end(), std::back_inserter(found),
                 [](const LogLine& line) { return line.level == LogLevel::error; });
    return found;
  }
  std::size_t closes() {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count_if(lines_.begin(), lines_.end(), [](const LogLine& line) {
      return line.is_connection && line.connection_event == ConnectionEvent::close;
    }));
  }

 private:
  std::mutex mutex_;
  std::vector<LogLine> lines_;
};

class Items final : public ReaderQueue {
 public:
  [[nodiscard]] std::size_t room() const override { return 1'000; }
  bool push(ReaderItem item) override {
    if (is_gone) return false;
    if (item.kind == ReaderItem::Kind::status) ++opened;
    if (item.kind == ReaderItem::Kind::closed) ++closed;
    return true;
  }
  void when_room(std::function<void()> /*resume*/) override {}
  std::atomic<int> opened{0};
  std::atomic<int> closed{0};
  std::atomic<bool> is_gone{false};  ///< nobody takes anything any more
};

bool comes_true(const std::function<bool()>& condition) {
  for (int tries = 0; tries < 1'000; ++tries) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return condition();
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator each("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(each), end(each)));
}

ServerConfig two_shards() {
  return parse_config(R"({"http_server": {"port": 0}, "threads": 2, "client": {"insecure": true}})");
}

void kill_shard(Server& server, std::size_t index) {
  server.hub().shards().at(index)->post([] { throw std::bad_alloc(); });
}

TEST(ServerReaders, OneWhoseQueueIsClosedIsForgottenWithWhatItHolds) {
  Server server(two_shards(), {}, "test");
  server.start();
  const auto items = std::make_shared<Items>();
  for (std::uint64_t reader = 1; reader <= 2; ++reader) {
    server.open_reader(items, reader, "room", std::nullopt);
  }
  ASSERT_TRUE(comes_true([&] { return items->opened == 2; }));
  items->is_gone = true;
  server.publish("room", Publication{.data = "1"}, {}, [](const AppendResult&) {});
  EXPECT_TRUE(comes_true([&] { return items.use_count() == 1; })) << "a reader still holds it";
}

TEST(ServerFailure, ADeadShardIsToldAndNobodyWaitsForIt) {
  const std::size_t descriptors = open_descriptors();
  const auto lines = std::make_shared<Lines>();
  const auto items = std::make_shared<Items>();
  {
    Server server(two_shards(), {}, "test");
    server.set_events(lines, nullptr);
    server.start();
    std::vector<std::unique_ptr<BlockingClient>> clients;
    for (int i = 0; i < 4; ++i) {
      clients.push_back(std::make_unique<BlockingClient>(server.port()));
      clients.back()->open_sse("room", "");
    }
    for (std::uint64_t reader = 1; reader <= 2; ++reader) {
      server.open_reader(items, reader, "room", std::nullopt);
    }
    ASSERT_TRUE(comes_true([&] { return server.connections().size() == 4 && items->opened == 2; }));

    kill_shard(server, 0);
    ASSERT_TRUE(comes_true([&] { return !server.is_running(); }));
    ASSERT_TRUE(comes_true([&] { return !lines->errors().empty(); }));
    const LogLine line = lines->errors().front();
    EXPECT_EQ(line.logger, "server");
    EXPECT_EQ(line.event, "failure");
    EXPECT_NE(line.message.find("(shard 0)"), std::string::npos) << line.message;
    EXPECT_NE(line.message.find("its 2 connections were closed"), std::string::npos) << line.message;
    EXPECT_NE(line.message.find("bad_alloc"), std::string::npos) << line.message;
    EXPECT_NE(line.message.find("restart"), std::string::npos) << line.message;
    EXPECT_NE(server.failure().find("bad_alloc"), std::string::npos);
    const json stats = json::parse(server.stats());
    EXPECT_EQ(stats["last_error"], server.failure());
    EXPECT_FALSE(stats["is_running"].get<bool>());
    EXPECT_TRUE(stats["is_draining"].get<bool>());

    // Its clients and readers hear of it, nobody new is accepted, the others go on.
    EXPECT_TRUE(comes_true([&] { return items->closed == 1 && lines->closes() == 2; }));
    EXPECT_EQ(server.connections().size(), 2U);
    EXPECT_TRUE(comes_true([&] { return !BlockingClient(server.port()).problem().empty(); }));
    server.publish("room", Publication{.data = "1"}, {}, [](const AppendResult&) {});
    std::size_t heard = 0;
    std::size_t gone = 0;
    for (const auto& client : clients) {
      for (int tries = 0; tries < 100 && client->problem().empty(); ++tries) {
        if (!client->read_sse().empty()) {
          ++heard;
          break;
        }
      }
      if (!client->problem().empty()) ++gone;
    }
    EXPECT_EQ(heard, 2U);
    EXPECT_EQ(gone, 2U);

    const json ledger = json::parse(server.ledger());
    EXPECT_EQ(ledger["missing_shards"], 1);
    EXPECT_TRUE(ledger["is_balanced"].get<bool>()) << ledger.dump(1);
    EXPECT_FALSE(server.cut("nobody"));
    EXPECT_FALSE(server.disconnect("nobody", 3000, ""));
    std::ignore = server.drain(100, 50);  // returns: the dead shard's clients are not waited for
    server.open_reader(items, 3, "room", std::nullopt);
    EXPECT_EQ(items->closed, 2);

    server.stop();
    EXPECT_EQ(items->closed, 3);
    EXPECT_EQ(lines->closes(), 4U);
    EXPECT_EQ(json::parse(server.stats())["connections"], 0);
    EXPECT_EQ(json::parse(server.ledger())["missing_shards"], 0);
    EXPECT_FALSE(server.failure().empty());
  }
  EXPECT_EQ(open_descriptors(), descriptors);
}

TEST(ServerFailure, WhoeverAsksWhileAShardDiesGetsAnAnswer) {
  for (int round = 0; round < 20; ++round) {
    Server server(two_shards(), {}, "test");
    server.start();
    BlockingClient client(server.port());
    client.open_sse("room", "");
    std::atomic<bool> is_over{false};
    std::vector<std::thread> askers;
    const std::vector<std::function<void()>> questions{
        [&] { EXPECT_FALSE(server.ledger().empty()); },
        [&] { EXPECT_LE(server.connections().size(), 1U); },
        [&] { EXPECT_FALSE(server.cut("nobody")); },
        [&] { EXPECT_FALSE(server.disconnect("nobody", 3000, "")); },
        [&] { std::ignore = BlockingClient(server.port()).problem(); },
    };
    askers.reserve(questions.size());
    for (const auto& question : questions) {
      askers.emplace_back([&] {
        while (!is_over) question();
      });
    }
    kill_shard(server, static_cast<std::size_t>(round % 2));
    EXPECT_TRUE(comes_true([&] { return !server.is_running(); }));
    kill_shard(server, static_cast<std::size_t>((round + 1) % 2));
    std::this_thread::sleep_for(5ms);
    is_over = true;
    for (std::thread& asker : askers) asker.join();
    server.stop();
    EXPECT_EQ(json::parse(server.stats())["connections"], 0);
  }
}

}  // namespace
}  // namespace carillon
