// Members and their inboxes: the same publications in the same order, whoever did the work.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "doubles/seeds.hpp"
#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

using Users = std::vector<std::string>;

struct InboxFixture : HubFixture {
  explicit InboxFixture(std::size_t inbox_entries = 1'000, std::size_t members_per_turn = 4)
      : HubFixture(2, {}, hub_limits(members_per_turn), store_limits(inbox_entries)) {}
  /// Who still waits for inboxes hears now that nobody will write them, while the counters are there.
  ~InboxFixture() override {
    is_over = true;
    for (const auto& shard : shards) shard->close();
  }
  static HubLimits hub_limits(std::size_t members_per_turn) {
    HubLimits limits;
    limits.inbox_members_per_turn = members_per_turn;
    return limits;
  }
  static StoreLimits store_limits(std::size_t inbox_entries) {
    StoreLimits limits;
    limits.inbox_entries = inbox_entries;
    return limits;
  }

  std::size_t add(const std::string& channel, const Users& users) {
    std::size_t members = 0;
    hub.add_members(channel, users, [&](FanOutError error, const MembersResult& result) {
      EXPECT_EQ(error, FanOutError::none);
      members = result.members;
    });
    return members;
  }
  std::size_t remove(const std::string& channel, const Users& users) {
    std::size_t members = 0;
    hub.remove_members(channel, users,
                       [&](FanOutError, const MembersResult& result) { members = result.members; });
    return members;
  }
  Inbox inbox(const std::string& user, std::size_t limit = 1'000) {
    Inbox found;
    hub.inbox(user, limit, [&](Inbox answer) { found = std::move(answer); });
    return found;
  }
  /// "channel:offset" of publications, "channel:first-last" of gaps.
  Taken items(const std::string& user, std::size_t limit = 1'000) {
    Taken items;
    for (const InboxItem& item : inbox(user, limit).items) {
      std::string text = item.channel + ':' + std::to_string(item.first);
      if (!item.entry) text += '-' + std::to_string(item.last);
      items.push_back(std::move(text));
    }
    return items;
  }
  std::uint64_t unread(const std::string& user, const std::string& channel) {
    for (const auto& [name, count] : inbox(user, 0).unread) {
      if (name == channel) return count;
    }
    return 0;
  }
  /// The same, asked for one channel alone.
  std::uint64_t unread_of(const std::string& user, const std::string& channel) {
    std::uint64_t count = 0;
    hub.unread(user, channel, [&](const UnreadResult& result) { count = result.publications; });
    return count;
  }
  /// Publications that the user's inbox itself holds.
  std::uint64_t store_entered(const std::string& user) {
    std::uint64_t entered = 0;
    store.inbox(user, 1'000, [&](const InboxResult& result) {
      for (const InboxRange& range : result.content.entered) entered += range.size();
    });
    return entered;
  }
  FanOutError mark(const std::string& user, const std::string& channel, Offset offset) {
    FanOutError error{};
    hub.mark_read(user, channel, offset, [&](FanOutError told, StoreError /*store_error*/) { error = told; });
    return error;
  }
  /// Publishes and lets time pass, so that the order by time is known.
  void say(const std::string& channel, int times = 1) {
    for (int i = 0; i < times; ++i) {
      hub.publish(channel, publication_of("x"), {}, [this](const AppendResult& result) {
        ++acknowledged;
        EXPECT_EQ(result.error, is_over ? StoreError::outcome_unknown : StoreError::none);
      });
      ++said;
      clock.advance(1);
    }
  }
  static Users crowd(std::size_t count) {
    Users users;
    for (std::size_t i = 0; i < count; ++i) users.push_back("u" + std::to_string(i));
    return users;
  }

  int said = 0;
  int acknowledged = 0;
  bool is_over = false;  // another process has gone on
};

struct InboxTest : InboxFixture {};

TEST_F(InboxTest, AMemberFindsWhatWasPublishedSinceItCameAndUntilItLeft) {
  say("a", 2);
  EXPECT_EQ(add("a", {"ann"}), 1U);
  say("a", 2);
  settle();
  EXPECT_EQ(add("a", {"ann", "bob"}), 2U) << "who is one stays it";
  say("a");
  settle();
  EXPECT_EQ(remove("a", {"ann", "nobody"}), 1U);
  say("a");
  settle();
  EXPECT_EQ(items("ann"), (Taken{"a:3", "a:4", "a:5"}));
  EXPECT_EQ(items("bob"), (Taken{"a:5", "a:6"}));
  EXPECT_EQ(items("nobody"), Taken{});
  EXPECT_EQ(unread("ann", "a"), 3U);
}

TEST_F(InboxTest, APublishIsAcknowledgedWhenAllInboxesHaveIt) {
  add("a", crowd(10));  // 4 per turn
  say("a");
  EXPECT_EQ(acknowledged, 0);
  for (int turns = 0; acknowledged == 0; ++turns) {
    ASSERT_LT(turns, 10);
    std::size_t have_it = 0;
    for (const std::string& user : crowd(10)) have_it += unread(user, "a");
    EXPECT_EQ(have_it, std::min<std::size_t>(10, static_cast<std::size_t>(4 * turns)));
    turn(0);
    turn(1);
  }
  EXPECT_EQ(hub.inbox_entries(), 10U);
  for (const std::string& user : crowd(10)) EXPECT_EQ(unread(user, "a"), 1U);
}

TEST_F(InboxTest, NobodyIsAnsweredBeforeAllInboxesHaveIt) {
  add("a", crowd(10));
  say("a", 4);
  for (int turns = 0; acknowledged < 4; ++turns) {
    ASSERT_LT(turns, 20);
    turn(0);
    turn(1);
    for (const std::string& user : crowd(10))
      EXPECT_GE(unread(user, "a"), static_cast<std::uint64_t>(acknowledged)) << user;
  }
}

TEST_F(InboxTest, SubscribersDoNotWaitForInboxes) {
  PlainReader reader(*shards[0]);
  subscribe(reader, "a");
  add("a", crowd(1'000));
  say("a");
  turn(0);
  turn(0);
  EXPECT_EQ(reader.taken.size(), 1U);
  EXPECT_EQ(acknowledged, 0);
  settle();
  EXPECT_EQ(acknowledged, 1);
}

TEST_F(InboxTest, WhatComesDuringAWalkIsEnteredTogetherByTheNext) {
  add("a", crowd(100));
  say("a", 50);
  settle();
  EXPECT_EQ(acknowledged, 50);
  EXPECT_EQ(hub.inbox_entries(), 5'000U);
  EXPECT_EQ(unread("u99", "a"), 50U);
}

TEST_F(InboxTest, MembersWhoComeAndGoDuringAWalkSeeExactlyTheirRange) {
  const Users all = crowd(20);
  add("a", all);
  say("a");
  turn(0);
  turn(1);  // four have it
  remove("a", {"u0", "u1", "u19", "u10"});
  add("a", {"late"});
  say("a");
  settle();
  for (const std::string& user : all) {
    const bool was_removed = user == "u0" || user == "u1" || user == "u19" || user == "u10";
    EXPECT_EQ(items(user), was_removed ? (Taken{"a:1"}) : (Taken{"a:1", "a:2"})) << user;
    EXPECT_EQ(unread(user, "a"), was_removed ? 1U : 2U);
  }
  EXPECT_EQ(items("late"), (Taken{"a:2"}));
}

TEST_F(InboxTest, ReadingMovesForwardOnlyAndNeverAboveTheTop) {
  add("a", {"ann"});
  say("a", 5);
  settle();
  EXPECT_EQ(mark("ann", "a", 3), FanOutError::none);
  EXPECT_EQ(items("ann"), (Taken{"a:4", "a:5"}));
  EXPECT_EQ(mark("ann", "a", 1), FanOutError::none);
  EXPECT_EQ(unread("ann", "a"), 2U);
  EXPECT_EQ(mark("ann", "a", 6), FanOutError::above_top);
  EXPECT_EQ(unread("ann", "a"), 2U);
  EXPECT_EQ(mark("ann", "a", 5), FanOutError::none);
  EXPECT_EQ(items("ann"), Taken{});
}

TEST_F(InboxTest, AllStrategiesShowTheSameInTheSameOrder) {
  std::vector<Taken> shown;
  for (const FanOut strategy : {FanOut::write, FanOut::read, FanOut::hybrid}) {
    const std::string x = "x" + std::to_string(shown.size());
    const std::string y = "y" + std::to_string(shown.size());
    const std::string user = "ann" + std::to_string(shown.size());
    hub.set_fan_out(x, strategy, 3);
    hub.set_fan_out(y, strategy, 3);
    add(x, {user});
    add(y, {user});
    for (int i = 0; i < 6; ++i) {
      say(x);
      if (i == 3) add(x, crowd(5));  // hybrid goes over to read
      say(y, 2);
      settle();
    }
    Taken items = this->items(user);
    for (std::string& item : items) item.erase(1, 1);
    shown.push_back(items);
  }
  ASSERT_EQ(shown[0].size(), 18U);
  EXPECT_EQ(shown[0], shown[1]);
  EXPECT_EQ(shown[0], shown[2]);
}

TEST_F(InboxTest, ASwitchNeitherLosesNorRepeats) {
  add("a", {"ann"});
  Taken wanted;
  for (int i = 1; i <= 12; ++i) {
    hub.set_fan_out("a", i % 3 == 0 ? FanOut::read : FanOut::write, std::nullopt);
    say("a");
    wanted.push_back("a:" + std::to_string(i));
    if (i % 5 == 0) settle();
  }
  settle();
  EXPECT_EQ(items("ann"), wanted);
  EXPECT_EQ(unread("ann", "a"), 12U);
  mark("ann", "a", 7);
  EXPECT_EQ(unread("ann", "a"), 5U);
  EXPECT_EQ(items("ann").front(), "a:8");
}

TEST_F(InboxTest, WhatHasLeftTheHistoryIsToldAsAGap) {
  for (const char* channel : {"tiny", "tiny-read"}) {
    if (std::string_view(channel) == "tiny-read") hub.set_fan_out(channel, FanOut::read, std::nullopt);
    add(channel, {"ann"});
    say(channel, 5);  // three are kept
    settle();
    const std::string name = channel;
    EXPECT_EQ(items("ann"), (Taken{name + ":1-2", name + ":3", name + ":4", name + ":5"}));
    EXPECT_EQ(unread("ann", channel), 5U) << "told when it is read";
    mark("ann", channel, 5);
    EXPECT_EQ(items("ann"), Taken{});
  }
}

TEST_F(InboxTest, AnInboxIsReadInPagesOldestFirst) {
  hub.set_fan_out("r", FanOut::read, std::nullopt);
  add("r", {"ann"});
  add("w", {"ann"});
  for (int i = 0; i < 5; ++i) {
    say("r");
    say("w");
    settle();
  }
  Taken all;
  for (int pages = 0; pages < 10; ++pages) {
    const Inbox page = inbox("ann", 3);
    for (const InboxItem& item : page.items) {
      all.push_back(item.channel + ':' + std::to_string(item.first));
      mark("ann", item.channel, item.last);
    }
    EXPECT_EQ(page.has_more, all.size() < 10) << all.size();
    if (!page.has_more) break;
  }
  EXPECT_EQ(all, (Taken{"r:1", "w:1", "r:2", "w:2", "r:3", "w:3", "r:4", "w:4", "r:5", "w:5"}));
}

TEST_F(InboxTest, APageThatHoldsAllSaysSo) {
  hub.set_fan_out("r", FanOut::read, std::nullopt);
  add("r", {"ann"});
  add("w", {"ann"});
  say("r", 2);
  say("w", 2);
  settle();
  for (std::size_t limit = 0; limit <= 6; ++limit) {
    const Inbox page = inbox("ann", limit);
    EXPECT_EQ(page.items.size(), std::min<std::size_t>(limit, 4));
    EXPECT_EQ(page.has_more, limit < 4) << limit;
  }
  EXPECT_FALSE(inbox("bob", 0).has_more);
}

TEST_F(InboxTest, APageSkipsNothingOfAChannelWhateverTheClocksSay) {
  add("slow", {"ann"});
  add("other", {"ann"});
  say("slow");  // its walk has not begun
  hub.set_fan_out("slow", FanOut::read, std::nullopt);
  say("slow");
  say("other");
  turn(1);  // the second channel's walk is the second shard's: entered first, published last
  settle();
  EXPECT_EQ(items("ann"), (Taken{"slow:1", "slow:2", "other:1"}));
  Taken read;
  for (bool has_more = true; has_more;) {
    const Inbox page = inbox("ann", 1);
    ASSERT_EQ(page.items.size(), 1U);
    read.push_back(page.items[0].channel + ':' + std::to_string(page.items[0].first));
    mark("ann", page.items[0].channel, page.items[0].last);
    has_more = page.has_more;
  }
  std::sort(read.begin(), read.end());
  EXPECT_EQ(read, (Taken{"other:1", "slow:1", "slow:2"}));
}

TEST_F(InboxTest, APublishThatNoThreadCanEnterIsNotAcknowledgedAsDone) {
  add("a", crowd(10));
  for (const auto& shard : shards) shard->close();
  EXPECT_EQ(publish("a", "x").error, StoreError::outcome_unknown) << "it is stored";
  EXPECT_EQ(publish("a", "y").error, StoreError::outcome_unknown);
  hub.set_fan_out("a", FanOut::read, std::nullopt);
  EXPECT_EQ(publish("a", "z").error, StoreError::none) << "nothing has to be entered";
}

TEST_F(InboxTest, AThreadThatDiesDuringAWalkLeavesNobodyWaiting) {
  add("a", crowd(10));
  std::vector<StoreError> told;
  const auto note = [&](const AppendResult& result) { told.push_back(result.error); };
  hub.publish("a", publication_of("x"), {}, note);
  turn(0);
  turn(1);  // four have it
  hub.publish("a", publication_of("y"), {}, note);
  EXPECT_TRUE(told.empty());
  for (const auto& shard : shards) shard->close();
  EXPECT_EQ(told, (std::vector{StoreError::outcome_unknown, StoreError::outcome_unknown}));
}

TEST_F(InboxTest, AChannelWithoutHistoryHasNoMembers) {
  FanOutError told{};
  hub.add_members("live", Users{"ann"}, [&](FanOutError error, const MembersResult&) { told = error; });
  EXPECT_EQ(told, FanOutError::no_history);
}

TEST_F(InboxTest, APublicationOutsideOfTheHistoryIsInNoInbox) {
  add("a", {"ann"});
  PublishOptions options;
  options.skip_history = true;
  publish("a", "ephemeral", options);
  say("a");
  settle();
  EXPECT_EQ(items("ann"), (Taken{"a:1"}));
}

TEST_F(InboxTest, MembersAreListedByNameInPages) {
  add("a", {"cid", "ann", "dan", "bob"});
  const auto page = [&](const std::string& after) {
    Users users;
    hub.members("a", after, 2, [&](FanOutError, const MembersResult& result) {
      users = result.users;
      EXPECT_EQ(result.members, 4U);
    });
    return users;
  };
  EXPECT_EQ(page(""), (Users{"ann", "bob"}));
  EXPECT_EQ(page("bob"), (Users{"cid", "dan"}));
  EXPECT_EQ(page("dan"), Users{});
}

TEST_F(InboxTest, MembersOutliveADormantChannelAndGoWithTheLastWhoHasRead) {
  add("a", {"ann"});
  say("a");
  sleep();
  EXPECT_EQ(hub.channels_in_use(), 0U);
  say("a");
  settle();
  EXPECT_EQ(unread("ann", "a"), 2U) << "the first has left the history, the second is there";
  remove("a", {"ann"});
  mark("ann", "a", 2);
  EXPECT_EQ(items("ann"), Taken{});
  sleep();
  add("a", {"bob"});
  say("a");
  settle();
  EXPECT_EQ(items("bob"), (Taken{"a:3"}));
}

struct SmallInboxTest : InboxFixture {
  SmallInboxTest() : InboxFixture(5) {}
};

TEST_F(SmallInboxTest, BeyondItsBoundAnInboxIsMergedFromTheLogs) {
  add("a", {"ann"});
  add("b", {"ann"});
  for (int i = 0; i < 6; ++i) {
    say("a");
    say("b");
    settle();
  }
  EXPECT_EQ(store_entered("ann"), 5U);
  EXPECT_EQ(items("ann"),
            (Taken{"a:1", "b:1", "a:2", "b:2", "a:3", "b:3", "a:4", "b:4", "a:5", "b:5", "a:6", "b:6"}));
  EXPECT_EQ(unread("ann", "a"), 6U);
  mark("ann", "a", 4);
  mark("ann", "b", 6);
  EXPECT_EQ(items("ann"), (Taken{"a:5", "a:6"}));
}

TEST_F(SmallInboxTest, OfTooManyChannelsLeftTheOldestIsForgottenAndThatIsTold) {
  for (int i = 0; i < 6; ++i) {
    const std::string channel = "c" + std::to_string(i);
    add(channel, {"ann"});
    say(channel);
    settle();
    remove(channel, {"ann"});
    EXPECT_EQ(inbox("ann").is_incomplete, i == 5);
  }
  EXPECT_EQ(items("ann").size(), 5U);
  mark("ann", "c5", 1);
  EXPECT_FALSE(inbox("ann").is_incomplete) << "told once: who has read on knows";
}

TEST_F(SmallInboxTest, AForgottenChannelLeavesNothingInTheInbox) {
  for (int i = 0; i < 6; ++i) add("c" + std::to_string(i), {"ann"});
  for (int i = 5; i >= 0; --i) {
    say("c" + std::to_string(i));
    settle();
  }
  for (int i = 0; i < 6; ++i) remove("c" + std::to_string(i), {"ann"});
  EXPECT_TRUE(inbox("ann").is_incomplete);
  EXPECT_EQ(items("ann"), (Taken{"c5:1", "c4:1", "c3:1", "c2:1", "c1:1"}));
  EXPECT_EQ(unread("ann", "c0"), 0U);
}

// ---- what it costs, counted and not timed

struct InboxCostTest : InboxFixture {
  InboxCostTest() : InboxFixture(1'000, 1'024) {}
  /// Turns until a publish is acknowledged, and inboxes written.
  std::pair<int, std::uint64_t> cost_of_a_publish(const std::string& channel) {
    settle();
    const std::uint64_t before = hub.inbox_entries();
    const int acknowledged_before = acknowledged;
    say(channel);
    int turns = 0;
    while (acknowledged == acknowledged_before) {
      turn(0);
      turn(1);
      ++turns;
    }
    return {turns, hub.inbox_entries() - before};
  }
};

TEST_F(InboxCostTest, InReadModeAPublishCostsTheSameWithTenMembersAndWith50000) {
  hub.set_fan_out("a", FanOut::read, std::nullopt);
  add("a", crowd(10));
  EXPECT_EQ(cost_of_a_publish("a"), (std::pair<int, std::uint64_t>{0, 0}));
  add("a", crowd(50'000));
  EXPECT_EQ(cost_of_a_publish("a"), (std::pair<int, std::uint64_t>{0, 0}));
  EXPECT_EQ(unread("u49999", "a"), 1U);
}

TEST_F(InboxCostTest, InWriteModeAPublishIsLinearInTheMembersInBoundedSteps) {
  for (const std::size_t members : {10U, 1'000U, 10'000U, 50'000U}) {
    EXPECT_EQ(add("a", crowd(members)), members);
    const auto [turns, written] = cost_of_a_publish("a");
    EXPECT_EQ(written, members);
    EXPECT_EQ(static_cast<std::size_t>(turns), (members + 1'023) / 1'024);
  }
  EXPECT_EQ(unread("u0", "a"), 4U);
  EXPECT_EQ(unread("u49999", "a"), 1U);
}

TEST_F(InboxCostTest, ReadingAnInboxInWriteModeVisitsNoChannels) {
  for (int i = 0; i < 1'000; ++i) add("c" + std::to_string(i), {"ann"});
  say("c7");
  settle();
  EXPECT_EQ(items("ann"), (Taken{"c7:1"}));
  EXPECT_EQ(hub.inbox_merges(), 0U);
  hub.set_fan_out("c8", FanOut::read, std::nullopt);
  say("c8");
  EXPECT_EQ(items("ann").size(), 2U);
  EXPECT_EQ(hub.inbox_merges(), 1U) << "only the one that nobody has written";
}

TEST_F(InboxCostTest, ReadingAnInboxTakesNotMuchMoreFromTheLogsThanItShows) {
  for (int i = 0; i < 50; ++i) {
    const std::string channel = "read" + std::to_string(i);
    add(channel, {"ann"});
    say(channel, 100);
  }
  const auto cost_of = [&](std::size_t limit) {
    std::size_t taken = 0;
    hub.inbox("ann", limit, [&](const Inbox& found) {
      EXPECT_EQ(found.items.size(), limit);
      EXPECT_TRUE(found.has_more);
      for (const EntryRef& entry : hub.entries()) {
        if (entry.use_count() > 2) ++taken;  // by others than the log and this list
      }
    });
    return taken;
  };
  EXPECT_LE(cost_of(10), 50U + 5 * 10U) << "all channels are looked at, few of them further";
  EXPECT_LE(cost_of(100), 50U * 2 + 6 * 100U);
}

TEST_F(InboxCostTest, APageIsTheStartOfAllHoweverItIsRead) {
  for (int round = 0; round < 300; ++round) {
    const std::string channel = "read" + std::to_string(random.below(7) * random.below(7));
    add(channel, {"ann"});
    say(channel, static_cast<int>(1 + random.below(6)));
    if (random.chance(40)) clock.advance(-static_cast<Millis>(random.below(20)));  // a clock that is set back
    if (random.chance(10)) mark("ann", channel, 1 + random.below(3));
    const Taken all = items("ann", 10'000);
    const std::size_t some = std::min<std::size_t>(all.size(), 1 + random.below(40));
    ASSERT_EQ(items("ann", some), Taken(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(some)));
  }
}

TEST_F(InboxCostTest, OnAShardsThreadAnInboxOfManyChannelsIsReadInPieces) {
  for (int i = 0; i < 1'000; ++i) {
    add("read" + std::to_string(i), {"ann"});
    say("read" + std::to_string(i));
  }
  std::optional<Inbox> found;
  shards[0]->bind_to_this_thread();
  hub.inbox("ann", 5, [&](Inbox answer) { found = std::move(answer); });
  Shard::unbind_this_thread();
  int turns = 0;
  for (; !found && turns < 100; ++turns) turn(0);
  ASSERT_TRUE(found);
  EXPECT_EQ(turns, 1'000 / 256);
  EXPECT_EQ(found->items.size(), 5U);
}

// ---- everything at once, against a model

/// What every user has not read of every channel, kept the simplest way.
struct Model {
  std::map<std::string, std::map<std::string, std::set<Offset>>> unread;  // by user and channel
  std::map<std::string, std::set<std::string>> members;                   // by channel
};

struct InboxPropertyTest : testing::Test {};

void run_world(std::uint64_t seed) {
  SeededRandom random(seed);
  struct World : InboxFixture {
    World(std::size_t entries, std::size_t per_turn) : InboxFixture(entries, per_turn) {}
    void TestBody() override {}
  };
  const std::size_t entries = 1 + random.below(8);
  const std::size_t per_turn = 1 + random.below(4);
  auto current = std::make_unique<World>(entries, per_turn);
  Model model;
  const Users users = World::crowd(1 + random.below(6));
  std::map<std::string, Offset> tops;
  const auto some_channel = [&] { return "c" + std::to_string(random.below(4)); };
  const auto some_user = [&] { return users[random.below(users.size())]; };
  const auto shown = [&](const std::string& user, std::size_t limit) {
    std::map<std::string, std::vector<Offset>> found;
    for (const InboxItem& item : current->inbox(user, limit).items) {
      EXPECT_TRUE(item.entry) << "nothing has been trimmed";
      found[item.channel].push_back(item.first);
    }
    return found;
  };
  for (int step = 0; step < 200 && !testing::Test::HasFailure(); ++step) {
    World& world = *current;
    const std::string channel = some_channel();
    const std::string user = some_user();
    switch (random.below(random.chance(5) ? 10 : 9)) {
      case 0:
        world.add(channel, {user});
        model.members[channel].insert(user);
        break;
      case 1:
        world.remove(channel, {user});
        model.members[channel].erase(user);
        break;
      case 2:
        world.hub.set_fan_out(channel, static_cast<FanOut>(random.below(4)), random.below(4));
        break;
      case 3: {
        const Offset offset = random.below(tops[channel] + 1);
        world.mark(user, channel, offset);
        auto& left = model.unread[user][channel];
        left.erase(left.begin(), left.upper_bound(offset));
        break;
      }
      case 4: {  // at any moment nothing is there twice, or is there that must not be
        std::set<std::pair<std::string, Offset>> seen;
        for (const auto& [name, offsets] : shown(user, 1'000)) {
          for (const Offset offset : offsets) {
            EXPECT_TRUE(seen.insert({name, offset}).second) << name << ':' << offset << " twice";
            EXPECT_TRUE(model.unread[user][name].contains(offset)) << name << ':' << offset;
          }
        }
        break;
      }
      case 5:
        world.turn(random.below(2));
        break;
      case 6: {
        world.settle();
        for (const std::string& each : users) {
          std::map<std::string, std::vector<Offset>> wanted;
          std::map<std::string, std::uint64_t> counts;
          for (const auto& [name, offsets] : model.unread[each]) {
            if (offsets.empty()) continue;
            wanted[name].assign(offsets.begin(), offsets.end());
            counts[name] = offsets.size();
          }
          EXPECT_EQ(shown(each, 10'000), wanted) << each;
          std::map<std::string, std::uint64_t> told;
          for (const auto& [name, count] : world.inbox(each, 0).unread) told[name] = count;
          EXPECT_EQ(told, counts) << each;
          for (int i = 0; i < 4; ++i) {
            const std::string name = "c" + std::to_string(i);
            EXPECT_EQ(world.unread_of(each, name), counts.contains(name) ? counts[name] : 0) << each << name;
          }
        }
        break;
      }
      case 9: {  // another process goes on, whatever is under way
        auto next = std::make_unique<World>(entries, per_turn);
        StoreState state;
        {
          const auto still = world.store.hold_still();
          state = world.store.save();
        }
        next->store.restore(state);
        next->hub.restore(world.hub.save());
        world.is_over = true;
        current = std::move(next);
        break;
      }
      default: {
        world.say(channel);
        const Offset offset = ++tops[channel];
        for (const std::string& member : model.members[channel]) model.unread[member][channel].insert(offset);
      }
    }
    // The bound on channels that were left is what the model does not know.
    const auto is_incomplete = [&](const std::string& each) { return current->inbox(each, 0).is_incomplete; };
    if (std::any_of(users.begin(), users.end(), is_incomplete)) break;
  }
  current->settle();
  EXPECT_EQ(current->acknowledged, current->said);
}

TEST_F(InboxPropertyTest, EveryUserHasExactlyWhatIsUnreadWhateverHappens) {
  const auto [first, count, is_replay] = seeds_to_play(3'000);
  for (std::uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) {
    SCOPED_TRACE("CARILLON_SEED=" + std::to_string(seed));
    run_world(seed);
  }
}

}  // namespace
}  // namespace carillon
