#include "store/redis/redis_settings.hpp"

#include "store/redis/redis_info.hpp"

namespace carillon {

RedisCommand RedisSettings::question() {
  return {"CONFIG",           "GET",       "appendonly",       "appendfsync",          "save",
          "maxmemory-policy", "maxmemory", "repl-backlog-ttl", "min-replicas-to-write"};
}

void RedisSettings::take_info(const RedisReply& reply) {
  if (!reply.is_error()) info_ = reply.text;
}

void RedisSettings::take_settings(const RedisReply& reply) {
  for (std::size_t i = 0; !reply.is_error() && i + 1 < reply.items.size(); i += 2)
    settings_[reply[i].text] = reply[i + 1].text;
}

std::string_view RedisSettings::info(std::string_view name) const { return redis_info_value(info_, name); }

std::string_view RedisSettings::setting(std::string_view name) const {
  const auto found = settings_.find(name);
  return found == settings_.end() ? std::string_view() : found->second;
}

std::string_view RedisSettings::policy() const {
  return has_settings() ? setting("maxmemory-policy") : info("maxmemory_policy");
}

bool RedisSettings::has_aof() const {
  return has_settings() ? setting("appendonly") == "yes" : info("aof_enabled") == "1";
}

bool RedisSettings::is_on_disk() const { return has_aof() && setting("appendfsync") == "always"; }

std::string RedisSettings::why_loss_is_possible() const {
  if (!has_settings() && !has_info()) return {};
  std::string why;
  if (!is_on_disk() && has_settings()) why = "this server has not appendonly yes with appendfsync always";
  if (!has_settings() && !has_aof()) why = "this server has not appendonly yes";
  if (!replicas().empty() && replicas() != "0")
    why += (why.empty() ? "" : ", and ") + std::string(replicas()) +
           " replicas are connected, which may take over";
  return why;
}

std::vector<std::string> RedisSettings::warnings(RedisLoss loss) const {
  std::vector<std::string> found;
  const std::string why = loss == RedisLoss::never ? why_loss_is_possible() : std::string();
  if (!why.empty()) found.push_back("store.loss: " + redis_never_is_untrue(why));
  if (!policy().empty() && policy() != "noeviction")
    found.push_back("maxmemory-policy of redis: " + redis_eviction(policy()));
  return found;
}

std::string redis_eviction(std::string_view policy) {
  return std::string(policy) + " may evict channels, which then begin new epochs: set noeviction";
}

std::string redis_never_is_untrue(std::string_view why) {
  return "never is not true: " + std::string(why) + ". Set store.loss = \"possible\", or change that";
}

}  // namespace carillon
