#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carillon {

/// What Redis answers to one command, or tells by itself (RESP3). Maps and sets are arrays.
struct RedisReply {
  enum class Kind : std::uint8_t { nil, text, number, error, array };
  Kind kind = Kind::nil;
  std::string text;  ///< of a text, an error, and a number as it was written
  std::vector<RedisReply> items;

  [[nodiscard]] bool is_error() const { return kind == Kind::error; }
  [[nodiscard]] bool is_nil() const { return kind == Kind::nil; }
  /// Of a number, or a text that is one; otherwise 0.
  [[nodiscard]] std::int64_t number() const {
    std::int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  }
  /// An item of an array; a nil where there is none.
  [[nodiscard]] const RedisReply& operator[](std::size_t index) const {
    static const RedisReply nil;
    return index < items.size() ? items[index] : nil;
  }
};

}  // namespace carillon
