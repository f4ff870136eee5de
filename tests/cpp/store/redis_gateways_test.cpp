// Several gateways on one Redis: presence, members, inboxes, and what becomes of a dead gateway's.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <stop_token>
#include <thread>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_members.hpp"
#include "store/redis/redis_presence.hpp"
#include "store/redis/redis_store.hpp"
#include "store/redis_place.hpp"
#include "store/store_calls.hpp"

namespace carillon {
namespace {

using Names = std::vector<std::string>;

/// A gateway: a store with its calls.
struct FleetGateway {
  FleetGateway(const RedisOptions& options, const Clock& clock, RandomSource& random)
      : store(std::make_unique<RedisStore>(options, clock, random)), calls{*store} {}
  /// It ends as a process does that is killed: without a word.
  void die() {
    store->hold_still(std::chrono::steady_clock::now() + std::chrono::seconds(10))->give_away();
    store.reset();
  }
  std::unique_ptr<RedisStore> store;
  StoreCalls calls;
};

struct Fleet : testing::Test {
  void SetUp() override {
    if (const std::string missing = RedisProcess::missing(); !missing.empty()) GTEST_SKIP() << missing;
    place = std::make_unique<RedisPlace>();
    options = place->options();
    options.version = "1.2";
    a = open();
    b = open();
  }
  [[nodiscard]] std::unique_ptr<FleetGateway> make() {
    return std::make_unique<FleetGateway>(options, clock, random);
  }
  [[nodiscard]] std::unique_ptr<FleetGateway> open() {
    auto gateway = make();
    gateway->store->open();
    return gateway;
  }
  /// Lets time pass until `is_so`, slowly enough that those who live can say so; also while a call in it
  /// waits.
  template <typename IsSo>
  [[nodiscard]] bool pass_until(IsSo&& is_so, Millis step_ms = 1'000) {
    static constexpr std::chrono::milliseconds kStep{120};
    const std::jthread passing([&](const std::stop_token& end) {
      for (std::this_thread::sleep_for(kStep); !end.stop_requested(); std::this_thread::sleep_for(kStep))
        clock.advance(step_ms);
    });
    for (int i = 0; i < 200; ++i) {
      if (is_so()) return true;
      std::this_thread::sleep_for(kStep);
    }
    return is_so();
  }
  static void settle_walks(FleetGateway& gateway, const std::string& channel, std::size_t members = 1'000) {
    for (int i = 0; i < 1'000 && !gateway.calls.enter(channel, members).is_done; ++i) {
    }
  }
  [[nodiscard]] static Names clients(FleetGateway& gateway, const std::string& channel = "a") {
    Names names;
    for (const PresenceMember& each : gateway.calls.presence(channel).members) names.push_back(each.client);
    return names;
  }
  [[nodiscard]] static std::pair<std::uint64_t, std::uint64_t> counts(FleetGateway& gateway,
                                                                      const std::string& channel = "a") {
    const PresenceCounts counts = gateway.calls.presence_counts(channel);
    EXPECT_EQ(counts.error, StoreError::none);
    return {counts.clients, counts.users};
  }
  using Counts = std::pair<std::uint64_t, std::uint64_t>;
  std::string redis(const std::string& words) const { return RedisPlace::server().cli(words); }

  VirtualClock clock;
  SeededRandom random{7};
  std::unique_ptr<RedisPlace> place;
  RedisOptions options;
  std::unique_ptr<FleetGateway> a;
  std::unique_ptr<FleetGateway> b;
};

// ---- presence

TEST_F(Fleet, ThePresenceOfAllGatewaysIsShown) {
  a->store->add_presence("a", {"c1", "ann", "{}", "[]"});
  b->store->add_presence("a", {"c2", "ann", ""});
  b->store->add_presence("a", {"c0", "bob", ""});
  for (FleetGateway* each : {a.get(), b.get()}) static_cast<void>(counts(*each));  // each sends its own first
  for (FleetGateway* each : {a.get(), b.get()}) {
    EXPECT_EQ(clients(*each), (Names{"c0", "c1", "c2"}));
    EXPECT_EQ(counts(*each), (Counts{3, 2}));
  }
  EXPECT_EQ(b->calls.presence("a").members[1].chan_info_json, "[]");
  a->store->remove_presence("a", "c2");
  EXPECT_EQ(counts(*a), (Counts{3, 2})) << "it is not that gateway's";
  b->store->remove_presence("a", "c2");
  EXPECT_EQ(counts(*b), (Counts{2, 2}));
}

TEST_F(Fleet, ADeadGatewaysPresenceGoesAndTheCountsAreRight) {
  for (int i = 0; i < 1'200; ++i)
    a->store->add_presence("a", {"a" + std::to_string(i), "u" + std::to_string(i % 10), ""});
  for (int i = 0; i < 40; ++i) a->store->add_presence("only" + std::to_string(i), {"c", "u", ""});
  b->store->add_presence("a", {"b", "u3", ""});
  EXPECT_EQ(counts(*a, "only39"), (Counts{1, 1}));
  EXPECT_GE(counts(*a).first, 1'200U);
  EXPECT_EQ(counts(*b), (Counts{1'201, 10}));
  a->die();
  EXPECT_TRUE(pass_until([&] { return counts(*b) == Counts{1, 1} && counts(*b, "only39") == Counts{0, 0}; }));
  EXPECT_EQ(clients(*b), Names{"b"});
  for (int i = 0; i < 40; ++i) EXPECT_EQ(counts(*b, "only" + std::to_string(i)), (Counts{0, 0})) << i;
  EXPECT_TRUE(pass_until([&] { return b->store->gateways().size() == 1; })) << "all is cleared up";
  a.reset();
}

TEST_F(Fleet, AReaderLeavesOutWhoIsKnownToBeDead) {
  a->store->add_presence("a", {"c1", "ann", ""});
  b->store->add_presence("a", {"c2", "bob", ""});
  EXPECT_TRUE(pass_until([&] { return counts(*a).first == 2 && b->store->gateways().size() == 2; }));
  a->die();
  // Somebody else clears up, and is slow: the entries are there.
  const RedisKeys keys(options.prefix);
  const std::string gateway = [&] {
    for (const GatewayRecord& each : b->store->gateways()) {
      if (each.id != b->store->gateway()) return each.owner;
    }
    return std::string();
  }();
  redis("set '" + keys.of_gateway('l', gateway) + "' SOMEBODY");
  EXPECT_TRUE(pass_until([&] { return clients(*b) == Names{"c2"}; }));
  EXPECT_EQ(counts(*b), (Counts{2, 2})) << "the counts follow";
  redis("del '" + keys.of_gateway('l', gateway) + "'");
  EXPECT_TRUE(pass_until([&] { return counts(*b) == Counts{1, 1}; }));
}

TEST_F(Fleet, ACleanEndTakesItsPresenceWithIt) {
  for (int i = 0; i < 500; ++i) a->store->add_presence("a", {"a" + std::to_string(i), "ann", ""});
  a->store->add_presence("b", {"c", "ann", ""});
  b->store->add_presence("a", {"b", "bob", ""});
  EXPECT_EQ(counts(*a), (Counts{501, 2}));
  a->store->close();
  EXPECT_EQ(counts(*b), (Counts{1, 1}));
  EXPECT_EQ(counts(*b, "b"), (Counts{0, 0}));
}

TEST_F(Fleet, WhoWasAwayForTooLongComesBackWithAllItHas) {
  a->store->add_presence("a", {"c1", "ann", ""});
  b->store->add_presence("a", {"c2", "bob", ""});
  EXPECT_TRUE(pass_until([&] { return counts(*a).first == 2; }));
  clock.advance(60'000);  // both are dead now, and do not know it
  EXPECT_TRUE(
      pass_until([&] { return clients(*a) == Names{"c1", "c2"} && clients(*b) == Names{"c1", "c2"}; }));
  EXPECT_TRUE(pass_until([&] { return b->store->gateways().size() == 2; })) << "the old names are cleared up";
  EXPECT_EQ(counts(*b), (Counts{2, 2}));
}

TEST_F(Fleet, PresenceIsThereAgainWhenRedisHasLostIt) {
  a->store->add_presence("a", {"c1", "ann", ""});
  b->store->add_presence("a", {"c2", "bob", ""});
  EXPECT_TRUE(pass_until([&] { return counts(*a).first == 2; }));
  redis("flushall");
  EXPECT_TRUE(pass_until([&] { return counts(*a) == Counts{2, 2}; }));
  EXPECT_EQ(clients(*b), (Names{"c1", "c2"}));
}

TEST_F(Fleet, PresenceChangesWhileTheMemoryIsFullAreNotForgotten) {
  for (const WhileUnavailable each : {WhileUnavailable::wait, WhileUnavailable::fail}) {
    SCOPED_TRACE(static_cast<int>(each));
    options.while_unavailable = each;
    auto gateway = open();
    const std::string channel = "full" + std::to_string(static_cast<int>(each));
    gateway->store->add_presence(channel, {"c1", "ann", ""});
    EXPECT_EQ(counts(*gateway, channel), (Counts{1, 1}));
    redis("config set maxmemory 1");
    gateway->store->add_presence(channel, {"c2", "bob", ""});
    gateway->store->remove_presence(channel, "c1");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    redis("config set maxmemory 0");
    EXPECT_TRUE(pass_until([&] { return clients(*b, channel) == Names{"c2"}; }));
    EXPECT_EQ(counts(*b, channel), (Counts{1, 1}));
  }
}

TEST_F(Fleet, WhatChangesWhileRedisIsAwayIsBoundedAndRightInTheEnd) {
  RedisProcess server;
  options.endpoint = server.endpoint();
  options.endpoint.command_timeout_ms = 10'000;  // many steps of time: a slow machine is no silent Redis
  auto gateway = open();
  for (int i = 0; i < 10; ++i) gateway->store->add_presence("a", {"c" + std::to_string(i), "ann", ""});
  EXPECT_EQ(counts(*gateway), (Counts{10, 1}));
  EXPECT_TRUE(pass_until([&] { return gateway->store->gateways().size() == 1; }));
  const std::string name = gateway->store->gateways()[0].owner;
  server.stop();
  EXPECT_TRUE(pass_until([&] { return !gateway->store->figures().trouble.empty(); }));
  for (int i = 0; i < 5; ++i) gateway->store->remove_presence("a", "c" + std::to_string(i));
  for (std::size_t i = 0; i <= RedisPresence::kChangesWaiting; ++i)  // more than are remembered
    gateway->store->add_presence("many", {"m" + std::to_string(i), "bob", ""});
  server.cont();
  const std::uint64_t many = RedisPresence::kChangesWaiting + 1;
  EXPECT_TRUE(pass_until([&] {
    const PresenceCounts first = gateway->calls.presence_counts("a");
    return first.clients == 5 && gateway->calls.presence_counts("many").clients == many;
  }));
  EXPECT_EQ(counts(*gateway), (Counts{5, 1}));
  EXPECT_TRUE(pass_until([&] {
    const std::vector<GatewayRecord> all = gateway->store->gateways();
    return all.size() == 1 && all[0].owner != name;
  })) << "it has another name, and the old one is cleared up";
}

TEST_F(Fleet, AfterATakeoverThePresenceIsTheNewProcess) {
  for (int i = 0; i < 300; ++i) a->store->add_presence("a", {"c" + std::to_string(i), "ann", ""});
  EXPECT_EQ(counts(*a), (Counts{300, 1}));
  auto held = a->store->hold_still(std::chrono::steady_clock::now() + std::chrono::seconds(10));
  auto next = make();
  next->store->restore(held->save(), Descriptor());
  EXPECT_EQ(counts(*b), (Counts{300, 1})) << "nothing has begun";
  held->give_away();
  next->store->begin();
  EXPECT_EQ(counts(*next), (Counts{300, 1}));
  next->store->remove_presence("a", "c7");
  EXPECT_EQ(counts(*next), (Counts{299, 1}));
  const std::string old = a->store->gateway();
  a->store.reset();
  clock.advance(3'000);
  EXPECT_TRUE(pass_until([&] {
    const std::vector<GatewayRecord> all = b->store->gateways();
    return all.size() == 2 &&
           std::none_of(all.begin(), all.end(), [&](const auto& each) { return each.id == old; });
  })) << "the old one is cleared up";
  EXPECT_EQ(counts(*b), (Counts{299, 1}));
  EXPECT_EQ(clients(*b).size(), 299U);
}

TEST_F(Fleet, PresenceOutlivesARestartOfRedisThatLosesEverything) {
  RedisProcess server;
  options.endpoint = server.endpoint();
  auto gateway = open();
  gateway->store->add_presence("a", {"c1", "ann", ""});
  EXPECT_EQ(counts(*gateway), (Counts{1, 1}));
  server.kill();
  gateway->store->add_presence("a", {"c2", "bob", ""});
  gateway->store->remove_presence("a", "c1");
  server.start();
  EXPECT_TRUE(pass_until([&] { return gateway->calls.presence_counts("a").clients == 1; }));
  EXPECT_EQ(clients(*gateway), Names{"c2"});
}

TEST_F(Fleet, ReadsSayThatRedisIsAway) {
  RedisProcess server;
  options.endpoint = server.endpoint();
  options.while_unavailable = WhileUnavailable::fail;
  auto gateway = open();
  server.kill();
  StoreError error = StoreError::none;
  for (int i = 0; i < 500 && error == StoreError::none; ++i) {
    error = gateway->calls.presence_counts("a").error;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(error, StoreError::unavailable);
  EXPECT_EQ(gateway->calls.presence("a").error, StoreError::unavailable);
  EXPECT_EQ(gateway->calls.add("a", {"ann"}).error, StoreError::unavailable);
}

TEST_F(Fleet, TheEndAnswersReadsThatWaitBehindChanges) {
  RedisProcess server;
  options.endpoint = server.endpoint();
  options.endpoint.command_timeout_ms = 60'000;
  auto gateway = open();
  server.stop();
  gateway->store->add_presence("a", {"c1", "ann", ""});
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // it is under way
  gateway->store->add_presence("a", {"c2", "ann", ""});
  std::atomic<int> answers{0};
  gateway->store->presence_counts("a", [&](const PresenceCounts& counts) {
    EXPECT_EQ(counts.error, StoreError::closed);
    ++answers;
  });
  gateway->store->presence("a", {"", 1'000}, [&](const PresenceResult& result) {
    EXPECT_EQ(result.error, StoreError::closed);
    ++answers;
  });
  gateway->store->close();
  EXPECT_EQ(answers, 2);
  server.cont();
}

TEST_F(Fleet, GatewaysKnowEachOther) {
  EXPECT_TRUE(pass_until([&] { return a->store->gateways().size() == 2; }));
  std::set<std::string> ids;
  for (const GatewayRecord& each : a->store->gateways()) {
    EXPECT_TRUE(each.is_alive);
    EXPECT_EQ(each.version, "1.2");
    EXPECT_LT(each.heartbeat_age_ms, options.dead_ms);
    ids.insert(each.id);
  }
  EXPECT_EQ(ids, (std::set<std::string>{a->store->gateway(), b->store->gateway()}));
  b->store->close();
  EXPECT_TRUE(pass_until([&] { return a->store->gateways().size() == 1; }));
}

// ---- members

TEST_F(Fleet, MembersOfOneGatewayAreWalkedByAnother) {
  a->calls.add("a", {"ann", "bob", "cid"});
  EXPECT_EQ(b->calls.append("a", entry_of("x")).members, 3U);
  EXPECT_EQ(b->calls.enter("a").entered, 3U);
  EXPECT_EQ(a->calls.enter("a").entered, 0U) << "nobody gets it twice";
  for (const std::string user : {"ann", "bob", "cid"}) {
    EXPECT_EQ(a->calls.unread(user, "a"), 1U);
    EXPECT_EQ(a->calls.inbox(user).entered.size(), 1U);
  }
  EXPECT_EQ(b->calls.mark_read("ann", "a", 1), StoreError::none);
  EXPECT_EQ(a->calls.unread("ann", "a"), 0U);
}

TEST_F(Fleet, AWalkBelongsToOneGateway) {
  a->calls.add("a", {"ann", "bob", "cid"});
  a->calls.append("a", entry_of("x"));
  EXPECT_EQ(a->calls.enter("a", 1).entered, 1U);
  const EnterStep refused = b->calls.enter("a", 1);
  EXPECT_TRUE(refused.is_done);
  EXPECT_EQ(refused.entered, 0U);
  b->calls.append("a", entry_of("y"));
  settle_walks(*a, "a", 1);
  EXPECT_EQ(a->calls.inbox("cid").entered.size(), 1U) << "both, by the one who walks";
  EXPECT_EQ(a->calls.inbox("cid").entered[0].last, 2U);
  b->calls.append("a", entry_of("z"));
  EXPECT_EQ(b->calls.enter("a").entered, 3U) << "it is over: the next one may have it";
}

TEST_F(Fleet, AWalkerThatDoesNotComeBackLosesTheWalk) {
  a->calls.add("a", {"ann", "bob", "cid"});
  a->calls.append("a", entry_of("x"));
  a->calls.enter("a", 1);
  EXPECT_TRUE(pass_until([&] { return b->calls.enter("a", 1).entered == 1; }));
  EXPECT_EQ(a->calls.enter("a", 1).entered, 0U) << "now it is the other's";
  EXPECT_EQ(b->calls.enter("a", 1).entered, 1U);
  EXPECT_EQ(b->calls.inbox("cid").entered.size(), 1U);
}

TEST_F(Fleet, AWalkOfALogThatIsGoneIsNoneOfTheNextLog) {
  a->calls.add("a", {"ann", "bob", "cid"});
  for (int i = 0; i < 3; ++i) a->calls.append("a", entry_of("x"));
  a->calls.enter("a", 1);
  const RedisKeys keys(options.prefix);
  redis("del '" + keys.channel("a") + "' '" + keys.stream("a") + "'");  // while the walk is half done
  a->calls.add("a", {"dee"});
  EXPECT_EQ(a->calls.append("a", entry_of("y")).position.offset, 1U);
  const EnterStep step = a->calls.enter("a", 1);
  EXPECT_EQ(step.entered_to, 0U) << "publishers are answered up to here";
  settle_walks(*a, "a", 1);
  EXPECT_EQ(a->calls.enter("a", 1).entered_to, 1U);
}

TEST_F(Fleet, EnteringTwiceHasNoEffect) {
  a->calls.add("a", {"ann", "bob", "cid"});
  a->calls.append("a", entry_of("x"));
  EXPECT_EQ(a->calls.enter("a", 2).entered, 2U);
  // The members of this step have it, and the walk does not know: its gateway died in between.
  redis("hdel '" + RedisKeys(options.prefix).of_channel('w', "a") + "' a");
  EXPECT_EQ(a->calls.enter("a", 2).entered, 0U);
  EXPECT_EQ(a->calls.enter("a", 2).entered, 1U);
  for (const std::string user : {"ann", "bob", "cid"}) {
    ASSERT_EQ(b->calls.inbox(user).entered.size(), 1U);
    EXPECT_EQ(b->calls.inbox(user).entered[0].size(), 1U);
  }
}

TEST_F(Fleet, AnotherGoesOnWhenTheWalkerDies) {
  Names users;
  for (int i = 0; i < 1'500; ++i) users.push_back("u" + std::to_string(i));
  EXPECT_EQ(a->calls.add("a", users).members, 1'500U);
  EXPECT_EQ(a->calls.append("a", entry_of("x")).error, StoreError::none);
  EXPECT_EQ(a->calls.enter("a", 50'000).entered, RedisMembers::kEnteredAtOnce) << "a step is bounded";
  a->calls.append("a", entry_of("y"));
  a->die();
  const auto entered = [&](const std::string& user) {
    std::uint64_t count = 0;
    for (const InboxRange& range : b->calls.inbox(user).entered) count += range.size();
    return count;
  };
  // Nobody asks for it: who clears up behind the dead one does it.
  EXPECT_TRUE(pass_until([&] {
    return std::all_of(users.begin(), users.end(),
                       [&](const std::string& user) { return entered(user) == 2; });
  }));
  for (const std::string& user : users) {
    const InboxContent inbox = b->calls.inbox(user);
    EXPECT_TRUE(inbox.merged.empty()) << user;
    EXPECT_EQ(entered(user), 2U) << user;
  }
}

/// Counts what a store writes into inboxes for gateways that have died.
struct FinishedWalks final : StoreListener {
  void on_announced(const Announcement& /*announcement*/) override {}
  void on_walk_finished(std::size_t inboxes) override { entered += inboxes; }
  std::atomic<std::size_t> entered{0};
};

TEST_F(Fleet, WhoGoesOnForADeadWalkerCountsWhatItEnters) {
  Names users;
  for (int i = 0; i < 700; ++i) users.push_back("u" + std::to_string(i));
  a->calls.add("a", users);
  a->calls.append("a", entry_of("x"));
  EXPECT_EQ(a->calls.enter("a", 200).entered, 200U);
  FinishedWalks finished;
  auto last = make();
  last->store->set_listener(&finished);
  last->store->open();
  a->die();
  b->die();
  EXPECT_TRUE(pass_until([&] { return finished.entered == 500; })) << finished.entered;
  last->store->close();
}

TEST_F(Fleet, WhatNoWalkHasEnteredIsUnreadAllTheSame) {
  a->calls.add("a", {"ann"});
  a->calls.append("a", entry_of("x"));
  a->die();  // between the append and the walk
  const InboxContent inbox = b->calls.inbox("ann");
  EXPECT_EQ(b->calls.unread("ann", "a"), 1U);
  ASSERT_EQ(inbox.merged.size(), 1U);
  b->calls.append("a", entry_of("y"));
  settle_walks(*b, "a");
  EXPECT_EQ(b->calls.inbox("ann").entered.size(), 1U);
  EXPECT_TRUE(b->calls.inbox("ann").merged.empty());
}

TEST_F(Fleet, AChangeOfMembersThatNobodyEndedIsEndedByTheNextWalk) {
  a->calls.add("a", {"bob"});
  a->calls.append("a", entry_of("x"));
  settle_walks(*a, "a");
  // What a gateway leaves that dies when the channel has the change, and the users' keys do not.
  const RedisKeys keys(options.prefix);
  redis("zadd '" + keys.of_channel('m', "a") + "' 0 ann");
  redis("zrem '" + keys.of_channel('m', "a") + "' bob");
  redis("hset '" + keys.of_channel('j', "a") + "' ann 9000000000000+1 bob 9000000000001-1");
  a->calls.append("a", entry_of("y"));
  settle_walks(*a, "a");
  EXPECT_EQ(a->calls.inbox("ann").entered.size(), 1U);
  EXPECT_EQ(a->calls.unread("ann", "a"), 1U);
  EXPECT_EQ(a->calls.unread("bob", "a"), 1U) << "only what was published before it was removed";
  EXPECT_EQ(redis("exists '" + keys.of_channel('j', "a") + "'"), "0\n");
}

TEST_F(Fleet, AChangeOfMembersThatADeadGatewayLeftIsEnded) {
  a->calls.add("a", {"bob"});
  a->calls.append("a", entry_of("x"), {.mode = FanOutMode::read});  // no walk ends it by the way
  const RedisKeys keys(options.prefix);
  redis("hset '" + keys.of_channel('j', "a") + "' ann 9000000000000+0");
  EXPECT_EQ(b->calls.unread("ann", "a"), 0U);
  a->die();
  EXPECT_TRUE(pass_until([&] { return b->calls.unread("ann", "a") == 1; }));
  EXPECT_EQ(redis("exists '" + keys.of_channel('j', "a") + "'"), "0\n");
}

TEST_F(Fleet, AWalkThatNobodyAsksForAnyMoreIsEndedByItsGateway) {
  a->calls.add("a", {"ann", "bob", "cid"});
  a->calls.append("a", entry_of("x"));
  EXPECT_EQ(a->calls.enter("a", 1).entered, 1U);
  EXPECT_TRUE(pass_until([&] { return b->calls.inbox("cid").entered.size() == 1; }, 2'500));
  EXPECT_TRUE(b->calls.enter("a").is_done);
}

/// What Redis takes for it. Not for CI: it measures the machine.
TEST_F(Fleet, DISABLED_AWalkOver50000Members) {
  Names users;
  for (int i = 0; i < 50'000; ++i) users.push_back("user-" + std::to_string(i));
  redis("config set slowlog-max-len 1000");
  redis("config set slowlog-log-slower-than 1000");
  redis("config resetstat");
  const SystemClock real;
  const auto measured = [&](const std::string& what, const auto& call) {
    redis("slowlog reset");
    const auto cpu = [&] { return std::stod(redis("info cpu | grep used_cpu_user: | cut -d: -f2")); };
    const double before = cpu();
    const Millis begin = real.now_ms();
    call();
    const Millis took = real.now_ms() - begin;
    // Their times contain those in which the server did not run: the median is near to what they take.
    std::cout
        << what << ": " << took << " ms, of Redis " << cpu() - before
        << " s; commands above 1 ms: " << redis("slowlog len") << "median and longest of them, us: "
        << redis(
               "--raw slowlog get 1000 | grep -a -B1 -E '^EVALSHA|^Z' | grep -a -E '^[0-9]+$' | sort -n | "
               "awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)], all[NR] }'")
        << std::endl;
  };
  measured("add", [&] { EXPECT_EQ(a->calls.add("a", users).members, users.size()); });
  a->calls.append("a", entry_of("x"));
  measured("walk", [&] { settle_walks(*a, "a"); });
  a->calls.append("a", entry_of("y"));
  measured("walk again", [&] { settle_walks(*a, "a"); });
  EXPECT_EQ(b->calls.inbox("user-49999").entered.at(0).last, 2U);
  measured("list", [&] { EXPECT_EQ(a->calls.members("a", "", 100'000).users.size(), users.size()); });
  for (const std::string& user : users) a->store->add_presence("p", {user, user, "{}"});
  measured("presence", [&] { EXPECT_EQ(counts(*a, "p").first, users.size()); });
  measured("read it",
           [&] { EXPECT_EQ(b->calls.presence("p", {"", 100'000'000}).members.size(), users.size()); });
  measured("remove", [&] { EXPECT_EQ(a->calls.remove("a", users).members, 0U); });
}

TEST_F(Fleet, AChannelWithMembersOutlivesItsLifetime) {
  a->calls.add("a", {"ann"});
  const RedisKeys keys(options.prefix);
  const auto lifetime = [&] { return redis("pttl '" + keys.channel("a") + "'"); };
  EXPECT_EQ(lifetime(), "-1\n");
  clock.advance(options.limits.channel_lifetime_ms / 2);
  a->calls.append("a", entry_of("x"));
  EXPECT_EQ(lifetime(), "-1\n");
  a->calls.remove("a", {"ann"});
  EXPECT_NE(lifetime(), "-1\n");
}

TEST_F(Fleet, ANewEpochKeepsReadPositions) {
  a->calls.add("a", {"ann"});
  for (int i = 0; i < 3; ++i) a->calls.append("a", entry_of("x"));
  settle_walks(*a, "a");
  a->calls.mark_read("ann", "a", 2);
  const RedisKeys keys(options.prefix);
  redis("hset '" + keys.channel("a") + "' i of_another_primary");
  const Epoch before = a->calls.inbox("ann").entered.at(0).epoch;
  EXPECT_EQ(a->calls.append("a", entry_of("y")).position.offset, 4U);
  settle_walks(*a, "a");
  EXPECT_EQ(a->calls.unread("ann", "a"), 2U);
  EXPECT_EQ(a->calls.inbox("ann").entered.at(0).epoch, a->calls.top("a").top.epoch);
  EXPECT_EQ(before, a->calls.top("a").top.epoch) << "the inbox has adopted the channel";
}

// ---- everything at once, against a model

/// What every user has not read of every channel, kept the simplest way.
struct UnreadModel {
  std::map<std::string, std::map<std::string, std::set<Offset>>> unread;  // by user and channel
  std::map<std::string, std::set<std::string>> members;                   // by channel
};

struct FleetModel : Fleet {
  void run_world(std::uint64_t seed) {
    SeededRandom dice(seed);
    options.prefix = "world" + std::to_string(seed);
    options.limits.inbox_entries = 1 + dice.below(8);
    a = open();
    b = open();
    const Names channels{"c0", std::string("c\0\xff 1", 6), "c{2}", ""};
    const Names users{"ann", std::string("b\0b", 3), "c c", "", "{dee}"};
    UnreadModel model;
    std::map<std::string, Offset> tops;
    for (int step = 0; step < 120 && !HasFailure(); ++step) {
      const std::string& channel = channels[dice.below(channels.size())];
      const std::string& user = users[dice.below(users.size())];
      FleetGateway& gateway = dice.chance(50) ? *a : *b;
      switch (dice.below(9)) {
        case 0:
          EXPECT_EQ(gateway.calls.add(channel, {user}).error, StoreError::none);
          model.members[channel].insert(user);
          break;
        case 1:
          model.members[channel].erase(user);
          EXPECT_EQ(gateway.calls.remove(channel, {user}).members, model.members[channel].size());
          break;
        case 2: {
          const Offset offset = dice.below(tops[channel] + 1);
          EXPECT_EQ(gateway.calls.mark_read(user, channel, offset), StoreError::none);
          auto& left = model.unread[user][channel];
          left.erase(left.begin(), left.upper_bound(offset));
          break;
        }
        case 3:
          gateway.calls.enter(channel, 1 + dice.below(3));
          break;
        case 4:
          if (dice.chance(20)) {  // the other goes on
            auto& dying = dice.chance(50) ? a : b;
            dying->die();
            dying = open();
          }
          break;
        case 5:
          check(user, model, 1 + dice.below(5));
          break;
        default: {
          const FanOutMode mode = dice.chance(30) ? FanOutMode::read : FanOutMode::write;
          const AppendResult result = gateway.calls.append(channel, entry_of("x"), {.mode = mode});
          EXPECT_EQ(result.position.offset, ++tops[channel]);
          EXPECT_EQ(result.members, model.members[channel].size());
          for (const std::string& each : model.members[channel])
            model.unread[each][channel].insert(tops[channel]);
        }
      }
      for (const std::string& each : users) {
        if (b->calls.inbox(each, 0).is_incomplete) return;  // what the model does not know
      }
      if (step % 20 != 19) continue;
      for (const std::string& each : users) check(each, model, 10'000);
    }
  }
  /// All that is unread is shown, once; with a small limit the first of it, so that reading on skips nothing.
  void check(const std::string& user, UnreadModel& model, std::size_t limit) {
    FleetGateway& gateway = *b;
    const InboxContent content = gateway.calls.inbox(user, limit);
    std::map<std::string, std::set<Offset>> shown;
    std::uint64_t entered = 0;
    for (const auto* ranges : {&content.entered, &content.merged}) {
      for (const InboxRange& range : *ranges) {
        for (Offset offset = range.first; offset <= range.last; ++offset)
          EXPECT_TRUE(shown[range.channel].insert(offset).second) << offset << " twice";
        if (ranges == &content.entered) entered += range.size();
      }
    }
    EXPECT_LE(entered, std::min(limit, options.limits.inbox_entries));
    std::map<std::string, std::uint64_t> counts;
    for (const auto& [channel, offsets] : model.unread[user]) {
      if (!offsets.empty()) counts[channel] = offsets.size();
      EXPECT_EQ(gateway.calls.unread(user, channel), offsets.size());
      const std::set<Offset>& mine = shown[channel];
      if (limit >= 10'000) {
        EXPECT_EQ(mine, offsets) << channel;
      } else {  // no hole before the last one that is shown
        EXPECT_TRUE(std::equal(mine.begin(), mine.end(), offsets.begin())) << channel;
      }
    }
    EXPECT_EQ((std::map<std::string, std::uint64_t>(content.unread.begin(), content.unread.end())), counts);
  }
};

TEST_F(FleetModel, EveryUserHasExactlyWhatIsUnreadWhateverHappens) {
  for (std::uint64_t seed = 1; seed <= 25 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    run_world(seed);
  }
}

}  // namespace
}  // namespace carillon
