// What a gateway makes of servers that die, forget, lag and are promoted: real ones.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "store/redis/redis_conversation.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_machine.hpp"
#include "store/redis/redis_store.hpp"
#include "store/redis_process.hpp"
#include "store/store_calls.hpp"
#include "store/store_journal.hpp"

namespace carillon {
namespace {

class GatewayJournal final : public StoreJournal {
 public:
  void on_doubt() override { ++doubts; }
  std::atomic<int> doubts{0};
};

class HeardByGateway final : public GatewayListener {
 public:
  void on_told(std::string_view /*from_gateway*/, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    messages_.emplace_back(message);
  }
  [[nodiscard]] std::vector<std::string> messages() const {
    const std::lock_guard lock(mutex_);
    return messages_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> messages_;
};

/// A gateway: a store with its journal.
struct RedisGateway {
  explicit RedisGateway(const RedisEndpoint& endpoint, RedisOptions options = {},
                        Millis command_timeout_ms = 400, Millis retry_pause_ms = 50) {
    options.url = "redis";
    options.endpoint = endpoint;
    options.endpoint.retry_pause_ms = retry_pause_ms;
    options.endpoint.command_timeout_ms = command_timeout_ms;
    store = std::make_unique<RedisStore>(options, clock, random);
    store->set_listener(&journal);
    store->set_gateway_listener(&heard);
    store->open();
    calls = std::make_unique<StoreCalls>(*store);
  }
  ~RedisGateway() { store->close(); }

  AppendResult append(const std::string& data, const AppendOptions& options = {}) {
    return calls->append("a", entry_of(data, clock.wall_ms()), options);
  }

  SystemClock clock;
  SystemRandom random;
  GatewayJournal journal;
  HeardByGateway heard;
  std::unique_ptr<RedisStore> store;
  std::unique_ptr<StoreCalls> calls;
};

bool eventually(const std::function<bool()>& is_true) {
  for (int i = 0; i < 600; ++i) {
    if (is_true()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class RedisFailover : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = RedisProcess::missing(); !why.empty()) GTEST_SKIP() << why;
  }
  static RedisProcess::Settings on_disk() { return {{"--appendonly", "yes", "--appendfsync", "always"}, {}}; }
  static RedisProcess::Settings in_memory() {
    return {{"--appendonly", "no", "--save", "", "--repl-diskless-sync-delay", "0"}, {}};
  }
  /// `replica` has all that `primary` has.
  static bool is_in_step(const RedisProcess& primary, const RedisProcess& replica) {
    const std::string key = primary.cli("--raw keys test:1:*cs:*");
    return !key.empty() &&
           replica.cli("info replication").find("master_link_status:up") != std::string::npos &&
           primary.cli("--raw dbsize") == replica.cli("--raw dbsize");
  }
  static void learn_the_primary() {
    std::this_thread::sleep_for(std::chrono::milliseconds(RedisMachine::kIdentityMs + 200));
  }
  static RedisOptions options() {
    RedisOptions options;
    options.prefix = "test";
    return options;
  }
};

TEST_F(RedisFailover, ARestartTellsALossBecauseNobodyCanKnowThatThereWasNone) {
  RedisProcess redis(on_disk());
  RedisGateway gateway(redis.endpoint(), options());
  const Position before = gateway.append("1").position;
  redis.kill();
  redis.start();
  ASSERT_TRUE(eventually([&] { return gateway.append("2").error == StoreError::none; }));
  const Position after = gateway.append("3").position;
  EXPECT_NE(after.epoch, before.epoch);
  EXPECT_EQ(after.offset, before.offset + 2) << "offsets go on";
  EXPECT_EQ(data_of(gateway.calls->read("a", {1, 9})), (std::vector<std::string>{"1", "2", "3"}));
}

TEST_F(RedisFailover, ByTheOperatorsWordARestartLosesNothing) {
  RedisProcess redis(on_disk());
  RedisOptions never = options();
  never.loss = RedisLoss::never;
  RedisGateway gateway(redis.endpoint(), never);
  const Position before = gateway.append("1").position;
  redis.kill();
  redis.start();
  ASSERT_TRUE(eventually([&] { return gateway.append("2").error == StoreError::none; }));
  EXPECT_EQ(gateway.calls->top("a").top, (Position{before.epoch, 2}));
}

TEST_F(RedisFailover, AServerThatForgetsAllBeginsAnotherEpoch) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  gateway.calls->follow("a");
  const Position before = gateway.append("1").position;
  redis.kill();
  redis.start();
  ASSERT_TRUE(eventually([&] { return gateway.append("2").error == StoreError::none; }));
  const Position after = gateway.calls->top("a").top;
  EXPECT_NE(after.epoch, before.epoch);
  EXPECT_EQ(after.offset, 1U);
  EXPECT_GE(gateway.journal.doubts, 2) << "what is followed is compared at once";
}

TEST_F(RedisFailover, FlushallBeginsAnotherEpochEvenThoughTheLinkStays) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  const Position before = gateway.append("1", {.idempotency_key = "k"}).position;
  redis.cli("flushall");
  const AppendResult after = gateway.append("2", {.idempotency_key = "k"});
  EXPECT_FALSE(after.is_duplicate) << "the key was lost with its publication";
  EXPECT_NE(after.position.epoch, before.epoch);
  EXPECT_EQ(after.position.offset, 1U);
}

TEST_F(RedisFailover, AHashThatWasEvictedTakesItsStreamWithIt) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  const Position before = gateway.append("1").position;
  gateway.append("2");
  redis.cli("del " + RedisKeys("test").channel("a"));
  const Position after = gateway.append("3").position;
  EXPECT_NE(after.epoch, before.epoch);
  EXPECT_EQ(after.offset, 1U);
  EXPECT_EQ(data_of(gateway.calls->read("a", {1, 9})), std::vector<std::string>{"3"});
}

TEST_F(RedisFailover, ScriptsThatWereFlushedAreLoadedAgain) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  gateway.append("1");
  redis.cli("script flush sync");
  EXPECT_EQ(gateway.append("2").position.offset, 2U);
}

// Demoted and promoted again behind a link that nobody cuts: run_id stays the same, and so does the address.
TEST_F(RedisFailover, APrimaryThatWentThereAndBackHasLostWhatItsReplicaNeverGot) {
  RedisProcess a(in_memory());
  RedisProcess b(in_memory());
  RedisGateway gateway(a.endpoint(), options());
  gateway.append("1");
  b.cli("replicaof 127.0.0.1 " + std::to_string(a.port()));
  ASSERT_TRUE(eventually([&] { return is_in_step(a, b); }));
  learn_the_primary();  // the first replica gave it a new identity
  const Position kept = gateway.append("2").position;
  ASSERT_TRUE(eventually([&] { return b.cli("--raw xlen " + RedisKeys("test").stream("a")) == "2\n"; }));
  b.cli("replicaof no one");
  const Position lost = gateway.append("lost").position;
  EXPECT_EQ(lost, (Position{kept.epoch, 3}));
  a.cli("replicaof 127.0.0.1 " + std::to_string(b.port()));
  ASSERT_TRUE(eventually([&] { return is_in_step(b, a); }));
  a.cli("replicaof no one");
  std::this_thread::sleep_for(
      std::chrono::milliseconds(1'200));  // a demotion of less than a second: docs/redis.md
  ASSERT_TRUE(eventually([&] { return gateway.append("3").error == StoreError::none; }));
  const Position after = gateway.calls->top("a").top;
  EXPECT_EQ(after.offset, 3U);
  EXPECT_NE(after.epoch, lost.epoch) << "one position would name two publications";
}

// Two primaries: one gateway goes on at the old one until it is healed.
TEST_F(RedisFailover, OfASplitBrainNoPositionOfOneSideIsOneOfTheOther) {
  RedisProcess a(in_memory());
  RedisProcess b(in_memory());
  RedisGateway old_side(a.endpoint(), options());
  old_side.append("1");
  b.cli("replicaof 127.0.0.1 " + std::to_string(a.port()));
  ASSERT_TRUE(eventually([&] { return is_in_step(a, b); }));
  b.cli("replicaof no one");
  RedisGateway new_side(b.endpoint(), options());
  const Position of_old = old_side.append("old").position;
  const Position of_new = new_side.append("new").position;
  EXPECT_EQ(of_old.offset, of_new.offset);
  EXPECT_NE(of_old.epoch, of_new.epoch);
  // Healing: a follows b. The gateway of the old side cannot append there any more.
  const int doubts = old_side.journal.doubts;
  a.cli("replicaof 127.0.0.1 " + std::to_string(b.port()));
  const std::string epoch_at_a = "--raw hget " + RedisKeys("test").channel("a") + " e";
  ASSERT_TRUE(eventually([&] {
    old_side.store->append("a", entry_of("x"), {}, [](const AppendResult&) {});
    return a.cli(epoch_at_a) == std::string(of_new.epoch.text()) + "\n";
  }));
  a.cli("replicaof no one");
  ASSERT_TRUE(eventually([&] { return old_side.append("healed").error == StoreError::none; }));
  EXPECT_NE(old_side.calls->top("a").top.epoch, of_old.epoch);
  EXPECT_GT(old_side.journal.doubts, doubts);
}

// A stopped Redis carries out what was left in the buffers of closed links.
TEST_F(RedisFailover, WhatAStoppedServerCarriesOutLateIsNeitherDoubledNorOutOfOrder) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  gateway.calls->follow("a");
  gateway.append("0");
  for (int round = 1; round <= 3; ++round) {
    redis.stop();
    for (int i = 0; i < 10; ++i)
      gateway.store->append("a", entry_of(std::to_string(round) + "." + std::to_string(i)), {},
                            [](const AppendResult&) {});
    std::this_thread::sleep_for(std::chrono::milliseconds(1'100));  // longer than command_timeout_ms, twice
    redis.cont();
    ASSERT_EQ(gateway.append("end of " + std::to_string(round)).error, StoreError::none);
  }
  std::vector<std::string> expected{"0"};
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < 10; ++i) expected.push_back(std::to_string(round) + "." + std::to_string(i));
    expected.push_back("end of " + std::to_string(round));
  }
  EXPECT_EQ(data_of(gateway.calls->read("a", {1, 99})), expected);
}

TEST_F(RedisFailover, WhatAStoppedServerTellsLateIsHeardOnce) {
  RedisProcess redis(in_memory());
  RedisGateway teller(redis.endpoint(), options());
  RedisGateway hearer(redis.endpoint(), options(), 60'000);  // its link outlives the stop
  redis.stop();
  teller.store->tell("", "once", [](StoreError, std::size_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(1'100));  // the link is given up, and made again
  redis.cont();
  ASSERT_TRUE(eventually([&] {  // without a link nothing is told
    return answer_of<StoreError>([&](auto done) {
             teller.store->tell("", "the end", [done](StoreError error, std::size_t) { done(error); });
           }) == StoreError::none;
  }));
  ASSERT_TRUE(eventually([&] { return hearer.heard.messages().size() >= 2; }));
  EXPECT_EQ(hearer.heard.messages(), (std::vector<std::string>{"once", "the end"}));
}

// ---- orders to all gateways

struct RedisOrders : RedisFailover {
  void SetUp() override {
    RedisFailover::SetUp();
    if (IsSkipped()) return;
    redis = std::make_unique<RedisProcess>(in_memory());
    redis->cli("acl setuser away on nopass '~*' '&*' '+@all'");
  }
  /// A gateway whose link can be cut, and then is away for half of this time or more.
  [[nodiscard]] std::unique_ptr<RedisGateway> away_gateway(Millis pause_ms = 1'000) const {
    RedisEndpoint endpoint = redis->endpoint();
    endpoint.login = {.user = "away", .password = "any"};
    return std::make_unique<RedisGateway>(endpoint, options(), 400, pause_ms);
  }
  void cut() const { ASSERT_EQ(redis->cli("client kill user away"), "1\n"); }
  static void order(RedisGateway& gateway, const std::string& text) { order_all(gateway, {text}); }
  /// One behind the other, without waiting in between.
  static void order_all(RedisGateway& gateway, const std::vector<std::string>& texts) {
    EXPECT_EQ(answer_of<StoreError>([&](auto done) {
                for (const std::string& text : texts) {
                  const bool is_last = &text == &texts.back();
                  gateway.store->order(text, [done, is_last](StoreError error, std::size_t) {
                    if (is_last || error != StoreError::none) done(error);
                  });
                }
              }),
              StoreError::none);
  }
  [[nodiscard]] static bool hears(const RedisGateway& gateway, const std::vector<std::string>& expected) {
    eventually([&] { return gateway.heard.messages().size() >= expected.size(); });
    EXPECT_EQ(gateway.heard.messages(), expected);
    return gateway.heard.messages() == expected;
  }
  std::unique_ptr<RedisProcess> redis;
};

TEST_F(RedisOrders, AGatewayWhoseLinkIsAwayHearsThemWhenItIsBackOnceAndInOrder) {
  RedisGateway one(redis->endpoint(), options());
  order(one, "before two");
  const auto two = away_gateway();
  order(one, "1");
  ASSERT_TRUE(hears(*two, {"1"}));
  for (const int orders : {1, 250}) {  // more than a page, too
    std::vector<std::string> expected = two->heard.messages();
    const int doubts = two->journal.doubts;
    cut();
    std::vector<std::string> missed;
    for (int i = 0; i < orders; ++i) missed.push_back(std::to_string(orders) + '.' + std::to_string(i));
    order_all(one, missed);
    expected.insert(expected.end(), missed.begin(), missed.end());
    EXPECT_EQ(two->journal.doubts, doubts) << "its link is away";
    ASSERT_TRUE(eventually([&] { return two->journal.doubts > doubts; }));
    expected.emplace_back("behind");
    order(one, "behind");
    ASSERT_TRUE(hears(*two, expected));
  }
  EXPECT_EQ(one.heard.messages(), std::vector<std::string>{}) << "not its own";
}

// The ids of another primary may be lower, and a stream may be lost.
TEST_F(RedisOrders, AnotherStreamWithLowerIdsMakesNobodyDeaf) {
  RedisGateway one(redis->endpoint(), options());
  const std::string key = RedisKeys("test").told("");
  const std::string later = std::to_string(SystemClock().wall_ms() + 3'600'000);
  redis->cli("xadd " + key + " " + later + "-0 h x m y");
  const auto two = away_gateway();
  order(one, "1");
  ASSERT_TRUE(hears(*two, {"1"}));
  ASSERT_TRUE(redis->cli("--raw xrevrange " + key + " + - count 1").starts_with(later));
  redis->cli("flushall");
  order(one, "2");
  ASSERT_TRUE(hears(*two, {"1", "2"})) << "live";
  redis->cli("flushall");
  redis->cli("xadd " + key + " " + later + "-0 h x m y");
  order(one, "3");
  ASSERT_TRUE(hears(*two, {"1", "2", "3"}));
  redis->cli("del " + key);
  cut();
  order(one, "4");
  ASSERT_TRUE(hears(*two, {"1", "2", "3", "4"})) << "and behind a lost link";
  redis->cli("del " + key);
  cut();
  ASSERT_TRUE(eventually([&] { return redis->cli("client list").find("user=away") != std::string::npos; }));
  order(one, "5");
  ASSERT_TRUE(hears(*two, {"1", "2", "3", "4", "5"}));
}

TEST_F(RedisOrders, WhatIsKeptIsBoundedByNumberSizeAndTime) {
  RedisOptions few = options();
  few.orders = 5;
  few.orders_bytes = 10'000;
  RedisGateway one(redis->endpoint(), few);
  const std::string key = RedisKeys("test").told("");
  for (int i = 0; i < 20; ++i) order(one, "x");
  EXPECT_EQ(redis->cli("--raw xlen " + key), "5\n");
  order(one, std::string(4'000, 'x'));
  EXPECT_EQ(redis->cli("--raw xlen " + key), "2\n");
  order(one, std::string(20'000, 'x'));
  EXPECT_EQ(redis->cli("--raw xlen " + key), "1\n");
  EXPECT_LE(std::stoll(redis->cli("--raw pttl " + key)), few.orders_ms);
  EXPECT_GT(std::stoll(redis->cli("--raw pttl " + key)), 0);
}

TEST_F(RedisOrders, OneThatIsOlderThanItsTimeIsNotCarriedOutAnyMore) {
  RedisGateway one(redis->endpoint(), options());
  const std::string key = RedisKeys("test").told("");
  const auto two = away_gateway(4'000);
  cut();
  redis->cli("xadd " + key + " " + std::to_string(SystemClock().wall_ms() - 61'000) + "-0 h 'zzz 1' m old");
  redis->cli("xadd " + key + " " + std::to_string(SystemClock().wall_ms() - 30'000) + "-0 h 'zzz 2' m young");
  order(one, "new");
  EXPECT_TRUE(hears(*two, {"young", "new"}));
}

TEST_F(RedisOrders, AFullServerTellsThemAndKeepsNone) {
  RedisGateway one(redis->endpoint(), options());
  const auto two = away_gateway();
  redis->cli("config set maxmemory 1");
  order(one, "1");
  EXPECT_TRUE(hears(*two, {"1"}));
  redis->cli("config set maxmemory 0");
  EXPECT_EQ(redis->cli("--raw exists " + RedisKeys("test").told("")), "0\n");
}

TEST_F(RedisOrders, WhatSomebodyElseHasWrittenInTheirPlaceIsReplaced) {
  RedisGateway one(redis->endpoint(), options());
  const std::string key = RedisKeys("test").told("");
  std::vector<std::string> expected;
  const auto two = away_gateway();
  for (const std::string& words :
       {"set " + key + " x", "xadd " + key + " 18446744073709551615-18446744073709551615 h x m y",
        "xadd " + key + " '*' h x", "xadd " + key + " '*' unknown x"}) {
    SCOPED_TRACE(words);
    redis->cli(words);
    const int doubts = two->journal.doubts;
    cut();
    ASSERT_TRUE(eventually([&] { return two->journal.doubts > doubts; }));
    expected.push_back(words);
    order(one, words);
    ASSERT_TRUE(hears(*two, expected));
    cut();
    expected.push_back(words + " again");
    order(one, words + " again");
    ASSERT_TRUE(hears(*two, expected));
  }
  EXPECT_EQ(two->store->figures().trouble, "");
}

// ---- what somebody else has written

TEST_F(RedisFailover, AStreamThatHasWhatNoGatewayAppendedBeginsANewEpoch) {
  RedisProcess redis(in_memory());
  RedisGateway one(redis.endpoint(), options());
  RedisGateway two(redis.endpoint(), options());
  for (RedisGateway* each : {&one, &two}) each->calls->follow("a");
  const std::string stream = RedisKeys("test").stream("a");
  Position before = one.append("0").position;
  for (const std::string& words :
       {"xadd " + stream + " '*' d x", "xadd " + stream + " 18446744073709551615-18446744073709551615 d x",
        "set " + stream + " x"}) {
    SCOPED_TRACE(words);
    for (const Retention& retention :
         {Retention{}, Retention{.entries = 10, .bytes = 10'000, .ttl_ms = 60'000}}) {
      redis.cli(words);
      const AppendResult after = one.append("1", {.retention = retention});
      ASSERT_EQ(after.error, StoreError::none);
      EXPECT_EQ(after.position.offset, before.offset + 1) << "offsets go on";
      EXPECT_NE(after.position.epoch, before.epoch);
      ASSERT_TRUE(two.journal.wait_for(after.position.offset));
      EXPECT_EQ(two.journal.announced().back().epoch, after.position.epoch) << "who follows is told";
      const Position next = two.append("2", {.retention = retention}).position;
      EXPECT_EQ(next, (Position{after.position.epoch, after.position.offset + 1}));
      EXPECT_EQ(two.calls->read("a", {after.position.offset - 1, next.offset}).error, StoreError::not_held);
      EXPECT_EQ(data_of(two.calls->read("a", {after.position.offset, next.offset})),
                (std::vector<std::string>{"1", "2"}));
      EXPECT_GT(std::stoll(redis.cli("--raw pttl " + stream)), 0);
      before = next;
    }
  }
}

TEST_F(RedisFailover, AnEntryThatNoGatewayAppendedIsPassedOverAndGoesWithTheOthers) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  const Retention retention{.entries = 1'000, .bytes = 2 * entry_of("1")->cost_bytes()};
  gateway.append("1", {.retention = retention});
  redis.cli("xadd " + RedisKeys("test").stream("a") + " 2-1 x y");  // where the next one goes
  EXPECT_EQ(gateway.append("2", {.retention = retention}).error, StoreError::none);
  EXPECT_EQ(gateway.calls->read("a", {1, 9}).error, StoreError::not_held) << "nobody knows what is before it";
  EXPECT_EQ(data_of(gateway.calls->read("a", {1, 9})), std::vector<std::string>{"2"});
  for (const std::string data : {"3", "4", "5"})
    EXPECT_EQ(gateway.append(data, {.retention = retention}).error, StoreError::none);
  EXPECT_EQ(data_of(gateway.calls->read("a", {4, 9})), (std::vector<std::string>{"4", "5"}));
  EXPECT_EQ(redis.cli("--raw xlen " + RedisKeys("test").stream("a")), "2\n");
}

// ---- bounds, and mistakes of others

TEST_F(RedisFailover, CallsThatWaitAreBoundedWhereverTheyWait) {
  RedisProcess redis(in_memory());
  RedisOptions few = options();
  few.waiting_calls = 20;
  few.waiting_bytes = 1'000;
  RedisGateway gateway(redis.endpoint(), few);
  std::atomic<int> overloaded{0};
  std::atomic<int> answered{0};
  const auto count = [&](StoreError error) {
    if (error == StoreError::overloaded) ++overloaded;
    ++answered;
  };
  const auto ask = [&] {
    for (int i = 0; i < 10; ++i) {
      gateway.store->remove_history("a", count);  // in the channel's lane
      gateway.store->top("a", [&](const TopResult& result) { count(result.error); });
      gateway.store->presence_counts("a", [&](const PresenceCounts& counts) { count(counts.error); });
    }
  };
  redis.stop();
  ask();
  EXPECT_EQ(overloaded, 10);
  redis.cont();
  ASSERT_TRUE(eventually([&] { return answered == 30; }));
  EXPECT_EQ(overloaded, 10);
  {
    const auto held = gateway.store->hold_still(std::chrono::steady_clock::now() + std::chrono::seconds(10));
    ask();
    EXPECT_EQ(overloaded, 20);
    EXPECT_EQ(answered, 40);
    // By their size, too.
    gateway.store->tell("", std::string(1'001, 'x'), [&](StoreError error, std::size_t) { count(error); });
    const std::vector<std::string> users(3, std::string(400, 'x'));
    gateway.store->add_members("a", users, [&](const MembersResult& result) { count(result.error); });
    EXPECT_EQ(overloaded, 22);
  }
  ASSERT_TRUE(eventually([&] { return answered == 62; }));
  EXPECT_EQ(overloaded, 22);
  EXPECT_EQ(gateway.calls->remove_history("a"), StoreError::none) << "the room is given back";
}

TEST_F(RedisFailover, WhatAContinuationThrowsIsCountedAndKeepsNobodyWaiting) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  EXPECT_EQ(gateway.store->figures().mistakes, 0U);
  for (int i = 0; i < 3; ++i) {
    gateway.store->append("a", entry_of("x"), {},
                          [](const AppendResult&) { throw std::runtime_error("of an append"); });
    gateway.store->remove_history("a", [](StoreError) { throw std::runtime_error("of a call in the lane"); });
    gateway.store->top("a", [](const TopResult&) { throw std::runtime_error("of a call"); });
  }
  EXPECT_EQ(gateway.append("1").position.offset, 4U);
  EXPECT_EQ(gateway.calls->remove_history("a"), StoreError::none);
  EXPECT_EQ(gateway.store->figures().mistakes, 9U);
  EXPECT_TRUE(gateway.store->figures().last_mistake.starts_with("of a"))
      << gateway.store->figures().last_mistake;
  EXPECT_EQ(gateway.journal.doubts, 1) << "the link is the first one";
}

TEST_F(RedisFailover, AFullServerRefusesAppendsGoesOnReadingAndRecovers) {
  RedisProcess redis(in_memory());
  RedisOptions fail = options();
  fail.while_unavailable = WhileUnavailable::fail;
  RedisGateway gateway(redis.endpoint(), fail);
  gateway.append("1");
  redis.cli("config set maxmemory 1");
  EXPECT_EQ(gateway.append("2").error, StoreError::unavailable);
  EXPECT_TRUE(eventually([&] { return gateway.store->figures().trouble.starts_with("OOM"); }));
  EXPECT_EQ(data_of(gateway.calls->read("a", {1, 9})), std::vector<std::string>{"1"});
  redis.cli("config set maxmemory 0");
  EXPECT_EQ(gateway.append("3").position.offset, 2U);
  EXPECT_TRUE(eventually([&] { return gateway.store->figures().trouble.empty(); }));
}

TEST_F(RedisFailover, AnAppendWaitsForAServerThatIsAway) {
  RedisProcess redis(on_disk());
  RedisGateway gateway(redis.endpoint(), options());
  gateway.append("1");
  redis.kill();
  std::atomic<bool> is_answered{false};
  AppendResult result;
  gateway.store->append("a", entry_of("2"), {}, [&](const AppendResult& answer) {
    result = answer;
    is_answered = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_FALSE(is_answered);
  redis.start();
  ASSERT_TRUE(eventually([&] { return is_answered.load(); }));
  EXPECT_EQ(result.error, StoreError::none);
  EXPECT_EQ(result.position.offset, 2U);
}

TEST_F(RedisFailover, TwoGatewaysShareOneOrder) {
  RedisProcess redis(in_memory());
  RedisGateway one(redis.endpoint(), options());
  RedisGateway two(redis.endpoint(), options());
  for (RedisGateway* each : {&one, &two}) each->calls->follow("a");
  constexpr int kEach = 500;
  for (int i = 0; i < kEach; ++i) {
    for (RedisGateway* each : {&one, &two})
      each->store->append("a", entry_of(std::to_string(i)), {}, [](const AppendResult&) {});
  }
  for (RedisGateway* each : {&one, &two}) ASSERT_TRUE(each->journal.wait_for(2 * kEach));
  const auto seen = one.journal.announced();
  EXPECT_EQ(seen.size(), two.journal.announced().size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].offset, i + 1);
    EXPECT_EQ(two.journal.announced()[i].entry->publication.data, seen[i].entry->publication.data);
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_EQ(one.calls->remove_history("a"), StoreError::none);
}

TEST_F(RedisFailover, AStreamLivesByTheRetentionOfItsLastAppend) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  const auto life_ms = [&] { return std::stoll(redis.cli("--raw pttl " + RedisKeys("test").stream("a"))); };
  gateway.append("1", {.retention = {.ttl_ms = 1'000}});
  EXPECT_LE(life_ms(), 2'000);
  gateway.append("2", {.retention = {.ttl_ms = 3'600'000}});
  EXPECT_GT(life_ms(), 3'600'000);
  gateway.append("3");
  EXPECT_GT(life_ms(), 7'200'000);
  gateway.append("4", {.retention = {.ttl_ms = 1'000}});
  EXPECT_LE(life_ms(), 2'000);
}

// A command of a link that was lost, or of a stopped Redis, is carried out behind what came later.
TEST_F(RedisFailover, AJoinThatComesLateDoesNotBringAMemberBackWhoHasLeft) {
  RedisProcess redis(in_memory());
  SystemRandom random;
  RedisConversation conversation(redis.endpoint(), random, 5'000);
  conversation.connect();
  const RedisKeys keys("test");
  const std::string memberships = keys.of_user('m', "ann");
  const Millis now = SystemClock().wall_ms();
  const std::string joined = std::to_string(now) + "+5";
  const std::string left = std::to_string(now + 1) + "-5";
  for (const std::string& changes : {joined, joined + ' ' + left, joined}) {
    RedisCommand command{"EVAL",
                         redis_script_text(RedisScript::user_change),
                         "2",
                         memberships,
                         keys.of_user('i', "ann"),
                         "",
                         "",
                         "",
                         "a",
                         changes,
                         "100",
                         "3600000"};
    const RedisReply reply = conversation.ask(std::move(command));
    ASSERT_FALSE(reply.is_error()) << reply.text;
  }
  EXPECT_EQ(conversation.ask(RedisCommand{"HGET", memberships, "n"}).number(), 0) << "she has left";
}

TEST_F(RedisFailover, WhatIsLeftOfAnInboxHasATimeToLive) {
  RedisProcess redis(in_memory());
  RedisGateway gateway(redis.endpoint(), options());
  for (const std::string channel : {"a", "b"}) {
    gateway.calls->add(channel, {"ann"});
    gateway.calls->append(channel, entry_of("x"));
    gateway.calls->enter(channel);
    gateway.calls->remove(channel, {"ann"});
  }
  EXPECT_EQ(gateway.calls->mark_read("ann", "a", 1), StoreError::none);
  EXPECT_EQ(gateway.calls->unread("ann", "b"), 1U);
  for (const char kind : {'m', 'i'})
    EXPECT_GT(std::stoll(redis.cli("--raw pttl " + RedisKeys("test").of_user(kind, "ann"))), 0) << kind;
}

TEST_F(RedisFailover, AServerThatIsNotThereIsRefusedWithTheReason) {
  RedisEndpoint nowhere;
  nowhere.server = {"127.0.0.1", 1};
  try {
    RedisGateway gateway(nowhere, options());
    ADD_FAILURE() << "it was opened";
  } catch (const StoreRefused& refused) {
    EXPECT_NE(std::string(refused.what()).find("127.0.0.1:1"), std::string::npos) << refused.what();
  }
}

/// Members have their positions in other keys than the log: in a cluster at other servers.
class LostLog : public RedisFailover {
 protected:
  /// "first-last" of what each user has not read.
  static std::string unread(RedisGateway& gateway, const std::string& user) {
    std::string text;
    const InboxContent inbox = gateway.calls->inbox(user);
    for (const auto* ranges : {&inbox.entered, &inbox.merged}) {
      for (const InboxRange& range : *ranges)
        text += std::to_string(range.first) + '-' + std::to_string(range.last) + ' ';
    }
    return text + std::to_string(gateway.calls->unread(user, "a"));
  }
  static void append(RedisGateway& gateway, int count) {
    for (; count > 0; --count) EXPECT_EQ(gateway.append("x").error, StoreError::none);
  }
};

TEST_F(LostLog, IsNotReadAsFarAsTheOneBeforeIt) {
  const RedisProcess server(in_memory());
  RedisGateway gateway(server.endpoint(), options());
  gateway.calls->add("a", {"ann", "bob", "cid"});
  append(gateway, 5);
  gateway.calls->enter("a");
  EXPECT_EQ(gateway.calls->mark_read("ann", "a", 4), StoreError::none);
  gateway.calls->remove("a", {"cid"});
  EXPECT_EQ(unread(gateway, "cid"), "1-5 5");
  const std::string hash = RedisKeys("test").channel("a");
  server.cli("del '" + hash + "'");
  append(gateway, 2);
  EXPECT_EQ(unread(gateway, "ann"), "1-2 2") << "it had read four of another log";
  EXPECT_EQ(unread(gateway, "bob"), "1-2 2");
  EXPECT_EQ(unread(gateway, "cid"), "0") << "what it had not read is lost";
  EXPECT_EQ(gateway.calls->mark_read("ann", "a", 1), StoreError::none);
  gateway.calls->add("a", {"cid"});
  append(gateway, 1);
  gateway.calls->enter("a");
  EXPECT_EQ(unread(gateway, "ann"), "3-3 2-2 2") << "entered, and in no inbox";
  EXPECT_EQ(unread(gateway, "bob"), "3-3 1-2 3");
  EXPECT_EQ(unread(gateway, "cid"), "3-3 1");
}

TEST_F(LostLog, WhoseEndIsLostIsReadUpToThereAndNoFurther) {
  const RedisProcess server(in_memory());
  RedisGateway gateway(server.endpoint(), options());
  gateway.calls->add("a", {"ann", "bob"});
  append(gateway, 5);
  gateway.calls->enter("a");
  EXPECT_EQ(gateway.calls->mark_read("ann", "a", 5), StoreError::none);
  EXPECT_EQ(gateway.calls->mark_read("bob", "a", 1), StoreError::none);
  // The server of the channel has failed over without its last two publications; that of the users has not.
  const RedisKeys keys("test");
  server.cli("hset '" + keys.channel("a") + "' o 3 i another");
  server.cli("xtrim '" + keys.stream("a") + "' maxlen 0");
  server.cli("xsetid '" + keys.stream("a") + "' 3-0");
  append(gateway, 2);
  EXPECT_EQ(unread(gateway, "ann"), "4-5 2");
  EXPECT_EQ(unread(gateway, "bob"), "2-5 4");
  gateway.calls->enter("a");
  EXPECT_EQ(unread(gateway, "ann"), "4-5 2");
  EXPECT_EQ(gateway.calls->mark_read("bob", "a", 3), StoreError::none);
  EXPECT_EQ(unread(gateway, "bob"), "4-5 2");
}

}  // namespace
}  // namespace carillon
