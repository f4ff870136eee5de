#include "server/hook_access.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "doubles/virtual_clock.hpp"

namespace carillon {
namespace {

/// The application, or its absence.
struct TestQueue final : HookQueue {
  bool push(HookQuestion question) override {
    if (is_closed) return false;
    questions.push_back(std::move(question));
    return true;
  }
  bool is_closed = false;
  std::vector<HookQuestion> questions;
};

struct HookAccessTest : testing::Test {
  HookAccessTest() { access.set_queue(queue); }
  void ask(Operation operation, std::string_view channel, std::string_view data = {},
           std::string_view client = {}) {
    Question question;
    question.client = client;
    question.operation = operation;
    question.channel = channel;
    question.data = data;
    access.ask(question, [this](Verdict verdict) { verdicts.push_back(std::move(verdict)); });
  }
  static Verdict yes() {
    Verdict verdict;
    verdict.is_allowed = true;
    return verdict;
  }

  VirtualClock clock;
  ChannelRules rules;
  RulesAccess rules_access{rules, true};
  Limits limits;
  HookAccess access{rules_access, clock, limits};
  std::shared_ptr<TestQueue> queue = std::make_shared<TestQueue>();
  std::vector<Verdict> verdicts;
};

TEST_F(HookAccessTest, AsksWhereAPatternMatchesAndLeavesTheRestToTheRules) {
  access.set_hook(Operation::subscribe, {"chat:*"}, 1'000);
  Question question;
  question.operation = Operation::subscribe;
  question.channel = "chat:1";
  EXPECT_FALSE(access.answer(question).has_value());
  question.channel = "news";
  ASSERT_TRUE(access.answer(question).has_value());
  EXPECT_TRUE(access.answer(question)->is_allowed);
  question.operation = Operation::publish;
  question.channel = "chat:1";
  EXPECT_TRUE(access.answer(question).has_value()) << "that hook is another operation's";
}

TEST_F(HookAccessTest, NoticesHaveAQueueOfTheirOwnAndNoDeadline) {
  limits.hook_questions = 16;
  limits.hooks_at_once = 2;
  access.set_hook(Operation::disconnect, {"*"}, 100);
  access.set_hook(Operation::publish, {"*"}, 1'000);
  for (int i = 0; i < 20; ++i) ask(Operation::disconnect, {}, {}, std::to_string(i));
  EXPECT_EQ(access.lost_notices(), 4U);
  EXPECT_EQ(access.refused(), 0U);
  EXPECT_EQ(queue->questions.size(), 2U);
  ask(Operation::publish, "a");
  EXPECT_EQ(queue->questions.size(), 3U) << "they do not keep questions waiting";
  clock.advance(500);
  access.expire();
  EXPECT_EQ(access.undecided(), 0U);
  EXPECT_TRUE(access.resolve(queue->questions[0].id, yes()));
  EXPECT_EQ(queue->questions.size(), 4U) << "the next one";
}

TEST_F(HookAccessTest, MethodsAndClientsAreAskedAboutByTheirOwnNames) {
  access.set_hook(Operation::rpc, {"room.*"}, 1'000);
  access.set_hook(Operation::refresh, {"*"}, 1'000);
  EXPECT_TRUE(access.asks_hook(Operation::rpc, "room.close"));
  EXPECT_FALSE(access.asks_hook(Operation::rpc, "close"));
  Question question;
  question.operation = Operation::rpc;
  question.method = "room.close";
  EXPECT_FALSE(access.answer(question).has_value());
  question.operation = Operation::refresh;
  EXPECT_FALSE(access.answer(question).has_value());
}

TEST_F(HookAccessTest, ALateAnswerIsNoDenial) {
  access.set_hook(Operation::subscribe, {"*"}, 200);
  access.set_hook(Operation::publish, {"*"}, 1'000);
  ask(Operation::subscribe, "a");
  ask(Operation::publish, "b");
  ASSERT_EQ(queue->questions.size(), 2U);
  clock.advance(199);
  access.expire();
  EXPECT_TRUE(verdicts.empty());
  clock.advance(1);
  access.expire();
  access.expire();
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_FALSE(verdicts[0].is_allowed);
  EXPECT_TRUE(verdicts[0].is_undecided);
  EXPECT_EQ(access.undecided(), 1U);
  EXPECT_FALSE(access.resolve(queue->questions[0].id, yes())) << "too late";
  EXPECT_TRUE(access.resolve(queue->questions[1].id, yes()));
  ASSERT_EQ(verdicts.size(), 2U);
  EXPECT_TRUE(verdicts[1].is_allowed);
  EXPECT_EQ(access.open(), 0U);
}

TEST_F(HookAccessTest, AQuestionIsAnsweredOnce) {
  ask(Operation::subscribe, "a");
  const std::uint64_t id = queue->questions.at(0).id;
  EXPECT_TRUE(access.resolve(id, yes()));
  EXPECT_FALSE(access.resolve(id, yes()));
  clock.advance(1'000'000);
  access.expire();
  EXPECT_EQ(verdicts.size(), 1U);
}

TEST_F(HookAccessTest, WhereNobodyTakesTheQuestionTheAnswerComesAtOnceAndDeniesNothing) {
  queue->is_closed = true;
  ask(Operation::subscribe, "a");
  access.set_queue(nullptr);
  ask(Operation::connect, "");
  ASSERT_EQ(verdicts.size(), 2U);
  for (const Verdict& verdict : verdicts) {
    EXPECT_FALSE(verdict.is_allowed);
    EXPECT_TRUE(verdict.is_undecided);
  }
  EXPECT_EQ(access.open(), 0U);
}

TEST_F(HookAccessTest, TheHookHearsAClaimAsAClaimAndTheUserThatTheRulesTakeTheClientFor) {
  Question question;
  question.operation = Operation::connect;
  question.claimed_user = "admin";
  const auto request = std::make_shared<const ClientRequest>(ClientRequest{{}, {{"user", "admin"}}, {}});
  question.request = request;
  const auto ignore = [](const Verdict& /*verdict*/) {};
  access.ask(question, ignore);
  RulesAccess strict_rules(rules, false);
  HookAccess strict(strict_rules, clock, limits);
  strict.set_queue(queue);
  strict.ask(question, ignore);
  ASSERT_EQ(queue->questions.size(), 2U);
  EXPECT_EQ(queue->questions[0].user, "admin") << "an insecure server believes it";
  EXPECT_EQ(queue->questions[1].user, "");
  EXPECT_EQ(queue->questions[1].request, request);
  EXPECT_GT(queue->questions[1].bytes(), request->bytes());
  EXPECT_TRUE(!strict.has_hook(Operation::connect) && !strict.has_hook(Operation::publish));
  strict.set_hook(Operation::publish, {"*"}, 1'000);
  EXPECT_TRUE(strict.has_hook(Operation::publish));
}

TEST_F(HookAccessTest, NoNumberOfOtherQuestionsKeepsAConnectOut) {
  limits.hook_questions = 20;
  limits.hooks_at_once = 4;
  for (int i = 0; i < 30; ++i) ask(Operation::publish, "a");
  EXPECT_EQ(queue->questions.size(), 4U) << "the application has no more at a time";
  ASSERT_EQ(verdicts.size(), 10U) << "for the last ones there was no room";
  for (const Verdict& verdict : verdicts) EXPECT_TRUE(verdict.is_undecided);
  EXPECT_EQ(access.refused(), 10U);
  ask(Operation::connect, "");
  ASSERT_EQ(queue->questions.size(), 5U);
  EXPECT_TRUE(access.resolve(queue->questions.back().id, yes()));
  EXPECT_TRUE(verdicts.back().is_allowed);
}

TEST_F(HookAccessTest, AnAnswerMakesRoomForTheOldestThatWaits) {
  limits.hooks_at_once = 2;
  for (const char* channel : {"a", "b", "c", "d"}) ask(Operation::subscribe, channel);
  ASSERT_EQ(queue->questions.size(), 2U);
  access.resolve(queue->questions[1].id, yes());
  ASSERT_EQ(queue->questions.size(), 3U);
  EXPECT_EQ(queue->questions[2].channel, "c");
  access.resolve(queue->questions[0].id, yes());
  ASSERT_EQ(queue->questions.size(), 4U);
  EXPECT_EQ(queue->questions[3].channel, "d");
}

TEST_F(HookAccessTest, FortyClientsThatAskAllTheyCanLeaveASlotForANewcomer) {
  for (int i = 0; i < 64; ++i) {
    for (int client = 0; client < 40; ++client)
      ask(Operation::publish, "c" + std::to_string(i), {}, "client" + std::to_string(client));
  }
  EXPECT_GT(queue->questions.size(), 1'900U) << "few are left unused";
  ask(Operation::publish, "a", {}, "newcomer");
  EXPECT_EQ(queue->questions.back().client, "newcomer");
  EXPECT_TRUE(access.resolve(queue->questions.back().id, yes()));
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].is_allowed);
}

TEST_F(HookAccessTest, OneClientHasAtMostHalfOfTheSlotsAndTwoAThirdEach) {
  limits.hooks_at_once = 12;
  const auto slots_of = [this](std::string_view client) {
    return std::count_if(queue->questions.begin(), queue->questions.end(),
                         [&](const HookQuestion& question) { return question.client == client; });
  };
  for (int i = 0; i < 20; ++i) ask(Operation::publish, "a", {}, "ann");
  EXPECT_EQ(slots_of("ann"), 6);
  for (int i = 0; i < 20; ++i) ask(Operation::publish, "a", {}, "bob");
  EXPECT_EQ(slots_of("bob"), 3);
  const std::vector<HookQuestion> asked = queue->questions;
  for (int i = 0; i < 3; ++i) access.resolve(asked[static_cast<std::size_t>(i)].id, yes());
  EXPECT_EQ(slots_of("ann") - 3, 4);
  EXPECT_EQ(slots_of("bob"), 4);
}

TEST_F(HookAccessTest, TheNextQuestionIsOneOfTheClientThatHasFewestUnderWay) {
  limits.hooks_at_once = 4;
  for (int i = 0; i < 5; ++i) ask(Operation::publish, "a", {}, "ann");
  for (int i = 0; i < 2; ++i) ask(Operation::publish, "a", {}, "bob");
  ASSERT_EQ(queue->questions.size(), 3U);
  ASSERT_EQ(queue->questions[2].client, "bob");
  access.resolve(queue->questions[2].id, yes());
  ASSERT_EQ(queue->questions.size(), 4U);
  EXPECT_EQ(queue->questions[3].client, "bob") << "ann's questions are older, but she has two slots";
  access.resolve(queue->questions[0].id, yes());
  ASSERT_EQ(queue->questions.size(), 5U);
  EXPECT_EQ(queue->questions[4].client, "ann");
}

TEST_F(HookAccessTest, QuestionsThatWaitedForTooLongLeaveTheTurnsOfTheirClient) {
  limits.hooks_at_once = 2;
  access.set_hook(Operation::subscribe, {"*"}, 200);
  access.set_hook(Operation::publish, {"*"}, 1'000);
  ask(Operation::publish, "hangs", {}, "ann");
  ask(Operation::subscribe, "late", {}, "ann");
  ask(Operation::publish, "waits", {}, "ann");
  clock.advance(200);
  access.expire();
  EXPECT_EQ(verdicts.size(), 1U);
  access.resolve(queue->questions[0].id, yes());
  ASSERT_EQ(queue->questions.size(), 2U);
  EXPECT_EQ(queue->questions[1].channel, "waits");
  access.resolve(queue->questions[1].id, yes());
  EXPECT_EQ(access.open(), 0U);
}

TEST_F(HookAccessTest, AQuestionThatWaitedForTooLongIsNeverAskedAndALateOneKeepsItsPlace) {
  limits.hooks_at_once = 1;
  access.set_hook(Operation::subscribe, {"*"}, 200);
  ask(Operation::subscribe, "hangs");
  ask(Operation::subscribe, "waits");
  clock.advance(200);
  access.expire();
  EXPECT_EQ(verdicts.size(), 2U);
  ask(Operation::subscribe, "new");
  EXPECT_EQ(queue->questions.size(), 1U) << "the application still has the first one";
  EXPECT_EQ(access.open(), 2U);
  access.resolve(queue->questions[0].id, yes());
  ASSERT_EQ(queue->questions.size(), 2U);
  EXPECT_EQ(queue->questions[1].channel, "new");
}

TEST_F(HookAccessTest, QuestionsHaveALimitInBytesTooButALargeOneAloneIsAsked) {
  limits.hook_question_bytes = 10'000;
  const std::string large(20'000, 'x');
  ask(Operation::publish, "a", large);
  EXPECT_EQ(queue->questions.size(), 1U);
  ask(Operation::publish, "a");
  EXPECT_EQ(verdicts.size(), 1U) << "no room beside it";
  access.resolve(queue->questions[0].id, yes());
  for (int i = 0; i < 3; ++i) ask(Operation::publish, "a", std::string(4'000, 'x'));
  EXPECT_EQ(queue->questions.size(), 3U);
  EXPECT_EQ(verdicts.size(), 3U);
}

TEST_F(HookAccessTest, BytesOfQuestionsThatWereNeverAskedAreGivenBack) {
  limits.hook_question_bytes = 10'000;
  limits.hooks_at_once = 1;
  access.set_hook(Operation::publish, {"*"}, 200);
  ask(Operation::publish, "hangs");
  ask(Operation::publish, "late", std::string(6'000, 'x'));
  clock.advance(200);
  access.expire();
  ask(Operation::publish, "next", std::string(6'000, 'x'));
  EXPECT_EQ(access.refused(), 0U);
  queue->is_closed = true;
  access.resolve(queue->questions.at(0).id, yes());
  EXPECT_EQ(access.open(), 0U);
  queue->is_closed = false;
  ask(Operation::publish, "small");
  ask(Operation::publish, "large", std::string(6'000, 'x'));
  EXPECT_EQ(access.refused(), 0U);
}

TEST_F(HookAccessTest, WhatIsForgottenIsNeverAnswered) {
  ask(Operation::subscribe, "a");
  access.clear();
  EXPECT_FALSE(access.resolve(queue->questions.at(0).id, yes()));
  clock.advance(1'000'000);
  access.expire();
  EXPECT_TRUE(verdicts.empty());
}

}  // namespace
}  // namespace carillon
