// A walk over the members that another gateway makes.
#include <gtest/gtest.h>

#include <functional>
#include <string>
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
    done(held);
  }
  bool is_held = true;
  int asked = 0;

 private:
  Store& store_;
};

TEST(HeldWalk, APublisherIsAnsweredWhenTheOtherGatewayHasEnteredIt) {
  VirtualClock clock;
  SeededRandom random{1};
  MemoryStore memory(clock, random, StoreLimits{});
  HeldWalks store(memory);
  Hub hub(clock, random, store, ChannelRules{}, HubLimits{});
  Shard shard(0, TurnLimits{}, clock, [] {});
  hub.set_shards({&shard});
  const auto turn = [&] {
    shard.bind_to_this_thread();
    while (shard.turn()) {
    }
    Shard::unbind_this_thread();
  };
  const std::vector<std::string> users{"ann", "bob"};
  hub.add_members("a", users, [](FanOutError, const MembersResult&) {});
  int answers = 0;
  hub.publish("a", publication_of("1"), {}, [&](const AppendResult& result) {
    EXPECT_EQ(result.error, StoreError::none);
    ++answers;
  });
  turn();
  EXPECT_EQ(store.asked, 1);
  EXPECT_EQ(answers, 0) << "nobody knows how far the other one has come";
  for (int i = 0; i < 3; ++i) {
    clock.advance(InboxWalk::kRetryMs);
    hub.keep_house();
    turn();
  }
  EXPECT_EQ(store.asked, 4) << "it asks again and again, and not at once";
  EXPECT_EQ(answers, 0);
  store.is_held = false;
  clock.advance(InboxWalk::kRetryMs);
  hub.keep_house();
  turn();
  EXPECT_EQ(answers, 1);
  hub.set_shards({});
  hub.close();
}

}  // namespace
}  // namespace carillon
