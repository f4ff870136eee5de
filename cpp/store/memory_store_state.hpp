#pragma once

#include <string>
#include <vector>

#include "env/clock.hpp"
#include "store/position.hpp"
#include "store/store.hpp"

namespace carillon {

/// All that a memory store remembers, written down. Times are ages: the reader has a clock of its own.
struct MemoryStoreState {
  struct Stream {
    std::string channel;
    Position top;
    Millis age_ms = 0;  ///< since it was touched
  };
  struct Key {
    std::string id;  ///< as the store builds it of channel and key
    Position position;
    Millis left_ms = 0;
  };
  struct Member {
    std::string channel;
    PresenceMember member;
  };
  std::vector<Stream> streams;  ///< the dormant ones of a stripe oldest first
  std::vector<Key> keys;        ///< those of a stripe oldest first
  std::vector<Member> presence;
};

}  // namespace carillon
