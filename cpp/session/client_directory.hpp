#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "env/name_hash.hpp"
#include "hub/shard.hpp"

namespace carillon {

class Session;

/// The clients whose commands come by other connections than their replies leave by, by the secret that
/// names them. Thread-safe.
class ClientDirectory {
 public:
  explicit ClientDirectory(RandomSource& random) : places_(NameHash(random)) {}

  struct Place {
    Shard* shard;
    std::weak_ptr<Session*> session;  ///< to be used on the shard's thread
  };

  void add(std::string_view secret, Shard& shard, const std::shared_ptr<Session*>& session) {
    const std::lock_guard lock(mutex_);
    places_.insert_or_assign(std::string(secret), Place{&shard, session});
  }
  /// Does nothing if another session has the secret by now.
  void remove(std::string_view secret, const std::shared_ptr<Session*>& session) {
    const std::lock_guard lock(mutex_);
    const auto place = places_.find(secret);
    if (place != places_.end() && place->second.session.lock() == session) places_.erase(place);
  }
  [[nodiscard]] std::optional<Place> find(std::string_view secret) const {
    const std::lock_guard lock(mutex_);
    const auto place = places_.find(secret);
    if (place == places_.end()) return std::nullopt;
    return place->second;
  }

 private:
  mutable std::mutex mutex_;
  NameTable<Place> places_;
};

}  // namespace carillon
