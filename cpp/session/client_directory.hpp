#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "env/name_hash.hpp"
#include "hub/shard.hpp"

namespace carillon {

class Session;

/// Clients by a key of which each has its own: the secret by which their commands find them, or their user.
/// Thread-safe.
class ClientDirectory {
 public:
  explicit ClientDirectory(RandomSource& random) : places_(NameHash(random)) {}

  struct Place {
    Shard* shard;
    std::weak_ptr<Session*> session;  ///< to be used on the shard's thread
  };

  /// Returns the one that had the key before.
  std::optional<Place> add(std::string_view key, Shard& shard, const std::shared_ptr<Session*>& session) {
    const std::lock_guard lock(mutex_);
    const auto [place, is_new] = places_.try_emplace(std::string(key), Place{&shard, session});
    if (is_new) return std::nullopt;
    return std::exchange(place->second, Place{&shard, session});
  }
  /// Does nothing if another session has the key by now.
  void remove(std::string_view key, const std::shared_ptr<Session*>& session) {
    const std::lock_guard lock(mutex_);
    const auto place = places_.find(key);
    if (place != places_.end() && place->second.session.lock() == session) places_.erase(place);
  }
  [[nodiscard]] std::optional<Place> find(std::string_view key) const {
    const std::lock_guard lock(mutex_);
    const auto place = places_.find(key);
    if (place == places_.end()) return std::nullopt;
    return place->second;
  }

 private:
  mutable std::mutex mutex_;
  NameTable<Place> places_;
};

}  // namespace carillon
