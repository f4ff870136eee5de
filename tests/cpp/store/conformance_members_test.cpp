// What every store promises of presence, members, inboxes and read positions.
#include <algorithm>

#include "store/conformance.hpp"
#include "store/store_kinds.hpp"

namespace carillon {
namespace {

struct StoreMembers : Conformance {
  Offset publish(const std::string& channel = "a", FanOutMode mode = FanOutMode::write) {
    return append(channel, "", {.mode = mode}).position.offset;
  }
};
INSTANTIATE_TEST_SUITE_P(All, StoreMembers, testing::ValuesIn(store_kinds()),
                         [](const auto& info) { return info.param.name; });

TEST_P(StoreMembers, PresenceIsListedByClientAndForgetsThoseWhoLeft) {
  store->add_presence("a", {"c2", "bob", ""});
  store->add_presence("a", {"c1", "ann", R"({"x":1})"});
  store->add_presence("b", {"c3", "eve", ""});
  const auto clients = [&](const std::string& channel) {
    Lines lines;
    for (const PresenceMember& member : calls->presence(channel).members)
      lines.push_back(member.client + '=' + member.user + member.conn_info_json);
    return lines;
  };
  EXPECT_EQ(clients("a"), (Lines{R"(c1=ann{"x":1})", "c2=bob"}));
  store->add_presence("a", {"c1", "anna", ""});
  store->remove_presence("a", "c2");
  store->remove_presence("a", "nobody");
  store->remove_presence("nowhere", "c1");
  EXPECT_EQ(clients("a"), Lines{"c1=anna"});
  store->remove_presence("a", "c1");
  EXPECT_EQ(clients("a"), Lines{});
  EXPECT_EQ(clients("b"), Lines{"c3=eve"});
}

TEST_P(StoreMembers, PresenceIsCounted) {
  for (int i = 0; i < 100; ++i)
    store->add_presence("a", {"c" + std::to_string(i), "u" + std::to_string(i % 7), ""});
  EXPECT_EQ(calls->presence_counts("a").clients, 100U);
  EXPECT_EQ(calls->presence_counts("a").users, 7U);
  for (int i = 0; i < 95; ++i) store->remove_presence("a", "c" + std::to_string(i));
  EXPECT_EQ(calls->presence_counts("a").clients, 5U);
  EXPECT_EQ(calls->presence_counts("a").users, 5U);
  EXPECT_EQ(calls->presence_counts("b").clients, 0U);
}

TEST_P(StoreMembers, PresenceIsReadInPages) {
  for (int i = 10; i < 60; ++i) store->add_presence("a", {"c" + std::to_string(i), "u", ""});
  Lines clients;
  std::string after;
  for (bool has_more = true; has_more;) {
    const PresenceResult page = calls->presence("a", {after, 500});
    ASSERT_FALSE(page.members.empty());
    for (const PresenceMember& member : page.members) clients.push_back(member.client);
    after = clients.back();
    has_more = page.has_more;
  }
  EXPECT_EQ(clients.size(), 50U);
  EXPECT_TRUE(std::is_sorted(clients.begin(), clients.end()));
}

TEST_P(StoreMembers, MembersAreListedByNameInPagesAndCounted) {
  EXPECT_EQ(calls->add("a", {"cid", "ann", "bob"}).members, 3U);
  EXPECT_EQ(calls->add("a", {"bob", "dee"}).members, 4U);
  EXPECT_EQ(calls->add("a", {}).members, 4U);
  EXPECT_EQ(calls->members("a", "", 2).users, (Lines{"ann", "bob"}));
  EXPECT_EQ(calls->members("a", "bob", 9).users, (Lines{"cid", "dee"}));
  EXPECT_EQ(calls->members("a").members, 4U);
  EXPECT_EQ(calls->remove("a", {"bob", "nobody"}).members, 3U);
  EXPECT_EQ(calls->members("a").users, (Lines{"ann", "cid", "dee"}));
  EXPECT_EQ(calls->members("b").members, 0U);
  EXPECT_EQ(calls->remove("b", {"ann"}).members, 0U);
}

TEST_P(StoreMembers, ManyMembersAreAddedByOneCall) {
  Lines users;
  for (int i = 10'000; i < 13'000; ++i) users.push_back("u" + std::to_string(i));
  EXPECT_EQ(calls->add("a", users).members, 3'000U);
  EXPECT_EQ(calls->members("a", "", 5'000).users, users);
  EXPECT_EQ(calls->remove("a", users).members, 0U);
}

TEST_P(StoreMembers, AnAppendTellsTheNumberOfMembers) {
  follow("a");
  EXPECT_EQ(append("a").members, 0U);
  calls->add("a", {"ann", "bob"});
  EXPECT_EQ(append("a", "", {.idempotency_key = "k"}).members, 2U);
  EXPECT_EQ(append("a", "", {.idempotency_key = "k"}).members, 2U) << "also of a duplicate";
  EXPECT_EQ(calls->follow("a").members, 2U);
  EXPECT_EQ(calls->top("a").members, 2U);
  EXPECT_EQ(journal->announced().back().members, 2U);
}

TEST_P(StoreMembers, AWalkEntersAPublicationIntoEachInboxOnce) {
  calls->add("a", {"ann", "bob", "cid"});
  publish();
  publish();
  EnterStep step = calls->enter("a", 2);
  EXPECT_EQ(step.entered, 4U) << "two publications into two inboxes";
  EXPECT_EQ(step.entered_to, 0U);
  EXPECT_FALSE(step.is_done);
  step = calls->enter("a", 2);
  EXPECT_EQ(step.entered, 2U);
  EXPECT_EQ(step.entered_to, 2U);
  EXPECT_TRUE(step.is_done);
  for (const std::string user : {"ann", "bob", "cid"}) {
    EXPECT_EQ(calls->unread(user, "a"), 2U);
    const InboxContent inbox = calls->inbox(user);
    ASSERT_EQ(inbox.entered.size(), 1U);
    EXPECT_EQ(inbox.entered[0].first, 1U);
    EXPECT_EQ(inbox.entered[0].last, 2U);
    EXPECT_EQ(inbox.entered[0].epoch, calls->top("a").top.epoch);
  }
  EXPECT_TRUE(calls->enter("unknown").is_done);
}

TEST_P(StoreMembers, AMemberGetsWhatIsPublishedFromItsJoinToItsRemoval) {
  publish();
  calls->add("a", {"ann"});
  publish();
  calls->enter("a");
  calls->remove("a", {"ann"});
  publish();
  EXPECT_EQ(calls->unread("ann", "a"), 1U);
  EXPECT_EQ(calls->mark_read("ann", "a", 2), StoreError::none);
  EXPECT_EQ(calls->unread("ann", "a"), 0U);
  EXPECT_TRUE(calls->inbox("ann").unread.empty());
}

TEST_P(StoreMembers, WhatIsPublishedInReadModeIsMerged) {
  calls->add("a", {"ann"});
  publish("a", FanOutMode::read);
  publish("a", FanOutMode::read);
  const InboxContent inbox = calls->inbox("ann");
  EXPECT_TRUE(inbox.entered.empty());
  ASSERT_EQ(inbox.merged.size(), 1U);
  EXPECT_EQ(inbox.merged[0].last, 2U);
  EXPECT_EQ(calls->unread("ann", "a"), 2U);
}

TEST_P(StoreMembers, AReadPositionNeverMovesBackOrBeyondTheTop) {
  calls->add("a", {"ann"});
  for (int i = 0; i < 3; ++i) publish();
  calls->enter("a");
  EXPECT_EQ(calls->mark_read("ann", "a", 4), StoreError::conflict);
  EXPECT_EQ(calls->unread("ann", "a"), 3U);
  EXPECT_EQ(calls->mark_read("ann", "a", 2), StoreError::none);
  EXPECT_EQ(calls->mark_read("ann", "a", 1), StoreError::none);
  EXPECT_EQ(calls->unread("ann", "a"), 1U);
  EXPECT_EQ(calls->mark_read("bob", "a", 1), StoreError::none) << "not a member";
  EXPECT_EQ(calls->mark_read("ann", "unknown", 0), StoreError::none);
  EXPECT_EQ(calls->mark_read("ann", "unknown", 1), StoreError::conflict);
}

TEST_P(StoreMembers, MembersAndPublicationsKeepTheirOrder) {
  // Between two publications that are under way, a member joins: it gets the second one only.
  for (int round = 0; round < 20; ++round) {
    const std::string channel = "c" + std::to_string(round);
    const std::vector<std::string> users{"ann"};
    store->append(channel, entry_of(""), {}, [](const AppendResult&) {});
    store->add_members(channel, users, [](const MembersResult&) {});
    store->append(channel, entry_of(""), {}, [](const AppendResult&) {});
    store->remove_members(channel, users, [](const MembersResult&) {});
    store->append(channel, entry_of(""), {}, [](const AppendResult&) {});
    EXPECT_EQ(publish(channel), 4U);
    calls->enter(channel);
    EXPECT_EQ(calls->unread("ann", channel), 1U);
  }
}

}  // namespace
}  // namespace carillon
