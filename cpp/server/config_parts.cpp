#include "server/config_parts.hpp"

#include <filesystem>
#include <optional>

#include "store/memory_store.hpp"
#include "store/redis/redis_password_file.hpp"
#include "store/redis/redis_store.hpp"
#include "store/redis/redis_url.hpp"
#include "store/sqlite/sqlite_store.hpp"

namespace carillon {

namespace {

void take_password_of(RedisLogin& login, const std::string& path, std::string_view option) {
  if (path.empty()) return;
  std::optional<std::string> password = redis_password_in(path);
  // Neither the path, which may be the password itself, nor what the file has.
  if (!password)
    throw StoreRefused(std::string(option) +
                       ": the file cannot be read, or is empty; its first line has to be the password");
  login.password = std::move(*password);
  login.password_file = path;
}

}  // namespace

StoreLimits store_limits(const Limits& limits) {
  return {
      static_cast<std::size_t>(limits.dormant_channels), limits.channel_lifetime_ms,
      static_cast<std::size_t>(limits.idempotency_keys), limits.idempotency_window_ms,
      static_cast<std::size_t>(limits.inbox_entries),    static_cast<std::size_t>(limits.inbox_bytes_total)};
}

RedisOptions redis_options(const ServerConfig& config) {
  std::string problem;
  const std::optional<RedisEndpoint> endpoint = parse_redis_url(config.store_url, problem);
  if (!endpoint) throw StoreRefused("store.url: " + problem);
  RedisOptions options;
  options.endpoint = *endpoint;
  RedisLogin& login = options.endpoint.login;
  if (!config.store_user.empty()) login.user = config.store_user;
  if (!config.store_password.empty()) login.password = config.store_password;
  take_password_of(login, config.store_password_file, "store.password_file");
  RedisLogin& of_sentinel = options.endpoint.sentinel_login;
  of_sentinel.user = config.store_sentinel_user;
  of_sentinel.password = config.store_sentinel_password;
  take_password_of(of_sentinel, config.store_sentinel_password_file, "store.sentinel_password_file");
  options.endpoint.ca_file = config.store_ca_file;
  options.endpoint.certificate_file = config.store_certificate_file;
  options.endpoint.key_file = config.store_key_file;
  options.endpoint.connect_timeout_ms = config.store_connect_timeout_ms;
  options.endpoint.command_timeout_ms = config.store_command_timeout_ms;
  options.endpoint.retry_pause_ms = config.store_retry_pause_ms;
  options.url = without_password(config.store_url);
  options.prefix = config.store_prefix;
  options.while_unavailable =
      config.store_unavailable == "fail" ? WhileUnavailable::fail : WhileUnavailable::wait;
  options.loss = config.store_loss == "never" ? RedisLoss::never : RedisLoss::possible;
  options.wait_ms = config.store_wait_ms;
  options.waiting_appends = static_cast<std::size_t>(config.store_waiting_appends);
  options.waiting_bytes = static_cast<std::size_t>(config.store_waiting_bytes);
  options.waiting_calls = static_cast<std::size_t>(config.store_waiting_calls);
  options.limits = store_limits(config.limits);
  return options;
}

std::unique_ptr<OwnedStore> make_store(const ServerConfig& config, const Clock& clock, RandomSource& random) {
  if (is_redis_url(config.store_url))
    return std::make_unique<RedisStore>(redis_options(config), clock, random);
  static constexpr std::string_view kSqlite = "sqlite:";
  if (!config.store_url.starts_with(kSqlite))
    return std::make_unique<MemoryStore>(clock, random, store_limits(config.limits));
  SqliteOptions options;
  // One name for one file, whatever links lead to it, and wherever the process goes later.
  const auto path = std::filesystem::absolute(config.store_url.substr(kSqlite.size()));
  options.path = std::filesystem::weakly_canonical(path).string();
  options.durability = durability_named(config.store_durability).value_or(Durability::full);
  options.waiting_appends = static_cast<std::size_t>(config.store_waiting_appends);
  options.waiting_bytes = static_cast<std::size_t>(config.store_waiting_bytes);
  options.waiting_calls = static_cast<std::size_t>(config.store_waiting_calls);
  options.wal_bytes = static_cast<std::size_t>(config.store_wal_bytes);
  options.cached_channels = static_cast<std::size_t>(config.store_cached_channels);
  options.limits = store_limits(config.limits);
  return std::make_unique<SqliteStore>(options, clock, random);
}

std::string store_for_people(const ServerConfig& config) {
  if (is_redis_url(config.store_url))
    return without_password(config.store_url) + ", store.prefix " + config.store_prefix;
  return config.store_url == "memory" ? "the memory of this process" : config.store_url;
}

HubLimits hub_limits(const Limits& limits) {
  return {limits.history_bytes_total,
          static_cast<std::size_t>(limits.early_entries),
          static_cast<std::size_t>(limits.inbox_members_per_turn),
          limits.inbox_wait_ms,
          static_cast<std::size_t>(limits.fanout_overrides),
          static_cast<std::size_t>(limits.catching_up_channels),
          static_cast<std::size_t>(limits.stored_pages)};
}

std::unique_ptr<TokenVerifier> make_verifier(const ServerConfig& config, const TokenOptions& options) {
  if (!options.has_keys()) return nullptr;
  return std::make_unique<TokenVerifier>(options, config.token_leeway_ms,
                                         static_cast<std::size_t>(config.limits.token_bytes));
}

TokenAccess::Options token_access_options(const ServerConfig& config) {
  return {.allows_anonymous = config.allows_anonymous_connect || config.insecure,
          .refuses_anonymous = config.refuses_anonymous_tokens,
          .ignores_expiry = config.insecure};
}

PersonalChannel personal_channel_options(const ServerConfig& config) {
  return {config.has_personal_channel, config.personal_channel_namespace, config.has_single_connection};
}

}  // namespace carillon
