#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "sim/redis/redis_data.hpp"
#include "sim/redis/redis_keyspace.hpp"

namespace carillon::sim {

/// An error reply, from within a command that has changed nothing yet.
struct RedisRefusal {
  std::string text;
};
inline constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";

/// One command that is being carried out.
struct RedisExecution {
  RedisKeyspace& keys;
  RandomSource& random;
  const RedisMoment& moment;
  RedisEffects& effects;
  std::span<const std::string_view> words;  ///< the command's name and its arguments
  bool is_in_script = false;

  /// The key that the command's word at `index` names, if there is one; WRONGTYPE if it is of another kind.
  template <typename Kind>
  [[nodiscard]] RedisKey* find(std::size_t index = 1) {
    RedisKey* const key = keys.find(words[index], moment.wall_ms);
    if (key != nullptr && !std::holds_alternative<Kind>(key->value))
      throw RedisRefusal{"WRONGTYPE Operation against a key holding the wrong kind of value"};
    return key;
  }
  /// The same; an empty one is made if there is none.
  template <typename Kind>
  [[nodiscard]] RedisKey& find_or_make() {
    if (RedisKey* const key = find<Kind>()) return *key;
    RedisKey& key = keys.make(words[1]);
    key.value.emplace<Kind>();
    return key;
  }
  void remove() { keys.remove(words[1], moment.wall_ms); }
  /// A replica carries it out as it came.
  void changed() {
    RedisCommand& change = effects.changes.emplace_back();
    for (const std::string_view word : words) change.add(word);
  }
};

/// Answers errors as well. EVALSHA and SCRIPT are not here: they belong to RedisData.
[[nodiscard]] RedisReply run_redis_command(RedisExecution& run);

/// What Lua gets of a reply that the link shows as a text or a number.
enum class RedisAnswer : std::uint8_t {
  as_is,
  status,  ///< a table with `ok`
  real     ///< the text of a number
};
struct RedisCommandRow {
  std::string_view name;
  int words;  ///< with the name; negative: at least
  RedisReply (*run)(RedisExecution&);
  bool is_write = false;
  RedisAnswer answer = RedisAnswer::as_is;
};
/// nullptr: the model does not have it.
[[nodiscard]] const RedisCommandRow* find_redis_command(std::string_view name);

// The families, each in a file of its own.
[[nodiscard]] std::span<const RedisCommandRow> redis_server_commands();
[[nodiscard]] std::span<const RedisCommandRow> redis_key_commands();
[[nodiscard]] std::span<const RedisCommandRow> redis_hash_commands();
[[nodiscard]] std::span<const RedisCommandRow> redis_set_commands();
[[nodiscard]] std::span<const RedisCommandRow> redis_list_commands();
[[nodiscard]] std::span<const RedisCommandRow> redis_stream_commands();

// ---- words and replies

/// As strict as Redis: no blank, no plus, no zero in front.
[[nodiscard]] std::optional<std::int64_t> redis_integer(std::string_view text);
[[nodiscard]] std::int64_t redis_integer_or_refuse(std::string_view text);
/// An option, whatever its case.
[[nodiscard]] bool is_redis_word(std::string_view text, std::string_view upper);

[[nodiscard]] inline RedisReply redis_text(std::string_view text) {
  return {.kind = RedisReply::Kind::text, .text = std::string(text)};
}
[[nodiscard]] RedisReply redis_number(std::int64_t number);
[[nodiscard]] inline RedisReply redis_error(std::string text) {
  return {.kind = RedisReply::Kind::error, .text = std::move(text)};
}
[[nodiscard]] inline RedisReply redis_array(std::size_t reserved = 0) {
  RedisReply reply{.kind = RedisReply::Kind::array};
  reply.items.reserve(reserved);
  return reply;
}

}  // namespace carillon::sim
