// A whole server with real threads and real sockets: meant for ThreadSanitizer, and quick enough without it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/blocking_client.hpp"
#include "server/server.hpp"

namespace carillon {
namespace {

using Time = std::chrono::steady_clock;
using nlohmann::json;

std::chrono::milliseconds stress_time() {
  const char* seconds = std::getenv("CARILLON_STRESS_SECONDS");
  return std::chrono::milliseconds(seconds != nullptr ? std::atoi(seconds) * 250 : 3'000);
}

ServerConfig busy_config() {
  return parse_config(R"({"http_server": {"port": 0}, "threads": 4, "client": {"insecure": true},
                          "channels": {"*": {"history_size": 100000, "history_bytes": 100000000}}})");
}

Publication numbered(int number) {
  Publication publication;
  publication.data = "{\"n\":" + std::to_string(number) + "}";
  return publication;
}

/// Every publication of the channel, in order, whatever the subscriber did in between.
struct Journal {
  std::string epoch;
  Offset last = 0;
  bool is_ok = true;
  std::string problem;
  void take(Offset offset) {
    if (!is_ok) return;
    if (offset != last + 1) {
      is_ok = false;
      problem = "after " + std::to_string(last) + " came " + std::to_string(offset);
    }
    last = offset;
  }
};

/// A subscriber that leaves and comes back with its position, each time on a transport drawn by chance.
void roam(std::uint16_t port, std::uint32_t seed, Time::time_point until, Journal& journal) {
  std::mt19937 random(seed);
  while (Time::now() < until && journal.is_ok) {
    BlockingClient client(port);
    const auto stay = Time::now() + std::chrono::milliseconds(random() % 80);
    const std::string token = journal.epoch + ":" + std::to_string(journal.last);
    switch (random() % 3) {
      case 0:
        client.open_sse("room", token);
        while (Time::now() < stay) {
          for (const Offset offset : client.read_sse()) journal.take(offset);
        }
        break;
      case 1:
        for (int polls = 0; polls < 5; ++polls) {
          for (const Offset offset :
               client.poll("room", journal.epoch + ":" + std::to_string(journal.last))) {
            journal.take(offset);
          }
        }
        break;
      default:
        client.open_websocket("room", journal.epoch, journal.last);
        while (Time::now() < stay) {
          for (const Offset offset : client.read_websocket()) journal.take(offset);
        }
    }
    if (!client.problem().empty()) {
      journal.is_ok = false;
      journal.problem = client.problem();
    }
  }
}

TEST(ServerThreads, RoamersSeeEveryPublicationOnceWhileFourPublishersRun) {
  Server server(busy_config(), {}, "test");
  server.start();
  std::string epoch;
  server.publish("room", numbered(0), {},
                 [&](const AppendResult& result) { epoch = result.position.epoch.text(); });
  ASSERT_FALSE(epoch.empty());

  const auto until = Time::now() + stress_time();
  std::vector<Journal> journals(8);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < journals.size(); ++i) {
    journals[i].epoch = epoch;
    threads.emplace_back([&, i] { roam(server.port(), static_cast<std::uint32_t>(i), until, journals[i]); });
  }
  std::atomic<int> published{1};
  for (int publisher = 0; publisher < 4; ++publisher) {
    threads.emplace_back([&] {
      while (Time::now() < until && published < 60'000) {
        server.publish("room", numbered(published++), {}, [](const AppendResult&) {});
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  }
  threads.emplace_back([&] {  // somebody looks on all the time
    while (Time::now() < until) {
      EXPECT_TRUE(json::parse(server.ledger())["is_balanced"].get<bool>());
      EXPECT_FALSE(server.stats().empty());
      std::ignore = server.connections();
    }
  });
  for (std::thread& thread : threads) thread.join();
  for (const Journal& journal : journals) {
    EXPECT_TRUE(journal.is_ok) << journal.problem;
    EXPECT_GT(journal.last, 0U);
  }
  server.stop();
  const json ledger = json::parse(server.ledger());
  EXPECT_TRUE(ledger["is_balanced"].get<bool>()) << ledger.dump(1);
  EXPECT_EQ(json::parse(server.stats())["connections"], 0);
}

TEST(ServerThreads, StopsUnderLoadWithoutWaitingForAnybody) {
  for (int round = 0; round < 5; ++round) {
    Server server(busy_config(), {}, "test");
    server.start();
    std::atomic<bool> is_over{false};
    std::vector<std::thread> publishers;
    for (int i = 0; i < 2; ++i) {
      publishers.emplace_back([&] {
        try {
          while (!is_over) server.publish("room", numbered(1), {}, [](const AppendResult&) {});
        } catch (const ServerStopped&) {
        }
      });
    }
    std::vector<std::unique_ptr<BlockingClient>> clients;
    for (int i = 0; i < 6; ++i) {
      clients.push_back(std::make_unique<BlockingClient>(server.port()));
      clients.back()->open_sse("room", "");
    }
    clients.front()->read_sse();
    server.stop();
    is_over = true;
    for (std::thread& publisher : publishers) publisher.join();
    EXPECT_TRUE(json::parse(server.ledger())["is_balanced"].get<bool>());
  }
}

}  // namespace
}  // namespace carillon
