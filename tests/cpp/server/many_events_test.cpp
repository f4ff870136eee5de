// More connections are ready at once than one turn takes: none of them is late for that.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <future>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/server.hpp"

namespace carillon {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr std::size_t kClients = 1'300;  // the gateway takes 512 events at once
constexpr auto kTimeout = 3s;

class ClientSockets {
 public:
  explicit ClientSockets(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (std::size_t i = 0; i < kClients; ++i) {
      const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      all_.push_back(socket);
      if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
    }
    is_connected = true;
  }
  ClientSockets(const ClientSockets&) = delete;
  ClientSockets& operator=(const ClientSockets&) = delete;
  ~ClientSockets() {
    for (const int socket : all_) ::close(socket);
  }
  void send(std::string_view bytes) const {
    for (const int socket : all_) {
      EXPECT_EQ(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    }
  }
  /// How many are answered with 200.
  [[nodiscard]] std::size_t answered() const {
    std::size_t count = 0;
    for (const int socket : all_) {
      std::array<char, 64> head{};
      const ssize_t bytes = ::recv(socket, head.data(), head.size(), 0);
      if (bytes > 0 &&
          std::string_view(head.data(), static_cast<std::size_t>(bytes)).starts_with("HTTP/1.1 200")) {
        ++count;
      }
    }
    return count;
  }
  bool is_connected = false;

 private:
  std::vector<int> all_;
};

void allow_descriptors(std::size_t count) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_GE(limit.rlim_max, count);
  if (limit.rlim_cur >= count) return;
  limit.rlim_cur = count;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}

TEST(ManyEvents, WhatCameInTimeIsReadBeforeDeadlinesAreJudged) {
  allow_descriptors(2 * kClients + 200);
  Server server(parse_config(R"({"http_server": {"port": 0}, "threads": 1, "client": {"insecure": true},
                                 "limits": {"handshake_timeout_ms": 3000}})"),
                {}, "test");
  server.start();
  const ClientSockets clients(server.port());
  ASSERT_TRUE(clients.is_connected);
  const auto begin = std::chrono::steady_clock::now();
  while (json::parse(server.stats())["connections"] != kClients) std::this_thread::sleep_for(1ms);

  // The shard stands still, as a process does that is stopped, while all requests come in time.
  std::promise<void> stands_still;
  std::promise<void> goes_on;
  server.hub().shards()[0]->post([&] {
    stands_still.set_value();
    goes_on.get_future().wait();
  });
  stands_still.get_future().wait();
  ASSERT_LT(std::chrono::steady_clock::now() - begin, kTimeout / 2);
  clients.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::this_thread::sleep_until(begin + kTimeout + 200ms);  // time itself is what is tested
  goes_on.set_value();

  EXPECT_EQ(clients.answered(), kClients);
  EXPECT_EQ(json::parse(server.stats())["handshake_timeouts"], 0);
  server.stop();
}

}  // namespace
}  // namespace carillon
