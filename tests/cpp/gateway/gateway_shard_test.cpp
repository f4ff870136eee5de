#include "gateway/gateway_shard.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "gateway/beast_http.hpp"
#include "session/access.hpp"
#include "session/origin.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

class NoPages final : public HttpHandler {
 public:
  void handle(const HttpRequest& /*request*/, std::string_view /*path*/, Respond respond) override {
    respond({.status = 404});
  }
};

/// A shard on its thread. Its connections are socket pairs: what TCP does by itself does not help it here.
struct GatewayShardTest : testing::Test {
  GatewayShardTest() {
    limits.stall_timeout_ms = 200;
    hub.set_shards({&gateway_shard.shard()});
    gateway_shard.start();
  }
  ~GatewayShardTest() override {
    gateway_shard.stop();
    hub.set_shards({});
    if (far_end >= 0) ::close(far_end);
  }
  void connect(std::string_view request) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    far_end = ends[1];
    gateway_shard.adopt(ends[0], false);
    ASSERT_EQ(::send(far_end, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  }
  template <typename Condition>
  static bool becomes(Condition condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition() && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return condition();
  }

  SystemClock clock;
  SystemRandom random;
  MemoryStore store{clock, random, {}};
  ChannelRules rules;
  Hub hub{clock, store, rules, HubLimits{}};
  RulesAccess access{rules, true};
  OriginPolicy origins{{}, true};
  NoPages pages;
  BeastHttp http;
  Limits limits;
  Heartbeat heartbeat;
  GatewayShared shared{.hub = hub,
                       .access = access,
                       .origins = origins,
                       .handler = pages,
                       .http = http,
                       .random = random,
                       .limits = limits,
                       .heartbeat = heartbeat,
                       .version = "test"};
  GatewayShard gateway_shard{0, shared, {}};
  int far_end = -1;
};

TEST_F(GatewayShardTest, WhoTakesNothingForTooLongIsDroppedAsSlow) {
  connect("GET /sse?channel=c HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 1; }));
  hub.publish("c", {.data = std::string(1'000'000, ' ')}, {}, [](const AppendResult&) {});
  EXPECT_TRUE(becomes([this] { return shared.connections == 0; }));
  EXPECT_EQ(gateway_shard.counters().slow, 1U);
  EXPECT_EQ(gateway_shard.counters().sse, 0U);
}

}  // namespace
}  // namespace carillon
