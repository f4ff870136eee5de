#include "server/reader.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "doubles/virtual_clock.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

/// A queue that has as much room as a test wants.
struct RoomyQueue final : ReaderQueue {
  [[nodiscard]] std::size_t room() const override { return places; }
  bool push(ReaderItem item) override {
    if (is_closed) return false;
    items.push_back(std::move(item));
    return true;
  }
  void when_room(std::function<void()> resume) override { resumes.push_back(std::move(resume)); }
  void make_room(std::size_t now) {
    places = now;
    for (const auto& resume : std::exchange(resumes, {})) resume();
  }
  [[nodiscard]] std::vector<Offset> offsets() const {
    std::vector<Offset> found;
    for (const ReaderItem& item : items) {
      if (item.kind == ReaderItem::Kind::publication) found.push_back(item.entry->offset);
    }
    return found;
  }

  std::size_t places = std::numeric_limits<std::size_t>::max();
  bool is_closed = false;
  std::vector<ReaderItem> items;
  std::vector<std::function<void()>> resumes;
};

struct ReaderTest : testing::Test {
  ReaderTest() {
    hub.set_shards({&shard});
    shard.bind_to_this_thread();
  }
  ~ReaderTest() override {
    reader->close();
    turn();
    Shard::unbind_this_thread();
  }
  static ChannelRules rules() {
    ChannelOptions tiny;
    tiny.history_size = 3;
    tiny.live_window_entries = 0;
    ChannelOptions swept;
    swept.fan_out = FanOut::read;
    swept.sweep_interval_ms = 3'600'000;
    swept.history_ttl_ms = 10 * swept.sweep_interval_ms;
    return ChannelRules({{"tiny", tiny}, {"swept", swept}});
  }
  void turn() {
    while (shard.turn()) {
    }
  }
  void publish(const std::string& channel, int count) {
    for (int i = 0; i < count; ++i) hub.publish(channel, {.data = "1"}, {}, [](const AppendResult&) {});
  }
  std::shared_ptr<Reader> make_reader(const std::string& channel) {
    return std::make_shared<Reader>(hub, shard, queue, 7, channel, [this] { reader->close(); });
  }
  Account account() {
    Account sum;
    hub.ledger([&](const Ledger& ledger) {
      EXPECT_TRUE(ledger.is_balanced());
      for (const LedgerRow& row : ledger.rows) sum += row.account;
    });
    return sum;
  }

  VirtualClock clock;
  SystemRandom random;
  MemoryStore store{clock, random, {}};
  Hub hub{clock, random, store, rules(), HubLimits{}};
  Shard shard{0, {}, clock, [] {}};
  std::shared_ptr<RoomyQueue> queue = std::make_shared<RoomyQueue>();
  std::shared_ptr<Reader> reader = make_reader("a");
};

TEST_F(ReaderTest, ABatchWaitsUntilAllOfItFits) {
  reader->open(std::nullopt);
  for (int round = 1; round <= 2; ++round) {
    queue->places = 3;
    publish("a", 5);
    turn();
    EXPECT_EQ(queue->offsets().size(), 5U * static_cast<std::size_t>(round - 1));
    ASSERT_EQ(queue->resumes.size(), 1U) << "it asks once";
    queue->make_room(5);
    turn();
    EXPECT_EQ(queue->offsets().size(), 5U * static_cast<std::size_t>(round));
  }
  EXPECT_EQ(account().delivered, 10);
}

TEST_F(ReaderTest, NoticesAreNoPublications) {
  reader->open(std::nullopt);
  hub.announce("a", EntryKind::join, "{}");
  publish("a", 1);
  turn();
  EXPECT_EQ(queue->offsets(), std::vector<Offset>{1});
  EXPECT_EQ(account().dropped[static_cast<std::size_t>(DropReason::filtered)], 1);
}

TEST_F(ReaderTest, AGapNamesItsEnds) {
  reader = make_reader("tiny");
  reader->open(std::nullopt);
  publish("tiny", 1);
  turn();
  queue->places = 0;
  publish("tiny", 1);
  turn();
  for (int i = 0; i < 8; ++i) {  // each in a turn of its own: nothing waits for the shard to look
    publish("tiny", 1);
    turn();
  }
  queue->make_room(100);
  turn();
  EXPECT_EQ(queue->offsets(), (std::vector<Offset>{1, 8, 9, 10}));
  ASSERT_EQ(queue->items.size(), 6U);
  const ReaderItem& gap = queue->items[2];
  EXPECT_EQ(gap.kind, ReaderItem::Kind::gap);
  EXPECT_EQ(gap.lost_from, 2U);
  EXPECT_EQ(gap.lost_to, 7U);
}

TEST_F(ReaderTest, AReaderOfASweptChannelBeginsWithWhatIsThere) {
  const auto live_queue = std::make_shared<RoomyQueue>();
  const auto live = std::make_shared<Reader>(hub, shard, live_queue, 8, "swept", [] {});
  live->open(std::nullopt);
  publish("swept", 1);
  turn();
  clock.advance(3'600'000);
  turn();
  ASSERT_EQ(live_queue->offsets().size(), 1U);
  publish("swept", 3);
  turn();  // comes to its end without the sweep
  ASSERT_EQ(live_queue->offsets().size(), 1U);
  reader = make_reader("swept");
  reader->open(Since{live_queue->items.front().epoch, false, 1});
  turn();
  EXPECT_EQ(queue->offsets(), (std::vector<Offset>{2, 3, 4}));
  clock.advance(3'600'000);
  turn();
  EXPECT_EQ(live_queue->offsets().size(), 4U);
  EXPECT_EQ(queue->offsets().size(), 3U);
  live->close();
}

TEST_F(ReaderTest, WhatNobodyTakesIsReturnedAndTheReaderLeaves) {
  reader->open(std::nullopt);
  queue->is_closed = true;
  publish("a", 2);
  turn();
  EXPECT_TRUE(hub.channels("*").empty());
  EXPECT_EQ(account().delivered, 0);
  EXPECT_EQ(account().returned, 2);
}

TEST_F(ReaderTest, AReaderThatWaitsForRoomLeavesWhenItsQueueIsClosed) {
  reader->open(std::nullopt);
  queue->places = 1;
  publish("a", 2);
  turn();
  ASSERT_EQ(queue->resumes.size(), 1U);
  queue->is_closed = true;
  queue->make_room(100);
  turn();
  EXPECT_TRUE(hub.channels("*").empty());
  EXPECT_EQ(account().returned, 2);
}

TEST_F(ReaderTest, AReaderWhoseStatusNobodyTakesLeaves) {
  queue->is_closed = true;
  reader->open(std::nullopt);
  turn();
  EXPECT_TRUE(hub.channels("*").empty());
}

TEST_F(ReaderTest, ClosedIsTheLastItemHoweverOftenItIsClosed) {
  reader->open(std::nullopt);
  publish("a", 1);
  turn();
  reader->close();
  reader->close();
  publish("a", 1);
  turn();
  ASSERT_EQ(queue->items.size(), 3U);
  EXPECT_EQ(queue->items[0].kind, ReaderItem::Kind::status);
  EXPECT_EQ(queue->items[2].kind, ReaderItem::Kind::closed);
}

TEST_F(ReaderTest, AReaderThatIsClosedBeforeItsShardOpensItStaysClosed) {
  Shard::unbind_this_thread();  // as from another thread: its shard is told
  reader->close();
  reader->open(std::nullopt);
  shard.bind_to_this_thread();
  turn();
  EXPECT_TRUE(hub.channels("*").empty());
  ASSERT_EQ(queue->items.size(), 1U);
  EXPECT_EQ(queue->items[0].kind, ReaderItem::Kind::closed);
}

}  // namespace
}  // namespace carillon
