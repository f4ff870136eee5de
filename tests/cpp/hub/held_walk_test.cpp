// A walk over the members that another gateway makes.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/entries.hpp"
#include "hub/hub.hpp"
#include "store/forwarding_store.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

/// A store whose walks belong to another gateway as long as a test says so.
class HeldWalks final : public ForwardingStore<> {
 public:
  HeldWalks(Store& store, VirtualClock& clock) : ForwardingStore(store), store_(store), clock_(clock) {}
  void enter(std::string_view channel, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override {
    if (entering_ms > 0) clock_.advance(entering_ms);
    if (is_silent) return;
    if (!is_held) return store_.enter(channel, members_max, std::move(done));
    ++asked;
    EnterResult held;
    held.step.is_done = held.step.is_held = true;
    held.step.entered_to = entered_to;
    held.step.held_at = held_at;
    done(held);
  }
  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override {
    store_.append(channel, std::move(entry), options,
                  [this, done = std::move(done)](const AppendResult& result) {
                    if (!is_late) return done(result);
                    late.push_back([done, result] { done(result); });
                  });
  }
  [[nodiscard]] bool keeps_entries() const override { return is_late; }
  bool is_held = true;
  Offset entered_to = 0;  // by the other gateway
  bool is_late = false;   // the answer to an append, as of a store elsewhere
  std::vector<std::function<void()>> late;
  bool is_silent = false;
  int asked = 0;
  Millis entering_ms = 0;  // time that a step takes
  std::string held_at;     // the member that the other gateway has come to

 private:
  Store& store_;
  VirtualClock& clock_;
};

struct HeldWalk : testing::Test {
  static constexpr int kAwaited = static_cast<int>(HubLimits{}.inbox_wait_ms / InboxWalk::kRetryMs);
  HeldWalk() {
    hub.set_shards({&shard});
    hub.add_members("a", std::vector<std::string>{"ann", "bob"}, [](FanOutError, const MembersResult&) {});
  }
  ~HeldWalk() override {
    hub.set_shards({});
    hub.close();
  }
  void publish(const std::string& data) {
    hub.publish("a", publication_of(data), {},
                [this, data](const AppendResult& result) { answers.emplace_back(data, result.error); });
  }
  void turn() {
    shard.bind_to_this_thread();
    while (shard.turn()) {
    }
    Shard::unbind_this_thread();
  }
  /// Time passes until the store is asked again.
  void pass() {
    clock.advance(InboxWalk::kRetryMs);
    hub.keep_house();
    turn();
  }

  /// Steps of walks that have written.
  [[nodiscard]] std::uint64_t steps() const {
    const auto counts = hub.walk_members().counts();
    return std::accumulate(counts.observations.begin(), counts.observations.end(), std::uint64_t{0});
  }

  using Answers = std::vector<std::pair<std::string, StoreError>>;
  VirtualClock clock;
  SeededRandom random{1};
  MemoryStore memory{clock, random, StoreLimits{}};
  HeldWalks store{memory, clock};
  Hub hub{clock, random, store, ChannelRules{}, HubLimits{}};
  Shard shard{0, TurnLimits{}, clock, [] {}};
  Answers answers;
};

TEST_F(HeldWalk, PublishersAreAnsweredAsFarAsTheOtherGatewayHasCome) {
  publish("1");
  publish("2");
  turn();
  EXPECT_EQ(store.asked, 1);
  EXPECT_EQ(answers, Answers{}) << "it has not come so far";
  for (int i = 0; i < 3; ++i) pass();
  EXPECT_EQ(store.asked, 4) << "it asks again and again, and not at once";
  EXPECT_EQ(answers, Answers{});
  store.entered_to = 1;
  pass();
  EXPECT_EQ(answers, (Answers{{"1", StoreError::none}}));
  store.is_held = false;
  pass();
  EXPECT_EQ(answers, (Answers{{"1", StoreError::none}, {"2", StoreError::none}}));
}

TEST_F(HeldWalk, APublisherDoesNotWaitForEver) {
  publish("1");
  turn();
  for (int i = 0; i < kAwaited; ++i) {
    EXPECT_EQ(answers, Answers{});
    pass();
  }
  EXPECT_EQ(answers, (Answers{{"1", StoreError::outcome_unknown}}))
      << "it is stored; whether it is in all inboxes is unknown";
  EXPECT_EQ(hub.inbox_timeouts(), 1U);
  const int asked = store.asked;
  pass();
  pass();
  EXPECT_LE(store.asked, asked + 1) << "nobody waits any more";
}

TEST_F(HeldWalk, APublisherWaitsAsLongBehindOneWhoWasAnswered) {
  publish("1");
  turn();
  for (int i = 0; i < kAwaited / 2; ++i) pass();
  publish("2");
  turn();
  for (int i = 0; i < kAwaited / 2 - 1; ++i) pass();
  store.entered_to = 1;
  EXPECT_EQ(answers, Answers{});
  pass();
  EXPECT_EQ(answers.size(), 1U) << "by its time, or because it is entered";
  store.entered_to = 2;
  pass();
  EXPECT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers.back(), (std::pair<std::string, StoreError>{"2", StoreError::none}));
}

TEST_F(HeldWalk, APublisherWaitsAsLongAsTheOtherGatewayComesOn) {
  publish("1");
  turn();
  // It comes to the next member just in time.
  for (int i = 1; i < 5 * (kAwaited - 2); ++i) {
    if (i % (kAwaited - 2) == 0) store.held_at = "member" + std::to_string(i);
    pass();
    ASSERT_EQ(answers, Answers{}) << i;
  }
  for (int i = 0; i < kAwaited; ++i) pass();
  EXPECT_EQ(answers, (Answers{{"1", StoreError::outcome_unknown}}));
}

TEST_F(HeldWalk, APublisherIsAnsweredInTimeByAStoreThatDoesNotAnswer) {
  store.is_held = false;
  store.is_silent = true;
  publish("1");
  turn();
  for (int i = 0; i < kAwaited; ++i) {
    EXPECT_EQ(answers, Answers{});
    pass();
  }
  EXPECT_EQ(answers, (Answers{{"1", StoreError::outcome_unknown}}));
}

TEST_F(HeldWalk, AQuestionHowFarTheOtherHasComeIsNoStepOfAWalk) {
  store.entering_ms = 5;
  publish("1");
  turn();
  for (int i = 0; i < 5; ++i) pass();
  EXPECT_EQ(steps(), 0U) << "it has written nothing";
  EXPECT_EQ(hub.adaptive_threshold().write_ns(), 0)
      << "nor is the time that the question took one of writing";
  store.is_held = false;
  pass();
  EXPECT_GT(steps(), 0U);
  EXPECT_GT(hub.adaptive_threshold().write_ns(), 0);
}

TEST_F(HeldWalk, APublicationThatIsStoredWhenTheHubIsClosedIsInNoInbox) {
  store.is_late = true;
  publish("1");
  turn();
  hub.set_shards({});
  hub.close();
  ASSERT_EQ(store.late.size(), 1U);
  store.late[0]();
  EXPECT_EQ(answers, (Answers{{"1", StoreError::outcome_unknown}})) << "nobody here walks any more";
}

}  // namespace
}  // namespace carillon
