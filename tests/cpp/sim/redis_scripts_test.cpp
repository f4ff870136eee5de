// The scripts that ship do in the model what they do in Redis, in sequences that gateways may cause.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "doubles/seeds.hpp"
#include "sim/redis_pair.hpp"
#include "store/redis/redis_keys.hpp"

namespace carillon::sim {

namespace {

constexpr Millis kHour = 3'600'000;
constexpr std::string_view kLifetime = "86400000";

using EpochTimes =
    std::pair<std::string, std::string>;  // when it began; when those before it began and ended

/// Gateways that use one Redis, as chance will have it.
struct RedisScriptsTest : RedisPairTest {
  void begin(std::uint64_t seed) {
    pair->begin(seed);
    last_group = 0;
    told.clear();
    now = 1'700'000'000'000;
  }
  std::uint64_t below(std::uint64_t bound) { return pair->random().below(bound); }
  bool chance(std::uint64_t percent) { return pair->random().chance(percent); }
  std::string one_of(std::initializer_list<std::string_view> words) {
    return std::string(words.begin()[below(words.size())]);
  }
  std::string channel() { return one_of({"news", "talk{}", "a channel"}); }
  std::string user() { return one_of({"ann", "bob", "cid", "dan", "eve", ""}); }
  std::string gateway() { return one_of({"gatewaya", "gatewayb", "gatewayc"}); }
  std::string epoch() {
    std::string letters;
    for (int i = 0; i < 8; ++i) letters += static_cast<char>('a' + below(26));
    return letters;
  }
  std::vector<std::string> keys_of(const std::string& name) const {
    return {keys.channel(name), keys.stream(name)};
  }

  /// What the machine puts in front of each script's words.
  RedisCommand words() {
    now += static_cast<Millis>(chance(3) ? below(2 * 600'000) : below(5'000));
    if (chance(1)) now -= 60'000;
    return RedisCommand{chance(98) ? pair->identity() : std::string(40, 'f'),
                        one_of({"", "", "", "s", "a"}) + std::to_string(now), epoch()};
  }

  RedisReply run(
      RedisScript script, const std::vector<std::string>& of_script, const RedisCommand& command,
      const OrderOf& order_of = [](const RedisReply&) { return kAsIs; }) {
    RedisReply reply = pair->run(script, of_script, command, order_of);
    seen.insert(std::string(redis_script_name(script)) + ' ' + reply[0].text);
    return reply;
  }

  void append() {
    const std::string name = channel();
    RedisCommand command = words();
    std::vector<std::string> of_group = keys_of(name);
    command.add(kLifetime);
    if (chance(93)) ++last_group;
    command.add(chance(97) ? last_group : last_group - std::min<std::uint64_t>(last_group, 2));
    command.add("600000").add(keys.announcements(name)).add(one_of({"r", "w"}));
    command.add(one_of({"0", "0", "5", "20"})).add(one_of({"0", "0", "700", "3000"}));
    command.add(one_of({"0", "0", "1800000", "3600000"})).add("1800000").add(gateway());
    for (std::uint64_t left = 1 + below(4); left > 0; --left) {
      const std::string kind = one_of({"s", "s", "s", "e", "S", "S", "E"});
      const std::string bytes(below(200), static_cast<char>('a' + below(26)));
      command.add(kind).add(bytes.size() + 100).add(bytes);
      if (kind != "S" && kind != "E") continue;
      if (chance(60)) {
        of_group.push_back(keys.idempotency_key(name, one_of({"k1", "k2", "k3"})));
        command.add(of_group.size());
      } else {
        command.add("0");
      }
      command.add(chance(70) ? "" : std::to_string(below(30)));
      if (chance(30)) {
        command.add("0000000000000000000" + std::to_string(below(10))).add(one_of({"v1", "v2"}));
      } else {
        command.add("").add("");
      }
    }
    const RedisReply reply = run(RedisScript::append, of_group, command);
    if (reply[1].text == command[2]) seen.insert("append with a new epoch");
    for (const char kind : {'d', 'c', '=', '0'}) {
      if (reply[4].text.find(kind) == 0) seen.insert(std::string("append answers ") + kind);
    }
    adopt_if_asked(name, reply);
  }

  void adopt_if_asked(const std::string& name, const RedisReply& reply) {
    if (reply[0].text == "adopt") adopt(name);
  }
  void adopt(const std::string& name) {
    RedisCommand command = words();
    command.add(one_of({"0", "1"}));
    run(RedisScript::adopt, keys_of(name), command);
  }

  void look_at_log() {
    const std::string name = channel();
    RedisCommand command = words();
    switch (below(5)) {
      case 0:
        adopt_if_asked(name, run(RedisScript::top, keys_of(name), command.add(kLifetime)));
        break;
      case 1:
        run(RedisScript::tops, {keys.channel("news"), keys.channel("nothing"), keys.channel("a channel")},
            command.add(kLifetime));
        break;
      case 2:
        run(RedisScript::standing, keys_of(name), command);
        break;
      default:
        command.add(below(60)).add(chance(50) ? 9'007'199'254'740'992U : below(120));
        command.add(one_of({"0", "1", "5", "1000"}))
            .add(one_of({"0", "300", "100000"}))
            .add(one_of({"0", "1"}));
        run(RedisScript::read, keys_of(name), command);
        break;
    }
  }

  void remove_history() {
    const std::string name = channel();
    RedisCommand command = words();
    run(RedisScript::remove_history, keys_of(name), command.add(keys.announcements(name)));
  }

  /// What others do to keys: eviction, operators, another primary.
  void tamper() {
    const std::string name = channel();
    switch (below(7)) {
      case 0:
        pair->ask({"DEL", keys.channel(name)});
        break;
      case 1:
        pair->ask({"DEL", keys.stream(name)});
        break;
      case 2:
        pair->ask({"SET", keys.stream(name), "no stream"});
        break;
      case 3:
        pair->ask({"XADD", keys.stream(name), "1000-1", "d", "of somebody"});
        break;
      case 4:
        pair->ask({"XADD", keys.stream(name), "18446744073709551615-18446744073709551615", "c", "1"});
        break;
      case 5:
        pair->ask({"HSET", keys.channel(name), "i", "of another primary"});
        break;
      default:
        pair->ask({"DEL", keys.of_user('i', user())});
        break;
    }
  }

  // ---- members

  /// Not all of it is always done: a gateway may die in between. The channel's times stand before the
  /// changes.
  void change_users(const std::string& name, const RedisReply& reply, std::size_t from) {
    const EpochTimes times = times_of(name, reply, from - 2);
    RedisCommand settled = words();
    for (std::size_t i = from; i + 1 < reply.items.size(); i += 2) {
      if (!chance(85)) continue;
      change_user(name, reply[i].text, times, reply[i + 1].text);
      settled.add(reply[i].text).add(reply[i + 1].text);
    }
    if (chance(85)) run(RedisScript::settle_members, {keys.of_channel('j', name)}, settled);
  }
  void change_user(const std::string& name, const std::string& who, const EpochTimes& times,
                   const std::string& changes) {
    RedisCommand command = words();
    command.add(name)
        .add(times.first)
        .add(times.second)
        .add(changes)
        .add(one_of({"1", "2", "100"}))
        .add(kLifetime);
    run(RedisScript::user_change, {keys.of_user('m', who), keys.of_user('i', who)}, command);
  }
  /// As they stand at a place of an answer, or as a gateway that is late has heard them before.
  EpochTimes times_of(const std::string& name, const RedisReply& reply, std::size_t at) {
    const EpochTimes now_told{reply[at].text, reply[at + 1].text};
    if (now_told.second.find(' ') != std::string::npos) seen.insert("several epochs are over");
    auto& [last, before] = told[name];
    if (last != now_told) before = std::exchange(last, now_told);
    return chance(10) && !before.first.empty() ? before : last;
  }

  void change_members() {
    const std::string name = channel();
    RedisCommand command = words();
    command.add(kLifetime).add(one_of({"+", "+", "-"}));
    for (std::uint64_t left = 1 + below(4); left > 0; --left) command.add(user());
    std::vector<std::string> of_members = keys_of(name);
    of_members.push_back(keys.of_channel('m', name));
    of_members.push_back(keys.of_channel('j', name));
    const RedisReply reply = run(RedisScript::change_members, of_members, command);
    adopt_if_asked(name, reply);
    if (reply[0].text == "ok") change_users(name, reply, 4);
  }

  void walk() {
    const std::string name = channel();
    const std::string who = gateway();
    RedisCommand command = words();
    command.add(who).add(one_of({"1", "2", "100"})).add("30000").add(one_of({" ", " gatewaya gatewayb "}));
    command.add(kLifetime).add(one_of({"0", "1"}));
    std::vector<std::string> of_walk = keys_of(name);
    for (const char kind : {'w', 'm', 'j'}) of_walk.push_back(keys.of_channel(kind, name));
    const auto order = [](const RedisReply& reply) {
      return ReplyOrder{reply[0].text == "walk" ? 9U : 4U, 2};
    };
    const RedisReply reply = run(RedisScript::walk, of_walk, command, order);
    if (reply[0].text == "done") return change_users(name, reply, 4);
    if (reply[0].text != "walk" || chance(10)) return;
    const std::size_t end = 9 + 2 * static_cast<std::size_t>(reply[6].number());
    const EpochTimes times = times_of(name, reply, 7);
    std::string last;
    for (std::size_t i = 9; i + 1 < end; i += 2) {
      last = reply[i].text;
      RedisCommand enter = words();
      enter.add(name)
          .add(times.first)
          .add(times.second)
          .add(reply[i + 1].text)
          .add("100")
          .add(kLifetime)
          .add(reply[1].text)
          .add(reply[2].text);
      enter.add(one_of({"5", "1000"}));
      run(RedisScript::user_enter, {keys.of_user('m', last), keys.of_user('i', last)}, enter);
    }
    change_users(name, reply, 9);
    RedisCommand step = words();
    step.add(who)
        .add(reply[1].text)
        .add(reply[3].text)
        .add(reply[4].text)
        .add(reply[5].text)
        .add(last)
        .add("30000");
    run(RedisScript::walk_step, {of_walk[0], of_walk[1], of_walk[2]}, step);
  }

  void look_at_members() {
    const std::string name = channel();
    const std::string who = user();
    RedisCommand command = words();
    switch (below(4)) {
      case 0:
        command.add(user()).add(one_of({"0", "1", "3", "100"}));
        run(RedisScript::members, {keys.of_channel('m', name)}, command);
        break;
      case 1: {
        const RedisReply standing = run(RedisScript::standing, keys_of(name), words());
        if (standing[0].text != "ok") break;
        const EpochTimes times = times_of(name, standing, 3);
        command.add(name).add(times.first).add(times.second).add(below(60)).add(kLifetime);
        run(RedisScript::user_mark_read, {keys.of_user('m', who), keys.of_user('i', who)}, command);
        break;
      }
      case 2:
        pair->ask({"HMGET", keys.of_user('m', who), 'c' + name, 'p' + name});
        break;
      default:
        run(RedisScript::user_inbox, {keys.of_user('m', who), keys.of_user('i', who)}, command,
            [](const RedisReply&) { return ReplyOrder{0, 0, false, false, 1}; });
        break;
    }
  }

  // ---- presence and gateways

  void change_presence() {
    const std::string name = channel();
    const std::string who = gateway();
    RedisCommand command = words();
    command.add("3600000").add(' ' + who + ' ').add(one_of({"1", "99999999999999"}));
    for (std::uint64_t left = 1 + below(3); left > 0; --left) {
      const std::string of = user();
      command.add("client" + std::to_string(below(8))).add(of);
      const std::string info = one_of({"{}", "null", "{\"a\":1}"});
      const auto text = [](const std::string& part) { return std::to_string(part.size()) + ':' + part; };
      command.add(chance(35) ? "" : std::string(1, '\0') + who + text(of) + text(info) + text(""));
    }
    run(RedisScript::presence_change, {keys.of_channel('p', name), keys.of_channel('q', name)}, command);
    pair->ask({one_of({"SADD", "SREM"}), keys.of_gateway('c', who), name});
    pair->ask({"PEXPIRE", keys.of_gateway('c', who), "3600000"});
  }

  void look_at_presence() {
    const std::string name = channel();
    const std::string presence = keys.of_channel('p', name);
    RedisCommand command = words();
    switch (below(3)) {
      case 0:
        run(RedisScript::presence_counts, {presence, keys.of_channel('q', name)}, command);
        break;
      case 1:
        command.add(gateway()).add("").add(one_of({"1", "3", "100"}));
        run(RedisScript::presence_clear, {presence, keys.of_channel('q', name)}, command);
        break;
      default:
        pair->ask({"ZRANGEBYLEX", presence, "(client" + std::to_string(below(8)) + std::string("\0\xff", 2),
                   "+", "LIMIT", "0", one_of({"1", "3", "100"})});
        break;
    }
  }

  void beat() {
    RedisCommand command = words();
    command.add("7200000").add(gateway()).add("process " + one_of({"1", "2"})).add("60000");
    command.add(one_of({"new", "beat", "beat", "leave", "list"}));
    run(RedisScript::gateway_beat, {keys.of_all("gateways")}, command,
        [](const RedisReply&) { return ReplyOrder{2, 3}; });
    if (chance(10)) pair->ask({"HDEL", keys.of_all("gateways"), gateway()});
    const std::string dead = gateway();
    RedisCommand clear = words();
    clear.add(one_of({"process1", "process2"})).add("1800000").add("100");
    run(RedisScript::gateway_clear,
        {keys.of_gateway('l', dead), keys.of_gateway('c', dead), keys.of_gateway('w', dead)}, clear,
        [](const RedisReply&) { return ReplyOrder{0, 1, true}; });
  }

  /// Random sequences of the steps; together they have to cause what is `expected`.
  void play(std::initializer_list<void (RedisScriptsTest::*)()> steps,
            std::initializer_list<std::string_view> expected) {
    constexpr std::uint64_t kWorlds = 20;
    const Seeds seeds = seeds_to_play(kWorlds);
    for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
      SCOPED_TRACE("CARILLON_SEED=" + std::to_string(seed));
      begin(seed);
      for (int i = 0; i < 300; ++i) {
        (this->*steps.begin()[below(steps.size())])();
        if (i % 100 != 99) continue;
        ASSERT_NO_FATAL_FAILURE(pair->compare());
      }
    }
    for (const std::string_view each : expected)
      EXPECT_TRUE(seeds.count < kWorlds || seen.contains(each)) << each << " did not occur";
  }

  const RedisKeys keys{"carillon"};
  Millis now = 0;
  std::uint64_t last_group = 0;
  std::map<std::string, std::pair<EpochTimes, EpochTimes>> told;  // by channel: the last, and those before
  std::set<std::string, std::less<>> seen;  // scripts with the first word of what they have answered
};

TEST_F(RedisScriptsTest, Logs) {
  using T = RedisScriptsTest;
  play({&T::append, &T::append, &T::append, &T::append, &T::look_at_log, &T::look_at_log},
       {"append ok", "append late", "append adopt", "append answers d", "append answers c",
        "append answers =", "append answers 0", "append with a new epoch", "top ok", "tops ok", "read ok",
        "read unknown", "adopt is"});
}

TEST_F(RedisScriptsTest, LogsThatOthersTouch) {
  using T = RedisScriptsTest;
  play({&T::append, &T::append, &T::append, &T::append, &T::append, &T::append, &T::append, &T::append,
        &T::look_at_log, &T::look_at_log, &T::look_at_log, &T::remove_history, &T::tamper},
       {"append adopt", "append with a new epoch", "read adopt", "read unknown", "remove_history ok"});
}

TEST_F(RedisScriptsTest, Members) {
  using T = RedisScriptsTest;
  play({&T::append, &T::append, &T::change_members, &T::change_members, &T::walk, &T::walk, &T::walk,
        &T::look_at_members, &T::look_at_members},
       {"change_members ok", "walk walk", "walk held", "walk done", "walk_step more", "walk_step done",
        "user_enter ok", "user_change ok", "settle_members ok", "user_inbox 0", "user_mark_read ok"});
}

TEST_F(RedisScriptsTest, MembersOfChannelsThatOthersTouch) {
  using T = RedisScriptsTest;
  play({&T::append, &T::append, &T::append, &T::change_members, &T::change_members, &T::walk, &T::walk,
        &T::walk, &T::look_at_members, &T::look_at_members, &T::tamper},
       {"change_members adopt", "walk walk", "walk_step done", "user_inbox 1", "user_change late",
        "user_enter late", "user_mark_read late", "several epochs are over"});
}

TEST_F(RedisScriptsTest, PresenceAndGateways) {
  using T = RedisScriptsTest;
  play({&T::change_presence, &T::change_presence, &T::change_presence, &T::look_at_presence, &T::beat},
       {"presence_change ok", "presence_change late", "gateway_beat gone", "gateway_beat ok",
        "gateway_clear held", "gateway_clear work", "gateway_clear done"});
}

// Redis' own time makes their ids, so the two are compared by what they keep.
TEST_F(RedisScriptsTest, Orders) {
  begin(1);
  const std::vector<std::string> key{keys.of_all("orders")};
  std::pair<std::string, std::string> heard;  // the last id, of both
  for (int i = 0; i < 200; ++i) {
    if (chance(50)) {
      RedisCommand order = words();
      order.add(keys.told("")).add("gateway" + std::to_string(i)).add(std::string(below(300), 'x'));
      order.add("7200000").add("8").add(one_of({"1000", "100000"}));
      run(RedisScript::order, key, order);
    } else {
      RedisCommand command = words();
      RedisCommand of_real = command;
      of_real.add(heard.first).add("7200000").add("3").add("500");
      command.add(heard.second).add("7200000").add("3").add("500");
      ASSERT_NO_FATAL_FAILURE(pair->compare_replies());
      auto [real, model] = pair->run_both(RedisScript::orders_since, key, of_real, command);
      ASSERT_EQ(real.items.size(), model.items.size());
      if (chance(60)) heard = {real[1].text, model[1].text};
      for (RedisReply* const reply : {&real, &model})
        reply->items[1].text = reply->items[1].text == "0-0" ? "0-0" : "";
      ASSERT_EQ(shown(model), shown(real)) << "step " << i;
    }
    if (!chance(3)) continue;
    pair->ask({one_of({"DEL", "SET"}), key[0], "by somebody"});
    ASSERT_NO_FATAL_FAILURE(pair->compare_replies());
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // no id is given again
  }
}

}  // namespace

}  // namespace carillon::sim
