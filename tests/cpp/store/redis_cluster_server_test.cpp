// What gateways make of a cluster whose slots move and whose primaries die: a real one.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_needed_commands.hpp"
#include "store/redis/redis_slots.hpp"
#include "store/redis/redis_store.hpp"
#include "store/redis_cluster_process.hpp"
#include "store/redis_place.hpp"
#include "store/store_calls.hpp"
#include "store/store_journal.hpp"

namespace carillon {
namespace {

constexpr std::string_view kClusterPrefix = "test";

class DoubtingJournal final : public StoreJournal {
 public:
  void on_doubt() override { ++doubts; }
  std::atomic<int> doubts{0};
};

/// Does what a hub does behind a doubt: it compares the top of a channel, and so finds what it has not heard.
class DoubtChecker {
 public:
  DoubtChecker(StoreCalls& calls, const DoubtingJournal& journal, std::string channel)
      : calls_(calls), journal_(journal), channel_(std::move(channel)), thread_([this] { run(); }) {}
  ~DoubtChecker() {
    is_over_ = true;
    thread_.join();
  }
  /// All up to here was found by now.
  [[nodiscard]] Offset found() const { return found_; }

 private:
  void run() {
    for (int checked = 0; !is_over_;) {
      const int doubts = journal_.doubts;
      if (doubts != checked) {
        found_ = calls_.top(channel_).top.offset;
        checked = doubts;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  StoreCalls& calls_;
  const DoubtingJournal& journal_;
  const std::string channel_;
  std::atomic<Offset> found_{0};
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

/// A gateway at a cluster.
struct ClusterGateway {
  explicit ClusterGateway(const RedisClusterProcess& cluster, const RedisLogin& login = {},
                          GatewayListener* listener = nullptr) {
    RedisOptions options;
    options.url = "redis+cluster";
    options.prefix = kClusterPrefix;
    options.endpoint = cluster.endpoint();
    options.endpoint.login = login;
    options.endpoint.retry_pause_ms = 50;
    options.endpoint.command_timeout_ms = 1'000;
    options.wait_ms = 20'000;
    store = std::make_unique<RedisStore>(options, clock, random);
    store->set_listener(&journal);
    if (listener != nullptr) store->set_gateway_listener(listener);
    store->open();
    calls = std::make_unique<StoreCalls>(*store);
  }
  ~ClusterGateway() { store->close(); }

  SystemClock clock;
  SystemRandom random;
  DoubtingJournal journal;
  std::unique_ptr<RedisStore> store;
  std::unique_ptr<StoreCalls> calls;
};

void let_pass(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

/// Publishes one after another on a thread of its own, and notes what was acknowledged.
class SteadyPublisher {
 public:
  SteadyPublisher(ClusterGateway& gateway, std::string channel, std::string name)
      : gateway_(gateway), channel_(std::move(channel)), name_(std::move(name)), thread_([this] { run(); }) {}
  ~SteadyPublisher() { stop(); }
  void stop() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  /// In order; only after stop().
  [[nodiscard]] const std::vector<std::pair<Position, std::string>>& acknowledged() const {
    return acknowledged_;
  }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] std::size_t failed() const { return failed_; }

 private:
  void run() {
    for (int i = 0; !is_over_; ++i) {
      const std::string data = name_ + std::to_string(i);
      const AppendResult result = gateway_.calls->append(channel_, entry_of(data, gateway_.clock.wall_ms()));
      if (result.error == StoreError::none) {
        acknowledged_.emplace_back(result.position, data);
        ++count_;
      } else {
        ++failed_;
      }
      let_pass(1);
    }
  }

  ClusterGateway& gateway_;
  const std::string channel_;
  const std::string name_;
  std::vector<std::pair<Position, std::string>> acknowledged_;
  std::atomic<std::size_t> count_{0};
  std::atomic<std::size_t> failed_{0};
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

bool comes_true(const std::function<bool()>& is_true, int seconds = 10) {
  for (int i = 0; i < seconds * 100; ++i) {
    if (is_true()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

struct RedisClusterServer : testing::Test {
  void SetUp() override {
    if (const std::string why = RedisProcess::missing(); !why.empty()) GTEST_SKIP() << why;
  }
  /// One for all tests that end with every slot where it was.
  [[nodiscard]] static RedisClusterProcess& shared() {
    RedisClusterPlace::cluster().forget_all();
    return RedisClusterPlace::cluster();
  }
  [[nodiscard]] static std::uint16_t slot_of(const std::string& channel) {
    return redis_slot_of(RedisKeys(kClusterPrefix).channel(channel));
  }
};

TEST_F(RedisClusterServer, GatewaysShareChannelsOnAllNodesAndTellEachOther) {
  RedisClusterProcess& cluster = shared();
  ClusterGateway one(cluster);
  ClusterGateway two(cluster);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string channel = cluster.channel_at(i, std::string(kClusterPrefix), "c");
    two.calls->follow(channel);
    EXPECT_EQ(one.calls->append(channel, entry_of("x")).position.offset, 1U);
    EXPECT_EQ(cluster.node(i).cli("--raw exists " + RedisKeys(kClusterPrefix).channel(channel)), "1\n");
  }
  EXPECT_TRUE(two.journal.wait_for(3));
  std::promise<std::size_t> heard;
  one.store->tell("", "hello", [&](StoreError, std::size_t gateways) { heard.set_value(gateways); });
  EXPECT_EQ(heard.get_future().get(), 1U);
}

TEST_F(RedisClusterServer, OrdersAreHeardOnceAndInOrderWhileTheirSlotMoves) {
  class HeardOrders final : public GatewayListener {
   public:
    void on_told(std::string_view, std::string_view message) override {
      const std::lock_guard lock(mutex_);
      orders_.emplace_back(message);
    }
    [[nodiscard]] std::vector<std::string> orders() const {
      const std::lock_guard lock(mutex_);
      return orders_;
    }

   private:
    mutable std::mutex mutex_;
    std::vector<std::string> orders_;
  };
  HeardOrders heard;
  RedisClusterProcess& cluster = shared();
  ClusterGateway one(cluster);
  ClusterGateway two(cluster, {}, &heard);
  const std::uint16_t slot = redis_slot_of(RedisKeys(kClusterPrefix).told(""));
  const std::size_t home = slot <= 5'460 ? 0 : slot <= 10'922 ? 1 : 2;
  std::vector<std::string> expected;
  const auto order_some = [&] {
    for (int i = 0; i < 5; ++i) {
      expected.push_back(std::to_string(expected.size()));
      EXPECT_EQ(answer_of<StoreError>([&](auto done) {
                  one.store->order(expected.back(), [done](StoreError error, std::size_t) { done(error); });
                }),
                StoreError::none);
    }
  };
  order_some();
  std::size_t at = home;
  for (const std::size_t to : {(home + 1) % 3, (home + 2) % 3, home}) {
    cluster.begin_move(slot, at, to);
    order_some();
    cluster.move_keys(slot, at, to);
    order_some();
    cluster.end_move(slot, at, to);
    order_some();
    at = to;
  }
  EXPECT_TRUE(comes_true([&] { return heard.orders().size() >= expected.size(); }));
  let_pass(300);
  EXPECT_EQ(heard.orders(), expected);
}

TEST_F(RedisClusterServer, ASlotThatMovesUnderPublicationsLosesAndDoublesNothing) {
  RedisClusterProcess& cluster = shared();
  ClusterGateway one(cluster);
  ClusterGateway two(cluster);
  ClusterGateway follower(cluster);
  const std::string channel = cluster.channel_at(0, std::string(kClusterPrefix), "c");
  const std::string quiet = cluster.channel_at(1, std::string(kClusterPrefix), "q");
  const Position quiet_before = one.calls->append(quiet, entry_of("q")).position;
  follower.calls->follow(channel);
  follower.calls->follow(quiet);
  const DoubtChecker checker(*follower.calls, follower.journal, channel);
  {
    SteadyPublisher first(one, channel, "a");
    SteadyPublisher second(two, channel, "b");
    const std::uint16_t slot = slot_of(channel);
    std::size_t at = 0;
    for (const std::size_t to : {1U, 2U, 0U}) {
      ASSERT_TRUE(comes_true([&, before = first.count()] { return first.count() > before + 20; }));
      cluster.begin_move(slot, at, to);
      let_pass(100);
      cluster.move_keys(slot, at, to);
      let_pass(100);
      cluster.end_move(slot, at, to);
      at = to;
    }
    cluster.move(slot_of(quiet), 1, 2);
    ASSERT_TRUE(comes_true([&, before = second.count()] { return second.count() > before + 20; }));
    first.stop();
    second.stop();
    EXPECT_EQ(first.failed() + second.failed(), 0U);
    // No position names two publications, and all that was acknowledged is there, in order.
    std::map<std::pair<std::string, Offset>, std::string> named;
    std::map<Offset, std::string> by_offset;
    for (const SteadyPublisher* each : {&first, &second}) {
      Offset last = 0;
      for (const auto& [position, data] : each->acknowledged()) {
        EXPECT_GT(position.offset, last);
        last = position.offset;
        EXPECT_TRUE(
            named.emplace(std::pair(std::string(position.epoch.text()), position.offset), data).second);
        by_offset[position.offset] = data;
      }
    }
    const Page page = one.calls->read(channel, {1, 1'000'000});
    ASSERT_EQ(page.entries.size(), by_offset.size()) << "nothing twice, nothing lost";
    for (const EntryRef& entry : page.entries) EXPECT_EQ(entry->publication.data, by_offset[entry->offset]);
    EXPECT_EQ(page.top.offset, by_offset.size());
    // Whoever follows has heard each, or finds it because it was told that something may be missing.
    std::set<Offset> missing;
    EXPECT_TRUE(comes_true([&] {
      missing.clear();
      for (Offset each = checker.found() + 1; each <= page.top.offset; ++each) missing.insert(each);
      for (const Announced& each : follower.journal.announced()) missing.erase(each.offset);
      return missing.empty();
    })) << missing.size()
        << " silently missing, the first of them " << *missing.begin();
  }
  std::set<Offset> heard;
  for (const Announced& each : follower.journal.announced()) {
    if (each.channel != channel) continue;
    EXPECT_TRUE(heard.insert(each.offset).second) << "announced twice: " << each.offset;
  }
  EXPECT_GE(follower.journal.doubts, 4) << "the first, and one for each move";
  // The quiet channel's slot has moved to a primary of another identity: that is told.
  const Position quiet_after = one.calls->top(quiet).top;
  EXPECT_EQ(quiet_after.offset, quiet_before.offset);
  EXPECT_NE(quiet_after.epoch, quiet_before.epoch);
  cluster.move(slot_of(quiet), 2, 1);
}

// All keys of the channel are at the new node already: the old one says ASK.
TEST_F(RedisClusterServer, WhatIsPublishedWhileItsSlotIsAboutToMoveIsHeardByFollowersOfTheOldNode) {
  RedisClusterProcess& cluster = shared();
  ClusterGateway publisher(cluster);
  ClusterGateway follower(cluster);
  const std::string channel = cluster.channel_at(0, std::string(kClusterPrefix), "c");
  const std::uint16_t slot = slot_of(channel);
  follower.calls->follow(channel);
  publisher.calls->append(channel, entry_of("1"));
  ASSERT_TRUE(follower.journal.wait_for(1));
  cluster.begin_move(slot, 0, 2);
  cluster.move_keys(slot, 0, 2);
  const AppendResult second = publisher.calls->append(channel, entry_of("2"));
  EXPECT_EQ(second.error, StoreError::none);
  EXPECT_EQ(second.position.offset, 2U);
  EXPECT_TRUE(follower.journal.wait_for(2)) << "through all nodes";
  const int doubts = follower.journal.doubts;
  cluster.end_move(slot, 0, 2);
  EXPECT_TRUE(comes_true([&] { return follower.journal.doubts > doubts; }))
      << "the node says that it has left";
  EXPECT_EQ(publisher.calls->append(channel, entry_of("3")).position.offset, 3U);
  EXPECT_TRUE(follower.journal.wait_for(3));
  EXPECT_EQ(follower.journal.lines(),
            (std::vector<std::string>{channel + ":1", channel + ":2", channel + ":3"}));
  cluster.move(slot, 2, 0);
}

// The map is from before the move, and no call has said so.
TEST_F(RedisClusterServer, ASubscriptionAtTheWrongNodeDisturbsNothingElse) {
  RedisClusterProcess& cluster = shared();
  ClusterGateway publisher(cluster);
  ClusterGateway follower(cluster);
  const std::string channel = cluster.channel_at(0, std::string(kClusterPrefix), "c");
  const std::string other = cluster.channel_at(0, std::string(kClusterPrefix), "other");
  follower.calls->follow(other);
  cluster.move(slot_of(channel), 0, 1);
  const int doubts = follower.journal.doubts;
  std::vector<std::future<AppendResult>> answers;
  for (int i = 0; i < 50; ++i) {
    auto answer = std::make_shared<std::promise<AppendResult>>();
    answers.push_back(answer->get_future());
    follower.store->append(other, entry_of(std::to_string(i)), {},
                           [answer](const AppendResult& result) { answer->set_value(result); });
    if (i == 25) {
      EXPECT_EQ(follower.calls->follow(channel).error, StoreError::none);
    }
  }
  for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(answers[i].get().position.offset, i + 1);
  publisher.calls->append(channel, entry_of("x"));
  EXPECT_TRUE(follower.journal.wait_for(51));
  EXPECT_LE(follower.journal.doubts, doubts + 2) << "no link was lost";
  EXPECT_EQ(follower.store->figures().trouble, "");
  cluster.move(slot_of(channel), 1, 0);
}

// The list of docs/redis.md.
TEST_F(RedisClusterServer, AUserNeedsTheCommandsOfTheListAndNoOthers) {
  RedisClusterProcess& cluster = shared();
  std::string rights;
  const auto add = [&rights](const RedisNeededCommand& each) {
    rights += " '+" + std::string(each.name) + '\'';
  };
  for (const RedisNeededCommand& each : kRedisNeededCommands) add(each);
  for (const RedisNeededCommand& each : kRedisClusterCommands) add(each);
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    const std::string said = cluster.node(i).cli(
        "acl setuser carillon reset on '>secret' resetkeys '~test:*' resetchannels '&test:*' nocommands" +
        rights);
    ASSERT_EQ(said, "OK\n");
  }
  {
    ClusterGateway gateway(cluster, {"carillon", "secret"});
    const std::string channel = cluster.channel_at(0, std::string(kClusterPrefix), "c");
    const std::uint16_t slot = slot_of(channel);
    gateway.calls->follow(channel);
    EXPECT_EQ(gateway.calls->append(channel, entry_of("1")).error, StoreError::none);
    EXPECT_EQ(gateway.calls->add(channel, {"ann", "bob"}).error, StoreError::none);
    EXPECT_TRUE(gateway.calls->enter(channel).is_done);
    EXPECT_EQ(gateway.calls->inbox("ann").unread.size(), 0U);
    EXPECT_EQ(gateway.calls->presence(channel).error, StoreError::none);
    cluster.begin_move(slot, 0, 1);
    cluster.move_keys(slot, 0, 1);
    EXPECT_EQ(gateway.calls->append(channel, entry_of("2")).error, StoreError::none);
    cluster.end_move(slot, 0, 1);
    EXPECT_EQ(gateway.calls->append(channel, entry_of("3")).error, StoreError::none);
    EXPECT_EQ(gateway.calls->remove_history(channel), StoreError::none);
    gateway.store->unfollow(channel);
    EXPECT_EQ(gateway.calls->top(channel).error, StoreError::none);
    EXPECT_EQ(gateway.store->figures().trouble, "");
    cluster.move(slot, 1, 0);
  }
  for (std::size_t i = 0; i < cluster.size(); ++i)
    EXPECT_EQ(cluster.node(i).cli("--raw acl log").find("command"), std::string::npos)
        << cluster.node(i).cli("acl log");
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    cluster.node(i).cli("acl deluser carillon");
  }
}

TEST_F(RedisClusterServer, AReplicaTakesOverAndEveryChannelOfThePrimaryIsTold) {
  RedisClusterProcess cluster;
  const std::size_t replica = cluster.add_replica(0);
  ClusterGateway gateway(cluster);
  ClusterGateway follower(cluster);
  const std::string lost = cluster.channel_at(0, std::string(kClusterPrefix), "c");
  const std::string kept = cluster.channel_at(1, std::string(kClusterPrefix), "k");
  const Position lost_before = gateway.calls->append(lost, entry_of("1")).position;
  const Position kept_before = gateway.calls->append(kept, entry_of("1")).position;
  follower.calls->follow(lost);
  ASSERT_TRUE(comes_true([&] {
    return cluster.node(replica).cli("--raw exists " + RedisKeys(kClusterPrefix).channel(lost)).find('1') ==
               0 ||
           cluster.node(replica).cli("--raw dbsize") == cluster.node(0).cli("--raw dbsize");
  }));
  const int doubts = follower.journal.doubts;
  cluster.node(0).kill();
  std::atomic<bool> is_answered{false};
  AppendResult waits;
  gateway.store->append(lost, entry_of("2"), {}, [&](const AppendResult& result) {
    waits = result;
    is_answered = true;
  });
  // Until the others have noticed, which then stop as well, the rest of the slots go on.
  EXPECT_EQ(gateway.calls->append(kept, entry_of("2")).position, (Position{kept_before.epoch, 2}));
  ASSERT_TRUE(comes_true([&] { return is_answered.load(); }, 20));
  EXPECT_EQ(waits.error, StoreError::none);
  EXPECT_EQ(waits.position.offset, lost_before.offset + 1);
  EXPECT_NE(waits.position.epoch, lost_before.epoch);
  EXPECT_TRUE(comes_true([&] { return follower.journal.doubts > doubts; }));
  EXPECT_TRUE(comes_true([&] {
    gateway.calls->append(lost, entry_of("3"));
    const auto lines = follower.journal.lines();
    return !lines.empty() && lines.back() == lost + ':' + std::to_string(gateway.calls->top(lost).top.offset);
  }));
  EXPECT_TRUE(comes_true([&] { return gateway.store->figures().trouble.empty(); }));
}

// It wakes up with appends in its buffers, and believes for a moment that the slots are its own.
TEST_F(RedisClusterServer, APrimaryThatWasStoppedForTooLongNeitherDoublesNorNamesAnything) {
  RedisClusterProcess cluster;
  const std::size_t replica = cluster.add_replica(0);
  ClusterGateway one(cluster);
  ClusterGateway two(cluster);
  const std::string channel = cluster.channel_at(0, std::string(kClusterPrefix), "c");
  SteadyPublisher first(one, channel, "a");
  SteadyPublisher second(two, channel, "b");
  const auto go_on = [&] {
    return comes_true([&, a = first.count(),
                       b = second.count()] { return first.count() > a + 20 && second.count() > b + 20; },
                      30);
  };
  ASSERT_TRUE(go_on());
  cluster.node(0).stop();
  EXPECT_TRUE(comes_true(
      [&] { return cluster.node(replica).cli("info replication").find("role:master") != std::string::npos; },
      20));
  EXPECT_TRUE(go_on());
  cluster.node(0).cont();
  EXPECT_TRUE(comes_true(
      [&] { return cluster.node(0).cli("info replication").find("role:slave") != std::string::npos; }, 20));
  EXPECT_TRUE(go_on());
  first.stop();
  second.stop();
  std::map<std::pair<std::string, Offset>, std::string> named;
  std::map<std::string, Position> acknowledged;
  for (const SteadyPublisher* each : {&first, &second}) {
    for (const auto& [position, data] : each->acknowledged()) {
      EXPECT_TRUE(named.emplace(std::pair(std::string(position.epoch.text()), position.offset), data).second);
      acknowledged.emplace(data, position);
    }
  }
  const Page page = one.calls->read(channel, {1, 1'000'000});
  std::set<std::string> held;
  for (const EntryRef& entry : page.entries)
    EXPECT_TRUE(held.insert(entry->publication.data).second) << "doubled";
  std::size_t lost = 0;
  for (const auto& [data, position] : acknowledged) {
    if (held.contains(data)) continue;
    ++lost;
    EXPECT_NE(position.epoch, page.top.epoch) << "lost and not told: " << data;
  }
  RecordProperty("acknowledged", static_cast<int>(acknowledged.size()));
  RecordProperty("lost and told", static_cast<int>(lost));
}

TEST_F(RedisClusterServer, OneServerThatIsNoClusterIsRefused) {
  RedisProcess server;
  RedisOptions options;
  options.url = "redis+cluster://127.0.0.1";
  options.endpoint = server.tcp_endpoint();
  options.endpoint.cluster_nodes = {options.endpoint.server};
  SystemClock clock;
  SystemRandom random;
  RedisStore store(options, clock, random);
  try {
    store.open();
    ADD_FAILURE() << "it was opened";
  } catch (const StoreRefused& refused) {
    EXPECT_NE(std::string(refused.what()).find("cluster support disabled"), std::string::npos)
        << refused.what();
  }
}

}  // namespace
}  // namespace carillon
