// Members over a store that answers later, or fails: what a publisher meets meanwhile.
#include <gtest/gtest.h>

#include <deque>
#include <new>
#include <optional>

#include "doubles/forwarding_store.hpp"
#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/entries.hpp"
#include "hub/hub.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

/// Memory, whose answers about members wait until they are let go, and which cannot enter when told so.
class LateMembersStore final : public ForwardingStore, public StoreListener {
 public:
  explicit LateMembersStore(Store& store) : ForwardingStore(store), store_(store) {}
  void set_listener(StoreListener* listener) override {
    listener_ = listener;
    store_.set_listener(this);
  }
  void on_announced(const Announcement& announcement) override {
    before_announced();
    listener_->on_announced(announcement);
  }
  void add_members(std::string_view channel, std::span<const std::string> users,
                   std::function<void(const MembersResult&)> done) override {
    store_.add_members(channel, users, held(std::move(done)));
  }
  void remove_members(std::string_view channel, std::span<const std::string> users,
                      std::function<void(const MembersResult&)> done) override {
    store_.remove_members(channel, users, held(std::move(done)));
  }
  void enter(std::string_view channel, Offset first, Offset last, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override {
    if (is_out_of_memory) throw std::bad_alloc();
    store_.enter(channel, first, last, members_max, std::move(done));
  }
  void inbox(std::string_view user, std::size_t limit,
             std::function<void(const InboxResult&)> done) override {
    before_inbox();
    store_.inbox(user, limit, std::move(done));
  }

  /// The newest answer first: as when two threads have asked.
  void answer() {
    for (; !held_.empty(); held_.pop_back()) held_.back()();
  }

  bool is_out_of_memory = false;
  std::function<void()> before_inbox = [] {};
  std::function<void()> before_announced = [] {};  ///< it has its offset, and the hub does not know yet

 private:
  std::function<void(const MembersResult&)> held(std::function<void(const MembersResult&)> done) {
    return [this, done = std::move(done)](const MembersResult& result) {
      held_.emplace_back([done, result] { done(result); });
    };
  }

  Store& store_;
  StoreListener* listener_ = nullptr;
  std::deque<std::function<void()>> held_;
};

struct LateAnswersTest : testing::Test {
  static ChannelRules rules() {
    ChannelOptions hybrid;
    hybrid.fan_out = FanOut::hybrid;
    hybrid.fan_out_threshold = 10;
    return ChannelRules({{"hybrid", hybrid}});
  }
  LateAnswersTest() { hub.set_shards({&shard}); }

  void add(const std::string& channel, std::size_t count) {
    std::vector<std::string> users;
    for (std::size_t i = 0; i < count; ++i) users.push_back("u" + std::to_string(i));
    hub.add_members(channel, users, [](FanOutError, const MembersResult&) {});
  }
  void publish(const std::string& channel) {
    hub.publish(channel, publication_of("x"), {},
                [this](const AppendResult& result) { told.push_back(result.error); });
  }
  void turn() {
    shard.bind_to_this_thread();
    while (shard.turn()) {
    }
    Shard::unbind_this_thread();
  }

  VirtualClock clock;
  SeededRandom random{1};
  MemoryStore memory{clock, random, {}};
  LateMembersStore store{memory};
  Hub hub{clock, random, store, rules(), {}};
  Shard shard{0, {}, clock, [] {}};
  std::vector<StoreError> told;
};

TEST_F(LateAnswersTest, WhoPublishesWhileTheFirstMembersComeWaitsForTheirInboxes) {
  add("a", 3);
  publish("a");
  EXPECT_TRUE(told.empty());
  turn();
  EXPECT_EQ(told, (std::vector{StoreError::none}));
}

TEST_F(LateAnswersTest, MembersWhoAreAddedAgainAreNotCountedTwiceMeanwhile) {
  add("hybrid", 6);
  store.answer();
  add("hybrid", 6);
  EXPECT_EQ(hub.fan_out("hybrid").members, 6U);
  EXPECT_EQ(hub.fan_out("hybrid").mode, FanOutMode::write);
  EXPECT_EQ(hub.fan_out("hybrid").switches, 0U);
}

TEST_F(LateAnswersTest, ACountThatCameOutOfOrderIsCorrectedByTheNextPublication) {
  add("a", 1);
  const std::vector<std::string> users{"u0"};
  hub.remove_members("a", users, [](FanOutError, const MembersResult&) {});
  store.answer();
  EXPECT_EQ(hub.fan_out("a").members, 1U) << "the answers changed places";
  publish("a");
  EXPECT_EQ(hub.fan_out("a").members, 0U);
  EXPECT_EQ(told, (std::vector{StoreError::none}));
}

TEST_F(LateAnswersTest, OnlyMergingCountsAsTheCostOfReading) {
  add("a", 1);
  store.answer();
  store.before_inbox = [&] { clock.advance(2); };
  const auto read = [&] { hub.inbox("u0", 10, [&](const Inbox&) { clock.advance(50); }); };
  publish("a");
  turn();
  read();
  EXPECT_EQ(hub.adaptive_threshold().read_ns(), 0);
  hub.set_fan_out("a", FanOut::read, std::nullopt);
  publish("a");
  read();
  EXPECT_EQ(hub.adaptive_threshold().read_ns(), 2'000'000) << "without what is done with the answer";
}

TEST_F(LateAnswersTest, WhatIsStillToBeAnnouncedIsNoGap) {
  add("a", 1);
  store.answer();
  hub.set_fan_out("a", FanOut::read, std::nullopt);
  publish("a");
  std::optional<Inbox> seen;
  store.before_announced = [&] { hub.inbox("u0", 10, [&](Inbox inbox) { seen = std::move(inbox); }); };
  publish("a");
  ASSERT_TRUE(seen);
  ASSERT_EQ(seen->items.size(), 1U);
  EXPECT_TRUE(seen->items[0].entry);
  EXPECT_EQ(seen->items[0].first, 1U);
}

TEST_F(LateAnswersTest, AThreadThatDiesOfWritingInboxesTellsThoseWhoWait) {
  add("a", 3);
  store.answer();
  publish("a");
  publish("a");
  store.is_out_of_memory = true;
  EXPECT_THROW(turn(), std::bad_alloc);
  EXPECT_EQ(told, (std::vector{StoreError::unavailable, StoreError::unavailable}));
  Shard::unbind_this_thread();
  shard.close();
  publish("a");
  EXPECT_EQ(told.size(), 3U);
  EXPECT_EQ(told.back(), StoreError::unavailable);
}

}  // namespace
}  // namespace carillon
