// The pool of one backend: places, turns, time-outs, connections that are kept, and the one second try.
#include "proxy/backend.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "doubles/virtual_clock.hpp"

namespace carillon {
namespace {

/// A connection whose far end is the test.
struct TestLink final : BackendLink {
  explicit TestLink(std::vector<TestLink*>& every) : all(every) { all.push_back(this); }
  TestLink(const TestLink&) = delete;
  TestLink& operator=(const TestLink&) = delete;
  ~TestLink() override { std::erase(all, this); }
  void exchange(const std::string& text, std::function<void(BackendResult)> answer) override {
    request = text;
    then = std::move(answer);
  }
  [[nodiscard]] bool is_quiet() const override { return is_quiet_now; }
  void give(BackendResult result) { std::exchange(then, nullptr)(std::move(result)); }

  std::vector<TestLink*>& all;
  std::string request;
  std::function<void(BackendResult)> then;
  bool is_quiet_now = true;
};

struct BackendTest : testing::Test {
  std::unique_ptr<Backend> make() {
    return std::make_unique<Backend>(
        settings, clock, counters,
        Backend::Parts{[this] { return std::make_unique<TestLink>(links); },
                       [](const HookQuestion& question) { return question.client + ":" + question.channel; },
                       [](const HookQuestion& /*question*/, const std::string& body) {
                         Verdict verdict;
                         verdict.is_allowed = body == "yes";
                         return verdict;
                       },
                       [this](const std::string& problem) { told.push_back(problem); },
                       [this] { ++changes; }});
  }
  void ask(Backend& backend, std::string client, std::string channel = "c",
           Operation operation = Operation::subscribe) {
    HookQuestion question = HookQuestion::of({.operation = operation});
    question.client = std::move(client);
    question.channel = std::move(channel);
    backend.ask(std::move(question), [this](Verdict verdict) { verdicts.push_back(std::move(verdict)); });
  }
  static BackendResult yes(bool is_reusable = true) {
    BackendResult result;
    result.is_answered = true;
    result.status = 200;
    result.body = "yes";
    result.is_reusable = is_reusable;
    return result;
  }
  static BackendResult closed(bool is_untouched) {
    BackendResult result;
    result.problem = "closed the connection";
    result.is_untouched = is_untouched;
    return result;
  }
  void pass(Backend& backend, Millis ms) {
    clock.advance(ms);
    backend.on_time(clock.now_ms());
  }

  Backend::Settings settings;
  VirtualClock clock;
  BackendCounters counters;
  std::vector<TestLink*> links;
  std::vector<Verdict> verdicts;
  std::vector<std::string> told;
  int changes = 0;
};

TEST_F(BackendTest, AConnectionIsUsedAgain) {
  const auto backend = make();
  ask(*backend, "a");
  ASSERT_EQ(links.size(), 1U);
  EXPECT_EQ(links[0]->request, "a:c");
  links[0]->give(yes());
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].is_allowed);
  ask(*backend, "b");
  ask(*backend, "c");
  ASSERT_EQ(links.size(), 2U) << "one was idle, and one is new";
  links[0]->give(yes(false));
  EXPECT_EQ(links.size(), 1U) << "its backend closes it";
  links[0]->give(yes());
  EXPECT_EQ(counters.connections.load(), 2U);
  EXPECT_EQ(counters.open.load(), 0);
}

TEST_F(BackendTest, OnlyAnIdleConnectionThatWasClosedIsTriedOnceMore) {
  const auto backend = make();
  ask(*backend, "a");
  links[0]->give(closed(true));  // a new one: whatever it is, it is no idle connection
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].is_undecided);
  ask(*backend, "a");
  links[0]->give(yes());
  ask(*backend, "a");
  links[0]->give(closed(true));
  ASSERT_EQ(links.size(), 1U) << "asked again over a new one";
  EXPECT_EQ(links[0]->request, "a:c");
  EXPECT_EQ(verdicts.size(), 2U);
  links[0]->give(closed(true));
  ASSERT_EQ(verdicts.size(), 3U) << "and not a third time";
  EXPECT_TRUE(verdicts[2].is_undecided);
  ask(*backend, "a");
  links[0]->give(yes());
  ask(*backend, "a");
  links[0]->give(closed(false));  // it had begun to answer
  ASSERT_EQ(verdicts.size(), 5U);
  EXPECT_TRUE(verdicts[4].is_undecided);
  EXPECT_EQ(told.size(), 3U);
}

TEST_F(BackendTest, AConnectionOnWhichTheBackendHasSaidMoreIsNotUsedAgain) {
  const auto backend = make();
  ask(*backend, "a");
  links[0]->give(yes());
  links[0]->is_quiet_now = false;
  ask(*backend, "b");
  ASSERT_EQ(links.size(), 1U) << "a new one";
  EXPECT_EQ(links[0]->request, "b:c");
  EXPECT_EQ(counters.connections.load(), 2U);
}

TEST_F(BackendTest, WhatABackendCarriesOutIsNotAskedTwice) {
  const auto backend = make();
  for (const Operation operation : {Operation::rpc, Operation::publish}) {
    ask(*backend, "a", "c", operation);
    links[0]->give(yes());
    ask(*backend, "a", "c", operation);
    links[0]->give(closed(true));
    EXPECT_TRUE(verdicts.back().is_undecided);
    EXPECT_TRUE(links.empty());
  }
}

TEST_F(BackendTest, BeyondItsPlacesRequestsWaitAndBeyondTheirsTheyAreRefused) {
  settings.requests_max = 4;
  settings.waiting_max = 2;
  const auto backend = make();
  for (const char* client : {"a", "b", "c", "d", "e", "f"}) ask(*backend, client);
  ASSERT_EQ(links.size(), 4U);
  EXPECT_TRUE(verdicts.empty());
  ask(*backend, "g");
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].is_undecided);
  EXPECT_EQ(counters.refused.load(), 1U);
  links[0]->give(yes());
  EXPECT_EQ(links.size(), 4U) << "the next one goes over the same connection";
  EXPECT_EQ(links[0]->request, "e:c");
}

TEST_F(BackendTest, TheBytesOfThoseThatWaitAreBounded) {
  settings.requests_max = 1;
  settings.waiting_bytes_max = 2'000;
  const auto backend = make();
  ask(*backend, "a");
  ask(*backend, "b", std::string(5'000, 'x'));
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].is_undecided);
}

TEST_F(BackendTest, OneClientLeavesPlacesToOthers) {
  settings.requests_max = 8;
  const auto backend = make();
  for (int i = 0; i < 20; ++i) ask(*backend, "greedy");
  EXPECT_EQ(links.size(), 4U);
  ask(*backend, "other");
  EXPECT_EQ(links.back()->request, "other:c");
}

TEST_F(BackendTest, ATimeOutBreaksTheRequestOffAndEndsTheWait) {
  settings.timeout_ms = 100;
  settings.requests_max = 1;
  const auto backend = make();
  ask(*backend, "a");
  ask(*backend, "b");
  EXPECT_EQ(backend->due_ms(), clock.now_ms() + 100);
  pass(*backend, 99);
  EXPECT_TRUE(verdicts.empty());
  pass(*backend, 1);
  ASSERT_EQ(verdicts.size(), 2U) << "also the one that has waited all the time";
  EXPECT_TRUE(verdicts[0].is_undecided && verdicts[1].is_undecided);
  EXPECT_TRUE(links.empty()) << "its answer is not waited for";
  EXPECT_EQ(told.size(), 1U);
  EXPECT_EQ(counters.undecided.load(), 2U);
  ask(*backend, "c");
  ASSERT_EQ(links.size(), 1U) << "its place is free";
  links[0]->give(yes());
  EXPECT_TRUE(verdicts.back().is_allowed);
  EXPECT_EQ(counters.open.load(), 0);
}

TEST_F(BackendTest, IdleConnectionsAreFewAndEnd) {
  settings.idle_max = 2;
  settings.idle_ms = 1'000;
  const auto backend = make();
  for (const char* client : {"a", "b", "c"}) ask(*backend, client);
  for (TestLink* const link : std::vector<TestLink*>(links)) link->give(yes());
  EXPECT_EQ(links.size(), 2U);
  pass(*backend, 999);
  EXPECT_EQ(links.size(), 2U);
  pass(*backend, 1);
  EXPECT_TRUE(links.empty());
  EXPECT_EQ(verdicts.size(), 3U);
}

TEST_F(BackendTest, AnotherStatusIsNoAnswer) {
  const auto backend = make();
  ask(*backend, "a");
  BackendResult result = yes();
  result.status = 503;
  links[0]->give(result);
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].is_undecided);
  EXPECT_EQ(told, std::vector<std::string>{"answered with status 503"});
}

TEST_F(BackendTest, WhenItEndsNobodyIsAnswered) {
  auto backend = make();
  ask(*backend, "a");
  backend.reset();
  EXPECT_TRUE(verdicts.empty());
  EXPECT_TRUE(links.empty());
  EXPECT_EQ(counters.open.load(), 0);
}

}  // namespace
}  // namespace carillon
