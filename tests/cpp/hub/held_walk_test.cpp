// A walk over the members that another gateway makes.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
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
  explicit HeldWalks(Store& store) : ForwardingStore(store), store_(store) {}
  void enter(std::string_view channel, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override {
    if (!is_held) return store_.enter(channel, members_max, std::move(done));
    ++asked;
    EnterResult held;
    held.step.is_done = held.step.is_held = true;
    held.step.entered_to = entered_to;
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
  int asked = 0;

 private:
  Store& store_;
};

struct HeldWalk : testing::Test {
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

  using Answers = std::vector<std::pair<std::string, StoreError>>;
  VirtualClock clock;
  SeededRandom random{1};
  MemoryStore memory{clock, random, StoreLimits{}};
  HeldWalks store{memory};
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
  for (unsigned i = 1; i < InboxWalk::kHeldAwaited; ++i) {
    EXPECT_EQ(answers, Answers{});
    pass();
  }
  EXPECT_EQ(answers, (Answers{{"1", StoreError::unavailable}}))
      << "it is stored; whether it is in all inboxes is unknown";
  const int asked = store.asked;
  pass();
  pass();
  EXPECT_LE(store.asked, asked + 1) << "nobody waits any more";
}

TEST_F(HeldWalk, APublisherWaitsAsLongBehindOneWhoWasAnswered) {
  publish("1");
  turn();
  for (unsigned i = 0; i < InboxWalk::kHeldAwaited / 2; ++i) pass();
  store.entered_to = 1;
  pass();
  ASSERT_EQ(answers, (Answers{{"1", StoreError::none}}));
  publish("2");
  turn();
  for (unsigned i = 1; i < InboxWalk::kHeldAwaited; ++i) {
    ASSERT_EQ(answers.size(), 1U) << i;
    pass();
  }
  EXPECT_EQ(answers.size(), 2U);
}

TEST_F(HeldWalk, APublicationThatIsStoredWhenTheHubIsClosedIsInNoInbox) {
  store.is_late = true;
  publish("1");
  turn();
  hub.set_shards({});
  hub.close();
  ASSERT_EQ(store.late.size(), 1U);
  store.late[0]();
  EXPECT_EQ(answers, (Answers{{"1", StoreError::unavailable}})) << "nobody here walks any more";
}

}  // namespace
}  // namespace carillon
