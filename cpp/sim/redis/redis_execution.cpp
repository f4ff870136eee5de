#include "sim/redis/redis_execution.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

namespace carillon::sim {

namespace {

char upper(char letter) {
  return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
}

std::string lower(std::string_view text) {
  std::string name(text);
  for (char& letter : name) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return name;
}

}  // namespace

const RedisCommandRow* find_redis_command(std::string_view name) {
  static const std::unordered_map<std::string_view, const RedisCommandRow*> rows = [] {
    std::unordered_map<std::string_view, const RedisCommandRow*> all;
    for (const std::span<const RedisCommandRow> family :
         {redis_server_commands(), redis_key_commands(), redis_hash_commands(), redis_set_commands(),
          redis_list_commands(), redis_stream_commands()}) {
      for (const RedisCommandRow& row : family) all[row.name] = &row;
    }
    return all;
  }();
  std::array<char, 16> letters{};
  if (name.size() > letters.size()) return nullptr;
  std::transform(name.begin(), name.end(), letters.begin(), upper);
  const auto found = rows.find(std::string_view(letters.data(), name.size()));
  return found == rows.end() ? nullptr : found->second;
}

RedisReply run_redis_command(RedisExecution& run) {
  const RedisCommandRow* const row = find_redis_command(run.words[0]);
  if (row == nullptr) {
    // They belong to RedisData itself.
    if (is_redis_word(run.words[0], "EVALSHA") || is_redis_word(run.words[0], "SCRIPT"))
      return redis_error("ERR This Redis command is not allowed from script");
    return redis_error(run.is_in_script ? "ERR Unknown Redis command called from script"
                                        : "ERR unknown command '" + std::string(run.words[0]) +
                                              "' (the model does not have it)");
  }
  const auto size = static_cast<int>(run.words.size());
  if (row->words >= 0 ? size != row->words : size < -row->words) {
    return redis_error(run.is_in_script
                           ? "ERR Wrong number of args calling Redis command from script"
                           : "ERR wrong number of arguments for '" + lower(run.words[0]) + "' command");
  }
  if (row->is_write && !run.moment.is_primary)
    return redis_error("READONLY You can't write against a read only replica.");
  try {
    return row->run(run);
  } catch (RedisRefusal& refusal) {
    return redis_error(std::move(refusal.text));
  }
}

std::optional<std::int64_t> redis_integer(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.starts_with('0') && text != "0") return std::nullopt;
  std::int64_t value = 0;
  const std::from_chars_result end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

std::int64_t redis_integer_or_refuse(std::string_view text) {
  const std::optional<std::int64_t> value = redis_integer(text);
  if (!value) throw RedisRefusal{std::string(kNotAnInteger)};
  return *value;
}

bool is_redis_word(std::string_view text, std::string_view word) {
  return std::equal(text.begin(), text.end(), word.begin(), word.end(),
                    [](char left, char right) { return upper(left) == right; });
}

RedisReply redis_number(std::int64_t number) {
  return {.kind = RedisReply::Kind::number, .text = std::to_string(number)};
}

}  // namespace carillon::sim
