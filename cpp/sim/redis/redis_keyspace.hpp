#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "env/clock.hpp"

namespace carillon::sim {

// The kinds of values. Where a command shows the order of a container, that order is a function of its
// content.

struct RedisHash {
  std::map<std::string, std::string, std::less<>> fields;
};
struct RedisList {
  std::deque<std::string> items;
};
struct RedisSet {
  std::set<std::string, std::less<>> members;
};
/// All scores are 0: the store sorts by the members alone.
struct RedisSortedSet {
  std::set<std::string, std::less<>> members;
};

struct RedisStreamId {
  std::uint64_t ms = 0;
  std::uint64_t seq = 0;
  friend auto operator<=>(const RedisStreamId&, const RedisStreamId&) = default;
};
struct RedisStream {
  struct Entry {
    RedisStreamId id;
    std::vector<std::string> words;  ///< fields and values
    std::size_t bytes = 0;
  };
  std::deque<Entry> entries;  ///< ids ascend
  RedisStreamId last;         ///< the last id that was given, also when its entry is gone
};

struct RedisKey {
  std::variant<std::string, RedisHash, RedisList, RedisSet, RedisSortedSet, RedisStream> value;
  Millis ends_ms = kNever;  ///< by the wall clock
  std::size_t bytes = 0;

  static constexpr Millis kNever = std::numeric_limits<Millis>::max();
};

/// Keys by name, with their lifetimes and their size.
class RedisKeyspace {
 public:
  // Approximate costs of the containers of Redis.
  static constexpr std::size_t kKeyBytes = 64;
  static constexpr std::size_t kItemBytes = 16;

  /// A key that has ended is removed by whoever looks for it. The pointer is valid until the key is removed.
  [[nodiscard]] RedisKey* find(std::string_view name, Millis wall_ms);
  /// A new key in the place of another one.
  RedisKey& make(std::string_view name);
  bool remove(std::string_view name, Millis wall_ms);
  void grow(RedisKey& key, std::size_t bytes) {
    key.bytes += bytes;
    bytes_ += bytes;
  }
  void shrink(RedisKey& key, std::size_t bytes) {
    key.bytes -= bytes;
    bytes_ -= bytes;
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  /// Sorted, without those that have ended.
  [[nodiscard]] std::vector<std::string> names(Millis wall_ms) const;
  [[nodiscard]] std::optional<Millis> lifetime_ms(std::string_view name, Millis wall_ms) const;

 private:
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
  };
  using Keys = std::unordered_map<std::string, RedisKey, NameHash, std::equal_to<>>;
  void erase(Keys::iterator key);

  Keys keys_;  // no command shows its order
  std::size_t bytes_ = 0;
};

}  // namespace carillon::sim
