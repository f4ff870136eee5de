// The nodes of a cluster step by step, without a server: which node is asked, and what becomes of calls and
// subscriptions when slots move and nodes go.
#include "store/redis/redis_cluster.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>

#include "store/redis/redis_gateways.hpp"
#include "store/redis/redis_presence.hpp"
#include "store/redis/redis_slots.hpp"
#include "store/redis_world.hpp"

namespace carillon {
namespace {

using Texts = std::vector<std::string>;

/// A link to a node, which a test plays.
class NodeLink final : public RedisLink {
 public:
  NodeLink(RedisAddress address, RedisLinkEvents& link_events, std::vector<NodeLink*>& all)
      : at(std::move(address)), events(link_events), all_(all) {
    all_.push_back(this);
  }
  ~NodeLink() override { std::erase(all_, this); }
  void send(std::span<const RedisCommand> commands) override { recorded.send(commands); }
  void renew(const std::string& reason) override { recorded.renew(reason); }

  RedisAddress at;
  RedisLinkEvents& events;
  RecordedLink recorded;

 private:
  std::vector<NodeLink*>& all_;
};

struct RedisClusterSteps : testing::Test {
  using Words = std::vector<std::string>;
  using Slots = std::vector<std::tuple<int, int, std::uint16_t>>;  // first, last, port

  RedisClusterSteps() {
    options.endpoint.cluster_nodes = {{"seed", 1}, {"seed", 2}};
    cluster.set_listener(&log.machine_listener());
    log.set_listener(&journal);
  }
  ~RedisClusterSteps() override {
    log.close();
    cluster.close();
  }

  void turn() {
    log.flush();
    cluster.flush();
  }
  void pass(Millis ms) {
    clock.advance(ms);
    log.tick();
    cluster.tick();
    turn();
  }
  /// The link of a node: the one that is up, else the newest.
  [[nodiscard]] NodeLink& link(std::uint16_t port) {
    NodeLink* found = nullptr;
    for (NodeLink* each : links) {
      if (each->at.port == port && (found == nullptr || !is_up.contains(found))) found = each;
    }
    if (found == nullptr) throw std::runtime_error("no link to " + std::to_string(port));
    return *found;
  }
  [[nodiscard]] bool has_link(std::uint16_t port) const {
    return std::any_of(links.begin(), links.end(), [port](NodeLink* each) { return each->at.port == port; });
  }
  void reply(std::uint16_t port, RedisReply answer) {
    link(port).events.on_reply(std::move(answer));
    turn();
  }
  void push(std::uint16_t port, const Words& words) {
    link(port).events.on_push(array_reply(words));
    turn();
  }
  static RedisReply slots_reply(const Slots& slots) {
    RedisReply all{RedisReply::Kind::array, {}, {}};
    for (const auto& [first, last, port] : slots) {
      RedisReply range = array_reply({std::to_string(first), std::to_string(last)});
      range.items.push_back(array_reply({"node", std::to_string(port), "id"}));
      all.items.push_back(std::move(range));
    }
    return all;
  }
  /// A question is under way: somebody answers it.
  void tell_slots(const Slots& slots) {
    for (int i = 0; i < 100 && question() == nullptr; ++i) pass(100);
    NodeLink* const asked = question();
    ASSERT_NE(asked, nullptr);
    asked->events.on_link_up();
    EXPECT_EQ(names_of(asked->recorded.sent), (Texts{"CLUSTER", "CLUSTER"}));
    asked->events.on_reply(text_reply("cluster_enabled:1\r\ncluster_state:ok\r\n"));
    asked->events.on_reply(slots_reply(slots));
    turn();
  }
  /// The link of the question, to which nothing has been answered: a question has no machine behind it.
  [[nodiscard]] NodeLink* question() {
    for (NodeLink* each : links) {
      if (each->recorded.sent.empty() && !is_up.contains(each)) return each;
    }
    return nullptr;
  }
  void come_up(std::uint16_t port, const std::string& identity) {
    NodeLink& node = link(port);
    is_up.insert(&node);
    node.recorded.sent.clear();
    node.events.on_link_up();
    turn();
    node.recorded.sent.clear();
    for (std::size_t i = 0; i < kRedisScripts; ++i)
      node.events.on_reply(text_reply(std::string(redis_script_name(static_cast<RedisScript>(i)))));
    answer_identity(port, identity);
  }
  void answer_identity(std::uint16_t port, const std::string& identity, const std::string& role = "master") {
    reply(port, text_reply("role:" + role + "\r\nmaster_replid:" + identity + "\r\n"));
  }
  /// Three nodes, each with a third of the slots.
  void start() {
    tell_slots(kThirds);
    come_up(7001, "i1");
    come_up(7002, "i2");
    EXPECT_FALSE(cluster.is_ready());
    come_up(7003, "i3");
    EXPECT_TRUE(cluster.is_ready());
    pass(0);
    for (NodeLink* each : links) each->recorded.sent.clear();
    journal.doubts = 0;
  }
  [[nodiscard]] static std::string name_of(const Words& words) {
    return words[0] == "EVALSHA" ? words[1] : words[0];
  }
  [[nodiscard]] static Texts names_of(const std::vector<Words>& sent) {
    Texts names;
    for (const Words& words : sent) names.push_back(name_of(words));
    return names;
  }
  /// What was sent to a node since the last look, without the questions for its identity.
  std::vector<Words> take_sent(std::uint16_t port) {
    std::vector<Words> sent;
    for (NodeLink* each : links) {
      if (each->at.port != port || !is_up.contains(each)) continue;
      sent = std::exchange(each->recorded.sent, {});
      std::erase_if(sent, [](const Words& words) { return words[0] == "INFO"; });
    }
    return sent;
  }
  Texts take_names(std::uint16_t port) { return names_of(take_sent(port)); }
  /// A channel at home in one third of the slots.
  [[nodiscard]] std::string channel_in(int third, int which = 0) const {
    for (int i = 0;; ++i) {
      std::string name = "c" + std::to_string(i);
      const int slot = slot_of(name);
      if ((slot <= 5'460 ? 1 : slot <= 10'922 ? 2 : 3) == third && which-- == 0) return name;
    }
  }
  [[nodiscard]] int slot_of(const std::string& channel) const { return redis_slot_of(keys.channel(channel)); }
  /// The thirds, with one slot at another node.
  [[nodiscard]] static Slots with_slot_at(int slot, std::uint16_t port) {
    Slots slots = kThirds;
    slots.emplace_back(slot, slot, port);
    return slots;
  }
  void append(const std::string& channel, const std::string& data) {
    RedisAppend asked;
    asked.channel = channel;
    encode_entry(*entry_of(data), asked.bytes);
    asked.done = [this, data](const AppendResult& result) {
      results.push_back(data + '=' + std::to_string(static_cast<int>(result.error)) + ':' +
                        std::to_string(result.position.offset));
    };
    log.append(std::move(asked));
    turn();
  }
  /// Others know the gateway: presence is written under its name from now on.
  void register_at_once(RedisGateways& gateways) {
    gateways.set_on_beat([](bool) {});
    gateways.on_ready();
    turn();
    for (const std::uint16_t port : {7001, 7002, 7003}) {
      for (const std::string& name : take_names(port))
        reply(port, name == "gateway_beat" ? array_reply({"ok", "1000"}) : text_reply("OK"));
    }
    ASSERT_TRUE(gateways.is_registered());
  }
  void answer_group(std::uint16_t port, const std::string& answers) {
    reply(port, array_reply({"ok", "AAAAAAAA", "99", "0", answers}));
  }
  void follow(const std::string& channel, std::uint16_t port, Offset top) {
    log.follow(channel, [](const TopResult&) {});
    turn();
    take_names(port);
    reply(port, array_reply({"ok", "AAAAAAAA", std::to_string(top), "0"}));
  }
  [[nodiscard]] static std::string announcement_of(const std::string& data, Offset offset) {
    std::string bytes;
    encode_entry(*entry_of(data), bytes);
    return "a AAAAAAAA w 0 1\n" + std::to_string(offset) + ' ' + std::to_string(bytes.size()) + '\n' + bytes;
  }
  Texts take_results() { return std::exchange(results, {}); }
  static std::string error(StoreError error) { return std::to_string(static_cast<int>(error)); }

  static inline const Slots kThirds{{0, 5'460, 7001}, {5'461, 10'922, 7002}, {10'923, 16'383, 7003}};

  RedisOptions options = [] {
    RedisOptions made;
    made.prefix = "test";
    return made;
  }();
  VirtualClock clock;
  SeededRandom random{1};
  std::vector<NodeLink*> links;
  std::set<NodeLink*> is_up;
  RedisKeys keys{"test"};
  RedisCluster cluster{options, clock, random,
                       [this](const RedisAddress& address, RedisLinkEvents& events) {
                         return std::make_unique<NodeLink>(address, events, links);
                       },
                       [] {}};
  RedisLog log{options, keys, "gatewayA", cluster, clock};
  DoubtJournal journal;
  Texts results;
};

TEST_F(RedisClusterSteps, CallsGoToTheNodesOfTheirSlots) {
  const Texts channels{channel_in(1), channel_in(2), channel_in(3)};
  append(channels[0], "before there is a map");
  start();
  EXPECT_EQ(results, Texts{});
  answer_group(7001, "1");
  EXPECT_EQ(take_results(), Texts{"before there is a map=0:1"});
  for (std::uint16_t i = 0; i < 3; ++i) append(channels[i], "x");
  for (std::uint16_t i = 0; i < 3; ++i) {
    const auto sent = take_sent(static_cast<std::uint16_t>(7001 + i));
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0][3], keys.channel(channels[i]));
    EXPECT_EQ(sent[0][3 + std::stoul(sent[0][2])], "i" + std::to_string(i + 1)) << "each has its identity";
    EXPECT_EQ(sent[0][4 + std::stoul(sent[0][2])], "s") << "announced at this node";
  }
}

TEST_F(RedisClusterSteps, ItIsReadyWhenAllAreAndWhatIsFollowedIsSubscribedAtTheNodesOfItsSlots) {
  EXPECT_FALSE(cluster.is_ready());
  const Texts channels{channel_in(1), channel_in(2)};
  for (const std::string& each : channels) log.follow(each, [](const TopResult&) {});
  tell_slots(kThirds);
  std::map<std::string, std::uint16_t> subscribed;
  for (const std::uint16_t port : {7001, 7002, 7003}) {
    come_up(port, "i");
    for (const Words& words : take_sent(port)) {
      if (words[0] == "EVALSHA") continue;
      EXPECT_EQ(words[0], words[1].find('{') == std::string::npos ? "SUBSCRIBE" : "SSUBSCRIBE");
      for (std::size_t i = 1; i < words.size(); ++i) subscribed[words[i]] = port;
    }
  }
  // The names of gateways are told to all nodes ready, so these may have been sent to earlier ones.
  turn();
  for (const std::uint16_t port : {7001, 7002}) {
    for (const Words& words : take_sent(port)) subscribed[words[1]] = port;
  }
  const auto home = [](const std::string& name) {
    const int slot = redis_slot_of(name);
    return static_cast<std::uint16_t>(slot <= 5'460 ? 7001 : slot <= 10'922 ? 7002 : 7003);
  };
  for (const std::string& name : {keys.announcements(channels[0]), keys.announcements(channels[1]),
                                  keys.told(""), keys.told("gatewayA"), keys.of_all("moving")}) {
    ASSERT_TRUE(subscribed.contains(name)) << name;
    EXPECT_EQ(subscribed[name], home(name)) << name;
  }
  EXPECT_EQ(journal.doubts, 1);
}

TEST_F(RedisClusterSteps, AGroupThatIsMovedGoesOnAtTheOtherNodeWithItsNumberAheadOfWhatWaits) {
  start();
  const std::string channel = channel_in(1);
  follow(channel, 7001, 0);
  append(channel, "1");
  const auto first = RedisWorld::group_of(take_sent(7001).at(0));
  append(channel, "2");
  reply(7001, error_reply("MOVED " + std::to_string(slot_of(channel)) + " node:7002"));
  EXPECT_EQ(take_names(7001), Texts{});
  auto sent = take_sent(7002);
  ASSERT_EQ(names_of(sent), (Texts{"SSUBSCRIBE", "append"})) << "nothing is announced there unheard";
  EXPECT_EQ(sent[0][1], keys.announcements(channel));
  EXPECT_EQ(RedisWorld::group_of(sent[1]).number, first.number);
  EXPECT_EQ(RedisWorld::group_of(sent[1]).data, first.data);
  EXPECT_GE(journal.doubts, 1);
  answer_group(7002, "1");
  sent = take_sent(7002);
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(RedisWorld::group_of(sent[0]).data, Texts{"2"});
  answer_group(7002, "2");
  EXPECT_EQ(take_results(), (Texts{"1=0:1", "2=0:2"}));
  // Others of the slot's old node stay there; the map is asked for, of the node that was named.
  append(channel_in(1, 1), "x");
  EXPECT_EQ(take_names(7001), Texts{"append"});
  pass(options.endpoint.retry_pause_ms);
  ASSERT_NE(question(), nullptr);
  EXPECT_EQ(question()->at.port, 7002);
}

TEST_F(RedisClusterSteps, ARedirectionToANodeThatIsNotKnownConnectsToIt) {
  start();
  const std::string channel = channel_in(3);
  append(channel, "1");
  reply(7003, error_reply("MOVED " + std::to_string(slot_of(channel)) + " node:7004"));
  ASSERT_TRUE(has_link(7004));
  EXPECT_EQ(results, Texts{});
  come_up(7004, "i4");
  EXPECT_EQ(take_names(7004), Texts{"append"});
  answer_group(7004, "1");
  EXPECT_EQ(take_results(), Texts{"1=0:1"});
}

TEST_F(RedisClusterSteps, NodesThatNameEachOtherAreAskedWithPauses) {
  start();
  const std::string channel = channel_in(1);
  append(channel, "1");
  std::uint16_t at = 7001;
  int redirections = 0;
  for (; redirections < 100 && !take_names(at).empty(); ++redirections) {
    const std::uint16_t other = at == 7001 ? 7002 : 7001;
    reply(at, error_reply("MOVED " + std::to_string(slot_of(channel)) + " node:" + std::to_string(other)));
    at = other;
  }
  EXPECT_EQ(redirections, RedisCluster::kRedirections);
  pass(options.endpoint.retry_pause_ms);
  EXPECT_EQ(take_names(at), Texts{"append"});
  pass(options.wait_ms);
  EXPECT_EQ(take_results(), Texts{"1=" + error(StoreError::outcome_unknown) + ":0"});
}

TEST_F(RedisClusterSteps, AskIsForOneCallAndIsAnnouncedAtAllNodes) {
  start();
  const std::string channel = channel_in(1);
  append(channel, "1");
  take_sent(7001);
  reply(7001, error_reply("ASK " + std::to_string(slot_of(channel)) + " node:7002"));
  auto sent = take_sent(7002);
  ASSERT_EQ(names_of(sent), (Texts{"ASKING", "append"}));
  EXPECT_EQ(sent[1][4 + std::stoul(sent[1][2])], "a");
  reply(7002, text_reply("OK"));
  reply(7002, array_reply({"adopt"}));
  EXPECT_EQ(take_names(7002), (Texts{"ASKING", "adopt"}));
  reply(7002, text_reply("OK"));
  reply(7002, array_reply({"is", "i2"}));
  EXPECT_EQ(take_names(7002), (Texts{"ASKING", "append"}));
  reply(7002, text_reply("OK"));
  answer_group(7002, "1");
  EXPECT_EQ(take_results(), Texts{"1=0:1"});
  append(channel, "2");
  EXPECT_EQ(take_names(7002), Texts{});
  EXPECT_EQ(take_names(7001), Texts{"append"}) << "the slot has not moved yet";
}

TEST_F(RedisClusterSteps, WhatIsAnnouncedWhileItsSlotMovesIsHeard) {
  start();
  const std::string channel = channel_in(1);
  follow(channel, 7001, 3);
  const std::string name = keys.announcements(channel);
  push(7001, {"smessage", name, announcement_of("x", 4)});
  push(7003, {"message", keys.of_all("moving"),
              std::to_string(name.size()) + ' ' + name + announcement_of("y", 5)});
  for (const std::string message : {"", "9", "x", "99 a", "0 ", "18446744073709551616 a"})
    push(7003, {"message", keys.of_all("moving"), message});
  EXPECT_EQ(journal.lines(), (Texts{channel + ":4", channel + ":5"}));
}

TEST_F(RedisClusterSteps, TryAgainIsTriedAgainAfterAPause) {
  start();
  append(channel_in(2), "1");
  take_sent(7002);
  reply(7002, error_reply("TRYAGAIN Multiple keys request during rehashing of slot"));
  EXPECT_EQ(take_names(7002), Texts{});
  pass(options.endpoint.retry_pause_ms);
  EXPECT_EQ(take_names(7002), Texts{"append"});
}

TEST_F(RedisClusterSteps, ANewMapMovesSubscriptionsAndPutsThemInDoubt) {
  start();
  const std::string channel = channel_in(1);
  follow(channel, 7001, 0);
  journal.doubts = 0;
  tell_slots(with_slot_at(slot_of(channel), 7003));
  EXPECT_EQ(take_names(7003), Texts{"SSUBSCRIBE"});
  EXPECT_EQ(journal.doubts, 1);
  append(channel, "1");
  EXPECT_EQ(take_names(7003), Texts{"append"});
  tell_slots(with_slot_at(slot_of(channel), 7003));
  EXPECT_EQ(take_names(7003), Texts{});
  EXPECT_EQ(journal.doubts, 1) << "nothing has changed";
}

TEST_F(RedisClusterSteps, WhatGatewaysTellEachOtherFollowsItsSlotToo) {
  start();
  const std::string name = keys.told("gatewayA");
  const int slot = redis_slot_of(name);
  const auto home = static_cast<std::uint16_t>(slot <= 5'460 ? 7001 : slot <= 10'922 ? 7002 : 7003);
  const auto other = static_cast<std::uint16_t>(home == 7001 ? 7002 : 7001);
  tell_slots(with_slot_at(slot, other));
  EXPECT_EQ(take_sent(home), (std::vector<Words>{{"UNSUBSCRIBE", name}})) << "else it is heard twice";
  EXPECT_EQ(take_sent(other), (std::vector<Words>{{"SUBSCRIBE", name}}));
  log.told().tell("gatewayA", "x", [](StoreError, std::size_t) {});
  turn();
  EXPECT_EQ(take_names(other), Texts{"PUBLISH"}) << "where all of them have subscribed";
}

TEST_F(RedisClusterSteps, OrdersThatWereMissedWhileTheirSlotMovedAreReadBehindTheNewSubscription) {
  struct Deaf final : GatewayListener {
    void on_told(std::string_view, std::string_view) override {}
  } listener;
  log.told().set_listener(&listener);
  start();
  const std::string name = keys.told("");
  const int slot = redis_slot_of(name);
  const auto home = static_cast<std::uint16_t>(slot <= 5'460 ? 7001 : slot <= 10'922 ? 7002 : 7003);
  const auto other = static_cast<std::uint16_t>(home == 7001 ? 7002 : 7001);
  reply(home, array_reply({"ok", "5-0", "0"}));
  tell_slots(with_slot_at(slot, other));
  const std::vector<Words> sent = take_sent(other);
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[0], (Words{"SUBSCRIBE", name}));
  EXPECT_EQ(name_of(sent[1]), "orders_since");
  EXPECT_EQ(sent[1][7], "5-0");
  log.told().order("x", [](StoreError, std::size_t) {});
  turn();
  EXPECT_EQ(take_names(other), Texts{"order"}) << "where all of them have subscribed";
}

TEST_F(RedisClusterSteps, ASubscriptionThatEndsByItselfIsMadeAgainWhereItsNodeSays) {
  start();
  const std::string channel = channel_in(2);
  follow(channel, 7002, 0);
  journal.doubts = 0;
  push(7002, {"sunsubscribe", keys.announcements(channel), "0"});
  EXPECT_EQ(take_names(7002), Texts{"SSUBSCRIBE"}) << "which knows where the slot is";
  EXPECT_EQ(journal.doubts, 1);
  push(7002, {std::string(kSubscriptionRefused), "MOVED " + std::to_string(slot_of(channel)) + " node:7001"});
  EXPECT_EQ(take_names(7001), Texts{"SSUBSCRIBE"});
  EXPECT_EQ(journal.doubts, 2);
  log.unfollow(channel);
  turn();
  EXPECT_EQ(take_names(7001), Texts{"SUNSUBSCRIBE"});
  push(7001, {"sunsubscribe", keys.announcements(channel), "0"});
  EXPECT_EQ(take_names(7001), Texts{}) << "that was asked for";
}

TEST_F(RedisClusterSteps, ASubscriptionThatIsRefusedWithoutASlotIsMadeAgainAfterAPause) {
  start();
  follow(channel_in(2), 7002, 0);
  journal.doubts = 0;
  push(7002, {std::string(kSubscriptionRefused), "CLUSTERDOWN The cluster is down"});
  EXPECT_EQ(take_names(7002), Texts{});
  pass(options.endpoint.retry_pause_ms);
  Texts names = take_names(7002);
  EXPECT_TRUE(std::find(names.begin(), names.end(), "SSUBSCRIBE") != names.end());
  EXPECT_EQ(journal.doubts, 1);
}

TEST_F(RedisClusterSteps, ANodeThatIsLostHoldsUpItsSlotsOnlyUntilAnotherHasThem) {
  start();
  const std::string lost = channel_in(1);
  const std::string other = channel_in(2);
  follow(lost, 7001, 0);
  append(lost, "under way");
  const auto first = RedisWorld::group_of(take_sent(7001).at(0));
  append(lost, "behind it");
  journal.doubts = 0;
  EXPECT_TRUE(cluster.is_ready_for(keys.channel(lost)));
  link(7001).events.on_link_down("it is gone");
  turn();
  EXPECT_TRUE(cluster.is_ready());
  EXPECT_FALSE(cluster.is_ready_for(keys.channel(lost)));
  EXPECT_TRUE(cluster.is_ready_for(keys.channel(other)));
  EXPECT_EQ(cluster.trouble(), "it is gone");
  append(other, "goes on");
  answer_group(7002, "1");
  EXPECT_EQ(take_results(), Texts{"goes on=0:1"});
  // The map is asked for until somebody else has the slots.
  tell_slots(kThirds);
  EXPECT_EQ(results, Texts{});
  tell_slots({{0, 5'460, 7004}, {5'461, 10'922, 7002}, {10'923, 16'383, 7003}});
  EXPECT_EQ(cluster.trouble(), "");
  come_up(7004, "i4");
  const auto sent = take_sent(7004);
  ASSERT_GE(sent.size(), 2U);
  EXPECT_EQ(sent[0][0], "SSUBSCRIBE") << "ahead of anything else";
  EXPECT_EQ(name_of(sent.back()), "append");
  EXPECT_EQ(RedisWorld::group_of(sent.back()).number, first.number);
  EXPECT_GE(journal.doubts, 1) << "quiet channels are told as well";
  answer_group(7004, "1");
  EXPECT_EQ(RedisWorld::group_of(take_sent(7004).at(0)).data, Texts{"behind it"});
  pass(RedisCluster::kLingerMs + 100);
  EXPECT_FALSE(has_link(7001)) << "nothing is left for it";
}

TEST_F(RedisClusterSteps, PresenceOnANodeThatIsAwayDoesNotHoldUpTheRest) {
  RedisGateways gateways(options, keys, "gatewayA", cluster, clock, random);
  RedisPresence presence(options, keys, cluster, gateways, clock, random);
  start();
  register_at_once(gateways);
  link(7001).events.on_link_down("it is gone");
  for (int i = 0; i < static_cast<int>(RedisPresence::kBatchesUnderWay); ++i)
    presence.add(channel_in(1, i), {"client", "user", "{}"});
  presence.add(channel_in(2), {"client", "user", "{}"});
  presence.flush();
  turn();
  const Texts names = take_names(7002);
  EXPECT_NE(std::find(names.begin(), names.end(), "presence_change"), names.end());
  come_up(7001, "i1");
  take_sent(7001);
  clock.advance(RedisPresence::kRetryMs);
  presence.tick();
  presence.flush();
  turn();
  const Texts later = take_names(7001);
  EXPECT_GT(std::count(later.begin(), later.end(), "presence_change"), 10);
  cluster.close();  // what waits is the presence's
}

TEST_F(RedisClusterSteps, ANodeWithAnotherIdentityPutsAllInDoubt) {
  start();
  link(7002).events.on_link_down("it restarts");
  come_up(7002, "another");
  EXPECT_GE(journal.doubts, 1);
}

TEST_F(RedisClusterSteps, SeedsAreAskedOneAfterAnother) {
  pass(0);
  ASSERT_EQ(links.size(), 1U);
  EXPECT_EQ(links[0]->at.port, 1);
  links[0]->events.on_link_down("no seed 1");
  EXPECT_EQ(cluster.trouble(), "");
  pass(100);
  ASSERT_EQ(links.size(), 1U);
  EXPECT_EQ(links[0]->at.port, 2);
  links[0]->events.on_link_up();
  links[0]->events.on_reply(error_reply("ERR This instance has cluster support disabled"));
  EXPECT_EQ(
      cluster.trouble(),
      "no node of the cluster tells the slots: no seed 1; seed:2 answered: ERR This instance has cluster "
      "support disabled");
  pass(options.endpoint.retry_pause_ms);
  ASSERT_EQ(links.size(), 1U);
  links[0]->events.on_link_up();
  links[0]->events.on_reply(text_reply("cluster_state:fail\r\n"));
  pass(100);
  pass(RedisCluster::kQuestionMs);  // it does not answer
  EXPECT_NE(cluster.trouble().find("says that the cluster is down; seed:2 does not answer"),
            std::string::npos)
      << cluster.trouble();
  start();
  EXPECT_EQ(cluster.trouble(), "");
}

TEST_F(RedisClusterSteps, WhileUnavailableIsFailOnlyTheSlotsOfALostNodeFail) {
  options.while_unavailable = WhileUnavailable::fail;
  start();
  link(7001).events.on_link_down("gone");
  append(channel_in(1), "1");
  EXPECT_EQ(take_results(), Texts{"1=" + error(StoreError::unavailable) + ":0"});
  append(channel_in(2), "2");
  answer_group(7002, "1");
  EXPECT_EQ(take_results(), Texts{"2=0:1"});
}

TEST_F(RedisClusterSteps, TheEndAnswersAllThatWaitsAndWaitingIsBounded) {
  options.waiting_calls = 2;
  append(channel_in(1), "1");
  append(channel_in(2), "2");
  append(channel_in(3), "3");
  EXPECT_EQ(take_results(), Texts{"3=" + error(StoreError::overloaded) + ":0"});
  cluster.close();
  EXPECT_EQ(take_results(),
            (Texts{"1=" + error(StoreError::closed) + ":0", "2=" + error(StoreError::closed) + ":0"}));
  append(channel_in(3), "4");
  EXPECT_EQ(take_results(), Texts{"4=" + error(StoreError::closed) + ":0"});
}

TEST_F(RedisClusterSteps, WhatHasNoNodeIsGivenUpInTime) {
  append(channel_in(1), "1");
  pass(options.wait_ms);
  EXPECT_EQ(take_results(), Texts{"1=" + error(StoreError::unavailable) + ":0"});
}

// ---- slots

TEST(RedisSlots, OfAKeyOrItsTag) {
  EXPECT_EQ(redis_slot_of("123456789"), 0x31C3);
  EXPECT_EQ(redis_slot_of("foo"), 12182);
  EXPECT_EQ(redis_slot_of("{user1000}.following"), redis_slot_of("user1000"));
  EXPECT_EQ(redis_slot_of("foo{}{bar}"), redis_slot_of("foo{}{bar}"));
  EXPECT_NE(redis_slot_of("foo{}{bar}"), redis_slot_of("bar"));
  EXPECT_EQ(redis_slot_of("foo{{bar}}zap"), redis_slot_of("{bar"));
  EXPECT_EQ(redis_slot_of("foo{bar}{zap}"), redis_slot_of("bar"));
  EXPECT_EQ(redis_slot_of("foo{bar"), redis_slot_of("foo{bar"));
  EXPECT_EQ(redis_slot_of(""), 0);
}

TEST(RedisSlots, OfAMap) {
  RedisReply reply{RedisReply::Kind::array, {}, {}};
  const auto add = [&reply](const std::string& first, const std::string& last, const std::string& host,
                            const std::string& port) {
    RedisReply range = array_reply({first, last});
    range.items.push_back(array_reply({host, port, "id"}));
    range.items.push_back(array_reply({"replica", "1", "id"}));
    reply.items.push_back(std::move(range));
  };
  add("0", "5460", "10.0.0.1", "6379");
  add("5461", "5461", "", "6380");
  add("1", "16384", "x", "1");
  add("5", "4", "x", "1");
  add("1", "2", "x", "65536");
  add("1", "2", "x", "");
  add("1", "2", "?", "1");
  reply.items.push_back(RedisReply{});
  const auto ranges = slot_ranges_of(reply, "asked");
  ASSERT_EQ(ranges.size(), 2U);
  EXPECT_EQ(ranges[0].last, 5460);
  EXPECT_EQ(ranges[0].primary, (RedisAddress{"10.0.0.1", 6379}));
  EXPECT_EQ(ranges[1].primary, (RedisAddress{"asked", 6380}));
  EXPECT_TRUE(slot_ranges_of(error_reply("ERR"), "asked").empty());
}

TEST(RedisSlots, OfARedirection) {
  const auto moved = redirection_of("MOVED 3999 127.0.0.1:6381", "h");
  ASSERT_TRUE(moved);
  EXPECT_FALSE(moved->is_asked);
  EXPECT_EQ(moved->slot, 3999);
  EXPECT_EQ(moved->node, (RedisAddress{"127.0.0.1", 6381}));
  EXPECT_TRUE(redirection_of("ASK 1 a:2", "h")->is_asked);
  EXPECT_EQ(redirection_of("MOVED 1 ::1:7000", "h")->node, (RedisAddress{"::1", 7000}));
  EXPECT_EQ(redirection_of("MOVED 1 :7000", "h")->node, (RedisAddress{"h", 7000}));
  for (const std::string text : {"", "MOVED", "MOVED 1", "MOVED 16384 a:1", "MOVED x a:1", "MOVED 1 a",
                                 "MOVED 1 a:", "MOVED 1 a:70000", "MOVED 1 ?:1", "TRYAGAIN no"})
    EXPECT_FALSE(redirection_of(text, "h")) << text;
}

}  // namespace
}  // namespace carillon
