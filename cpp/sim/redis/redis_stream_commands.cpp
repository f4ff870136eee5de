#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "sim/redis/redis_execution.hpp"

namespace carillon::sim {

namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
constexpr RedisStreamId kLastId{kMost, kMost};

RedisStream& stream_of(RedisKey& key) { return std::get<RedisStream>(key.value); }

std::string text_of(RedisStreamId id) { return std::to_string(id.ms) + '-' + std::to_string(id.seq); }

bool parse(std::string_view text, std::uint64_t& number) {
  const std::from_chars_result end = std::from_chars(text.data(), text.data() + text.size(), number);
  return end.ec == std::errc() && end.ptr == text.data() + text.size();
}

/// "N-M", or "N" with `seq` behind it.
RedisStreamId id_of(std::string_view text, std::uint64_t seq) {
  RedisStreamId id{0, seq};
  const std::size_t dash = text.find('-');
  const bool is_whole = dash == std::string_view::npos || parse(text.substr(dash + 1), id.seq);
  if (!is_whole || !parse(text.substr(0, dash), id.ms))
    throw RedisRefusal{"ERR Invalid stream ID specified as stream command argument"};
  return id;
}

RedisStreamId bound_of(std::string_view text, std::uint64_t seq) {
  if (text == "-") return {};
  if (text == "+") return kLastId;
  return id_of(text, seq);
}

auto place_of(const RedisStream& stream, RedisStreamId id) {
  return std::lower_bound(
      stream.entries.begin(), stream.entries.end(), id,
      [](const RedisStream::Entry& entry, RedisStreamId bound) { return entry.id < bound; });
}

std::uint64_t length_of(std::string_view text) {
  const std::int64_t length = redis_integer_or_refuse(text);
  if (length < 0) throw RedisRefusal{"ERR The MAXLEN argument must be >= 0."};
  return static_cast<std::uint64_t>(length);
}

void drop_first(RedisExecution& run, RedisKey& key) {
  run.keys.shrink(key, stream_of(key).entries.front().bytes);
  stream_of(key).entries.pop_front();
}

std::int64_t trim_to_length(RedisExecution& run, RedisKey& key, std::uint64_t length) {
  std::int64_t trimmed = 0;
  for (; stream_of(key).entries.size() > length; ++trimmed) drop_first(run, key);
  return trimmed;
}

// XADD key [MAXLEN length] id|* field value ...
RedisReply xadd(RedisExecution& run) {
  std::size_t at = 2;
  std::optional<std::uint64_t> length;
  if (is_redis_word(run.words[at], "MAXLEN")) {
    length = length_of(run.words[at + 1]);
    at += 2;
  }
  if (at >= run.words.size()) return redis_error("ERR wrong number of arguments for 'xadd' command");
  const bool is_given = run.words[at] != "*";
  RedisStreamId id = is_given ? id_of(run.words[at], 0) : RedisStreamId{};
  const std::size_t first = at + 1;
  if (run.words.size() <= first || (run.words.size() - first) % 2 != 0)
    return redis_error("ERR wrong number of arguments for 'xadd' command");
  if (is_given && id == RedisStreamId{})
    return redis_error("ERR The ID specified in XADD must be greater than 0-0");
  if (RedisKey* const known = run.find<RedisStream>()) {
    const RedisStreamId last = stream_of(*known).last;
    if (last == kLastId)
      return redis_error("ERR The stream has exhausted the last possible ID, unable to add more items");
    if (is_given && id <= last)
      return redis_error("ERR The ID specified in XADD is equal or smaller than the target stream top item");
  }
  RedisKey& key = run.find_or_make<RedisStream>();
  RedisStream& stream = stream_of(key);
  if (!is_given) {
    id = {static_cast<std::uint64_t>(run.moment.wall_ms), 0};
    if (id <= stream.last) {
      id = stream.last;
      if (++id.seq == 0) ++id.ms;
    }
  }
  RedisStream::Entry& entry = stream.entries.emplace_back();
  entry.id = id;
  entry.bytes = 2 * RedisKeyspace::kItemBytes;
  entry.words.reserve(run.words.size() - first);
  for (const std::string_view word : run.words.subspan(first)) {
    entry.words.emplace_back(word);
    entry.bytes += word.size() + 1;
  }
  run.keys.grow(key, entry.bytes);
  stream.last = id;
  if (length) trim_to_length(run, key, *length);
  RedisReply reply = redis_text(text_of(id));
  RedisCommand& change = run.effects.changes.emplace_back();
  for (std::size_t i = 0; i < run.words.size(); ++i) change.add(i == at ? reply.text : run.words[i]);
  return reply;
}

// XTRIM key MAXLEN length, XTRIM key MINID id
RedisReply xtrim(RedisExecution& run) {
  const bool is_by_length = is_redis_word(run.words[2], "MAXLEN");
  if (!is_by_length && !is_redis_word(run.words[2], "MINID")) return redis_error("ERR syntax error");
  const std::uint64_t length = is_by_length ? length_of(run.words[3]) : 0;
  const RedisStreamId oldest = is_by_length ? RedisStreamId{} : id_of(run.words[3], 0);
  RedisKey* const key = run.find<RedisStream>();
  if (key == nullptr) return redis_number(0);
  std::int64_t trimmed = 0;
  if (is_by_length) {
    trimmed = trim_to_length(run, *key, length);
  } else {
    const RedisStream& stream = stream_of(*key);
    for (; !stream.entries.empty() && stream.entries.front().id < oldest; ++trimmed) drop_first(run, *key);
  }
  if (trimmed > 0) run.changed();
  return redis_number(trimmed);
}

RedisReply shown(const RedisStream::Entry& entry) {
  RedisReply words = redis_array(entry.words.size());
  for (const std::string& word : entry.words) words.items.push_back(redis_text(word));
  RedisReply reply = redis_array(2);
  reply.items.push_back(redis_text(text_of(entry.id)));
  reply.items.push_back(std::move(words));
  return reply;
}

// XRANGE key first last [COUNT count]
RedisReply range(RedisExecution& run, std::string_view first, std::string_view last, bool is_backward) {
  const RedisStreamId from = bound_of(first, 0);
  const RedisStreamId to = bound_of(last, kMost);
  if (run.words.size() != 4 && (run.words.size() != 6 || !is_redis_word(run.words[4], "COUNT")))
    return redis_error("ERR syntax error");
  const std::int64_t count = run.words.size() == 6 ? redis_integer_or_refuse(run.words[5]) : -1;
  RedisKey* const key = run.find<RedisStream>();
  if (key == nullptr) return redis_array();
  if (run.words.size() == 6 && count <= 0) return {};
  const RedisStream& stream = stream_of(*key);
  const auto begin = place_of(stream, from);
  auto end = place_of(stream, to);
  if (end != stream.entries.end() && end->id == to) ++end;
  RedisReply reply = redis_array();
  if (end <= begin) return reply;
  const auto size = std::min(static_cast<std::size_t>(end - begin), static_cast<std::size_t>(count));
  reply.items.reserve(size);
  for (std::size_t i = 0; i < size; ++i) {
    const auto step = static_cast<std::ptrdiff_t>(i);
    reply.items.push_back(shown(is_backward ? *(end - 1 - step) : *(begin + step)));
  }
  return reply;
}
RedisReply xrange(RedisExecution& run) { return range(run, run.words[2], run.words[3], false); }
RedisReply xrevrange(RedisExecution& run) { return range(run, run.words[3], run.words[2], true); }

}  // namespace

std::span<const RedisCommandRow> redis_stream_commands() {
  static constexpr std::array kCommands{
      RedisCommandRow{"XADD", -5, xadd, true},
      RedisCommandRow{"XTRIM", 4, xtrim, true},
      RedisCommandRow{"XRANGE", -4, xrange},
      RedisCommandRow{"XREVRANGE", -4, xrevrange},
  };
  return kCommands;
}

}  // namespace carillon::sim
