#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "env/name_hash.hpp"

namespace carillon {

/// How many clients of the SDKs each user has, while there is a limit. Thread-safe.
class UserConnections {
 public:
  explicit UserConnections(RandomSource& random) : counts_(NameHash(random)) {}

  /// One more. False: the user has `most` of them already, and nothing is counted.
  [[nodiscard]] bool add(std::string_view user, std::int64_t most) {
    const std::lock_guard lock(mutex_);
    std::int64_t& count = counts_.try_emplace(std::string(user), 0).first->second;
    if (count >= most) return false;
    ++count;
    return true;
  }
  /// One more, however many there are: a takeover brings it, and ends nobody.
  void restore(std::string_view user) {
    const std::lock_guard lock(mutex_);
    ++counts_.try_emplace(std::string(user), 0).first->second;
  }
  void remove(std::string_view user) {
    const std::lock_guard lock(mutex_);
    const auto found = counts_.find(user);
    if (found != counts_.end() && --found->second <= 0) counts_.erase(found);
  }

 private:
  std::mutex mutex_;
  NameTable<std::int64_t> counts_;
};

}  // namespace carillon
