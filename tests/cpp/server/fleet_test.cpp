// Questions between gateways: each is answered once, whatever becomes of the others and of this one.
#include "server/fleet.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <stdexcept>

#include "hub/hub_fixture.hpp"
#include "server/fleet_channels.hpp"
#include "server/fleet_nodes.hpp"
#include "server/fleet_sessions.hpp"
#include "server/fleet_strategies.hpp"
#include "store/forwarding_store.hpp"

namespace carillon {
namespace {

using Texts = std::vector<std::string>;

/// A store that is shared with others, who are played by the test.
class ToldStore final : public ForwardingStore<> {
 public:
  using ForwardingStore::ForwardingStore;
  [[nodiscard]] std::string gateway() const override { return "here"; }
  void tell(std::string_view to_gateway, std::string_view message,
            std::function<void(StoreError, std::size_t)> done) override {
    told.push_back(std::string(to_gateway) + '|' + std::string(message));
    if (is_silent) return pending.push_back(std::move(done));
    done(error, to_gateway.empty() ? others : of_that_name);
  }
  void order(std::string_view message, std::function<void(StoreError, std::size_t)> done) override {
    ordered.emplace_back(message);
    done(StoreError::none, others);
  }
  [[nodiscard]] std::optional<SharedTime> shared_time() const override { return time; }
  std::optional<SharedTime> time = SharedTime{.earliest_ms = 5'000, .latest_ms = 5'010};  // two clocks differ
  std::size_t others = 2;
  std::size_t of_that_name = 1;
  StoreError error = StoreError::none;
  bool is_silent = false;  // it does not say what became of a message
  std::vector<std::function<void(StoreError, std::size_t)>> pending;
  Texts told;
  Texts ordered;
};

struct FleetQuestions : HubFixture {
  std::function<void(Texts)> note() {
    return [this](Texts texts) { answers.push_back(std::move(texts)); };
  }

  ToldStore shared{store};
  Fleet fleet{shared, clock, {}, [](const std::function<void()>& task) { task(); }};
  std::vector<Texts> answers;
};

TEST_F(FleetQuestions, AreAnsweredWhenAllOthersHaveOrTheTimeIsOver) {
  fleet.ask("topic", "why", note());
  EXPECT_EQ(shared.told, Texts{"|ask 1 topic\nwhy"});
  fleet.on_told("one", "answer 1\na");
  EXPECT_TRUE(answers.empty());
  fleet.on_told("two", "answer 1\nb");
  EXPECT_EQ(answers, (std::vector<Texts>{{"a", "b"}}));
  fleet.ask("topic", "why", note());
  fleet.on_told("one", "answer 2\nc");
  clock.advance(1'000);
  fleet.keep_house();
  fleet.on_told("two", "answer 2\nd");
  EXPECT_EQ(answers, (std::vector<Texts>{{"a", "b"}, {"c"}}));
}

TEST_F(FleetQuestions, WhatAllShallDoIsAnOrderAndAQuestionIsNot) {
  Limits limits;
  FleetStrategies strategies(hub, limits, fleet);
  FleetChannels channels(hub, fleet);
  EXPECT_FALSE(strategies.set_fan_out("room", "read", std::nullopt).is_refused());
  EXPECT_EQ(shared.ordered, Texts{"ask 1 strategy\n{\"channel\":\"room\",\"strategy\":\"read\"}"});
  EXPECT_TRUE(shared.told.empty());
  channels.list({.pattern = "*", .after = {}}, [](const ChannelsPage&) {});
  settle();
  EXPECT_EQ(shared.ordered.size(), 1U);
  EXPECT_EQ(shared.told.size(), 1U);
}

TEST_F(FleetQuestions, NodesDescribeThemselvesAndWhoCannotIsLeftOut) {
  const NodeInfo here{.uid = "me", .name = "carillon", .version = "1", .address = "b:1", .clients = 3};
  FleetNodes nodes(fleet, [&](const std::function<void(NodeInfo)>& done) { done(here); });
  std::vector<NodeInfo> all;
  shared.others = 4;
  nodes.list([&](std::vector<NodeInfo> found) { all = std::move(found); });
  ASSERT_EQ(shared.told.size(), 1U);
  fleet.on_told("one", "ask 1 node\n");  // as the others are asked
  ASSERT_EQ(shared.told.size(), 2U);
  std::string answer = shared.told[1];
  ASSERT_EQ(answer.rfind("one|answer 1\n", 0), 0U) << answer;
  answer.erase(0, 4);
  answer.replace(answer.find("b:1"), 3, "a:1");
  fleet.on_told("one", answer);
  fleet.on_told("two", "answer 1\n");               // of a version that does not know the question
  fleet.on_told("three", "answer 1\n{\"uid\":7}");  // of one that writes it otherwise
  EXPECT_TRUE(all.empty()) << "one is missing";
  fleet.on_told("four", "answer 1\n{\"uid\":\"c\",\"address\":\"c:1\",\"is_draining\":true}");
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].address, "");
  EXPECT_EQ(all[1].address, "a:1");
  EXPECT_EQ(all[1].clients, 3U);
  EXPECT_EQ(all[2].address, "b:1");
  EXPECT_TRUE(all[3].is_draining);
}

TEST_F(FleetQuestions, AnOrderIsGivenAlsoWhenTooManyQuestionsAreUnderWay) {
  Fleet full(shared, clock, {.questions_max = 0}, [](const std::function<void()>& task) { task(); });
  full.ask("channels", "which", note());
  EXPECT_TRUE(shared.told.empty());
  full.order("disconnect", "ann", note());
  EXPECT_EQ(shared.ordered, Texts{"ask 0 disconnect\nann"});
  EXPECT_EQ(answers, (std::vector<Texts>{{}, {}})) << "nobody waits";
  full.on_told("one", "answer 0\na");
  full.close();
  full.order("disconnect", "bob", note());
  EXPECT_EQ(shared.ordered.size(), 1U) << "it has stopped";
  EXPECT_EQ(answers.size(), 3U);
}

TEST_F(FleetQuestions, AreAnsweredWhenTheServerStops) {
  fleet.ask("topic", "why", note());
  fleet.ask("topic", "what", note());
  fleet.on_told("one", "answer 2\na");
  fleet.close();
  EXPECT_EQ(answers, (std::vector<Texts>{{}, {"a"}}));
  fleet.on_told("two", "answer 2\nb");
  clock.advance(1'000);
  fleet.keep_house();
  EXPECT_EQ(answers.size(), 2U) << "once";
  shared.told.clear();
  fleet.ask("topic", "later", note());
  EXPECT_EQ(answers.size(), 3U);
  EXPECT_TRUE(shared.told.empty());
}

TEST_F(FleetQuestions, OfOthersAreAnsweredAlsoWhenTheyCannotBeRead) {
  fleet.set_topic("bad", [](std::string_view, const Fleet::Answer&) { throw std::runtime_error("bad"); });
  FleetChannels channels(hub, fleet);
  fleet.on_told("one", "ask 7 bad\nx");
  fleet.on_told("one", "ask 8 of a later version\nx");
  for (const std::string& question :
       {std::string("{\"pattern\":\"\xff\"}"), std::string("\xff\xfe"), std::string("[]")})
    fleet.on_told("one", "ask 9 channels\n" + question);
  settle();
  EXPECT_EQ(shared.told, (Texts{"one|answer 7\n", "one|answer 8\n", "one|answer 9\n", "one|answer 9\n",
                                "one|answer 9\n"}));
}

// No name that is not UTF-8 comes in at the door; if one does, no question is lost for it.
TEST_F(FleetQuestions, NamesThatAreNotUtf8LoseNoAnswer) {
  FleetChannels channels(hub, fleet);
  std::optional<ChannelsPage> page;
  channels.list({.pattern = "a\xff*", .after = {}}, [&](ChannelsPage all) { page = std::move(all); });
  settle();
  ASSERT_EQ(shared.told.size(), 1U);
  const std::string& question = shared.told[0];
  EXPECT_NE(question.find("a\xef\xbf\xbd*"), std::string::npos) << "it is JSON all the same: " << question;
  fleet.on_told("one", "answer 1\n{\"channels\":{\"a\xff\":1}}");
  fleet.on_told("two", "answer 1\n{\"channels\":{\"b\":2}}");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->subscribers, (std::map<std::string, std::uint64_t>{{"b", 2}}));
}

// ---- commands of clients over HTTP

struct FleetCommands : FleetQuestions {
  using Forwarding = OtherGateways::Forwarding;
  static constexpr std::string_view kNode = "0b9f0d5c-4f0f-4a53-8c11-0e8b3f5ad0aa";
  static constexpr std::string_view kSession = "11111111-2222-3333-4444-555555555555";

  void forward(std::string_view commands, std::string_view node = kNode,
               std::string_view session = kSession) {
    sessions.forward(node, session, commands, [this](Forwarding outcome) { outcomes.push_back(outcome); });
  }
  [[nodiscard]] std::string asked(int number, std::string_view commands) const {
    return std::string(kNode) + "|ask " + std::to_string(number) + " commands\n" + std::string(kSession) +
           " 6000\n" + std::string(commands);
  }

  Limits limits;
  ClientDirectory directory{random};
  BodyBudget bodies{limits.body_bytes_total};
  bool is_draining = false;
  FleetSessions sessions{fleet, {directory, bodies, limits, clock, [this] { return is_draining; }}};
  std::vector<Forwarding> outcomes;
};

TEST_F(FleetCommands, AreToldToTheNodeInTheirOrderAndByteForByte) {
  const std::string binary("\x00\n\xff|", 4);
  forward("first");
  forward(binary);
  EXPECT_EQ(shared.told, (Texts{asked(1, "first"), asked(2, binary)}));
  EXPECT_TRUE(outcomes.empty()) << "nobody has taken them yet";
  fleet.on_told("one", "answer 2\ntaken");
  fleet.on_told("one", "answer 1\nunknown");
  EXPECT_EQ(outcomes, (std::vector{Forwarding::taken, Forwarding::unknown}));
  EXPECT_EQ(sessions.forwarded(Forwarding::taken), 1U);
  EXPECT_EQ(sessions.forwarded(Forwarding::unknown), 1U);
}

TEST_F(FleetCommands, AreTakenOnlyWhenAGatewayHasSaidSo) {
  shared.of_that_name = 0;  // it has gone
  forward("x");
  shared.of_that_name = 1;
  for (const StoreError error :
       {StoreError::unavailable, StoreError::overloaded, StoreError::closed, StoreError::outcome_unknown}) {
    shared.error = error;
    forward("x");
  }
  shared.error = StoreError::none;
  EXPECT_EQ(outcomes, (std::vector{Forwarding::unknown, Forwarding::refused, Forwarding::refused,
                                   Forwarding::refused}));
  clock.advance(1'000);
  fleet.keep_house();
  EXPECT_EQ(outcomes.back(), Forwarding::late) << "the commands may arrive until then";
  outcomes.clear();
  int number = 5;
  for (const char* answer : {"busy", "too long", "", "of a later version"}) {
    forward("x");
    fleet.on_told("one", "answer " + std::to_string(++number) + "\n" + answer);
  }
  EXPECT_EQ(outcomes, (std::vector{Forwarding::refused, Forwarding::too_long, Forwarding::unknown,
                                   Forwarding::unknown}));
  outcomes.clear();
  forward("x");
  shared.is_silent = true;
  forward("x");
  clock.advance(999);
  fleet.keep_house();
  EXPECT_TRUE(outcomes.empty());
  clock.advance(1);
  fleet.keep_house();
  EXPECT_EQ(outcomes, (std::vector{Forwarding::late, Forwarding::late}));
  shared.pending[0](StoreError::none, 1);  // too late
  fleet.on_told("one", "answer 10\ntaken");
  EXPECT_EQ(outcomes.size(), 2U);
}

TEST_F(FleetCommands, OfAClientWithTwoProcessesInATakeoverAreTakenByOne) {
  shared.of_that_name = 2;
  forward("x");
  fleet.on_told("old", "answer 1\nunknown");
  EXPECT_TRUE(outcomes.empty());
  fleet.on_told("new", "answer 1\ntaken");
  EXPECT_EQ(outcomes, std::vector{Forwarding::taken});
}

TEST_F(FleetCommands, NoClientChoosesWhereTheyGoOrHowManyAreUnderWay) {
  for (const std::string_view node : {"", "here", "abcdefgh", "../../../../../../../../../../../../",
                                      "0B9F0D5C-4F0F-4A53-8C11-0E8B3F5AD0AA"})
    forward("x", node);
  forward("x", kNode, "11111111-2222-3333-4444-55555555555\n");
  EXPECT_EQ(outcomes, std::vector(6, Forwarding::unknown));
  EXPECT_TRUE(shared.told.empty());
  outcomes.clear();
  limits.forwarded_commands = 2;
  for (int i = 0; i < 3; ++i) forward("x");
  EXPECT_EQ(outcomes, std::vector{Forwarding::refused});
  EXPECT_EQ(shared.told.size(), 2U);
  fleet.on_told("one", "answer 1\ntaken");
  forward("y");
  EXPECT_EQ(shared.told.size(), 3U) << "there is room again";
  fleet.ask("topic", "why", note());
  EXPECT_EQ(shared.told.size(), 4U) << "they take no room from questions";
  fleet.close();
  EXPECT_EQ(outcomes.size(), 4U) << "each has an answer when the server stops";
  forward("z");
  EXPECT_EQ(outcomes.back(), Forwarding::refused);
}

TEST_F(FleetCommands, OfOthersAreTakenOnlyForAClientThatIsHere) {
  for (const std::string& question :
       {std::string("no line"), std::string(kSession) + "\nx", std::string(kSession) + " 9000\nx"})
    fleet.on_told("one", "ask 7 commands\n" + question);
  EXPECT_EQ(shared.told, (Texts{"one|answer 7\nunknown", "one|answer 7\nunknown", "one|answer 7\nunknown"}));
}

TEST_F(FleetCommands, HaveAMemoryLimitUntilTheStoreHasLetGoOfThem) {
  limits.forwarded_bytes = 10;
  shared.is_silent = true;
  forward("12345678");
  forward("123");
  EXPECT_EQ(outcomes, std::vector{Forwarding::refused});
  forward("12");
  EXPECT_EQ(shared.told.size(), 2U);
  clock.advance(1'000);
  fleet.keep_house();
  EXPECT_EQ(outcomes, (std::vector{Forwarding::refused, Forwarding::late, Forwarding::late}));
  forward("1");
  EXPECT_EQ(outcomes.back(), Forwarding::refused) << "the store still has the first two";
  shared.pending.clear();
  forward("1");
  EXPECT_EQ(shared.told.size(), 3U);
  shared.time.reset();
  forward("");
  EXPECT_EQ(outcomes.back(), Forwarding::refused) << "without a time there is no deadline";
  shared.pending.clear();
}

TEST_F(FleetCommands, OfOthersAreRefusedBeforeTheyUseMemoryAndBehindTheirDeadline) {
  std::vector<std::function<void()>> waiting;
  Fleet busy(shared, clock, {.questions_max = 2, .waiting_bytes_max = 100},
             [&](std::function<void()> task) { waiting.push_back(std::move(task)); });
  FleetSessions here(busy, {directory, bodies, limits, clock, [] { return false; }});
  const auto self = std::make_shared<Session*>(nullptr);
  directory.add(kSession, *shards[0], self);
  const auto told = [&](int number, const std::string& commands, const char* deadline = "5011") {
    shared.told.clear();
    busy.on_told("one", "ask " + std::to_string(number) + " commands\n" + std::string(kSession) + ' ' +
                            deadline + '\n' + commands);
    return shared.told.empty() ? std::string() : shared.told.back();
  };
  EXPECT_EQ(told(1, "x", "5010"), "one|answer 1\nbusy") << "its client may have got its answer";
  EXPECT_EQ(told(2, std::string(90, 'x')), "one|answer 2\nbusy") << "fleet_waiting_bytes";
  limits.body_bytes_total = 4;
  EXPECT_EQ(told(3, "12345"), "one|answer 3\nbusy") << "body memory";
  EXPECT_TRUE(waiting.empty());
  EXPECT_EQ(bodies.bytes(), 0);
  EXPECT_EQ(told(4, "1"), "");
  EXPECT_EQ(told(5, "2"), "");
  EXPECT_EQ(told(6, "3"), "one|answer 6\nbusy") << "two wait";
  EXPECT_EQ(bodies.bytes(), 2);
  waiting[0]();
  EXPECT_EQ(shared.told.back(), "one|answer 4\ntaken");
  shared.time->latest_ms = 5'011;  // it has waited too long
  waiting[1]();
  EXPECT_EQ(shared.told.back(), "one|answer 5\nbusy");
  settle();
  waiting.clear();
  EXPECT_EQ(bodies.bytes(), 0);
  shared.told.clear();
  for (int i = 0; i < 3; ++i) busy.on_told("one", "ask 9 health\n");
  EXPECT_EQ(shared.told, Texts{"one|answer 9\nbusy"}) << "questions have the same limit";
}

TEST_F(FleetCommands, AFleetCountsThoseThatServeAndThoseThatAreSilent) {
  std::vector<std::optional<OtherGateways::Count>> counts;
  const auto count = [&] {
    sessions.count([&](const std::optional<OtherGateways::Count>& found) { counts.push_back(found); });
  };
  count();
  count();
  EXPECT_EQ(shared.told.size(), 1U) << "many requests are one question";
  fleet.on_told("one", "answer 1\nserving");
  fleet.on_told("two", "answer 1\ndraining");
  ASSERT_EQ(counts.size(), 2U);
  clock.advance(999);
  count();
  EXPECT_EQ(shared.told.size(), 1U) << "the answer is kept for a second";
  EXPECT_EQ(counts.size(), 3U);
  counts.erase(counts.begin(), counts.begin() + 2);
  clock.advance(1);
  is_draining = true;
  count();
  fleet.on_told("one", "answer 2\n");  // of a version that does not know the question
  clock.advance(1'000);
  fleet.keep_house();
  shared.error = StoreError::unavailable;
  clock.advance(1'000);
  count();
  ASSERT_EQ(counts.size(), 3U);
  EXPECT_EQ(counts[0]->gateways, 3U);
  EXPECT_EQ(counts[0]->draining, 1U);
  EXPECT_EQ(counts[0]->silent, 0U);
  EXPECT_EQ(counts[1]->gateways, 3U);
  EXPECT_EQ(counts[1]->draining, 1U);
  EXPECT_EQ(counts[1]->silent, 1U);
  EXPECT_FALSE(counts[2]);
  shared.told.clear();
  fleet.on_told("one", "ask 9 health\n");
  EXPECT_EQ(shared.told, Texts{"one|answer 9\ndraining"});
}

}  // namespace
}  // namespace carillon
