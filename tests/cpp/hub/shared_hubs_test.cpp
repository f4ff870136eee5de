// Several hubs over one log, behind stores that delay, reorder, fail, and lose announcements.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/seeds.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/entries.hpp"
#include "hub/hub.hpp"
#include "store/forwarding_store.hpp"
#include "store/shared_store.hpp"

namespace carillon {
namespace {

/// Between a hub and its SharedStore: what comes from the store waits for run_one().
class DistantStore final : public ForwardingStore<>, private StoreListener {
 public:
  struct Faults {
    std::uint64_t fails = 0;       ///< calls, percent: unavailable, before they reach the store
    std::uint64_t reorders = 0;    ///< what comes next, percent
    std::uint64_t loses_each = 0;  ///< announcement, and from lose_all() on all of them; 0: none
  };
  DistantStore(std::shared_ptr<SharedLog> log, RandomSource& random)
      : ForwardingStore(store_), random_(random), store_(std::move(log)) {
    store_.set_listener(this);
  }

  Faults faults;
  std::uint64_t lost = 0;
  void lose_all(bool is_losing) { loses_all_ = is_losing; }

  void set_listener(StoreListener* listener) override { listener_ = listener; }
  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override {
    if (fails()) return later([done] { done({.error = StoreError::unavailable, .position = {}}); });
    store_.append(channel, std::move(entry), options, late(std::move(done)));
  }
  void follow(std::string_view channel, std::function<void(const TopResult&)> done) override {
    if (fails()) return later([done] { done({.error = StoreError::unavailable, .top = {}}); });
    store_.follow(channel, late(std::move(done)));
  }
  void top(std::string_view channel, std::function<void(const TopResult&)> done) override {
    if (fails()) return later([done] { done({.error = StoreError::unavailable, .top = {}}); });
    store_.top(channel, late(std::move(done)));
  }
  void read(std::string_view channel, const ReadRange& range,
            std::function<void(const Page&)> done) override {
    if (fails()) return later([done] { done({.error = StoreError::unavailable, .top = {}, .entries = {}}); });
    store_.read(channel, range, late(std::move(done)));
  }
  void close() override {
    store_.close();
    while (run_one()) {
    }
  }

  bool run_one() {
    if (events_.empty()) return false;
    if (random_.below(100) < faults.reorders)
      std::swap(events_.front(), events_[random_.below(events_.size())]);
    const auto event = std::move(events_.front());
    events_.pop_front();
    event();
    return true;
  }

 private:
  [[nodiscard]] bool fails() { return random_.below(100) < faults.fails; }
  void later(std::function<void()> event) { events_.push_back(std::move(event)); }
  template <typename Result>
  std::function<void(const Result&)> late(std::function<void(const Result&)> done) {
    return [this, done = std::move(done)](const Result& result) { later([done, result] { done(result); }); };
  }
  void on_history_removed(std::string_view channel, Epoch epoch, Offset up_to) override {
    later([this, channel = std::string(channel), epoch, up_to] {
      listener_->on_history_removed(channel, epoch, up_to);
    });
  }
  void on_announced(const Announcement& announcement) override {
    ++announced_;
    if (loses_all_ || (faults.loses_each > 0 && announced_ % faults.loses_each == 0)) {
      ++lost;
      return;
    }
    later([this, channel = std::string(announcement.channel), copy = announcement] {
      Announcement own = copy;
      own.channel = channel;
      listener_->on_announced(own);
    });
  }

  RandomSource& random_;
  SharedStore store_;
  StoreListener* listener_ = nullptr;
  std::deque<std::function<void()>> events_;
  std::uint64_t announced_ = 0;
  bool loses_all_ = false;
};

/// A gateway: a hub with a shard and a reader.
struct SharingGateway {
  SharingGateway(const std::shared_ptr<SharedLog>& log, VirtualClock& clock, SeededRandom& random)
      : store(log, random), hub(clock, random, store, {}, {}), shard(0, {}, clock, [] {}), reader(shard) {
    hub.set_shards({&shard});
  }

  DistantStore store;
  Hub hub;
  Shard shard;
  PlainReader reader;
};

struct SharedHubs : testing::Test {
  explicit SharedHubs(std::uint64_t seed = 1) : random(seed) {
    for (int i = 0; i < 3; ++i) gateways.push_back(std::make_unique<SharingGateway>(log, clock, random));
  }

  void turn(SharingGateway& gateway) {
    gateway.shard.bind_to_this_thread();
    while (gateway.shard.turn()) {
    }
    Shard::unbind_this_thread();
  }
  void settle() {
    for (bool is_moving = true; is_moving;) {
      is_moving = false;
      for (const auto& gateway : gateways) {
        while (gateway->store.run_one()) is_moving = true;
        turn(*gateway);
      }
    }
  }
  bool subscribe(SharingGateway& gateway, PlainReader& reader, std::optional<Since> since = std::nullopt) {
    std::optional<SubscribeOutcome> outcome;
    gateway.shard.bind_to_this_thread();
    gateway.hub.subscribe(gateway.shard, reader.cursor, "a", since,
                          [&](const SubscribeOutcome& result) { outcome = result; });
    Shard::unbind_this_thread();
    settle();
    return outcome && outcome->error == StoreError::none && (!since || outcome->is_recovered);
  }
  void publish(SharingGateway& gateway, const std::string& data) {
    gateway.hub.publish("a", publication_of(data), {}, [&, data](const AppendResult& result) {
      if (result.error == StoreError::none) published.emplace_back(result.position.offset, data);
    });
  }
  /// In the order of their offsets.
  [[nodiscard]] std::vector<std::string> all() {
    std::sort(published.begin(), published.end());
    std::vector<std::string> data;
    for (const auto& [offset, each] : published) data.push_back(each);
    return data;
  }
  /// So long that each top has been compared.
  void let_tops_be_compared() {
    for (int i = 0; i < 45; ++i) {
      clock.advance(1'000);
      for (const auto& gateway : gateways) gateway->hub.keep_house();
      settle();
    }
  }

  VirtualClock clock;
  SeededRandom random;
  std::shared_ptr<SharedLog> log = std::make_shared<SharedLog>(clock, random, StoreLimits{});
  std::vector<std::unique_ptr<SharingGateway>> gateways;
  std::vector<std::pair<Offset, std::string>> published;
};

TEST_F(SharedHubs, WhatOnePublishesAllDeliverInOneOrder) {
  for (const auto& gateway : gateways) ASSERT_TRUE(subscribe(*gateway, gateway->reader));
  for (int i = 0; i < 30; ++i) publish(*gateways[static_cast<std::size_t>(i % 3)], std::to_string(i));
  settle();
  EXPECT_EQ(all().size(), 30U);
  for (const auto& gateway : gateways) EXPECT_EQ(gateway->reader.taken, all());
}

TEST_F(SharedHubs, AResumeAtAnotherGatewayGetsWhatWasMissed) {
  ASSERT_TRUE(subscribe(*gateways[0], gateways[0]->reader));
  for (int i = 0; i < 10; ++i) publish(*gateways[1], std::to_string(i));
  settle();
  Epoch epoch;
  gateways[2]->store.top("a", [&](const TopResult& result) { epoch = result.top.epoch; });
  settle();
  PlainReader resumed(gateways[2]->shard);
  ASSERT_TRUE(subscribe(*gateways[2], resumed, Since{epoch, false, 4}));
  EXPECT_EQ(resumed.taken, (std::vector<std::string>{"4", "5", "6", "7", "8", "9"}));
}

TEST_F(SharedHubs, EveryHundredthAnnouncementIsLostTheLastOneAmongThemAndEveryJournalIsComplete) {
  for (const auto& gateway : gateways) {
    gateway->store.faults.loses_each = 100;
    ASSERT_TRUE(subscribe(*gateway, gateway->reader));
  }
  for (int i = 0; i < 1'000; ++i) {
    publish(*gateways[static_cast<std::size_t>(i % 3)], std::to_string(i));
    if (i % 7 == 0) settle();
  }
  settle();
  for (const auto& gateway : gateways) gateway->store.lose_all(true);
  publish(*gateways[0], "the last");
  settle();
  for (const auto& gateway : gateways) EXPECT_LT(gateway->reader.taken.size(), 1'001U);
  let_tops_be_compared();
  for (const auto& gateway : gateways) {
    EXPECT_EQ(gateway->reader.taken, all());
    EXPECT_TRUE(gateway->reader.gaps.empty());
    EXPECT_GE(gateway->store.lost, 11U);
  }
}

TEST_F(SharedHubs, AnInboxHasWhatItsGatewayHasNotHeardOfYet) {
  gateways[1]->hub.add_members("a", std::vector<std::string>{"ann"},
                               [](FanOutError, const MembersResult&) {});
  settle();
  ASSERT_TRUE(subscribe(*gateways[0], gateways[0]->reader));
  gateways[0]->store.lose_all(true);
  for (int i = 0; i < 3; ++i) publish(*gateways[1], std::to_string(i));
  settle();
  ASSERT_EQ(gateways[0]->reader.taken, Taken{});
  Taken shown;
  gateways[0]->hub.inbox("ann", 10, [&](const Inbox& inbox) {
    for (const InboxItem& item : inbox.items)
      shown.push_back(item.entry ? item.entry->publication.data : "gap");
  });
  settle();
  EXPECT_EQ(shown, (Taken{"0", "1", "2"}));
}

TEST_F(SharedHubs, HistoryThatOneRemovesIsGoneFromTheRingsOfAll) {
  for (const auto& gateway : gateways) ASSERT_TRUE(subscribe(*gateway, gateway->reader));
  for (int i = 0; i < 5; ++i) publish(*gateways[0], std::to_string(i));
  settle();
  gateways[1]->hub.remove_history("a", [](StoreError) {});
  settle();
  for (const auto& gateway : gateways) {
    std::size_t entries = 9;
    gateway->hub.history("a", {-1, std::nullopt, false},
                         [&](const HistoryResult& result) { entries = result.entries.size(); });
    settle();
    EXPECT_EQ(entries, 0U);
  }
}

// A takeover: what is published between the saving of one hub and the follow of the next is announced to
// none.
TEST_F(SharedHubs, AHubThatGoesOnFromAnotherGetsWhatWasPublishedMeanwhileAtOnce) {
  SharingGateway& old = *gateways[0];
  SharingGateway& next = *gateways[2];
  ASSERT_TRUE(subscribe(old, old.reader));
  publish(*gateways[1], "before");
  settle();
  const HubState state = old.hub.save();
  const CursorState cursor = Shard::save(old.reader.cursor);
  publish(*gateways[1], "meanwhile");
  next.hub.restore(state);
  next.shard.bind_to_this_thread();
  next.hub.restore(next.shard, next.reader.cursor, "a", cursor);
  Shard::unbind_this_thread();
  settle();
  EXPECT_EQ(next.reader.taken, std::vector<std::string>{"meanwhile"});
}

TEST_F(SharedHubs, WhoseFollowIsRefusedAfterATakeoverIsFollowedLater) {
  SharingGateway& old = *gateways[0];
  SharingGateway& next = *gateways[2];
  ASSERT_TRUE(subscribe(old, old.reader));
  const HubState state = old.hub.save();
  const CursorState cursor = Shard::save(old.reader.cursor);
  next.store.faults.fails = 100;
  next.hub.restore(state);
  next.shard.bind_to_this_thread();
  next.hub.restore(next.shard, next.reader.cursor, "a", cursor);
  Shard::unbind_this_thread();
  settle();
  next.store.faults.fails = 0;
  next.hub.keep_house();
  settle();
  publish(*gateways[1], "later");
  settle();
  EXPECT_EQ(next.reader.taken, std::vector<std::string>{"later"});
}

TEST(SharedHubsProperty, WhateverIsDelayedReorderedLostOrRefusedEveryJournalIsComplete) {
  const auto [first, count, is_replay] = seeds_to_play(300);
  std::uint64_t lost = 0;
  std::size_t refused = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("CARILLON_SEED=" + std::to_string(seed));
    struct World : SharedHubs {
      explicit World(std::uint64_t world_seed) : SharedHubs(world_seed) {}
      void TestBody() override {}
    } world(seed);
    for (const auto& gateway : world.gateways) ASSERT_TRUE(world.subscribe(*gateway, gateway->reader));
    for (const auto& gateway : world.gateways)
      gateway->store.faults = {.fails = 10, .reorders = 30, .loses_each = 2 + seed % 9};
    for (int i = 0; i < 120; ++i) {
      world.publish(*world.gateways[world.random.below(3)], std::to_string(i));
      for (std::uint64_t events = world.random.below(12); events > 0; --events) {
        SharingGateway& gateway = *world.gateways[world.random.below(3)];
        gateway.store.run_one();
        world.turn(gateway);
      }
      if (world.random.below(20) == 0) {
        world.clock.advance(5'000);
        for (const auto& gateway : world.gateways) gateway->hub.keep_house();
      }
    }
    world.settle();
    for (const auto& gateway : world.gateways) gateway->store.faults = {};
    world.let_tops_be_compared();
    const std::vector<std::string> all = world.all();
    refused += 120 - all.size();
    for (const auto& gateway : world.gateways) {
      EXPECT_EQ(gateway->reader.taken, all);
      EXPECT_TRUE(gateway->reader.gaps.empty());
      lost += gateway->store.lost;
    }
    if (testing::Test::HasFailure()) break;
  }
  if (is_replay) return;
  EXPECT_GT(lost, 0U);
  EXPECT_GT(refused, 0U);
}

}  // namespace
}  // namespace carillon
