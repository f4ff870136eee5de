#include "store/copy_to_redis.hpp"

#include <algorithm>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "store/owned_store.hpp"
#include "store/redis/redis_conversation.hpp"
#include "store/redis/redis_errors.hpp"
#include "store/redis/redis_info.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_layout.hpp"
#include "store/redis/redis_unfinished_copy.hpp"
#include "store/sqlite/sqlite_export.hpp"

namespace carillon {

namespace {

/// So much is sent before its answers are waited for.
constexpr std::size_t kCommandsAtOnce = 1'000;
constexpr std::size_t kBytesAtOnce = 1UL << 20U;
constexpr std::string_view kScanned = "1000";  // keys at once

std::string digits_of(std::uint64_t number) { return std::to_string(number); }

/// Writes the keys as the scripts have them (redis_scripts.cpp, redis_member_scripts.hpp).
class CopyWriter {
 public:
  CopyWriter(const RedisOptions& options, RandomSource& random, const std::function<void()>& between)
      : options_(options),
        keys_(options.prefix),
        lifetime_(digits_of(static_cast<std::uint64_t>(options.limits.channel_lifetime_ms))),
        between_(between),
        redis_(options.endpoint, random,
               options.endpoint.connect_timeout_ms + options.endpoint.command_timeout_ms) {}

  /// Marks the target. It has to be empty.
  void begin() {
    redis_.connect();
    identity_ = ask_identity();
    const std::string trouble = redis_layout_trouble(options_, ask(RedisCommand{"GET", keys_.layout()}));
    if (!trouble.empty()) refuse(trouble + "; nothing was copied");
    const RedisReply marked = ask(RedisCommand{"SET", keys_.copying(), "1", "NX"});
    if (marked.is_nil()) refuse(redis_unfinished_copy(options_));
    bool is_empty = false;
    try {
      is_empty = !has_other_keys();
    } catch (...) {  // refused, lost, or Ctrl-C
      take_mark_back();
      throw;
    }
    if (is_empty) return;
    take_mark_back();
    refuse("it has keys that begin with " + options_.prefix +
           ":1: already, and nothing was copied; remove them, or give another store.prefix");
  }

  void write_channel(SqliteExport& from, const SqliteExport::Channel& channel) {
    ++result.channels;
    const std::string stream = keys_.stream(channel.name);
    std::uint64_t cost = 0;
    std::uint64_t entries = 0;
    from.visit_entries(channel, [&](const Entry& entry, std::string_view body) {
      if (channel.ttl_ms > 0 && entry.wall_ms + channel.ttl_ms <= now_ms_) return;
      cost += entry.cost_bytes();
      ++entries;
      RedisCommand add{"XADD", stream, digits_of(entry.offset) + '-' + std::to_string(entry.wall_ms)};
      add.add("d").add(body).add("c").add(cost).add("n").add(entry.cost_bytes());
      put(std::move(add));
    });
    result.publications += entries;
    const std::string hash = keys_.channel(channel.name);
    const std::string now = std::to_string(now_ms_);
    const std::string_view epoch = channel.top.epoch.text();
    RedisCommand set{"HSET", hash, "e", epoch, "b", epoch, "o"};
    set.add(channel.top.offset).add("i").add(identity_).add("x").add(now).add("y").add(now);
    set.add("c").add(cost).add("z").add("0").add("t").add(channel.ttl_ms);
    if (channel.version != 0) {
      std::string version = digits_of(channel.version);
      version.insert(0, 20 - version.size(), '0');
      set.add("v").add(version).add("w").add(channel.version_epoch);
    }
    if (channel.members > 0) set.add("m").add(channel.members);
    if (channel.has_memberships) set.add("k").add(now);
    put(std::move(set));
    if (channel.members == 0) put(RedisCommand{"PEXPIRE", hash, lifetime_});
    if (entries > 0) {
      const Millis life = options_.limits.channel_lifetime_ms;
      put(RedisCommand{"PEXPIRE", stream}.add(channel.ttl_ms > 0 ? std::min(2 * channel.ttl_ms, life)
                                                                 : life));
    }
    from.visit_keys(channel, [&](const SqliteExport::Key& key) {
      if (key.until_ms <= now_ms_) return;
      ++result.keys;
      std::string value =
          std::to_string(key.until_ms) + ' ' + digits_of(key.offset) + ' ' + std::string(epoch);
      put(RedisCommand{"SET", keys_.idempotency_key(channel.name, key.key), value, "PX"}.add(key.until_ms -
                                                                                             now_ms_));
    });
    const std::string members = keys_.of_channel('m', channel.name);
    from.visit_members(channel, [&](std::string_view user) {
      ++result.members;
      put(RedisCommand{"ZADD", members, "0", user});
    });
  }

  void write_user(const SqliteExport::User& user) {
    RedisCommand set{"HSET", keys_.of_user('m', user.name)};
    std::uint64_t members = 0;
    std::uint64_t left = 0;
    for (std::size_t i = 0; i < user.memberships.size();) {
      const std::string& channel = user.memberships[i].channel;
      std::string standing = std::to_string(now_ms_);
      for (; i < user.memberships.size() && user.memberships[i].channel == channel; ++i) {
        const SqliteExport::Membership& each = user.memberships[i];
        if (each.until && *each.until <= each.read) continue;  // nothing is unread
        ++(each.until ? left : members);
        // All counts as entered, and nothing is in the inbox: what is unread is merged from the logs.
        standing += ' ' + digits_of(each.read) + ' ' + digits_of(each.until.value_or(0)) + ' ' +
                    digits_of(std::min(each.until.value_or(each.top), each.top));
      }
      set.add('c' + channel).add(standing);
    }
    set.add("n").add(members).add("l").add(left);
    if (user.is_incomplete) set.add("x").add("1");
    put(std::move(set));
    if (members == 0) put(RedisCommand{"PEXPIRE", keys_.of_user('m', user.name), lifetime_});
  }

  void flush() {
    between_();
    if (commands_.empty()) return;
    std::vector<std::string> words;
    for (const RedisCommand& each : commands_) words.emplace_back(each[0]);
    bytes_ = 0;
    const std::vector<RedisReply> replies = redis_.ask(std::exchange(commands_, {}));
    for (std::size_t i = 0; i < replies.size(); ++i) {
      if (replies[i].is_error())
        refuse("it answered " + words[i] + " with: " + explain_redis_error(replies[i].text));
    }
  }

  /// The target is whole.
  void check_identity() {
    if (ask_identity() != identity_) refuse("another server became the primary meanwhile");
  }
  void finish() { static_cast<void>(ask(RedisCommand{"DEL", keys_.copying()})); }

  /// What is left of a copy that ends here.
  [[noreturn]] void leave_unfinished(const std::string& why) const {
    throw StoreRefused(
        why + "; a part is in redis, and no server starts on that. Remove it, and copy again: " +
        redis_removal_command(options_) +
        (options_.endpoint.login.password.empty() ? "" : " (with the password in REDISCLI_AUTH)"));
  }
  [[noreturn]] void leave_interrupted() const { leave_unfinished(options_.url + ": interrupted"); }

  CopyToRedis result;

 private:
  /// Nothing was written yet.
  void take_mark_back() {
    try {
      static_cast<void>(redis_.ask(RedisCommand{"DEL", keys_.copying()}));
    } catch (const StoreRefused&) {  // it is away: the next copy says what to do
    }
  }

  [[noreturn]] void refuse(const std::string& text) const { throw StoreRefused(options_.url + ": " + text); }

  RedisReply ask(RedisCommand command) {
    const std::string word(command[0]);
    RedisReply reply = redis_.ask(std::move(command));
    if (reply.is_error()) refuse("it answered " + word + " with: " + explain_redis_error(reply.text));
    return reply;
  }

  std::string ask_identity() {
    const RedisReply time = ask(RedisCommand{"TIME"});
    now_ms_ = time[0].number() * 1'000 + time[1].number() / 1'000;
    const RedisReply info = ask(RedisCommand{"INFO", "replication"});
    if (redis_info_value(info.text, "role") != "master") refuse("this redis is a replica; give the primary");
    return std::string(redis_info_value(info.text, "master_replid"));
  }

  bool has_other_keys() {
    std::string cursor("0");
    do {
      const RedisReply page =
          ask(RedisCommand{"SCAN", cursor, "MATCH", keys_.of_all("*"), "COUNT", kScanned});
      for (const RedisReply& key : page[1].items) {
        if (key.text != keys_.copying()) return true;
      }
      cursor = page[0].text;
      between_();
    } while (cursor != "0");
    return false;
  }

  void put(RedisCommand command) {
    bytes_ += command.bytes();
    commands_.push_back(std::move(command));
    if (commands_.size() >= kCommandsAtOnce || bytes_ >= kBytesAtOnce) flush();
  }

  const RedisOptions& options_;
  const RedisKeys keys_;
  const std::string lifetime_;
  const std::function<void()>& between_;
  RedisConversation redis_;
  std::string identity_;
  Millis now_ms_ = 0;  // of Redis, when it began
  std::vector<RedisCommand> commands_;
  std::size_t bytes_ = 0;
};

}  // namespace

CopyToRedis copy_sqlite_to_redis(const std::string& path, const RedisOptions& options, RandomSource& random,
                                 const std::function<void()>& between) {
  if (!options.endpoint.cluster_nodes.empty())
    throw StoreRefused(options.url + ": a store cannot be copied into a cluster; nothing was copied");
  SqliteExport from(path, random);
  CopyWriter to(options, random, between);
  to.begin();
  try {
    from.visit_channels([&](const SqliteExport::Channel& channel) { to.write_channel(from, channel); });
    from.visit_users([&](const SqliteExport::User& user) { to.write_user(user); });
    to.flush();
    to.check_identity();
    // Before the target may be used: never do both stores go on with one epoch.
    from.leave();
    to.finish();
  } catch (const std::runtime_error& error) {
    to.leave_unfinished(error.what());
  } catch (...) {  // of `between`: Ctrl-C
    to.leave_interrupted();
  }
  to.result.has_new_epochs = from.has_new_epochs();
  return to.result;
}

}  // namespace carillon
