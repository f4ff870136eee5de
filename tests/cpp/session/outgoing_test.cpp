#include "session/outgoing.hpp"

#include <gtest/gtest.h>

#include "session/session_world.hpp"

namespace carillon::testing {
namespace {

/// Data of each entry between brackets; nothing for data that starts with '-'.
class BracketForm final : public Form {
 public:
  [[nodiscard]] std::string encode(std::string_view, const Epoch&, const Entry& entry) const override {
    if (entry.publication.data.starts_with('-')) return {};
    return "[" + entry.publication.data + "]";
  }
};

/// An outlet with cursors in channels a and b, and no session.
class Taker final : public Sink {
 public:
  explicit Taker(World& world) : world_(world), a(*this), b(*this) {
    world_loop().shard.bind_to_this_thread();
    world.hub.subscribe(world_loop().shard, a, "a", std::nullopt, [](const SubscribeOutcome&) {});
    world.hub.subscribe(world_loop().shard, b, "b", std::nullopt, [](const SubscribeOutcome&) {});
  }
  ~Taker() override {
    world_loop().shard.bind_to_this_thread();  // another taker's end may have unbound it
    world_loop().shard.unsubscribe(a);
    world_loop().shard.unsubscribe(b);
    Shard::unbind_this_thread();
  }
  bool stage(Cursor& cursor, const Batch& batch) override {
    static const BracketForm form;
    if (outlet.is_clogged) return false;
    static const Layout layout{form};
    world_loop().output.add(outlet, cursor, batch, layout);
    if (&cursor == &a) world_loop().output.add(outlet, "<own>");
    return true;
  }
  void on_gap(Cursor& /*cursor*/, const Gap& /*gap*/) override { ADD_FAILURE() << "a gap"; }

  /// What would leave in this turn.
  std::string laid_out() {
    std::string bytes;
    for (const Slice* slice = first(); slice != nullptr; slice = slice->next) bytes.append(slice->bytes());
    return bytes;
  }
  /// Of its slices in this turn; null: it has none.
  const Slice* first() {
    for (const Slice& slice : world_loop().output.slices()) {
      if (slice.outlet == &outlet) return &slice;
    }
    return nullptr;
  }
  /// Everything leaves.
  void leave() {
    if (first() != nullptr) TurnOutput::account_all(*first());
    world_loop().output.clear();
  }
  WorldLoop& world_loop() { return *world_.loops[0]; }

 private:
  World& world_;

 public:
  Outlet outlet;
  Cursor a;
  Cursor b;
};

Account account_of(World& world, std::string_view channel) {
  Account account;
  world.hub.ledger([&](const Ledger& ledger) {
    EXPECT_TRUE(ledger.is_balanced());
    for (const LedgerRow& row : ledger.rows) {
      if (row.channel == channel) account = row.account;
    }
  });
  return account;
}

TEST(Outgoing, WhereverTheKernelCutsEveryByteLeavesOnceAndEveryEntryCountsWhenItsLastByteHasLeft) {
  const std::string whole = "[one][two][three]<own>[1][22]";
  for (std::size_t taken = 0; taken < whole.size(); ++taken) {
    World world;
    Taker taker(world);
    TurnOutput& output = taker.world_loop().output;
    for (const char* data : {"one", "-", "two", "three"}) world.publish("a", data);
    for (const char* data : {"1", "22"}) world.publish("b", data);
    taker.world_loop().shard.turn();
    ASSERT_EQ(taker.laid_out(), whole);
    output.account_part(*taker.first(), taken, 77);
    output.clear();

    std::int64_t a = 0;
    for (const std::size_t end : {5U, 10U, 17U}) a += end <= taken ? 1 : 0;
    std::int64_t b = 0;
    for (const std::size_t end : {25U, 29U}) b += end <= taken ? 1 : 0;
    EXPECT_EQ(account_of(world, "a").delivered, a) << taken;
    EXPECT_EQ(account_of(world, "b").delivered, b) << taken;
    EXPECT_TRUE(taker.outlet.is_clogged);
    EXPECT_EQ(taker.outlet.progress_ms, 77);

    std::string arrived = whole.substr(0, taken) + std::string(taker.outlet.unsent_view());
    taker.outlet.unsent.reset();
    taker.outlet.is_clogged = false;
    for (Cursor* cursor : {&taker.a, &taker.b}) {
      cursor->count_delivered(cursor->under_way());
      cursor->set_under_way(0);
      taker.world_loop().shard.resume(*cursor);
    }
    taker.world_loop().shard.turn();
    for (const char* piece : {"[one]", "[two]", "[three]", "[1]", "[22]"}) {
      const std::string all = arrived + taker.laid_out();
      const std::size_t place = all.find(piece);
      ASSERT_NE(place, std::string::npos) << taken;
      EXPECT_EQ(all.find(piece, place + 1), std::string::npos) << taken << ": twice";
    }
    EXPECT_NE(arrived.find("<own>"), std::string::npos) << taken << ": own bytes stay with the connection";
    taker.leave();
    EXPECT_EQ(account_of(world, "a").delivered, 3) << taken;
    EXPECT_EQ(account_of(world, "a").dropped[static_cast<std::size_t>(DropReason::filtered)], 1) << taken;
    EXPECT_EQ(account_of(world, "b").delivered, 2) << taken;
    EXPECT_EQ(account_of(world, "a").pending, 0);
  }
}

TEST(Outgoing, RepliesThatFollowOneAnotherAreOneSlice) {
  World world;
  Taker taker(world);
  TurnOutput& output = taker.world_loop().output;
  for (int i = 0; i < 100; ++i) output.add(taker.outlet, "reply");
  EXPECT_EQ(taker.first(), taker.outlet.last_slice);
  EXPECT_EQ(taker.outlet.pending_bytes(), 500U);
  output.add(taker.outlet, std::string(200'000, 'x'));
  output.add(taker.outlet, "end");
  EXPECT_EQ(taker.laid_out().size(), 200'503U);
  EXPECT_EQ(taker.laid_out().substr(200'500), "end");
  taker.leave();
  EXPECT_EQ(taker.outlet.pending_bytes(), 0U);
  output.add(taker.outlet, "next turn");
  EXPECT_EQ(taker.laid_out(), "next turn");
  taker.leave();
}

TEST(Outgoing, ListsStayWholeWhenATurnOutgrowsItsRoom) {
  World world;
  Taker one(world);
  Taker other(world);
  TurnOutput& output = one.world_loop().output;
  std::string expected;
  for (int i = 0; i < 3'000; ++i) {  // by turns, so that each reply is a slice
    const std::string reply = std::to_string(i) + ",";
    expected += reply;
    output.add(one.outlet, reply);
    output.add(other.outlet, reply);
  }
  EXPECT_EQ(one.laid_out(), expected);
  EXPECT_EQ(other.laid_out(), expected);
  TurnOutput::account_all(*one.first());
  other.leave();
  EXPECT_EQ(one.outlet.last_slice, nullptr);
  EXPECT_EQ(other.outlet.last_slice, nullptr);
}

TEST(Outgoing, OwnBytesOfACloggedOutletQueueBehindItsRestAndNoneComeOnceItCloses) {
  World world;
  Taker taker(world);
  TurnOutput& output = taker.world_loop().output;
  output.add(taker.outlet, "abc");
  output.account_part(*taker.first(), 1, 5);
  output.clear();
  output.add(taker.outlet, "def");
  EXPECT_TRUE(output.is_empty());
  EXPECT_EQ(taker.outlet.unsent_view(), "bcdef");
  EXPECT_EQ(taker.outlet.pending_bytes(), 5U);
  taker.outlet.is_closing = true;
  output.add(taker.outlet, "ghi");
  EXPECT_EQ(taker.outlet.unsent_view(), "bcdef");
}

}  // namespace
}  // namespace carillon::testing
