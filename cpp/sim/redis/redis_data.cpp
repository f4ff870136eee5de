#include "sim/redis/redis_data.hpp"

#include <array>
#include <map>
#include <stdexcept>

#include "sim/redis/redis_execution.hpp"
#include "sim/redis/redis_keyspace.hpp"
#include "sim/redis/redis_script.hpp"

namespace carillon::sim {

struct RedisData::Keys {
  RedisKeyspace keys;
  std::map<std::string, std::shared_ptr<const RedisScriptText>, std::less<>> scripts;  // by hash

  // SCRIPT LOAD text
  RedisReply load(const RedisExecution& run) {
    if (run.words.size() != 3 || !is_redis_word(run.words[1], "LOAD"))
      return redis_error("ERR unknown subcommand of SCRIPT (the model has LOAD)");
    try {
      std::shared_ptr<const RedisScriptText> script = RedisLua::of_this_thread().load(run.words[2]);
      RedisReply reply = redis_text(script->hash);
      scripts[script->hash] = std::move(script);
      return reply;
    } catch (RedisRefusal& refusal) {
      return redis_error(std::move(refusal.text));
    }
  }

  // EVALSHA hash number key ... argument ...
  RedisReply evaluate(RedisExecution& run) {
    if (run.words.size() < 3) return redis_error("ERR wrong number of arguments for 'evalsha' command");
    const std::optional<std::int64_t> number = redis_integer(run.words[2]);
    if (!number) return redis_error(std::string(kNotAnInteger));
    if (*number < 0) return redis_error("ERR Number of keys can't be negative");
    const auto size = static_cast<std::size_t>(*number);
    const std::span<const std::string_view> words = run.words.subspan(3);
    if (size > words.size()) return redis_error("ERR Number of keys can't be greater than number of args");
    const auto script = scripts.find(run.words[1]);
    if (script == scripts.end()) return redis_error("NOSCRIPT No matching script. Please use EVAL.");
    return RedisLua::of_this_thread().run(*script->second, run, words.first(size), words.subspan(size));
  }
};

RedisData::RedisData(RandomSource& random) : random_(&random), keys_(std::make_unique<Keys>()) {}
RedisData::~RedisData() = default;
RedisData::RedisData(const RedisData& other)
    : random_(other.random_), keys_(std::make_unique<Keys>(*other.keys_)) {}
RedisData& RedisData::operator=(const RedisData& other) {
  random_ = other.random_;
  if (this != &other) *keys_ = *other.keys_;
  return *this;
}

RedisReply RedisData::execute(const RedisCommand& command, const RedisMoment& moment, RedisEffects& effects) {
  if (command.size() == 0) return redis_error("ERR unknown command ''");
  std::array<std::string_view, 32> few;
  std::vector<std::string_view> many;
  std::span<std::string_view> words(few.data(), std::min(command.size(), few.size()));
  if (command.size() > few.size()) {
    many.resize(command.size());
    words = many;
  }
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = command[i];
  RedisExecution run{keys_->keys, *random_, moment, effects, words};
  if (is_redis_word(words[0], "EVALSHA")) return keys_->evaluate(run);
  if (is_redis_word(words[0], "SCRIPT")) return keys_->load(run);
  return run_redis_command(run);
}

void RedisData::follow(const std::vector<RedisCommand>& changes, const RedisMoment& moment) {
  RedisMoment of_primary = moment;
  of_primary.is_primary = true;
  RedisEffects effects;
  for (const RedisCommand& change : changes) {
    const RedisReply reply = execute(change, of_primary, effects);
    if (reply.is_error())
      throw std::logic_error("a replica refuses " + std::string(change[0]) + ": " + reply.text);
  }
}

void RedisData::forget_scripts() { keys_->scripts.clear(); }

std::size_t RedisData::bytes() const { return keys_->keys.bytes(); }

std::vector<std::string> RedisData::names(Millis wall_ms) const { return keys_->keys.names(wall_ms); }

std::optional<Millis> RedisData::lifetime_ms(std::string_view name, Millis wall_ms) const {
  return keys_->keys.lifetime_ms(name, wall_ms);
}

}  // namespace carillon::sim
