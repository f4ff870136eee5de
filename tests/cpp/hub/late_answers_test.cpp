// Members over a store that answers later, or fails: what a publisher meets meanwhile.
#include <gtest/gtest.h>

#include <deque>
#include <new>
#include <optional>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/entries.hpp"
#include "hub/hub.hpp"
#include "store/forwarding_store.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

/// Memory, whose answers about members wait until they are let go, and which cannot enter when told so.
class LateMembersStore final : public ForwardingStore<>, public StoreListener {
 public:
  explicit LateMembersStore(Store& store) : ForwardingStore(store), store_(store) {}
  void set_listener(StoreListener* listener) override {
    listener_ = listener;
    store_.set_listener(this);
  }
  void on_announced(const Announcement& announcement) override {
    before_announced();
    if (!std::exchange(delays_next_announcement, false)) return listener_->on_announced(announcement);
    announcements_.push_back(
        [this, kept = announcement, channel = std::string(announcement.channel)]() mutable {
          kept.channel = channel;
          listener_->on_announced(kept);
        });
  }
  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override {
    store_.append(channel, std::move(entry), options,
                  [this, done = std::move(done)](const AppendResult& result) {
                    if (!delays_appends) return done(result);
                    waiting_.emplace_back([done, result] { done(result); });
                  });
  }
  void announce() {
    for (; !announcements_.empty(); announcements_.pop_front()) announcements_.front()();
  }
  void add_members(std::string_view channel, std::span<const std::string> users,
                   std::function<void(const MembersResult&)> done) override {
    store_.add_members(channel, users, when_answered(std::move(done)));
  }
  void remove_members(std::string_view channel, std::span<const std::string> users,
                      std::function<void(const MembersResult&)> done) override {
    store_.remove_members(channel, users, when_answered(std::move(done)));
  }
  void enter(std::string_view channel, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override {
    if (is_out_of_memory) throw std::bad_alloc();
    ++enters;
    if (cannot_enter) return done({StoreError::unavailable, {}});
    store_.enter(channel, members_max, std::move(done));
  }
  void inbox(std::string_view user, std::size_t limit,
             std::function<void(const InboxResult&)> done) override {
    before_inbox();
    if (found_inbox) return done(*found_inbox);
    store_.inbox(user, limit, std::move(done));
  }
  [[nodiscard]] bool keeps_entries() const override { return cannot_read; }
  void read(std::string_view channel, const ReadRange& range,
            std::function<void(const Page&)> done) override {
    Page failed;
    failed.error = StoreError::unavailable;
    cannot_read ? done(failed) : store_.read(channel, range, std::move(done));
  }

  /// The newest answer first: as when two threads have asked.
  void answer() {
    for (; !waiting_.empty(); waiting_.pop_back()) waiting_.back()();
  }

  bool is_out_of_memory = false;
  bool cannot_enter = false;
  bool cannot_read = false;
  std::optional<InboxResult> found_inbox;  ///< whatever is in it
  int enters = 0;
  bool delays_appends = false;            ///< their answers, until answer()
  bool delays_next_announcement = false;  ///< until announce()
  std::function<void()> before_inbox = [] {};
  std::function<void()> before_announced = [] {};  ///< it has its offset, and the hub does not know yet

 private:
  std::function<void(const MembersResult&)> when_answered(std::function<void(const MembersResult&)> done) {
    return [this, done = std::move(done)](const MembersResult& result) {
      waiting_.emplace_back([done, result] { done(result); });
    };
  }

  Store& store_;
  StoreListener* listener_ = nullptr;
  std::deque<std::function<void()>> waiting_;
  std::deque<std::function<void()>> announcements_;
};

struct LateAnswersTest : testing::Test {
  static ChannelRules rules() {
    ChannelOptions hybrid;
    hybrid.fan_out = FanOut::hybrid;
    hybrid.fan_out_threshold = 10;
    ChannelOptions tiny;
    tiny.history_size = 2;
    tiny.live_window_entries = 0;
    return ChannelRules({{"hybrid", hybrid}, {"tiny", tiny}});
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
  Epoch memory_epoch(std::string_view channel) {
    Epoch epoch;
    hub.history(channel, {}, [&](const HistoryResult& found) { epoch = found.top.epoch; });
    return epoch;
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

TEST_F(LateAnswersTest, RangesOfTwoEpochsAreNotOne) {
  for (int i = 0; i < 4; ++i) publish("a");
  const Epoch epoch = memory_epoch("a");
  const Epoch before = Epoch::parse("aaaaaaaa").value();
  store.found_inbox = InboxResult{};
  store.found_inbox->content.merged = {{"a", before, 1, 2}, {"a", epoch, 3, 4}};
  store.found_inbox->content.unread = {{"a", 4}};
  std::optional<Inbox> found;
  hub.inbox("u0", 10, [&](Inbox inbox) { found = std::move(inbox); });
  ASSERT_TRUE(found);
  ASSERT_EQ(found->items.size(), 3U);
  EXPECT_FALSE(found->items[0].entry) << "what its channel had in the epoch before cannot be read any more";
  EXPECT_EQ(found->items[0].epoch, before);
  EXPECT_EQ(found->items[0].last, 2U);
  EXPECT_TRUE(found->items[1].entry);
  EXPECT_TRUE(found->items[2].entry);
  EXPECT_EQ(found->items[2].epoch, epoch);
}

TEST_F(LateAnswersTest, AnInboxOfWhichAPartCannotBeReadIsAnErrorAndAnsweredOnce) {
  for (int i = 0; i < 6; ++i) {
    publish("a");
    publish("tiny");
  }
  const Epoch epoch = memory_epoch("tiny");
  store.found_inbox = InboxResult{};
  // One channel is read whole, of the other the older range would have to come from the store.
  store.found_inbox->content.merged = {
      {"a", memory_epoch("a"), 1, 6}, {"tiny", epoch, 1, 2}, {"tiny", epoch, 6, 6}};
  store.found_inbox->content.unread = {{"a", 6}, {"tiny", 3}};
  store.cannot_read = true;
  std::vector<StoreError> errors;
  hub.inbox("u0", 10, [&](const Inbox& inbox) { errors.push_back(inbox.error); });
  EXPECT_EQ(errors, (std::vector{StoreError::unavailable}));
  store.cannot_read = false;
  hub.inbox("u0", 10, [&](const Inbox& inbox) {
    errors.push_back(inbox.error);
    EXPECT_EQ(inbox.items.size(), 8U) << "six, a gap, and the newest";
  });
  EXPECT_EQ(errors.back(), StoreError::none);
}

TEST_F(LateAnswersTest, AThreadThatDiesOfWritingInboxesTellsThoseWhoWait) {
  add("a", 3);
  store.answer();
  publish("a");
  publish("a");
  store.is_out_of_memory = true;
  EXPECT_THROW(turn(), std::bad_alloc);
  EXPECT_EQ(told, (std::vector{StoreError::outcome_unknown, StoreError::outcome_unknown}));
  Shard::unbind_this_thread();
  shard.close();
  publish("a");
  EXPECT_EQ(told.size(), 3U);
  EXPECT_EQ(told.back(), StoreError::outcome_unknown);
}

TEST_F(LateAnswersTest, AStoreThatCannotEnterIsAskedAgainLaterAndLater) {
  add("a", 3);
  store.answer();
  store.cannot_enter = true;
  publish("a");
  turn();  // comes to its end
  EXPECT_EQ(store.enters, 1);
  hub.keep_house();
  turn();
  EXPECT_EQ(store.enters, 1) << "not before its time";
  for (int i = 0; i < 10; ++i) {
    clock.advance(250);
    hub.keep_house();
    turn();
  }
  EXPECT_GE(store.enters, 4);
  EXPECT_EQ(told, std::vector<StoreError>{});
  for (int i = 0; i < 240; ++i) {  // a minute
    clock.advance(250);
    hub.keep_house();
    turn();
  }
  EXPECT_EQ(told, (std::vector{StoreError::outcome_unknown})) << "who publishes does not wait without an end";
  EXPECT_LE(store.enters, 20);
  store.cannot_enter = false;
  clock.advance(8'000);
  hub.keep_house();
  turn();
  publish("a");
  turn();
  EXPECT_EQ(told.back(), StoreError::none);
  std::uint64_t unread = 0;
  hub.inbox("u0", 10, [&](const Inbox& inbox) { unread = inbox.items.size(); });
  EXPECT_EQ(unread, 2U) << "nothing of it is lost";
}

TEST_F(LateAnswersTest, PublicationsAnnouncedOutOfOrderAreAllEnteredBeforeTheirPublishersHear) {
  add("a", 3);
  store.answer();
  store.delays_appends = store.delays_next_announcement = true;
  publish("a");
  publish("a");
  publish("a");
  store.announce();  // 2, 3, 1
  store.answer();
  EXPECT_TRUE(told.empty());
  turn();
  EXPECT_EQ(told, (std::vector{StoreError::none, StoreError::none, StoreError::none}));
  std::vector<Offset> offsets;
  hub.inbox("u0", 10, [&](const Inbox& inbox) {
    for (const InboxItem& item : inbox.items) offsets.push_back(item.first);
  });
  EXPECT_EQ(offsets, (std::vector<Offset>{1, 2, 3}));
}

TEST_F(LateAnswersTest, APublicationThatIsAnnouncedTwiceIsEnteredOnce) {
  add("a", 1);
  store.answer();
  EntryRef entry;
  Epoch epoch;
  publish("a");
  turn();
  hub.history("a", {.limit = 1}, [&](const HistoryResult& result) {
    entry = result.entries.at(0);
    epoch = result.top.epoch;
  });
  hub.on_announced({"a", epoch, entry, FanOutMode::write, 1});
  turn();
  EXPECT_EQ(store.enters, 1);
}

TEST_F(LateAnswersTest, AHubThatIsClosedTellsThoseWhoWaitForInboxes) {
  add("a", 3);
  store.answer();
  publish("a");
  EXPECT_TRUE(told.empty());
  shard.close();
  hub.close();
  EXPECT_EQ(told, (std::vector{StoreError::outcome_unknown}));
  publish("a");
  EXPECT_EQ(told.size(), 2U);
}

}  // namespace
}  // namespace carillon
