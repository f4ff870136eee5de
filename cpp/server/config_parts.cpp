#include "server/config_parts.hpp"

namespace carillon {

MemoryStoreLimits store_limits(const Limits& limits) {
  return {
      static_cast<std::size_t>(limits.dormant_channels), limits.channel_lifetime_ms,
      static_cast<std::size_t>(limits.idempotency_keys), limits.idempotency_window_ms,
      static_cast<std::size_t>(limits.inbox_entries),    static_cast<std::size_t>(limits.inbox_bytes_total)};
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
