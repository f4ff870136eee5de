#include "server/hooks.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "doubles/virtual_clock.hpp"

namespace carillon {
namespace {

/// The application, or its absence.
struct TestQueue final : EventQueue {
  bool push(HookQuestion question) override {
    if (is_full) return false;
    questions.push_back(std::move(question));
    return true;
  }
  bool push(LogLine line) override {
    lines.push_back(std::move(line));
    return true;
  }
  bool is_full = false;
  std::vector<HookQuestion> questions;
  std::vector<LogLine> lines;
};

struct HookAccessTest : testing::Test {
  HookAccessTest() { access.set_queue(queue); }
  void ask(Operation operation, std::string_view channel) {
    Question question;
    question.operation = operation;
    question.channel = channel;
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
  HookAccess access{rules_access, clock};
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

TEST_F(HookAccessTest, DeniesWhatIsNotAnsweredWithinTheDeadlineOfItsOperation) {
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
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_FALSE(verdicts[0].is_allowed);
  EXPECT_FALSE(access.resolve(queue->questions[0].id, yes())) << "too late";
  EXPECT_TRUE(access.resolve(queue->questions[1].id, yes()));
  ASSERT_EQ(verdicts.size(), 2U);
  EXPECT_TRUE(verdicts[1].is_allowed);
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

TEST_F(HookAccessTest, DeniesAtOnceWhenNobodyTakesTheQuestion) {
  queue->is_full = true;
  ask(Operation::subscribe, "a");
  access.set_queue(nullptr);
  ask(Operation::subscribe, "a");
  ASSERT_EQ(verdicts.size(), 2U);
  for (const Verdict& verdict : verdicts) EXPECT_FALSE(verdict.is_allowed);
}

TEST_F(HookAccessTest, WhatIsForgottenIsNeverAnswered) {
  ask(Operation::subscribe, "a");
  access.clear();
  EXPECT_FALSE(access.resolve(queue->questions.at(0).id, yes()));
  clock.advance(1'000'000);
  access.expire();
  EXPECT_TRUE(verdicts.empty());
}

TEST(EventLog, PassesOnAllThatARecordHas) {
  const auto queue = std::make_shared<TestQueue>();
  EventLog log;
  log.write({});  // nobody reads yet
  log.set_queue(queue);
  ConnectionRecord record;
  record.event = ConnectionEvent::close;
  record.transport = Transport::sse;
  record.client = "id";
  record.user = "ann";
  record.code = 3001;
  record.reason = "shutdown";
  record.duration_ms = 1'234;
  log.write(record);
  ASSERT_EQ(queue->lines.size(), 1U);
  const LogLine& line = queue->lines[0];
  EXPECT_EQ(line.message, "sse close id (ann): 3001 shutdown");
  EXPECT_EQ(line.duration_ms, 1'234);
  EXPECT_EQ(line.code, 3001);
}

}  // namespace
}  // namespace carillon
