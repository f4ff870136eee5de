// Links to the primary that the Sentinels name.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "store/redis_link_watcher.hpp"

namespace carillon {

namespace {

using std::chrono::milliseconds;
using Lines = std::vector<std::string>;

class RedisSentinelTest : public RedisLinkTest {
 protected:
  static RedisEndpoint endpoint_of(const std::vector<std::uint16_t>& sentinels) {
    RedisEndpoint endpoint;
    for (const std::uint16_t port : sentinels) endpoint.sentinels.push_back({"127.0.0.1", port});
    endpoint.sentinel_primary = "main";
    endpoint.command_timeout_ms = 2'000;
    endpoint.retry_pause_ms = 50;
    return endpoint;
  }
};

TEST_F(RedisSentinelTest, AfterAFailoverItIsAtThePromotedOne) {
  RedisProcess first;
  RedisProcess second(
      {.lines = {"replicaof 127.0.0.1 " + std::to_string(first.port()), "repl-diskless-sync-delay 0"}});
  for (int round = 0;
       round < 1'000 && first.cli("info replication").find("state=online") == std::string::npos; ++round)
    std::this_thread::sleep_for(milliseconds(10));
  RedisProcess sentinel({.lines = {"sentinel monitor main 127.0.0.1 " + std::to_string(first.port()) + " 1",
                                   "sentinel down-after-milliseconds main 500",
                                   "sentinel failover-timeout main 2000", "requirepass of-sentinel"},
                         .is_sentinel = true});
  std::uint16_t nobody = 1;
  RedisEndpoint endpoint = endpoint_of({nobody, sentinel.port()});
  {
    LinkWatcher without(endpoint);
    const std::string line = without.lines(1).at(0);
    EXPECT_TRUE(
        line.starts_with("down: no Sentinel tells the primary 'main': cannot connect to the Sentinel at "
                         "127.0.0.1:1: Connection refused; the Sentinel at "))
        << line;
    EXPECT_TRUE(line.ends_with(" asks for a password (store.sentinel_user, store.sentinel_password)"))
        << line;
  }
  endpoint.sentinel_login.password = "of-sentinel";
  {
    RedisEndpoint other = endpoint;
    other.sentinel_primary = "unknown";
    LinkWatcher watcher(other);
    EXPECT_TRUE(watcher.lines(1).at(0).ends_with(" knows no primary of that name")) << watcher.at(0);
  }
  LinkWatcher watcher(endpoint);
  ASSERT_EQ(watcher.lines(1), Lines{"up"});
  watcher.send({{"CONFIG", "GET", "port"}});
  EXPECT_EQ(watcher.lines(2).back(), "[port " + std::to_string(first.port()) + "]");
  // The Sentinel learns of replicas by asking the primary, every second for a while.
  for (int round = 0; round < 1'500; ++round) {
    const std::string known = sentinel.cli("-a of-sentinel --no-auth-warning sentinel replicas main");
    if (known.find(std::to_string(second.port())) != std::string::npos) break;
    std::this_thread::sleep_for(milliseconds(10));
  }
  first.kill();
  std::size_t up = watcher.line("up", 2, milliseconds(30'000));
  // The Sentinels may still name the old one, or the new one before it is promoted: renew() is for that.
  for (int round = 0; round < 100; ++round) {
    watcher.send({{"ROLE"}});
    const std::size_t role = std::min(watcher.line("[master", up, milliseconds(200)),
                                      watcher.line("[slave", up, milliseconds(200)));
    if (watcher.at(role).starts_with("[master")) break;
    watcher.renew("it is no primary");
    up = watcher.line("up", role, milliseconds(30'000));
  }
  watcher.clear();
  watcher.send({{"CONFIG", "GET", "port"}, {"SET", "a", "1"}});
  EXPECT_EQ(watcher.lines(2), (Lines{"[port " + std::to_string(second.port()) + "]", "OK"}));
}

}  // namespace

}  // namespace carillon
