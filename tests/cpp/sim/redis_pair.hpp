#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "sim/redis/redis_data.hpp"
#include "store/redis/redis_conversation.hpp"
#include "store/redis/redis_info.hpp"
#include "store/redis/redis_scripts.hpp"
#include "store/redis_process.hpp"

namespace carillon::sim {

/// How a reply is compared: some have an order that Redis does not promise.
struct ReplyOrder {
  std::size_t head = 0;  ///< items in front whose order counts
  std::size_t behind =
      0;  ///< the size of the groups in which the others come, in any order; 0: all are in front
  bool is_deep = false;      ///< so do the items that are lists
  bool is_count = false;     ///< only the number of items is compared
  std::size_t of_pairs = 0;  ///< the item that is a list of pairs in any order; 0: none
};
inline constexpr ReplyOrder kAsIs{};
inline constexpr ReplyOrder kPairs{0, 2};
inline constexpr ReplyOrder kAny{0, 1};
inline constexpr ReplyOrder kCount{0, 0, false, true};

using OrderOf = std::function<ReplyOrder(const RedisReply&)>;

inline std::string shown(const RedisReply& reply, const ReplyOrder& order = kAsIs) {
  switch (reply.kind) {
    case RedisReply::Kind::nil:
      return "nil";
    case RedisReply::Kind::text:
      return '"' + reply.text + '"';
    case RedisReply::Kind::number:
      return ':' + reply.text;
    case RedisReply::Kind::error:
      return '-' + reply.text;
    case RedisReply::Kind::array:
      break;
  }
  if (order.is_count) return std::to_string(reply.items.size()) + " items";
  std::vector<std::string> items;
  for (std::size_t i = 0; i < reply.items.size(); ++i) {
    std::string item = shown(reply[i], order.is_deep                  ? ReplyOrder{0, order.behind}
                                       : i > 0 && i == order.of_pairs ? ReplyOrder{0, 2}
                                                                      : ReplyOrder{});
    const bool is_free = !order.is_deep && order.behind > 0 && i >= order.head;
    if (is_free && (i - order.head) % order.behind != 0) {
      items.back() += ' ' + item;
    } else {
      items.push_back(std::move(item));
    }
  }
  if (!order.is_deep && order.behind > 0 && items.size() > order.head)
    std::sort(items.begin() + static_cast<std::ptrdiff_t>(order.head), items.end());
  std::string text = "[";
  for (const std::string& item : items) text += item + ' ';
  text.back() = items.empty() ? '[' : ']';
  return items.empty() ? "[]" : text;
}

inline std::string shown(const RedisCommand& command) {
  std::string text;
  for (std::size_t i = 0; i < command.size(); ++i) text += std::string(command[i]) + ' ';
  return text;
}

/// A source of chance that begins anew, for the seeds of one test.
class PairChance final : public RandomSource {
 public:
  void begin(std::uint64_t seed) { of_seed_ = std::make_unique<SeededRandom>(seed); }
  [[nodiscard]] std::uint64_t next() override { return of_seed_->next(); }
  [[nodiscard]] bool chance(std::uint64_t percent) { return of_seed_->chance(percent); }

 private:
  std::unique_ptr<SeededRandom> of_seed_ = std::make_unique<SeededRandom>(1);
};

/// The model and a real Redis, which get the same commands and have to answer the same. The replies of the
/// real one are asked for many at a time.
class RedisPair {
 public:
  explicit RedisPair(const RedisProcess& process)
      : real_(process.endpoint(), random_, 10'000), model_(random_), replica_(random_) {
    real_.connect();
    identity_ = redis_info_value(real_.ask(RedisCommand{"INFO", "replication"}).text, "master_replid");
    begin(1);
  }

  [[nodiscard]] const std::string& identity() const { return identity_; }
  [[nodiscard]] RedisData& model() { return model_; }
  [[nodiscard]] PairChance& random() { return random_; }

  /// Both are empty, and what chance does is a function of the seed.
  void begin(std::uint64_t seed) {
    static_cast<void>(real_.ask(RedisCommand{"FLUSHALL"}));
    random_.begin(seed);
    RedisData empty(random_);
    model_ = empty;
    replica_ = empty;
    load_scripts();
  }

  /// Answers the model's reply.
  RedisReply ask(const RedisCommand& command, const ReplyOrder& order = kAsIs) {
    return ask(command, command, [order](const RedisReply&) { return order; });
  }
  RedisReply run(
      RedisScript script, const std::vector<std::string>& keys, const RedisCommand& words,
      const OrderOf& order_of = [](const RedisReply&) { return kAsIs; }) {
    const auto& [of_real, of_model] = hashes_[static_cast<std::size_t>(script)];
    return ask(call_of(of_real, keys, words), call_of(of_model, keys, words), order_of);
  }
  /// A script that does not ship, without keys.
  void run_text(const std::string& text) {
    const RedisReply of_real = real_.ask(RedisCommand{"SCRIPT", "LOAD", text});
    const RedisReply of_model = execute({"SCRIPT", "LOAD", text});
    ASSERT_EQ(of_real.is_error(), of_model.is_error()) << text;
    if (of_real.is_error()) {
      const auto kind = [](const RedisReply& reply) { return reply.text.substr(0, reply.text.find(':')); };
      EXPECT_EQ(kind(of_model), kind(of_real));
      return;
    }
    hashes_.emplace_back(of_real.text, of_model.text);
    const RedisCommand words{"one", "two"};
    ask(call_of(of_real.text, {}, words), call_of(of_model.text, {}, words),
        [](const RedisReply&) { return kAsIs; });
  }
  /// At once, where the two get different words.
  std::pair<RedisReply, RedisReply> run_both(RedisScript script, const std::vector<std::string>& keys,
                                             const RedisCommand& of_real, const RedisCommand& of_model) {
    const auto& [real_hash, model_hash] = hashes_[static_cast<std::size_t>(script)];
    return {real_.ask(call_of(real_hash, keys, of_real)), execute(call_of(model_hash, keys, of_model))};
  }

  /// Compares what was asked since the last time.
  void compare_replies() {
    const std::vector<RedisReply> replies = real_.ask(std::exchange(commands_, {}));
    const std::vector<Expected> expected = std::exchange(expected_, {});
    for (std::size_t i = 0; i < replies.size(); ++i) {
      std::string real = shown(replies[i], expected[i].order);
      for (const auto& [of_real, of_model] : hashes_) {
        if (const std::size_t at = real.find(of_real); at != std::string::npos)
          real.replace(at, of_real.size(), of_model);
      }
      ASSERT_EQ(expected[i].reply, real) << "reply " << i << " to " << expected[i].command;
    }
  }
  /// The same, and then all keys.
  void compare() {
    compare_replies();
    const RedisReply keys = real_.ask(RedisCommand{"KEYS", "*"});
    std::vector<std::string> names;
    for (const RedisReply& key : keys.items) names.push_back(key.text);
    std::sort(names.begin(), names.end());
    ASSERT_EQ(model_.names(moment().wall_ms), names);
    for (const std::string& name : names) {
      for (const auto& [command, order] : looks_at(name)) ask(command, order);
    }
    compare_replies();
    compare_lifetimes(names);
    compare_replica(names);
  }

 private:
  struct Expected {
    std::string command;
    std::string reply;
    ReplyOrder order;
  };
  // The tests are much shorter, and all lifetimes in them much longer.
  static constexpr Millis kToleranceMs = 10 * 60'000;

  void load_scripts() {
    hashes_.clear();
    for (std::size_t i = 0; i < kRedisScripts; ++i) {
      const RedisCommand load{"SCRIPT", "LOAD", redis_script_text(static_cast<RedisScript>(i))};
      hashes_.emplace_back(real_.ask(load).text, execute(load).text);
    }
  }

  static RedisCommand call_of(const std::string& hash, const std::vector<std::string>& keys,
                              const RedisCommand& words) {
    RedisCommand command{"EVALSHA", hash};
    command.add(keys.size());
    for (const std::string& key : keys) command.add(key);
    for (std::size_t i = 0; i < words.size(); ++i) command.add(words[i]);
    return command;
  }

  [[nodiscard]] RedisMoment moment() const {
    return {.wall_ms = SystemClock().wall_ms(), .identity = identity_};
  }

  RedisReply execute(const RedisCommand& command) {
    const RedisMoment now = moment();
    effects_ = {};
    RedisReply reply = model_.execute(command, now, effects_);
    replica_.follow(effects_.changes, now);
    return reply;
  }

  RedisReply ask(const RedisCommand& of_real, const RedisCommand& of_model, const OrderOf& order_of) {
    RedisReply reply = execute(of_model);
    const ReplyOrder order = order_of(reply);
    expected_.push_back({shown(of_model), shown(reply, order), order});
    commands_.push_back(of_real);
    return reply;
  }

  /// All that a key can have: those of other kinds are refused.
  static std::vector<std::pair<RedisCommand, ReplyOrder>> looks_at(const std::string& name) {
    return {{{"GET", name}, kAsIs},
            {{"HGETALL", name}, kPairs},
            {{"LRANGE", name, "0", "-1"}, kAsIs},
            {{"SRANDMEMBER", name, "1000000"}, kAny},
            {{"ZRANGEBYLEX", name, "-", "+"}, kAsIs},
            {{"XRANGE", name, "-", "+"}, kAsIs}};
  }

  /// It has got the changes alone.
  void compare_replica(const std::vector<std::string>& names) {
    const RedisMoment now = moment();
    ASSERT_EQ(replica_.names(now.wall_ms), names);
    ASSERT_EQ(replica_.bytes(), model_.bytes());
    for (const std::string& name : names) {
      ASSERT_EQ(replica_.lifetime_ms(name, now.wall_ms), model_.lifetime_ms(name, now.wall_ms)) << name;
      for (const auto& [command, order] : looks_at(name))
        ASSERT_EQ(shown(replica_.execute(command, now, effects_)),
                  shown(model_.execute(command, now, effects_)));
    }
  }

  void compare_lifetimes(const std::vector<std::string>& names) {
    for (const std::string& name : names) commands_.push_back(RedisCommand{"PTTL", name});
    if (names.empty()) return;
    const std::vector<RedisReply> real = real_.ask(std::exchange(commands_, {}));
    for (std::size_t i = 0; i < names.size(); ++i) {
      const Millis model = model_.lifetime_ms(names[i], moment().wall_ms).value_or(-1);
      ASSERT_EQ(model == -1, real[i].number() == -1) << names[i];
      ASSERT_LT(std::abs(model - real[i].number()), kToleranceMs) << names[i];
    }
  }

  PairChance random_;
  RedisConversation real_;
  RedisData model_;
  RedisData replica_;
  RedisEffects effects_;
  std::string identity_;
  std::vector<std::pair<std::string, std::string>> hashes_;  // of both
  std::vector<RedisCommand> commands_;                       // for the real one
  std::vector<Expected> expected_;
};

/// One Redis for all tests of a suite.
struct RedisPairTest : ::testing::Test {
  static void SetUpTestSuite() {
    if (RedisProcess::missing().empty()) process = std::make_unique<RedisProcess>();
  }
  static void TearDownTestSuite() { process.reset(); }
  void SetUp() override {
    if (const std::string why = RedisProcess::missing(); !why.empty()) GTEST_SKIP() << why;
    pair = std::make_unique<RedisPair>(*process);
  }

  static inline std::unique_ptr<RedisProcess> process;
  std::unique_ptr<RedisPair> pair;
};

}  // namespace carillon::sim
