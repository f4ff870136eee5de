#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "store/entry_codec.hpp"
#include "store/redis/redis_log.hpp"
#include "store/redis/redis_machine.hpp"
#include "store/store_calls.hpp"
#include "store/store_journal.hpp"

namespace carillon {

/// What a machine sends, word by word. A test answers as Redis would.
class RecordedLink final : public RedisLink {
 public:
  void send(std::span<const RedisCommand> commands) override {
    ++sends;
    for (const RedisCommand& command : commands) {
      std::vector<std::string> words;
      for (std::size_t i = 0; i < command.size(); ++i) words.emplace_back(command[i]);
      sent.push_back(std::move(words));
    }
  }
  void renew(const std::string& reason) override { renewed.push_back(reason); }

  std::vector<std::vector<std::string>> sent;  ///< and not yet looked at
  std::vector<std::string> renewed;
  int sends = 0;
};

inline RedisReply text_reply(std::string text) { return {RedisReply::Kind::text, std::move(text), {}}; }
inline RedisReply error_reply(std::string text) { return {RedisReply::Kind::error, std::move(text), {}}; }
inline RedisReply array_reply(std::vector<std::string> texts) {
  RedisReply reply{RedisReply::Kind::array, {}, {}};
  for (std::string& text : texts) reply.items.push_back(text_reply(std::move(text)));
  return reply;
}

class DoubtJournal final : public StoreJournal {
 public:
  void on_doubt() override { ++doubts; }
  void on_history_removed(std::string_view channel, Epoch epoch, Offset up_to) override {
    removals.push_back(std::string(channel) + ' ' + std::string(epoch.text()) + ' ' + std::to_string(up_to));
  }
  int doubts = 0;
  std::vector<std::string> removals;
};

/// A machine and a log over a link that a test plays.
struct RedisWorld : testing::Test {
  using Words = std::vector<std::string>;

  RedisWorld() {
    machine.set_link(&link);
    machine.set_listener(&log.machine_listener());
    log.set_listener(&journal);
  }
  ~RedisWorld() override {
    log.close();
    machine.close();
  }

  /// The end of a turn.
  void turn() {
    log.flush();
    machine.flush();
  }
  /// Time passes, with a tick at the end.
  void pass(Millis ms) {
    clock.advance(ms);
    log.tick();
    machine.tick();
    turn();
  }
  /// What was sent since the last look.
  std::vector<Words> take_sent() { return std::exchange(link.sent, {}); }
  /// The names of the commands, scripts by their own names.
  [[nodiscard]] Words take_names() {
    Words names;
    for (const Words& words : take_sent()) names.push_back(name_of(words));
    return names;
  }
  [[nodiscard]] static std::string name_of(const Words& words) {
    return words[0] == "EVALSHA" ? words[1] : words[0];
  }
  void reply(RedisReply answer) {
    machine.on_reply(std::move(answer));
    turn();
  }
  void answer_identity(const std::string& identity, const std::string& role = "master") {
    reply(text_reply("# Replication\r\nrole:" + role + "\r\nmaster_replid:" + identity +
                     "\r\nmaster_replid2:0\r\n"));
  }
  void answer_scripts() {
    for (std::size_t i = 0; i < kRedisScripts; ++i)
      machine.on_reply(text_reply(std::string(redis_script_name(static_cast<RedisScript>(i)))));
    turn();
  }
  /// A link to the primary with this identity.
  void come_up(const std::string& identity = "i1") {
    machine.on_link_up();
    turn();
    link.sent.clear();
    answer_scripts();
    answer_identity(identity);
    // Nothing is followed: only what other gateways tell.
    if (!link.sent.empty() && link.sent.front() == Words{"SUBSCRIBE", keys.told(""), keys.told("gatewayA")})
      link.sent.erase(link.sent.begin());
  }
  void go_down() {
    machine.on_link_down("the link is cut");
    turn();
  }
  void append(const std::string& channel, const std::string& data, const AppendOptions& options = {}) {
    RedisAppend asked;
    asked.channel = channel;
    encode_entry(*entry_of(data), asked.bytes);
    asked.cost_bytes = entry_of(data)->cost_bytes();
    asked.is_ephemeral = options.is_ephemeral;
    asked.idempotency_key = options.idempotency_key;
    asked.expected_offset = options.expected_offset;
    asked.retention = options.retention;
    asked.mode = options.mode;
    asked.done = [this, data](const AppendResult& result) { results.emplace_back(data, result); };
    log.append(std::move(asked));
  }
  void answer_group(const std::string& answers, const std::string& epoch = "AAAAAAAA") {
    reply(array_reply({"ok", epoch, "99", "0", answers}));
  }
  void announce(const std::string& channel, const std::string& data, Offset offset,
                const std::string& epoch = "AAAAAAAA") {
    std::string bytes;
    encode_entry(*entry_of(data), bytes);
    push(channel, "a " + epoch + " w 0 1\n" + std::to_string(offset) + ' ' + std::to_string(bytes.size()) +
                      '\n' + bytes);
  }
  void push(const std::string& channel, const std::string& message) {
    machine.on_push(array_reply({"message", keys.announcements(channel), message}));
    turn();
  }
  /// Of the results, in order: "data=error:offset".
  [[nodiscard]] Words take_results() {
    Words lines;
    for (const auto& [data, result] : std::exchange(results, {}))
      lines.push_back(data + '=' + std::to_string(static_cast<int>(result.error)) + ':' +
                      std::to_string(result.position.offset));
    return lines;
  }
  /// The number of a group, and its entries' data, of an EVALSHA that appends.
  struct SentGroup {
    std::string identity;
    std::string number;
    Words data;
  };
  [[nodiscard]] static SentGroup group_of(const Words& words) {
    SentGroup group;
    const std::size_t arguments = 3 + std::stoul(words[2]);  // ARGV[1]
    group.identity = words[arguments];
    group.number = words[arguments + 4];
    for (std::size_t i = arguments + 13; i + 2 < words.size(); i += 3) {
      group.data.push_back(decode_entry(words[i + 2], 1)->publication.data);
      if (words[i] == "S" || words[i] == "E") i += 4;
    }
    return group;
  }

  RedisOptions options;
  VirtualClock clock;
  SeededRandom random{1};
  RecordedLink link;
  RedisKeys keys{"test"};
  RedisMachine machine{options, clock, random};
  RedisLog log{options, keys, "gatewayA", machine, clock};
  DoubtJournal journal;
  std::vector<std::pair<std::string, AppendResult>> results;
};

}  // namespace carillon
