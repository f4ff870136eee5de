#include "store/memory_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"

namespace carillon {
namespace {

struct MemoryStoreTest : testing::Test, StoreListener {
  explicit MemoryStoreTest(StoreLimits limits = {}) : store(clock, random, limits) {
    store.set_listener(this);
  }

  void on_announced(const Announcement& announcement) override {
    announced.push_back(std::string(announcement.channel) + ':' + std::to_string(announcement.entry->offset));
    announced_epoch = announcement.epoch;
    announced_handle = announcement.handle;
  }
  AppendResult append(const std::string& channel, const AppendOptions& options = {}) {
    std::optional<AppendResult> answer;
    store.append(channel, std::make_shared<Entry>(EntryKind::publication, Publication{}, 0), options,
                 [&](const AppendResult& result) { answer = result; });
    EXPECT_TRUE(answer);
    return answer.value_or(AppendResult{});
  }
  Position open(const std::string& channel) {
    Position top;
    store.follow(channel, [&](const TopResult& result) { top = result.top; });
    return top;
  }
  std::vector<std::string> presence(const std::string& channel) {
    std::vector<std::string> clients;
    store.presence(channel, {{}, 1'000'000}, [&](const PresenceResult& result) {
      for (const PresenceMember& member : result.members)
        clients.push_back(member.client + '=' + member.user);
    });
    return clients;
  }

  VirtualClock clock;
  SeededRandom random{1};
  MemoryStore store;
  std::vector<std::string> announced;
  Epoch announced_epoch;
  ChannelHandle* announced_handle = nullptr;
};

struct ForgetfulStoreTest : MemoryStoreTest {
  ForgetfulStoreTest()
      : MemoryStoreTest({.dormant_channels = 160,
                         .channel_lifetime_ms = 1'000,
                         .idempotency_keys = 160,
                         .idempotency_window_ms = 100}) {}
};
using Strings = std::vector<std::string>;

TEST_F(MemoryStoreTest, AnAppendToAnOpenChannelDoesNotLookForItsName) {
  ChannelHandle handle;
  store.follow("a", [&](const TopResult& result) { handle.in_store = result.in_store; });
  EXPECT_EQ(append("another name", {.handle = &handle}).position.offset, 1U);
  EXPECT_EQ(announced_handle, &handle);
  EXPECT_EQ(append("a").position.offset, 2U);
  EXPECT_EQ(announced_handle, nullptr);
  EXPECT_EQ(store.channels_known(), 1U);
}

TEST_F(MemoryStoreTest, AChannelThatIsNotOpenYetIsLookedFor) {
  ChannelHandle handle;
  EXPECT_EQ(append("a", {.handle = &handle}).position.offset, 1U);
  EXPECT_EQ(append("b", {.handle = &handle}).position.offset, 1U);
}

TEST_F(MemoryStoreTest, AnAppendIsAnnouncedWithItsOffsetBeforeItIsAnswered) {
  std::size_t announced_before = 0;
  store.append("a", std::make_shared<Entry>(EntryKind::publication, Publication{}, 0), {},
               [&](const AppendResult&) { announced_before = announced.size(); });
  EXPECT_EQ(announced_before, 1U);
  const AppendResult second = append("a");
  EXPECT_EQ(second.position.offset, 2U);
  EXPECT_EQ(second.position.epoch, announced_epoch);
  append("b");
  EXPECT_EQ(announced, (Strings{"a:1", "a:2", "b:1"}));
}

TEST_F(MemoryStoreTest, AnEphemeralEntryGetsNoOffsetAndUsesNoneUp) {
  append("a");
  const AppendResult ephemeral = append("a", {.is_ephemeral = true});
  EXPECT_EQ(ephemeral.position.offset, 0U);
  EXPECT_TRUE(ephemeral.position.epoch.is_set());
  EXPECT_EQ(append("a").position.offset, 2U);
  EXPECT_EQ(announced, (Strings{"a:1", "a:0", "a:2"}));
}

TEST_F(MemoryStoreTest, OpenMakesTheEpochAndTellsTheTop) {
  const Position empty = open("a");
  EXPECT_TRUE(empty.epoch.is_set());
  EXPECT_EQ(empty.offset, 0U);
  EXPECT_EQ(append("a").position, (Position{empty.epoch, 1}));
  EXPECT_EQ(open("a"), (Position{empty.epoch, 1}));
}

TEST_F(MemoryStoreTest, EpochsDiffer) {
  EXPECT_NE(open("a").epoch, open("b").epoch);
  EXPECT_EQ(open("a").epoch.text().size(), 8U);
}

TEST_F(MemoryStoreTest, NothingIsKeptBesideTheHubsLog) {
  append("a");
  std::optional<StoreError> error;
  store.read("a", {.first = 1, .last = 1}, [&](const Page& result) { error = result.error; });
  EXPECT_EQ(error, StoreError::not_held);
}

TEST_F(MemoryStoreTest, ADuplicateKeyGetsTheFirstPositionAndIsNotAnnounced) {
  const AppendResult first = append("a", {.idempotency_key = "k"});
  append("a");
  const AppendResult again = append("a", {.idempotency_key = "k"});
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.position, first.position);
  EXPECT_EQ(announced.size(), 2U);
  EXPECT_FALSE(append("ak", {.idempotency_key = ""}).is_duplicate);
}

TEST_F(MemoryStoreTest, NothingIsKeptOfAUserWhoHasLeftAndReadAll) {
  const std::vector<std::string> users{"ann"};
  store.add_members("a", users, [](const MembersResult&) {});
  append("a");
  store.remove_members("a", users, [](const MembersResult&) {});
  const auto users_kept = [&] {
    const auto still = store.hold_still();
    return store.save().inboxes.users.size();
  };
  EXPECT_EQ(users_kept(), 1U);
  store.mark_read("ann", "a", 1, [](StoreError) {});
  EXPECT_EQ(users_kept(), 0U);
}

TEST_F(MemoryStoreTest, AnEmptyListOfMembersChangesNothingAndCountsThoseWhoAreThere) {
  const std::vector<std::string> users{"ann", "bob"};
  store.add_members("a", users, [](const MembersResult&) {});
  std::vector<std::size_t> counts;
  store.add_members("a", {}, [&](const MembersResult& result) { counts.push_back(result.members); });
  store.remove_members("a", {}, [&](const MembersResult& result) { counts.push_back(result.members); });
  store.add_members("b", {}, [&](const MembersResult& result) { counts.push_back(result.members); });
  EXPECT_EQ(counts, (std::vector<std::size_t>{2, 2, 0}));
}

TEST_F(MemoryStoreTest, WhoLeavesWithNothingUnreadIsForgottenAndSoIsTheChannelInTheEnd) {
  const std::vector<std::string> users{"ann"};
  store.add_members("a", users, [](const MembersResult&) {});
  store.remove_members("a", users, [](const MembersResult&) {});
  {
    const auto still = store.hold_still();
    EXPECT_TRUE(store.save().inboxes.users.empty());
  }
  store.keep_house();
  clock.advance(StoreLimits{}.channel_lifetime_ms);
  store.keep_house();
  EXPECT_EQ(store.channels_known(), 0U);
}

struct SmallInboxesTest : MemoryStoreTest {
  SmallInboxesTest() : MemoryStoreTest({.inbox_entries = 2}) {}
};

TEST_F(SmallInboxesTest, TheBoundHoldsAfterATakeover) {
  const std::vector<std::string> users{"ann"};
  store.add_members("a", users, [](const MembersResult&) {});
  append("a");
  append("a");
  store.enter("a", 10, [](const EnterResult&) {});
  MemoryStore next(clock, random, {.inbox_entries = 2});
  next.set_listener(this);
  {
    const auto still = store.hold_still();
    next.restore(store.save());
  }
  next.append("a", std::make_shared<Entry>(EntryKind::publication, Publication{}, 0), {},
              [](const AppendResult&) {});
  next.enter("a", 10, [](const EnterResult&) {});
  next.inbox("ann", 10, [](const InboxResult& result) {
    ASSERT_EQ(result.content.entered.size(), 1U);
    EXPECT_EQ(result.content.entered[0].first, 2U);
    ASSERT_EQ(result.content.merged.size(), 1U);
    EXPECT_EQ(result.content.merged[0].last, 1U);
  });
}

TEST_F(MemoryStoreTest, WhereAnotherProcessHasTheLogMembersStayAsTheyAre) {
  const std::vector<std::string> users{"ann", "bob"};
  store.add_members("a", users, [](const MembersResult&) {});
  {
    const auto still = store.hold_still();
    store.close(still);
  }
  const auto note = [](StoreError& error) {
    return [&error](const MembersResult& result) { error = result.error; };
  };
  StoreError added{};
  StoreError removed{};
  StoreError marked{};
  store.add_members("a", std::vector<std::string>{"cid"}, note(added));
  store.remove_members("a", users, note(removed));
  store.mark_read("ann", "a", 0, [&](StoreError error) { marked = error; });
  EXPECT_EQ(added, StoreError::closed);
  EXPECT_EQ(removed, StoreError::closed);
  EXPECT_EQ(marked, StoreError::closed);
  store.members("a", "", 10, [&](const MembersResult& result) { EXPECT_EQ(result.users, users); });
}

TEST_F(MemoryStoreTest, KeysAndChannelsDoNotRunIntoEachOther) {
  append("ab", {.idempotency_key = "c"});
  EXPECT_FALSE(append("a", {.idempotency_key = "bc"}).is_duplicate);
}

TEST_F(ForgetfulStoreTest, AKeyIsForgottenAfterItsWindowToTheMillisecond) {
  append("a", {.idempotency_key = "k"});
  clock.advance(99);
  EXPECT_TRUE(append("a", {.idempotency_key = "k"}).is_duplicate);
  clock.advance(1);
  EXPECT_FALSE(append("a", {.idempotency_key = "k"}).is_duplicate);
}

TEST_F(ForgetfulStoreTest, AKeyThatIsUsedAgainAfterItsWindowIsYoungAgain) {
  append("a", {.idempotency_key = "k"});
  for (int i = 0; i < 8; ++i) append("a", {.idempotency_key = std::to_string(i)});
  clock.advance(100);
  const AppendResult again = append("a", {.idempotency_key = "k"});
  EXPECT_FALSE(again.is_duplicate);
  for (int i = 0; i < 2; ++i) append("a", {.idempotency_key = "new" + std::to_string(i)});
  EXPECT_TRUE(append("a", {.idempotency_key = "k"}).is_duplicate) << "older keys had to go first";
  EXPECT_EQ(append("a", {.idempotency_key = "k"}).position, again.position);
}

TEST_F(ForgetfulStoreTest, KeysAreBoundedAndTheOldestGoesFirst) {
  append("a", {.idempotency_key = "first"});
  for (int i = 0; i < 9; ++i) append("a", {.idempotency_key = std::to_string(i)});
  EXPECT_TRUE(append("a", {.idempotency_key = "first"}).is_duplicate);
  append("a", {.idempotency_key = "one too many"});
  EXPECT_TRUE(append("a", {.idempotency_key = "0"}).is_duplicate);
  EXPECT_FALSE(append("a", {.idempotency_key = "first"}).is_duplicate);
}

TEST_F(ForgetfulStoreTest, HousekeepingForgetsExpiredKeysOnly) {
  append("a", {.idempotency_key = "k"});
  clock.advance(50);
  append("a", {.idempotency_key = "l"});
  clock.advance(50);
  store.keep_house();
  EXPECT_FALSE(append("a", {.idempotency_key = "k"}).is_duplicate);
  EXPECT_TRUE(append("a", {.idempotency_key = "l"}).is_duplicate);
}

TEST_F(ForgetfulStoreTest, BeyondTheLimitTheChannelUntouchedForLongestIsForgotten) {
  const Epoch old = append("old").position.epoch;
  for (int i = 0; i < 1'000; ++i) {
    append("c" + std::to_string(i));
    EXPECT_LE(store.channels_known(), 160U);
  }
  const Position reborn = append("old").position;
  EXPECT_NE(reborn.epoch, old);
  EXPECT_EQ(reborn.offset, 1U);
}

TEST_F(ForgetfulStoreTest, TouchingAChannelMakesItYoung) {
  const Epoch epoch = append("mine").position.epoch;
  for (int i = 0; i < 1'000; ++i) {
    append("c" + std::to_string(i));
    if (i % 5 == 0) append("mine");
  }
  EXPECT_EQ(append("mine").position.epoch, epoch);
}

TEST_F(ForgetfulStoreTest, AnOpenChannelIsNeverForgottenAndAReleasedOneIs) {
  const Epoch epoch = open("mine").epoch;
  open("mine");
  for (int i = 0; i < 1'000; ++i) append("c" + std::to_string(i));
  clock.advance(10'000);
  store.keep_house();
  EXPECT_EQ(store.channels_known(), 1U);
  EXPECT_EQ(append("mine").position.epoch, epoch);
  store.unfollow("mine");
  clock.advance(10'000);
  store.keep_house();
  EXPECT_EQ(append("mine").position.epoch, epoch) << "it was opened twice";
  store.unfollow("mine");
  clock.advance(10'000);
  store.keep_house();
  EXPECT_EQ(store.channels_known(), 0U);
  EXPECT_NE(append("mine").position.epoch, epoch);
}

TEST_F(ForgetfulStoreTest, TheLifetimeOfAChannelBeginsWithItsRelease) {
  open("mine");
  clock.advance(10'000);
  store.unfollow("mine");
  clock.advance(999);
  store.keep_house();
  EXPECT_EQ(store.channels_known(), 1U);
  clock.advance(1);
  store.keep_house();
  EXPECT_EQ(store.channels_known(), 0U);
}

TEST_F(ForgetfulStoreTest, AChannelWithMembersIsNotForgotten) {
  const std::vector<std::string> users{"ann"};
  store.add_members("mine", users, [](const MembersResult& /*result*/) {});
  const Epoch epoch = append("mine").position.epoch;
  for (int i = 0; i < 1'000; ++i) append("c" + std::to_string(i));
  clock.advance(10'000);
  store.keep_house();
  EXPECT_EQ(append("mine").position.epoch, epoch);
}

TEST_F(ForgetfulStoreTest, AReleaseTooManyDoesNoHarm) {
  store.unfollow("never");
  open("a");
  store.unfollow("a");
  store.unfollow("a");
  EXPECT_TRUE(open("a").epoch.is_set());
  clock.advance(10'000);
  store.keep_house();
  EXPECT_EQ(store.channels_known(), 1U);
}

TEST_F(ForgetfulStoreTest, ADormantChannelIsForgottenAtItsLifetimeCountedFromTheLastTouch) {
  append("a");
  clock.advance(500);
  append("a");
  clock.advance(999);
  store.keep_house();
  EXPECT_EQ(store.channels_known(), 1U);
  clock.advance(1);
  store.keep_house();
  EXPECT_EQ(store.channels_known(), 0U);
}

TEST_F(MemoryStoreTest, PresenceIsCountedAsItComesAndGoes) {
  std::map<std::string, std::string> there;  // users by client
  for (int i = 0; i < 5'000; ++i) {
    const bool is_crowded = i % 1'000 < 500;  // now and then few
    const std::string client = "c" + std::to_string(random.below(200));
    if (random.chance(is_crowded ? 60 : 20)) {
      const std::string user = "u" + std::to_string(random.below(is_crowded ? 60 : 3));
      there[client] = user;
      store.add_presence("a", {client, user, ""});
    } else {
      there.erase(client);
      store.remove_presence("a", client);
    }
    std::set<std::string> users;
    for (const auto& [name, user] : there) users.insert(user);
    PresenceCounts counts;
    store.presence_counts("a", [&](const PresenceCounts& found) { counts = found; });
    ASSERT_EQ(counts.clients, there.size());
    ASSERT_EQ(counts.users, users.size());
  }
  EXPECT_EQ(presence("a").size(), there.size());
}

TEST_F(MemoryStoreTest, PresenceIsReadInPagesOfSoManyBytes) {
  for (int i = 10; i < 60; ++i) store.add_presence("a", {"c" + std::to_string(i), "u", ""});
  Strings clients;
  int pages = 0;
  std::string after;
  for (bool has_more = true; has_more; ++pages) {
    store.presence("a", {after, 500}, [&](const PresenceResult& page) {
      ASSERT_FALSE(page.members.empty());
      EXPECT_LE(page.members.size(), 500U / 50U);
      for (const PresenceMember& member : page.members) clients.push_back(member.client);
      has_more = page.has_more;
    });
    after = clients.back();
  }
  EXPECT_EQ(clients.size(), 50U);
  EXPECT_TRUE(std::is_sorted(clients.begin(), clients.end()));
  EXPECT_GE(pages, 5);
  store.presence("a", {{}, 0}, [](const PresenceResult& page) {
    EXPECT_EQ(page.members.size(), 1U) << "one at least";
    EXPECT_TRUE(page.has_more);
  });
}

TEST_F(MemoryStoreTest, PresenceIsListedByClientAndForgetsWhoLeft) {
  store.add_presence("a", {"c2", "bob", ""});
  store.add_presence("a", {"c1", "ann", ""});
  store.add_presence("b", {"c3", "eve", ""});
  EXPECT_EQ(presence("a"), (Strings{"c1=ann", "c2=bob"}));
  store.add_presence("a", {"c1", "anna", ""});
  EXPECT_EQ(presence("a"), (Strings{"c1=anna", "c2=bob"}));
  store.remove_presence("a", "c2");
  store.remove_presence("a", "nobody");
  store.remove_presence("nowhere", "c1");
  EXPECT_EQ(presence("a"), (Strings{"c1=anna"}));
  store.remove_presence("a", "c1");
  EXPECT_EQ(presence("a"), Strings{});
  EXPECT_EQ(presence("b"), (Strings{"c3=eve"}));
}

TEST(Epoch, IsEightLettersAndParsesBack) {
  const Epoch epoch = Epoch::from_bits(0x0123456789abcdefULL);
  EXPECT_EQ(epoch.text().size(), 8U);
  EXPECT_EQ(Epoch::parse(epoch.text()), epoch);
  EXPECT_EQ(Epoch::parse("short"), std::nullopt);
  EXPECT_EQ(Epoch::parse(""), std::nullopt);
  EXPECT_FALSE(Epoch().is_set());
  EXPECT_EQ(Epoch().text(), "");
}

}  // namespace
}  // namespace carillon
