#include "server/config_parts.hpp"

#include <filesystem>

#include "store/memory_store.hpp"
#include "store/sqlite/sqlite_store.hpp"

namespace carillon {

StoreLimits store_limits(const Limits& limits) {
  return {
      static_cast<std::size_t>(limits.dormant_channels), limits.channel_lifetime_ms,
      static_cast<std::size_t>(limits.idempotency_keys), limits.idempotency_window_ms,
      static_cast<std::size_t>(limits.inbox_entries),    static_cast<std::size_t>(limits.inbox_bytes_total)};
}

std::unique_ptr<OwnedStore> make_store(const ServerConfig& config, const Clock& clock, RandomSource& random) {
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

HubLimits hub_limits(const Limits& limits) {
  return {limits.history_bytes_total, static_cast<std::size_t>(limits.early_entries),
          static_cast<std::size_t>(limits.inbox_members_per_turn),
          static_cast<std::size_t>(limits.fanout_overrides)};
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
