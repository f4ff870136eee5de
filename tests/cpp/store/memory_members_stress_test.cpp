// Members, inboxes and walks on many threads, for the same users. Meant for -fsanitize=thread; a lost update
// of a member's place shows without it, too.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

struct NobodyListens final : StoreListener {
  void on_announced(const Announcement& /*announcement*/) override {}
};

TEST(MemoryMembersStress, ChannelsShareUsersAndNothingElse) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 4'000;
  VirtualClock clock;
  SeededRandom epochs(1);
  MemoryStore store(clock, epochs, {.inbox_entries = 4});
  NobodyListens nobody;
  store.set_listener(&nobody);
  std::vector<std::string> users;
  for (int i = 0; i < 40; ++i) users.push_back("u" + std::to_string(i));
  const auto ignore = [](const auto&) {};

  std::atomic<bool> is_over{false};
  std::thread house([&] {
    while (!is_over) {
      store.keep_house();
      for (const std::string& user : users) store.inbox(user, 10, ignore);
    }
  });
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      SeededRandom random(static_cast<std::uint64_t>(thread) + 1);
      const std::string channel = "c" + std::to_string(thread);  // its own: so its members are known
      std::set<std::string> members;
      Offset top = 0;
      Offset to_enter = 0;
      for (int round = 0; round < kRounds; ++round) {
        const std::vector<std::string> some{users[random.below(users.size())]};
        switch (random.below(6)) {
          case 0:
          case 1:
            store.add_members(channel, some, ignore);
            members.insert(some[0]);
            break;
          case 2:
          case 3:
            store.remove_members(channel, some, ignore);
            store.mark_read(some[0], channel, top, ignore);
            members.erase(some[0]);
            break;
          case 4: {
            AppendOptions options;
            if (random.chance(20)) options.mode = FanOutMode::read;
            store.append(channel, std::make_shared<Entry>(EntryKind::publication, Publication{}, 0), options,
                         [&](const AppendResult& result) { top = result.position.offset; });
            to_enter = options.mode == FanOutMode::write ? top : 0;
            break;
          }
          default: {
            for (bool is_done = to_enter == 0; !is_done;) {
              store.enter(channel, 7, [&](const EnterResult& result) { is_done = result.step.is_done; });
            }
            to_enter = 0;
          }
        }
        if (round % 200 == 0) {  // nobody is left, so that the channel begins anew
          store.remove_members(channel, users, ignore);
          for (const std::string& user : users) store.mark_read(user, channel, top, ignore);
          members.clear();
        }
      }
      store.members(channel, "", 1'000, [&](const MembersResult& result) {
        EXPECT_EQ(std::set<std::string>(result.users.begin(), result.users.end()), members);
        EXPECT_EQ(result.users.size(), members.size());
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  is_over = true;
  house.join();
}

}  // namespace
}  // namespace carillon
