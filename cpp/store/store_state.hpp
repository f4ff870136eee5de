#pragma once

#include <string>
#include <vector>

#include "env/clock.hpp"
#include "store/position.hpp"
#include "store/store.hpp"

namespace carillon {

/// Members, their unread publications, and the entered ones among them.
struct MemoryInboxesState {
  struct Roster {
    std::string channel;
    Offset last_read_mode = 0;
  };
  struct Membership {
    std::uint32_t roster = 0;  ///< index
    Offset read = 0;
    Offset until = 0;
    Offset merged_to = 0;
  };
  struct Run {
    std::uint32_t roster = 0;  ///< index
    Offset first = 0;
    std::uint32_t count = 0;
  };
  struct User {
    std::string name;
    std::vector<Membership> memberships;  ///< by roster, then in order of time
    std::vector<Run> runs;                ///< oldest first
    bool is_incomplete = false;
  };
  std::vector<Roster> rosters;
  std::vector<User> users;
};

/// What a store has in memory, and must be saved for another process. Times are ages, because that has
/// another clock.
struct StoreState {
  struct Stream {
    std::string channel;
    Position top;
    Millis age_ms = 0;          ///< since it was touched
    std::uint64_t version = 0;  ///< the last one; 0: none
    std::string version_epoch = {};
  };
  struct Key {
    std::string id;  ///< as the store builds it from channel and key
    Position position;
    Millis left_ms = 0;
  };
  struct Member {
    std::string channel;
    PresenceMember member;
  };
  std::string url = "memory";   ///< of the store: its file, with the whole path
  bool has_descriptor = false;  ///< one was sent beside it: HeldStore::descriptor()
  std::vector<Stream> streams;  ///< the dormant channels of a stripe, oldest first
  std::vector<Key> keys;        ///< of a stripe, oldest first
  std::vector<Member> presence;
  MemoryInboxesState inboxes;
};

}  // namespace carillon
