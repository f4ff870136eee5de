#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "store/redis/redis_reply.hpp"

namespace carillon {

/// Makes a reply of its nodes, in the order in which they come over the wire.
class RedisReplyBuilder {
 public:
  /// `depth` 0 is the reply itself; `size` is the number of items of an array.
  void add(std::size_t depth, RedisReply::Kind kind, std::string_view text, std::size_t size) {
    RedisReply* at = &reply_;
    for (std::size_t level = 0; level < depth; ++level) {
      // The last item of each level is the one that is not complete.
      if (level + 1 == depth) at->items.emplace_back();
      at = &at->items.back();
    }
    at->kind = kind;
    at->text = text;
    at->items.reserve(std::min<std::size_t>(size, kReserved));
  }

  [[nodiscard]] RedisReply take() { return std::exchange(reply_, {}); }

 private:
  static constexpr std::size_t kReserved = 1'024;  // not what a server claims

  RedisReply reply_;
};

}  // namespace carillon
