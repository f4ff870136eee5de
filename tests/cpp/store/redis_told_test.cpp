// What gateways tell each other, step by step: each message is heard once, and an order also by a gateway
// whose link was away.
#include "store/redis/redis_told.hpp"

#include "store/redis_world.hpp"

namespace carillon {
namespace {

using Texts = std::vector<std::string>;

struct HeardLines final : GatewayListener {
  void on_told(std::string_view from, std::string_view message) override {
    lines.push_back(std::string(from) + ": " + std::string(message));
  }
  Texts take() { return std::exchange(lines, {}); }
  Texts lines;
};

struct RedisToldSteps : RedisWorld {
  RedisToldSteps() { log.told().set_listener(&heard); }
  /// A link, and the id of the newest order that is kept.
  void start(const std::string& newest = "0-0") {
    come_up();
    EXPECT_EQ(take_question(), "");
    answer_page(newest, {});
  }
  /// The id behind which kept orders are asked for.
  std::string take_question() {
    const std::vector<Words> sent = take_sent();
    for (const Words& words : sent) {
      if (name_of(words) == "orders_since") return words[7];  // ARGV[4]
    }
    return "not asked";
  }
  void answer_page(const std::string& last, const std::vector<std::pair<std::string, std::string>>& orders,
                   bool has_more = false) {
    Texts words{"ok", last, has_more ? "1" : "0"};
    for (const auto& [sender, text] : orders) {
      words.push_back(sender);
      words.push_back(text);
    }
    reply(array_reply(words));
  }
  void hear(const std::string& message) {
    machine.on_push(array_reply({"message", keys.told(""), message}));
    turn();
  }

  HeardLines heard;
};

TEST_F(RedisToldSteps, AGatewayHearsWhatIsToldToItsNode) {
  log.set_node("node-1");
  come_up();
  const std::vector<Words> sent = take_sent();
  const auto subscribes = [&](const Words& words) {
    return name_of(words) == "SUBSCRIBE" &&
           std::find(words.begin(), words.end(), keys.told("node-1")) != words.end();
  };
  EXPECT_TRUE(std::any_of(sent.begin(), sent.end(), subscribes));
  machine.on_push(array_reply({"message", keys.told("node-1"), "gatewayB 1\nto the node"}));
  machine.on_push(array_reply({"message", keys.told("node-1"), "gatewayB 1\nto the node"}));
  machine.on_push(array_reply({"message", keys.told("node-2"), "gatewayB 2\nto another"}));
  turn();
  EXPECT_EQ(heard.take(), Texts{"gatewayB: to the node"});
}

TEST_F(RedisToldSteps, AGatewayHearsWhatOthersTellItAndAll) {
  start();
  StoreError error = StoreError::closed;
  std::size_t heard_by = 0;
  log.told().tell("", "to all\nof them", [&](StoreError result, std::size_t gateways) {
    error = result;
    heard_by = gateways;
  });
  turn();
  const auto sent = take_sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0], (Words{"PUBLISH", keys.told(""), "gatewayA 1\nto all\nof them"}));
  reply({RedisReply::Kind::number, "3", {}});
  EXPECT_EQ(error, StoreError::none);
  EXPECT_EQ(heard_by, 2U);
  machine.on_push(array_reply({"message", keys.told(""), sent[0][2]}));
  machine.on_push(array_reply({"message", keys.told(""), "gatewayB\nto all"}));
  machine.on_push(array_reply({"message", keys.told("gatewayA"), "gatewayB\nto A"}));
  machine.on_push(array_reply({"message", keys.told("gatewayB"), "gatewayA\nto B"}));
  EXPECT_EQ(heard.lines, (Texts{"gatewayB: to all", "gatewayB: to A"})) << "not its own words";
}

TEST_F(RedisToldSteps, AMessageOfAnotherGatewayThatComesTwiceIsHeardOnce) {
  start();
  for (const std::string message :
       {"gatewayB 1\na", "gatewayB 1\na", "gatewayC 1\nb", "gatewayB 3\nc", "gatewayB 2\nd", "gatewayB 2\nd",
        "gatewayB 3\nc", "gatewayB\nno number", "gatewayB\nno number", "gatewayB x\nno number"})
    machine.on_push(array_reply({"message", keys.told(""), message}));
  machine.on_push(array_reply({"message", keys.told("gatewayA"), "gatewayB 3\nc"}));
  EXPECT_EQ(heard.lines, (Texts{"gatewayB: a", "gatewayC: b", "gatewayB: c", "gatewayB: d",
                                "gatewayB: no number", "gatewayB: no number", "gatewayB: no number"}));
}

TEST(RedisHeardTest, WhatIsRememberedIsBounded) {
  RedisHeard heard;
  constexpr std::uint64_t kNumbers = RedisHeard::kNumbers;
  EXPECT_TRUE(heard.is_new("a", 5));
  EXPECT_TRUE(heard.is_new("a", 4 + kNumbers));
  EXPECT_FALSE(heard.is_new("a", 5)) << "the oldest that is remembered";
  EXPECT_TRUE(heard.is_new("a", 6));
  EXPECT_TRUE(heard.is_new("a", 5 + kNumbers)) << "it has the place of 5";
  EXPECT_FALSE(heard.is_new("a", 5)) << "too old";
  EXPECT_FALSE(heard.is_new("a", 1));
  EXPECT_TRUE(heard.is_new("a", 9 * kNumbers));
  for (std::uint64_t i = 1; i < kNumbers; ++i) EXPECT_TRUE(heard.is_new("a", 9 * kNumbers - i)) << i;
  EXPECT_FALSE(heard.is_new("a", 8 * kNumbers));
  for (std::size_t i = 0; i < RedisHeard::kGateways - 1; ++i) EXPECT_TRUE(heard.is_new(std::to_string(i), 1));
  EXPECT_FALSE(heard.is_new("a", 9 * kNumbers));
  EXPECT_TRUE(heard.is_new("b", 1));
  EXPECT_EQ(heard.gateways(), RedisHeard::kGateways);
  EXPECT_FALSE(heard.is_new("a", 9 * kNumbers)) << "it was not silent for longest";
  EXPECT_TRUE(heard.is_new("0", 1)) << "that one was";
}

TEST_F(RedisToldSteps, AnOrderIsPublishedAndKeptWithItsNumberAndItsBounds) {
  start();
  std::size_t heard_by = 99;
  log.told().order("do\nit", [&](StoreError error, std::size_t gateways) {
    EXPECT_EQ(error, StoreError::none);
    heard_by = gateways;
  });
  turn();
  const auto sent = take_sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(name_of(sent[0]), "order");
  EXPECT_EQ(sent[0][3], keys.told("")) << "its key is where its Redis channel is, also in a cluster";
  EXPECT_EQ(Words(sent[0].begin() + 7, sent[0].end()),
            (Words{keys.told(""), "gatewayA 1", "do\nit", std::to_string(options.orders_ms),
                   std::to_string(options.orders), std::to_string(options.orders_bytes)}));
  RedisReply answer = array_reply({"ok"});
  answer.items.push_back({RedisReply::Kind::number, "3", {}});
  reply(std::move(answer));
  EXPECT_EQ(heard_by, 2U) << "without itself";
  hear("gatewayA 1 7-0\ndo\nit");
  EXPECT_EQ(heard.lines, Texts{}) << "not its own";
}

TEST_F(RedisToldSteps, AGatewayBeginsBehindTheNewestOrderAndReadsWhatItMissedBehindItsNewSubscription) {
  start("5-0");
  hear("gatewayB 1 6-0\na");
  EXPECT_EQ(heard.take(), Texts{"gatewayB: a"});
  go_down();
  come_up();
  EXPECT_EQ(take_question(), "6-0");
  answer_page("8-0", {{"gatewayB 2", "b"}, {"gatewayC 1", "c"}});
  EXPECT_EQ(heard.take(), (Texts{"gatewayB: b", "gatewayC: c"}));
  go_down();
  come_up();
  EXPECT_EQ(take_question(), "8-0");
}

TEST_F(RedisToldSteps, TheSubscriptionIsAheadOfTheReading) {
  start();
  go_down();
  machine.on_link_up();
  answer_scripts();
  take_sent();
  answer_identity("i1");
  EXPECT_EQ(take_names(), (Texts{"SUBSCRIBE", "orders_since"}))
      << "else an order in between is heard by nobody";
}

TEST_F(RedisToldSteps, AnOrderThatComesWhileThoseBeforeItAreReadWaitsForThem) {
  start("5-0");
  go_down();
  come_up();
  take_sent();
  hear("gatewayB 4 9-0\nlast");
  hear("gatewayB 3\na question");
  EXPECT_EQ(heard.take(), Texts{"gatewayB: a question"});
  answer_page("7-0", {{"gatewayB 1", "first"}}, true);
  EXPECT_EQ(take_question(), "7-0");
  EXPECT_EQ(heard.take(), Texts{"gatewayB: first"});
  answer_page("9-0", {{"gatewayB 2", "second"}, {"gatewayB 4", "last"}});
  EXPECT_EQ(heard.take(), (Texts{"gatewayB: second", "gatewayB: last"})) << "once";
}

// Before and after a slot has moved they are published at two nodes, from which they take different ways.
TEST_F(RedisToldSteps, AnOrderThatComesBeforeAnEarlierOneOfItsGatewayWaitsForIt) {
  start("5-0");
  hear("gatewayB 1 6-0\na");
  hear("gatewayB 3 8-0\nc");
  EXPECT_EQ(heard.take(), Texts{"gatewayB: a"});
  EXPECT_EQ(take_question(), "6-0");
  hear("gatewayB 2 7-0\nb");
  answer_page("8-0", {{"gatewayB 2", "b"}, {"gatewayB 3", "c"}});
  EXPECT_EQ(heard.take(), (Texts{"gatewayB: b", "gatewayB: c"}));
  hear("gatewayB 5 10-0\ne");  // 4 has come to nothing: it is looked for once
  EXPECT_EQ(take_question(), "8-0");
  answer_page("10-0", {{"gatewayB 5", "e"}});
  hear("gatewayB 6 11-0\nf");
  EXPECT_EQ(take_question(), "not asked");
  EXPECT_EQ(heard.take(), (Texts{"gatewayB: e", "gatewayB: f"}));
}

TEST_F(RedisToldSteps, OrdersThatWaitAreBounded) {
  start("5-0");
  go_down();
  come_up();
  for (std::size_t i = 1; i <= RedisTold::kHeld; ++i) hear("gatewayB " + std::to_string(i) + " 9-0\nx");
  EXPECT_EQ(heard.lines.size(), 0U);
  hear("gatewayB 9999 9-0\nx");
  EXPECT_EQ(heard.lines.size(), RedisTold::kHeld + 1);
}

TEST_F(RedisToldSteps, ALinkThatIsLostAgainWhileTheyAreReadLosesNoOrder) {
  start("5-0");
  go_down();
  come_up();
  EXPECT_EQ(take_question(), "5-0");
  go_down();
  pass(options.wait_ms);  // the question is given up
  hear("gatewayB 2 8-0\nb");
  come_up();
  EXPECT_EQ(take_question(), "5-0") << "from where it was, whatever was heard in between";
  answer_page("8-0", {{"gatewayB 1", "a"}, {"gatewayB 2", "b"}});
  EXPECT_EQ(heard.lines, (Texts{"gatewayB: b", "gatewayB: a"}));
}

TEST_F(RedisToldSteps, AQuestionThatWasUnderWayWhenAnotherDoubtCameIsAskedOnceMore) {
  start("5-0");
  go_down();
  come_up();
  log.machine_listener().on_doubt();
  turn();
  EXPECT_EQ(take_question(), "5-0");
  answer_page("6-0", {{"gatewayB 1", "a"}});
  EXPECT_EQ(take_question(), "6-0");
  answer_page("6-0", {});
  EXPECT_EQ(take_question(), "not asked");
}

TEST_F(RedisToldSteps, OrdersThatCannotBeReadAreAskedForAsLongAsTheyAreKept) {
  start("5-0");
  go_down();
  come_up();
  reply(error_reply("NOPERM no"));
  hear("gatewayB 9 9-0\nlive");
  EXPECT_EQ(heard.take(), Texts{"gatewayB: live"}) << "it does not wait for what cannot be read";
  int asked = 0;
  for (Millis passed = 0; passed < 2 * options.orders_ms; passed += 100) {
    pass(100);
    for (const Words& words : take_sent()) {
      if (words[0] == "INFO") {
        answer_identity("i1");
      } else {
        EXPECT_EQ(words[7], "5-0");
        ++asked;
        reply(error_reply("NOPERM no"));
      }
    }
  }
  EXPECT_GT(asked, 50);
  EXPECT_LE(asked, options.orders_ms / RedisTold::kAgainMs + 1);
}

// One that Redis could not keep, and one that was sent again.
TEST_F(RedisToldSteps, AnOrderIsHeardOnceWhicheverWayItComes) {
  start("5-0");
  hear("gatewayB 1 -\na");
  hear("gatewayB 1 6-0\na");
  hear("gatewayB 1 7-0\na");
  go_down();
  come_up();
  EXPECT_EQ(take_question(), "7-0");
  answer_page("9-0", {{"gatewayB 1", "a"}, {"gatewayB 2", "b"}});
  EXPECT_EQ(heard.lines, (Texts{"gatewayB: a", "gatewayB: b"}));
}

// Answers to questions of others have numbers, too, which this gateway does not hear.
TEST_F(RedisToldSteps, AnOrderThatWasKeptIsHeardBehindManyLaterMessages) {
  start("5-0");
  go_down();
  come_up();
  machine.on_push(array_reply({"message", keys.told("gatewayA"), "gatewayB 5000\nanswer"}));
  answer_page("6-0", {{"gatewayB 7", "order"}});
  EXPECT_EQ(heard.lines, (Texts{"gatewayB: answer", "gatewayB: order"}));
}

}  // namespace
}  // namespace carillon
