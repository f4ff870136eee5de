// Members and inboxes have a gauge and a bound, and give their memory back.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "store/memory_inboxes.hpp"

namespace carillon {
namespace {

const Epoch kEpoch = Epoch::from_bits(1);

struct InboxBytes : testing::Test {
  explicit InboxBytes(std::size_t bytes_total = 1U << 30U) : inboxes(1'000, bytes_total, hash) {
    for (int i = 0; i < 2; ++i)
      rosters.push_back(inboxes.make_roster("c" + std::to_string(i), Position{kEpoch, 0}));
  }
  bool add(std::size_t roster, int first, int last) {
    std::vector<std::string> users;
    for (int i = first; i <= last; ++i) users.push_back("a user with a long name " + std::to_string(i));
    return inboxes.add(rosters[roster], users);
  }
  /// One publication to each channel in turn: no two of them make one run.
  void publish(std::size_t times) {
    for (std::size_t i = 0; i < times; ++i) {
      for (const auto& roster : rosters) {
        const Offset offset = ++tops[roster.get()];
        inboxes.on_appended(roster, offset, FanOutMode::write);
        while (!inboxes.enter(*roster, 1'000).is_done) {
        }
      }
    }
  }
  std::uint64_t unread(int user) {
    std::uint64_t sum = 0;
    for (const auto& [channel, count] : inboxes.inbox(name(user), 10'000).unread) sum += count;
    return sum;
  }
  static std::string name(int user) { return "a user with a long name " + std::to_string(user); }

  SeededRandom random{1};
  const NameHash hash{random};
  MemoryInboxes inboxes;
  std::vector<std::shared_ptr<MemoryInboxes::Roster>> rosters;
  std::map<const MemoryInboxes::Roster*, Offset> tops;
};

TEST_F(InboxBytes, GrowWithWhatIsEnteredAndComeBackWhenAllIsRead) {
  EXPECT_EQ(inboxes.bytes(), 0U);
  EXPECT_TRUE(add(0, 1, 100) && add(1, 1, 100));
  const std::size_t members = inboxes.bytes();
  EXPECT_EQ(inboxes.users(), 100U);
  EXPECT_GT(members, 100U * 200);
  publish(50);
  EXPECT_GE(inboxes.bytes(), members + 100U * 100 * 16) << "a run for each";
  for (int user = 1; user <= 100; ++user) {
    for (const auto& roster : rosters) inboxes.mark_read(name(user), *roster, 50);
  }
  EXPECT_EQ(inboxes.bytes(), members);
  std::vector<std::string> users;
  for (int user = 1; user <= 100; ++user) users.push_back(name(user));
  for (const auto& roster : rosters) inboxes.remove(*roster, users);
  EXPECT_EQ(inboxes.bytes(), 0U);
  EXPECT_EQ(inboxes.users(), 0U);
}

TEST_F(InboxBytes, AreTheSameInAnotherProcess) {
  add(0, 1, 20);
  add(1, 1, 10);
  publish(5);
  MemoryInboxes next(1'000, 1U << 30U, hash);
  next.restore(inboxes.save(),
               [&](const std::string& channel) { return next.make_roster(channel, Position{kEpoch, 5}); });
  EXPECT_EQ(next.users(), inboxes.users());
  EXPECT_GT(next.bytes(), inboxes.bytes() * 2 / 3);
  EXPECT_LT(next.bytes(), inboxes.bytes() * 3 / 2);
}

struct FullInboxes : InboxBytes {
  FullInboxes() : InboxBytes(40'000) {}
};

TEST_F(FullInboxes, TakeNoNewMemberAndMergeWhatIsPublished) {
  EXPECT_TRUE(add(0, 1, 20) && add(1, 1, 20));
  publish(500);
  EXPECT_LT(inboxes.bytes(), 50'000U);
  EXPECT_FALSE(add(0, 21, 21));
  EXPECT_TRUE(add(0, 5, 5)) << "is one already";
  for (int user = 1; user <= 20; ++user) EXPECT_EQ(unread(user), 1'000U) << "nothing is lost";
  EXPECT_EQ(unread(21), 0U);
  for (int user = 1; user <= 20; ++user) {
    for (const auto& roster : rosters) inboxes.mark_read(name(user), *roster, 500);
  }
  EXPECT_TRUE(add(0, 21, 21)) << "there is room again";
}

TEST_F(FullInboxes, KeepNothingOfThoseWhoLeave) {
  EXPECT_TRUE(add(0, 1, 20) && add(1, 1, 20));
  publish(500);
  ASSERT_FALSE(add(0, 21, 21));
  inboxes.remove(*rosters[0], std::vector{name(1)});
  EXPECT_EQ(unread(1), 500U) << "of the other channel";
  EXPECT_EQ(unread(2), 1'000U);
}

}  // namespace
}  // namespace carillon
