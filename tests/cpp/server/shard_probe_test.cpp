// Whether the threads of shards give a sign of life.
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "hub/hub_fixture.hpp"
#include "server/shard_probe.hpp"

namespace carillon {
namespace {

struct ShardProbeTest : HubFixture {
  /// A turn of the shard, whose thread stands still otherwise.
  void run_turn() {
    shards[0]->bind_to_this_thread();
    shards[0]->turn();
    Shard::unbind_this_thread();
  }
  std::array<Shard*, 1> asked{&*shards[0]};
  ShardProbe probe;
};

TEST_F(ShardProbeTest, AThreadThatRunsAnswers) {
  probe.ask(asked);
  std::thread thread([this] { run_turn(); });
  EXPECT_TRUE(probe.is_answered(60'000));
  thread.join();
}

TEST_F(ShardProbeTest, AThreadThatStandsStillIsNotAskedTwice) {
  EXPECT_FALSE(probe.is_answered(0)) << "nobody has been asked";
  for (int i = 0; i < 3; ++i) {
    probe.ask(asked);
    EXPECT_FALSE(probe.is_answered(1));
  }
  run_turn();
  EXPECT_TRUE(probe.is_answered(0)) << "one task answers all of these";
  probe.ask(asked);
  EXPECT_FALSE(probe.is_answered(1)) << "an old answer says nothing of now";
  run_turn();
  EXPECT_TRUE(probe.is_answered(0));
}

TEST_F(ShardProbeTest, AQuestionAddsNoTaskWhileAnEarlierOneIsUnanswered) {
  probe.ask(asked);
  bool is_answered_by_first = false;
  shards[0]->post([&] { is_answered_by_first = probe.is_answered(0); });
  for (int i = 0; i < 3; ++i) probe.ask(asked);
  run_turn();
  EXPECT_TRUE(is_answered_by_first) << "later questions have put tasks into the mailbox, behind this one";
}

TEST_F(ShardProbeTest, AThreadThatHasDiedDoesNotAnswer) {
  const std::array<Shard*, 2> both{&*shards[0], &*shards[1]};
  probe.ask(both);
  shards[1]->close();  // with the task in its mailbox
  run_turn();
  EXPECT_FALSE(probe.is_answered(0));
  probe.ask(both);
  run_turn();
  EXPECT_FALSE(probe.is_answered(0)) << "it was dead before the question";
  probe.ask(asked);
  run_turn();
  EXPECT_TRUE(probe.is_answered(0)) << "of the other thread";
}

}  // namespace
}  // namespace carillon
