// Questions between gateways: each is answered once, whatever becomes of the others and of this one.
#include "server/fleet.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <stdexcept>

#include "hub/hub_fixture.hpp"
#include "server/fleet_channels.hpp"
#include "server/fleet_nodes.hpp"
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
    done(StoreError::none, others);
  }
  void order(std::string_view message, std::function<void(StoreError, std::size_t)> done) override {
    ordered.emplace_back(message);
    done(StoreError::none, others);
  }
  std::size_t others = 2;
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

}  // namespace
}  // namespace carillon
