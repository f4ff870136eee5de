#pragma once

#include <memory>

#include "hub/hub.hpp"
#include "server/config.hpp"
#include "session/personal_channel.hpp"
#include "store/owned_store.hpp"
#include "token/token_access.hpp"

namespace carillon {

// What the parts of a server take of its configuration, when it starts and at each reload.

[[nodiscard]] StoreLimits store_limits(const Limits& limits);
/// It is not open yet.
[[nodiscard]] std::unique_ptr<OwnedStore> make_store(const ServerConfig& config, const Clock& clock,
                                                     RandomSource& random);
[[nodiscard]] HubLimits hub_limits(const Limits& limits);
/// Nothing where the options name no key. Throws KeyError.
[[nodiscard]] std::unique_ptr<TokenVerifier> make_verifier(const ServerConfig& config,
                                                           const TokenOptions& options);
[[nodiscard]] TokenAccess::Options token_access_options(const ServerConfig& config);
[[nodiscard]] PersonalChannel personal_channel_options(const ServerConfig& config);

}  // namespace carillon
