#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <shared_mutex>
#include <thread>
#include <type_traits>
#include <utility>

#include "server/config_options.hpp"
#include "server/config_parts.hpp"
#include "server/network.hpp"

namespace carillon {

using nlohmann::json;

/// What a reload puts in place. It is made beforehand: once the threads are held nothing can fail any more.
struct Server::Reload {
  ServerConfig config;
  ConfigDifference difference;
  ChannelRules rules_of_hub;
  ChannelRules rules_of_access;
  OriginPolicy origins;
  PersonalChannel personal_channel;
  std::string token_cookie;
  std::string api_key;
  std::unique_ptr<TokenVerifier> connections;  // those that were there, once it is in place
  std::unique_ptr<TokenVerifier> subscriptions;

  explicit Reload(ServerConfig next, ConfigDifference what_differs)
      : config(std::move(next)),
        difference(std::move(what_differs)),
        rules_of_hub(config.channels),
        rules_of_access(config.channels),
        origins(config.allowed_origins, config.insecure || config.api_insecure),
        personal_channel(personal_channel_options(config)),
        token_cookie(config.token_cookie),
        api_key(config.api_key),
        connections(make_verifier(config, config.token)),
        subscriptions(config.has_subscription_token ? make_verifier(config, config.subscription_token)
                                                    : nullptr) {}
};

namespace {

/// The keys of the endpoint, where it is another one now.
void set_keys(TokenVerifier* verifier, const std::map<std::string, std::string>& keys,
              const std::string& table) {
  const auto found = keys.find(table);
  if (verifier == nullptr || found == keys.end()) return;
  try {
    verifier->set_remote_keys(found->second);
  } catch (const KeyError& error) {
    throw ConfigError("client." + table + ".jwks_public_endpoint: it gives no keys: " + error.what());
  }
}

void note_other_file(const TokenVerifier* before, const TokenVerifier* after, const std::string& table,
                     const std::string& path, std::vector<ConfigChange>& changes) {
  if (before == nullptr || after == nullptr || !after->has_other_file_than(*before)) return;
  changes.push_back(
      {"client." + table + ".jwks_file", json(path).dump(), json(path + " (its keys have changed)").dump()});
}

}  // namespace

std::string Server::reload(ServerConfig config, const std::map<std::string, std::string>& remote_keys) {
  const std::lock_guard one_at_a_time(reload_mutex_);
  const std::lock_guard lifecycle(lifecycle_mutex_);  // not while stop() takes the shards away
  if (!is_running_) throw ServerStopped("reload: the server does not run");
  if (given_away()) throw ReloadRefused({"another process has taken over; reload that one"});
  Gateway& gateway = network_->gateway;
  if (std::string why_not = gateway.why_not_still(); !why_not.empty())
    throw ReloadRefused({std::move(why_not)});
  ConfigDifference difference = difference_of(config_, config);
  if (!difference.refusals.empty()) throw ReloadRefused(difference.refusals);
  const auto next = [&] {
    try {
      return std::make_unique<Reload>(std::move(config), std::move(difference));
    } catch (const KeyError& error) {  // the file has been read once more, and is another one now
      throw ConfigError("client.token, client.subscription_token: " + std::string(error.what()));
    }
  }();
  set_keys(next->connections.get(), remote_keys, "token");
  set_keys(next->subscriptions.get(), remote_keys, "subscription_token");
  std::vector<ConfigChange>& changes = next->difference.changes;
  const TokenAccess& tokens = network_->token_access;
  note_other_file(tokens.connections(), next->connections.get(), "token", next->config.token.jwks_file,
                  changes);
  note_other_file(tokens.subscriptions(), next->subscriptions.get(), "subscription_token",
                  next->config.subscription_token.jwks_file, changes);
  std::string told = to_json(changes);
  if (changes.empty()) return told;
  const auto until = HoldPoint::Clock::now() + std::chrono::milliseconds(config_.takeover_timeout_ms);
  // Before the threads stop: callers that are inside may wait for one of them, and whoever calls in a loop
  // keeps readers in front.
  std::unique_lock shut(network_->gate, std::defer_lock);
  while (!shut.try_lock()) {
    if (HoldPoint::Clock::now() >= until)
      throw ReloadRefused(
          {"calls from other threads left no moment for it (takeover.timeout_ms); try again"});
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (std::string why_not = gateway.while_still(until, [&] { put_in_place(*next); }); !why_not.empty())
    throw ReloadRefused({std::move(why_not)});
  return told;
}

void Server::put_in_place(Reload& next) noexcept {
  for (const ConfigOption* option : next.difference.options) {
    visit_place(config_, option->place, [&]<typename T>(T& value) {
      visit_place(next.config, option->place, [&]<typename U>(U& other) {
        if constexpr (std::is_same_v<T, U>) value = std::move(other);
      });
    });
  }
  if (next.difference.has_other_channels) {
    config_.channels.swap(next.config.channels);
    network_->rules = std::move(next.rules_of_access);
    hub_->set_rules(std::move(next.rules_of_hub));
  }
  hub_->set_limits(hub_limits(config_.limits));
  store_->set_limits(store_limits(config_.limits));
  network_->gateway.reload_limits();
  shutdown_pace_ms_ = config_.shutdown_pace_ms;
  const bool is_api_insecure = config_.insecure || config_.api_insecure;
  network_->rules_access.reload(config_.insecure);
  network_->proxy_access.reload(config_.allows_anonymous_connect || config_.insecure);
  network_->origins = std::move(next.origins);
  TokenAccess& tokens = network_->token_access;
  const auto go_on = [](TokenVerifier* after, const TokenVerifier* before) {
    if (after != nullptr && before != nullptr) after->continue_from(*before);
  };
  go_on(next.connections.get(), tokens.connections());
  go_on(next.subscriptions.get(), tokens.subscriptions());
  tokens.reload(token_access_options(config_), next.connections, next.subscriptions);
  network_->shared.token_cookie = std::move(next.token_cookie);
  network_->shared.personal_channel = std::move(next.personal_channel);
  network_->api.reload(std::move(next.api_key), is_api_insecure, config_.api_error_mode == "transport");
}

bool Server::answer_reload(std::uint64_t request, std::string_view changes_json) {
  return network_->reloads.succeed(request, changes_json);
}

bool Server::refuse_reload(std::uint64_t request, int status, const std::vector<std::string>& reasons) {
  return network_->reloads.fail(request, status, reasons);
}

}  // namespace carillon
