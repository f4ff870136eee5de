#include "hub/ledger.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

struct LedgerTest : HubFixture {
  Shard& shard() { return *shards[0]; }
};

TEST_F(LedgerTest, WhatACursorHasNotTakenWhenItEndsIsReturned) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  publish("a", "1");
  settle();
  publish_numbers("a", 2, 4);
  unsubscribe(reader);
  publish("a", "5");
  const Ledger found = ledger();
  ASSERT_EQ(found.rows.size(), 1U);
  EXPECT_EQ(found.rows[0].account.published, 4);
  EXPECT_EQ(found.rows[0].account.delivered, 1);
  EXPECT_EQ(found.rows[0].account.returned, 3);
  EXPECT_EQ(found.rows[0].account.pending, 0);
  EXPECT_EQ(found.rows[0].subscriptions, 0U);
  EXPECT_TRUE(found.is_balanced());
}

TEST_F(LedgerTest, AFrameThatHasNotQuiteLeftIsPendingAndThenReturned) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  reader.is_full = true;
  publish_numbers("a", 1, 2);
  settle();
  // As a flush does with a frame that was cut: the cursor is past it, its last byte has not left.
  shard().bind_to_this_thread();
  const auto page = shard().take_page(reader.cursor, 1, 1'000);
  Shard::unbind_this_thread();
  ASSERT_NE(page, nullptr);
  reader.cursor.set_under_way(1);
  Ledger found = ledger();
  EXPECT_EQ(found.rows[0].account.pending, 2);
  EXPECT_TRUE(found.is_balanced());
  unsubscribe(reader);
  found = ledger();
  EXPECT_EQ(found.rows[0].account.returned, 2);
  EXPECT_TRUE(found.is_balanced());
}

TEST_F(LedgerTest, ADeliveryThatIsNotCountedShowsInTheLedger) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  publish("a", "1");
  settle();
  reader.cursor.count_delivered(1);  // once too often
  EXPECT_FALSE(ledger().is_balanced());
  unsubscribe(reader);
  EXPECT_FALSE(ledger().is_balanced()) << "also after it has ended";
}

TEST_F(LedgerTest, IsCollectedInPiecesWhileOthersComeAndGo) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 5'000; ++i)
    subscribe(readers.emplace_back(shard()), i % 2 == 0 ? "big" : std::to_string(i));
  publish("big", "1");
  settle();
  std::optional<Ledger> found;
  hub.ledger([&](Ledger ledger) { found = std::move(ledger); });
  int turns = 0;
  for (; !found; ++turns) {
    ASSERT_LT(turns, 1'000);
    turn(0);
    turn(1);
    if (turns == 2) {  // some have been visited, some have not
      for (std::size_t i = 0; i < readers.size(); i += 10) unsubscribe(readers[i]);
      subscribe(readers[0], "late");
    }
  }
  EXPECT_GT(turns, 5'000 / 1'024 + 2'500 / 512);
  EXPECT_TRUE(found->is_balanced());
  std::uint64_t subscriptions = 0;
  Account account;
  for (const LedgerRow& row : found->rows) {
    subscriptions += row.subscriptions;
    account += row.account;
  }
  EXPECT_GE(subscriptions, 4'500U);
  EXPECT_LE(subscriptions, 5'000U);
  EXPECT_GE(account.delivered, 2'500);  // who left meanwhile may stand there twice, nobody is missing
  EXPECT_TRUE(std::is_sorted(found->rows.begin(), found->rows.end(),
                             [](const auto& a, const auto& b) { return a.channel < b.channel; }));
}

TEST_F(LedgerTest, AChannelThatGoesWhileItIsVisitedIsLeft) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 2'000; ++i) subscribe(readers.emplace_back(shard()), "big");
  PlainReader other(shard());
  subscribe(other, "other");
  std::optional<Ledger> found;
  hub.ledger([&](Ledger ledger) { found = std::move(ledger); });
  turn(0);  // visits some of them
  for (PlainReader& reader : readers) unsubscribe(reader);
  settle();
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->is_balanced());
  ASSERT_FALSE(found->rows.empty());
  EXPECT_EQ(found->rows.back().channel, "other");
  EXPECT_EQ(found->rows.back().subscriptions, 1U);
}

TEST_F(LedgerTest, OfMoreRowsThanWantedThoseThatNeedALookAreKeptAndTheSumsAreOfAll) {
  std::deque<PlainReader> readers;
  for (int i = 0; i < 9; ++i) subscribe(readers.emplace_back(shard()), "channel" + std::to_string(i));
  for (int i = 0; i < 9; ++i) publish("channel" + std::to_string(i), "1");
  settle();
  readers[4].cursor.count_delivered(1);
  std::optional<Ledger> found;
  hub.ledger([&](Ledger ledger) { found = std::move(ledger); }, 2);
  settle();
  ASSERT_TRUE(found);
  ASSERT_EQ(found->rows.size(), 2U);
  EXPECT_TRUE(std::any_of(found->rows.begin(), found->rows.end(),
                          [](const LedgerRow& row) { return row.channel == "channel4"; }));
  EXPECT_FALSE(found->is_balanced());
  EXPECT_EQ(found->others.subscriptions, 7U);
  EXPECT_EQ(found->others.account.delivered, 7);
  hub.ledger([&](Ledger ledger) { found = std::move(ledger); }, 0);
  settle();
  EXPECT_TRUE(found->rows.empty());
  EXPECT_FALSE(found->is_balanced());
  EXPECT_EQ(found->others.subscriptions, 9U);
}

TEST_F(LedgerTest, TheLedgerOfAClientHasItsOpenSubscriptionsAlone) {
  PlainReader open(shard()), ended(shard()), other(shard()), elsewhere(shard());
  open.client = ended.client = elsewhere.client = "ann";
  other.client = "bob";
  subscribe(open, "a");
  subscribe(ended, "a");
  subscribe(other, "a");
  subscribe(elsewhere, "b");
  publish("a", "1");
  publish("b", "1");
  settle();
  unsubscribe(ended);
  unsubscribe(elsewhere);
  Ledger found = ledger({.client = "ann"});
  ASSERT_EQ(found.rows.size(), 1U) << "a channel with ended subscriptions has no row";
  EXPECT_EQ(found.rows[0].channel, "a");
  EXPECT_EQ(found.rows[0].subscriptions, 1U);
  EXPECT_EQ(found.rows[0].account.published, 1) << "an ended subscription is not counted";
  EXPECT_EQ(found.rows[0].account.delivered, 1);
  EXPECT_TRUE(ledger({.client = "nobody"}).rows.empty());
  EXPECT_TRUE(ledger({.channel = "b", .client = "ann"}).rows.empty());
  found = ledger({.channel = "a"});
  ASSERT_EQ(found.rows.size(), 1U);
  EXPECT_EQ(found.rows[0].subscriptions, 2U);
  EXPECT_EQ(found.rows[0].account.published, 3) << "the ledger of a channel has the ended ones as well";
}

TEST_F(LedgerTest, OneLedgerWaitsForTheOther) {
  PlainReader reader(shard());
  subscribe(reader, "a");
  int answers = 0;
  for (int i = 0; i < 3; ++i) {
    hub.ledger([&](const Ledger& ledger) {
      ++answers;
      EXPECT_EQ(ledger.rows.size(), 1U);
      EXPECT_EQ(ledger.rows[0].subscriptions, 1U);
    });
  }
  for (int i = 0; i < 3; ++i) settle();  // one shard's end of a ledger is the other's start of the next
  EXPECT_EQ(answers, 3);
}

TEST(Account, BalancesWhenEveryTermIsCountedOnce) {
  Account account;
  EXPECT_TRUE(account.is_balanced());
  account.published = 8;
  account.delivered = 2;
  account.conflated = account.returned = account.pending = 1;
  account.dropped = {1, 1, 1};
  EXPECT_TRUE(account.is_balanced());
  Account sum = account;
  sum += account;
  EXPECT_EQ(sum.published, 16);
  EXPECT_EQ(sum.dropped[1], 2);
  EXPECT_EQ(sum.returned, 2);
  EXPECT_TRUE(sum.is_balanced());
  ++sum.pending;
  EXPECT_FALSE(sum.is_balanced());
}

TEST(Ledger, IsNotBalancedByTwoErrorsThatCancelOut) {
  Ledger ledger;
  ledger.rows.push_back({.channel = "a", .unbalanced = 2});
  EXPECT_TRUE(ledger.rows[0].account.is_balanced());
  EXPECT_FALSE(ledger.is_balanced());
}

}  // namespace
}  // namespace carillon
