#include "hub/ledger.hpp"

#include <gtest/gtest.h>

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
