// A link to one server: what comes in which order, and how it ends and begins again.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "store/redis_link_watcher.hpp"

namespace carillon {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Lines = std::vector<std::string>;

// Boost.Redis knows none of these commands, and one that is refused is answered by a reply instead of a push.
TEST_F(RedisLinkTest, SubscriptionsToChannelsOfSlotsComeInOrderAlsoWhenTheyAreRefused) {
  RedisProcess redis({{"--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-port",
                       std::to_string(RedisProcess::free_port())},
                      {}});
  redis.cli("cluster addslotsrange 0 8191");  // the slot of bar is among these, that of foo is not
  for (int i = 0; i < 500 && redis.cli("cluster info").find("cluster_state:ok") == std::string::npos; ++i)
    std::this_thread::sleep_for(milliseconds(10));
  LinkWatcher watcher(redis.endpoint());
  ASSERT_EQ(watcher.lines(1), Lines{"up"});
  for (int round = 0; round < 100; ++round) {
    watcher.clear();
    watcher.send({{"ECHO", "1"},
                  {"SSUBSCRIBE", "bar", "{bar}2"},
                  {"SSUBSCRIBE", "foo"},
                  {"SSUBSCRIBE", "bar"},
                  {"SPUBLISH", "bar", "m"},
                  {"SUNSUBSCRIBE", "foo"},
                  {"SUNSUBSCRIBE", "{bar}2"}});
    watcher.send({{"ECHO", "2"}, {"SUNSUBSCRIBE", "bar"}});
    watcher.send({{"GET", "foo"}, {"PING"}});
    ASSERT_EQ(watcher.lines(13),
              (Lines{"1", "> [ssubscribe bar :1]", "> [ssubscribe {bar}2 :2]", "> [refused -CLUSTERDOWN]",
                     "> [ssubscribe bar :2]", "> [smessage bar m]", ":1", "> [refused -CLUSTERDOWN]",
                     "> [sunsubscribe {bar}2 :1]", "2", "> [sunsubscribe bar :0]", "-CLUSTERDOWN", "PONG"}))
        << "round " << round;
  }
}

TEST_F(RedisLinkTest, RepliesAndPushesComeInTheOrderInWhichRedisWroteThem) {
  RedisProcess redis;
  LinkWatcher watcher(redis.endpoint());
  ASSERT_EQ(watcher.lines(1), Lines{"up"});
  watcher.send({{"SET", "a", "1"},
                {"SUBSCRIBE", "news", "talk"},
                {"INCR", "a"},
                {"PUBLISH", "news", "first"},
                {"GET", "a"},
                {"UNSUBSCRIBE", "talk"},
                {"PUBLISH", "news", "second"},
                {"PING"}});
  // Redis writes a message to its own publisher before the reply.
  EXPECT_EQ(watcher.lines(12), (Lines{"up", "OK", "> [subscribe news :1]", "> [subscribe talk :2]", ":2",
                                      "> [message news first]", ":1", "2", "> [unsubscribe talk :1]",
                                      "> [message news second]", ":1", "PONG"}));
}

TEST_F(RedisLinkTest, EveryKindOfReplyIsUnderstood) {
  RedisProcess redis;
  LinkWatcher watcher(redis.endpoint());
  watcher.lines(1);
  watcher.clear();
  watcher.send({{"GET", "nothing"},
                {"HSET", "h", "field", "value"},
                {"HGETALL", "h"},
                {"XADD", "s", "1-1", "d", "x"},
                {"EVAL", "return {1, 'two', {3, false}, redis.call('XRANGE', KEYS[1], '-', '+')}", "1", "s"},
                {"EVAL", "redis.setresp(3) return {true, {double = 1.5}}", "0"},
                {"INFO", "replication"}});
  const Lines lines = watcher.lines(7);
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[0], "nil");
  EXPECT_EQ(lines[2], "[field value]");
  EXPECT_EQ(lines[4], "[:1 two [:3 nil] [[1-1 [d x]]]]");
  EXPECT_EQ(lines[5], "[:1 :1.5]");
  EXPECT_TRUE(lines[6].starts_with("# Replication\r\nrole:master")) << lines[6];
}

TEST_F(RedisLinkTest, AnErrorInMidPipelineSpoilsNothing) {
  RedisProcess redis;
  LinkWatcher watcher(redis.endpoint());
  watcher.lines(1);
  watcher.send({{"SET", "a", "text"}, {"INCR", "a"}, {"EVALSHA", "0123", "0"}, {"NOSUCH"}, {"GET", "a"}});
  watcher.send({{"PING"}});
  EXPECT_EQ(watcher.lines(7), (Lines{"up", "OK", "-ERR", "-NOSCRIPT", "-ERR", "text", "PONG"}));
}

TEST_F(RedisLinkTest, SubscriptionsAloneDoNotShiftTheReplies) {
  RedisProcess redis;
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.command_timeout_ms = 20'000;  // only what is read counts as a sign of life
  LinkWatcher watcher(endpoint);
  watcher.lines(1);
  const std::string large(4UL << 20U, 'x');
  for (int round = 0; round < 5; ++round) {
    watcher.clear();
    watcher.thread().run([&] {
      const RedisCommand subscribe{"SUBSCRIBE", "a"};
      const RedisCommand unsubscribe{"UNSUBSCRIBE", "a"};
      const RedisCommand echo{"ECHO", "here"};
      // It does not fit into the socket: Redis answers to the first while the last is still being written.
      const RedisCommand rest{"STRLEN", large};
      watcher.link().send({&subscribe, 1});
      watcher.link().send({&unsubscribe, 1});
      watcher.link().send({&echo, 1});
      watcher.link().send({&rest, 1});
    });
    ASSERT_EQ(watcher.lines(4), (Lines{"> [subscribe a :1]", "> [unsubscribe a :0]", "here", ":0"}));
  }
}

TEST_F(RedisLinkTest, AHundredThousandCommandsInOneGo) {
  RedisProcess redis;
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.command_timeout_ms = 20'000;  // a busy machine may need long for so much
  LinkWatcher watcher(endpoint);
  watcher.lines(1);
  constexpr int kCommands = 100'000;
  std::vector<RedisCommand> commands;
  for (int number = 1; number <= kCommands; ++number) {
    RedisCommand& command = commands.emplace_back();
    if (number % 10 == 0) {
      command.add("SUBSCRIBE").add("channel" + std::to_string(number));
    } else {
      command.add("ECHO").add(number);
    }
  }
  watcher.clear();
  watcher.send(commands);
  const Lines lines = watcher.lines(kCommands, milliseconds(30'000));
  ASSERT_EQ(lines.size(), static_cast<std::size_t>(kCommands));
  for (int number = 1; number <= kCommands; ++number) {
    const std::string& line = lines[static_cast<std::size_t>(number) - 1];
    if (number % 10 == 0) {
      ASSERT_EQ(line,
                "> [subscribe channel" + std::to_string(number) + " :" + std::to_string(number / 10) + "]");
    } else {
      ASSERT_EQ(line, std::to_string(number));
    }
  }
}

TEST_F(RedisLinkTest, ManyMessagesDoNotStopIt) {
  RedisProcess redis;
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.command_timeout_ms = 20'000;  // a busy machine may need long for so much
  LinkWatcher watcher(endpoint);
  watcher.lines(1);
  watcher.send({{"SUBSCRIBE", "a"}});
  watcher.send({{"EVAL", "for i = 1, 20000 do redis.call('PUBLISH', 'a', i) end return 'done'", "0"}});
  const Lines lines = watcher.lines(20'003, milliseconds(20'000));
  ASSERT_EQ(lines.size(), 20'003U);
  EXPECT_EQ(lines[2], "> [message a 1]");
  EXPECT_EQ(lines[20'001], "> [message a 20000]");
  EXPECT_EQ(lines[20'002], "done");
}

TEST_F(RedisLinkTest, AnAnswerMayBeSentWithinAReply) {
  RedisProcess redis;
  LinkWatcher watcher(redis.endpoint());
  watcher.lines(1);
  watcher.on_each_reply = [&](const RedisReply& reply) {
    if (reply.number() == 0 || reply.number() >= 500) return;
    const RedisCommand next{"INCR", "a"};
    watcher.link().send({&next, 1});
  };
  watcher.send({{"INCR", "a"}});
  const Lines lines = watcher.lines(501);
  ASSERT_EQ(lines.size(), 501U);
  EXPECT_EQ(lines.back(), ":500");
}

TEST_F(RedisLinkTest, AKilledServerIsFoundAgain) {
  RedisProcess redis;
  LinkWatcher watcher(redis.tcp_endpoint());
  ASSERT_EQ(watcher.lines(1), Lines{"up"});
  redis.kill();
  const std::string place = "redis at 127.0.0.1:" + std::to_string(redis.port());
  EXPECT_EQ(watcher.at(watcher.line("down: ")), "down: " + place + " has closed the link");
  const std::size_t refused = watcher.line("down: cannot");
  EXPECT_EQ(watcher.at(refused), "down: cannot connect to " + place + ": Connection refused");
  redis.start();
  const std::size_t up = watcher.line("up", refused);
  watcher.send({{"ECHO", "again"}});
  EXPECT_EQ(watcher.at(watcher.line("again", up)), "again");
}

TEST_F(RedisLinkTest, WhatWasNotAnsweredIsNotSentAgain) {
  RedisProcess redis({.lines = {"appendonly yes", "appendfsync always"}});
  LinkWatcher watcher(redis.endpoint());
  watcher.lines(1);
  redis.stop();
  watcher.send({{"INCR", "a"}});
  watcher.renew("a test wants so");
  const std::size_t down = watcher.line("down: ");
  EXPECT_EQ(watcher.at(down), "down: a test wants so");
  watcher.send({{"INCR", "b"}});  // it is not up: nothing waits for the next link
  redis.kill();
  redis.start();
  const std::size_t up = watcher.line("up", down);
  watcher.send({{"GET", "a"}, {"GET", "b"}});
  const std::size_t first = watcher.line("nil", up);
  EXPECT_EQ(watcher.at(watcher.line("nil", first + 1)), "nil");
}

TEST_F(RedisLinkTest, ASilentServerIsGivenUp) {
  RedisProcess redis;
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.command_timeout_ms = 400;
  LinkWatcher watcher(endpoint);
  watcher.lines(1);
  // While it answers, quiet is no silence.
  std::this_thread::sleep_for(milliseconds(1'500));
  ASSERT_EQ(watcher.lines(1), Lines{"up"});
  redis.stop();
  const auto start = steady_clock::now();
  const std::size_t down = watcher.line("down: ");
  EXPECT_LT(steady_clock::now() - start, milliseconds(1'500));
  EXPECT_EQ(watcher.at(down),
            "down: redis at " + redis.unix_socket() + " was silent for 400 ms (store.command_timeout_ms)");
  // A stopped server still accepts connections: it is silent in them, too.
  const std::size_t again = watcher.line("down: ", down + 1);
  EXPECT_EQ(watcher.at(again), watcher.at(down));
  redis.cont();
  const std::size_t up = watcher.line("up", again);
  watcher.send({{"ECHO", "here"}});
  EXPECT_EQ(watcher.at(watcher.line("here", up)), "here");
}

TEST_F(RedisLinkTest, MisconfDoesNotEndTheLink) {
  RedisProcess redis({.lines = {"dbfilename a_folder"}});
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.command_timeout_ms = 200;
  // A folder into which nothing can be saved: from then on PING is refused, and reads are not.
  ASSERT_EQ(redis.cli("set a there"), "OK\n");
  redis.cli("config set save '1 1'");
  std::filesystem::create_directory(redis.folder() / "a_folder");
  redis.cli("bgsave");
  for (int round = 0; round < 400 && redis.cli("ping").find("MISCONF") == std::string::npos; ++round)
    std::this_thread::sleep_for(milliseconds(10));
  ASSERT_NE(redis.cli("ping").find("MISCONF"), std::string::npos);
  LinkWatcher watcher(endpoint);
  ASSERT_EQ(watcher.lines(1), Lines{"up"});
  std::this_thread::sleep_for(milliseconds(800));
  watcher.send({{"GET", "a"}, {"SET", "a", "b"}});
  EXPECT_EQ(watcher.lines(3), (Lines{"up", "there", "-MISCONF"}));
}

TEST_F(RedisLinkTest, AWrongPasswordIsToldWithoutIt) {
  RedisProcess redis({.lines = {"requirepass right-one"}});
  RedisEndpoint endpoint = redis.tcp_endpoint();
  const std::string place = "redis at 127.0.0.1:" + std::to_string(redis.port());
  {
    LinkWatcher watcher(endpoint);
    EXPECT_EQ(watcher.at(watcher.line("down: ")),
              "down: " + place + " asks for a password (store.url, store.user, store.password)");
  }
  endpoint.login.password = "wrong-one";
  {
    LinkWatcher watcher(endpoint);
    EXPECT_EQ(watcher.at(watcher.line("down: ")),
              "down: " + place + " refused the user or password (store.url, store.user, store.password)");
  }
  endpoint.login.password = "right-one";
  LinkWatcher watcher(endpoint);
  EXPECT_EQ(watcher.at(watcher.line("up")), "up");
}

TEST_F(RedisLinkTest, AServerThatRepeatsItsArgumentsDoesNotTellThePassword) {
  RedisProcess redis({.lines = {"rename-command HELLO \"\""}});
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.login.password = "secret-one";
  LinkWatcher watcher(endpoint);
  EXPECT_EQ(watcher.at(watcher.line("down: ")),
            "down: redis at " + redis.unix_socket() + " does not know HELLO: Redis 7 or newer is needed");
}

TEST_F(RedisLinkTest, AUserOfAnAcl) {
  RedisProcess redis(
      {.lines = {"user hub on >its-password ~carillon:* &carillon:* -@all +ping +get +set +subscribe"}});
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.login = {"hub", "its-password"};
  LinkWatcher watcher(endpoint);
  ASSERT_EQ(watcher.lines(1), Lines{"up"});
  watcher.send({{"SET", "carillon:a", "1"}, {"GET", "other"}, {"DEL", "carillon:a"}, {"GET", "carillon:a"}});
  EXPECT_EQ(watcher.lines(5), (Lines{"up", "OK", "-NOPERM", "-NOPERM", "1"}));
}

TEST_F(RedisLinkTest, ARefusedSubscriptionEndsTheLink) {
  RedisProcess redis({.lines = {"user hub on >its-password ~* &carillon:* +@all"}});
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.login = {"hub", "its-password"};
  LinkWatcher watcher(endpoint);
  watcher.lines(1);
  watcher.send({{"ECHO", "before"}, {"SUBSCRIBE", "carillon:a"}, {"SUBSCRIBE", "other"}, {"ECHO", "after"}});
  const Lines lines = watcher.lines(4);
  ASSERT_GE(lines.size(), 4U);
  EXPECT_EQ(lines[1], "before");
  EXPECT_EQ(lines[2], "> [subscribe carillon:a :1]");
  EXPECT_TRUE(lines[3].starts_with(
      "down: redis at " + redis.unix_socket() +
      " refuses a subscription: the ACL of its user in redis lacks the channels of store.prefix"))
      << lines[3];
}

TEST_F(RedisLinkTest, TheDatabaseIsSelected) {
  RedisProcess redis;
  RedisEndpoint endpoint = redis.endpoint();
  endpoint.database = 3;
  LinkWatcher watcher(endpoint);
  watcher.lines(1);
  watcher.send({{"SET", "a", "third"}});
  watcher.lines(2);
  EXPECT_EQ(redis.cli("-n 3 get a"), "third\n");
  endpoint.database = 99;
  LinkWatcher other(endpoint);
  EXPECT_EQ(other.at(other.line("down: ")),
            "down: redis at " + redis.unix_socket() + " refused the link: ERR DB index is out of range");
}

TEST_F(RedisLinkTest, RenewMakesAnotherLink) {
  RedisProcess redis;
  LinkWatcher watcher(redis.endpoint());
  watcher.lines(1);
  watcher.send({{"CLIENT", "ID"}});
  const std::string first = watcher.lines(2).back();
  watcher.on_each_reply = [&](const RedisReply& reply) {
    if (reply.text == "give up") watcher.link().renew("it is no primary");  // from within a reply
  };
  watcher.send({{"ECHO", "give up"}, {"ECHO", "never told"}});
  const Lines lines = watcher.lines(5);
  ASSERT_GE(lines.size(), 5U);
  EXPECT_EQ(Lines(lines.begin() + 2, lines.end()), (Lines{"give up", "down: it is no primary", "up"}));
  watcher.send({{"CLIENT", "ID"}});
  EXPECT_NE(watcher.lines(6).back(), first);
}

TEST_F(RedisLinkTest, ItMayBeDestroyedAtAnyTime) {
  RedisProcess redis;
  struct Silent : RedisLinkEvents {
    void on_link_up() override { ++calls; }
    void on_reply(RedisReply&& /*reply*/) override {
      ++calls;
      if (calls >= limit) link.reset();  // from within
    }
    void on_push(RedisReply&& /*push*/) override { ++calls; }
    void on_link_down(const std::string& /*reason*/) override { ++calls; }
    std::unique_ptr<RedisLink> link;
    int calls = 0;
    int limit = 1'000'000;
  };
  SystemRandom random;
  for (int round = 0; round < 60; ++round) {
    Silent silent;
    AsioRedisThread thread;
    RedisEndpoint endpoint = redis.endpoint();
    if (round % 3 == 2) endpoint.unix_socket = "/nowhere";
    thread.run([&] { silent.link = thread.link(endpoint, random, silent); });
    std::this_thread::sleep_for(std::chrono::microseconds(100 * round));
    thread.run([&] {
      const std::vector<RedisCommand> commands(20, RedisCommand{"PING"});
      silent.limit = silent.calls + round % 20;
      if (silent.link) silent.link->send(commands);
    });
    std::this_thread::sleep_for(std::chrono::microseconds(20 * (round % 7)));
    int calls = 0;
    thread.run([&] {
      silent.link.reset();
      calls = silent.calls;
    });
    std::this_thread::sleep_for(milliseconds(1));
    thread.run([&] { EXPECT_EQ(silent.calls, calls); });
  }
}

TEST_F(RedisLinkTest, TheThreadOutlivesWhatATaskThrows) {
  std::mutex mutex;
  std::string told_mistake;
  AsioRedisThread thread([&](std::string_view mistake) {
    const std::lock_guard lock(mutex);
    told_mistake = mistake;
  });
  thread.post([] { throw std::runtime_error("a mistake"); });
  bool has_run = false;
  thread.run([&] { has_run = true; });
  EXPECT_TRUE(has_run);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(told_mistake, "a mistake");
}

TEST_F(RedisLinkTest, ThreadsMayPostWhileItWorks) {
  RedisProcess redis;
  LinkWatcher watcher(redis.endpoint());
  watcher.lines(1);
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        watcher.thread().post([&] {
          const std::vector<RedisCommand> commands{{"PUBLISH", "a", "x"}, {"SUBSCRIBE", "a"}};
          watcher.link().send(commands);
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // From the second on, each message comes before its reply.
  EXPECT_EQ(watcher.lines(1 + 800 + 800 + 799).size(), 1U + 800U + 800U + 799U);
}

TEST_F(RedisLinkTest, AServerThatLoadsItsDataIsNotUpYet) {
  RedisProcess redis(
      {.lines = {"appendonly yes", "key-load-delay 2000", "loading-process-events-interval-bytes 1024"}});
  LinkWatcher watcher(redis.endpoint());
  watcher.lines(1);
  watcher.send(
      {{"EVAL", "for i = 1, 1000 do redis.call('SET', i, string.rep('x', 100)) end", "0"}, {"BGREWRITEAOF"}});
  watcher.lines(3);
  std::this_thread::sleep_for(milliseconds(300));
  redis.kill();
  const std::size_t down = watcher.line("down: ");
  redis.start();  // until it has loaded
  const std::size_t loads =
      watcher.line("down: redis at " + redis.unix_socket() + " still loads its data", down);
  EXPECT_EQ(watcher.at(loads), "down: redis at " + redis.unix_socket() + " still loads its data");
  EXPECT_EQ(watcher.at(watcher.line("up", loads)), "up");
}

TEST_F(RedisLinkTest, ANameThatNobodyKnowsIsTold) {
  RedisEndpoint endpoint;
  endpoint.server.host = "nowhere.invalid";
  endpoint.retry_pause_ms = 60'000;
  LinkWatcher watcher(endpoint);
  EXPECT_TRUE(watcher.lines(1).at(0).starts_with("down: cannot connect to redis at nowhere.invalid:6379: "))
      << watcher.at(0);
}

TEST_F(RedisLinkTest, AServerThatClosesAtOnceIsExplained) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(::listen(listener, 8), 0);
  std::thread closer([&] {
    const int socket = ::accept(listener, nullptr, nullptr);
    char hello[512];
    EXPECT_GT(::recv(socket, hello, sizeof hello, 0), 0);
    ::close(socket);
  });
  RedisEndpoint endpoint;
  endpoint.server = {"127.0.0.1", ntohs(address.sin_port)};
  endpoint.retry_pause_ms = 60'000;
  LinkWatcher watcher(endpoint);
  EXPECT_EQ(
      watcher.at(watcher.line("down: ")),
      "down: cannot connect to redis at 127.0.0.1:" + std::to_string(endpoint.server.port) +
          ": it closed the connection before it said a word (where it expects TLS, store.url begins with "
          "rediss)");
  closer.join();
  ::close(listener);
}

}  // namespace

}  // namespace carillon
