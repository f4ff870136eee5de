#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "store/redis/redis_command.hpp"
#include "store/redis/redis_options.hpp"
#include "store/redis/redis_reply.hpp"

namespace carillon {

/// How a Redis is set, as far as its user may ask.
class RedisSettings {
 public:
  /// What the settings are asked with; many a managed Redis does not permit it.
  [[nodiscard]] static RedisCommand question();
  void take_info(const RedisReply& reply);      ///< to INFO
  void take_settings(const RedisReply& reply);  ///< to question()

  /// A value of INFO; empty: it is not known.
  [[nodiscard]] std::string_view info(std::string_view name) const;
  /// A value of CONFIG GET; empty: it is not known.
  [[nodiscard]] std::string_view setting(std::string_view name) const;
  [[nodiscard]] bool has_info() const { return !info_.empty(); }
  [[nodiscard]] bool has_settings() const { return !settings_.empty(); }

  [[nodiscard]] std::string_view policy() const;  ///< maxmemory-policy; empty: it is not known
  [[nodiscard]] bool has_aof() const;
  /// appendonly yes, appendfsync always.
  [[nodiscard]] bool is_on_disk() const;
  [[nodiscard]] std::string_view replicas() const { return info("connected_slaves"); }
  /// Why `store.loss = "never"` is not true of it; empty: nothing is known against it.
  [[nodiscard]] std::string why_loss_is_possible() const;

  /// What an operator should change, a sentence each.
  [[nodiscard]] std::vector<std::string> warnings(RedisLoss loss) const;

 private:
  std::string info_;
  std::map<std::string, std::string, std::less<>> settings_;
};

/// To a policy of eviction other than noeviction: what it does, and the remedy.
[[nodiscard]] std::string redis_eviction(std::string_view policy);
/// store.loss is "never", and that is not true: why, and the remedy.
[[nodiscard]] std::string redis_never_is_untrue(std::string_view why);

}  // namespace carillon
