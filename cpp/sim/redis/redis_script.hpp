#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sim/redis/redis_execution.hpp"

namespace carillon::sim {

struct RedisScriptText {
  std::string hash;  ///< what SCRIPT LOAD answers: 40 hexadecimal digits
  std::string text;
};

/// A Lua of the calling thread, with what it has compiled: scripts of all RedisData of this thread, each
/// once.
class RedisLua {
 public:
  [[nodiscard]] static RedisLua& of_this_thread();
  ~RedisLua();
  RedisLua(const RedisLua&) = delete;
  RedisLua& operator=(const RedisLua&) = delete;

  /// RedisRefusal: it is no Lua.
  [[nodiscard]] std::shared_ptr<const RedisScriptText> load(std::string_view text);
  /// `caller` has the words of EVALSHA, of which the keys are `keys` and the arguments `words`.
  [[nodiscard]] RedisReply run(const RedisScriptText& script, RedisExecution& caller,
                               std::span<const std::string_view> keys,
                               std::span<const std::string_view> words);

 private:
  struct State;
  RedisLua();

  std::unique_ptr<State> state_;
};

}  // namespace carillon::sim
