#include "store/redis/redis_errors.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <utility>

namespace carillon {

namespace {

constexpr std::string_view kInScript = "The user executing the script can't ";

/// The commands in the line of the script that the error of a script names: "+hget or +hdel".
std::string commands_at(std::string_view error, std::string_view script) {
  static constexpr std::string_view kPlace = "user_script:";
  static constexpr std::string_view kCall = "redis.call('";
  const std::size_t place = error.find(kPlace);
  if (place == std::string_view::npos) return {};
  std::size_t line = 0;
  std::from_chars(error.data() + place + kPlace.size(), error.data() + error.size(), line);
  for (; line > 1; --line) script.remove_prefix(std::min(script.find('\n'), script.size() - 1) + 1);
  script = script.substr(0, script.find('\n'));
  std::string commands;
  for (std::size_t at = script.find(kCall); at != std::string_view::npos; at = script.find(kCall)) {
    script.remove_prefix(at + kCall.size());
    commands += commands.empty() ? "+" : " or +";
    for (const char letter : script.substr(0, script.find('\'')))
      commands += letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  }
  return commands;
}

}  // namespace

RedisErrorKind kind_of_redis_error(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, RedisErrorKind>, 15> kKinds{{
      {"NOSCRIPT", RedisErrorKind::missing_script},
      {"LOADING", RedisErrorKind::later},
      {"BUSY", RedisErrorKind::later},
      {"TRYAGAIN", RedisErrorKind::later},
      {"CLUSTERDOWN", RedisErrorKind::later},
      {"READONLY", RedisErrorKind::not_primary},
      {"MASTERDOWN", RedisErrorKind::not_primary},
      {"OOM", RedisErrorKind::no_room},
      {"MISCONF", RedisErrorKind::no_room},
      {"NOREPLICAS", RedisErrorKind::no_room},
      {"MOVED", RedisErrorKind::moved},
      {"ASK", RedisErrorKind::moved},
      {"NOPERM", RedisErrorKind::refused},
      {"NOAUTH", RedisErrorKind::refused},
      {"WRONGPASS", RedisErrorKind::refused},
  }};
  // The error of a command inside of a script begins with its own word, too.
  const std::string_view word = text.substr(0, text.find(' '));
  for (const auto& [name, kind] : kKinds) {
    if (word == name) return kind;
  }
  return RedisErrorKind::other;
}

std::string missing_redis_right(std::string_view text, std::string_view script) {
  const bool is_in_script = text.find(kInScript) != std::string_view::npos;
  if (!is_in_script && !text.starts_with("NOPERM")) return {};
  if (text.find("one of the keys") != std::string_view::npos) return "~";
  if (text.find("one of the channels") != std::string_view::npos ||
      text.find("can't publish to the channel") != std::string_view::npos)
    return "&";
  if (is_in_script) return commands_at(text, script);
  const std::size_t begin = std::min(text.find('\''), text.size() - 1) + 1;
  const std::size_t end = text.find('\'', begin);
  return end == std::string_view::npos ? std::string() : '+' + std::string(text.substr(begin, end - begin));
}

std::string explain_redis_error(std::string_view text, std::string_view script) {
  if (text.starts_with("OOM"))
    return std::string(text) +
           " (raise maxmemory of redis, or shorten histories: docs/redis.md, section Faults)";
  const std::string missing = missing_redis_right(text, script);
  if (missing.empty()) return std::string(text);
  const std::string what = missing == "~"   ? "the keys of store.prefix (~PREFIX:*)"
                           : missing == "&" ? "the channels of store.prefix (&PREFIX:*)"
                                            : missing;
  return "the ACL of its user in redis lacks " + what + ", see docs/redis.md (" + std::string(text) + ')';
}

}  // namespace carillon
