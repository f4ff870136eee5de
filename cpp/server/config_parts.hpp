#pragma once

#include <memory>
#include <string>

#include "hub/hub.hpp"
#include "server/config.hpp"
#include "session/personal_channel.hpp"
#include "store/owned_store.hpp"
#include "store/redis/redis_options.hpp"
#include "token/token_access.hpp"

namespace carillon {

// What the parts of a server take of its configuration, when it starts and at each reload.

[[nodiscard]] StoreLimits store_limits(const Limits& limits);
/// Reads the files with passwords. Throws StoreRefused.
[[nodiscard]] RedisOptions redis_options(const ServerConfig& config);
/// It is not open yet. Throws StoreRefused.
[[nodiscard]] std::unique_ptr<OwnedStore> make_store(const ServerConfig& config, const Clock& clock,
                                                     RandomSource& random);
/// Which store it is, without a secret.
[[nodiscard]] std::string store_for_people(const ServerConfig& config);
[[nodiscard]] HubLimits hub_limits(const Limits& limits);
/// Nothing where the options name no key. Throws KeyError.
[[nodiscard]] std::unique_ptr<TokenVerifier> make_verifier(const ServerConfig& config,
                                                           const TokenOptions& options);
[[nodiscard]] TokenAccess::Options token_access_options(const ServerConfig& config);
[[nodiscard]] PersonalChannel personal_channel_options(const ServerConfig& config);

}  // namespace carillon
