#include "server/network.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "server/config_parts.hpp"

namespace carillon {

namespace {

std::size_t threads_of(const ServerConfig& config) {
  if (config.threads > 0) return static_cast<std::size_t>(config.threads);
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 4);
}

FlushChoice flush_of(const ServerConfig& config) {
  if (config.flush == "io_uring") return FlushChoice::io_uring;
  return config.flush == "send" ? FlushChoice::send : FlushChoice::automatic;
}

TransportSet switched_off(const ServerConfig& config) {
  TransportSet off;
  if (!config.has_http_stream) off.add(Transport::http_stream);
  if (!config.has_emulated_sse) off.add(Transport::emulated_sse);
  if (!config.has_uni_websocket) off.add(Transport::uni_websocket);
  if (!config.has_uni_sse) off.add(Transport::uni_sse);
  if (!config.has_uni_http_stream) off.add(Transport::uni_http_stream);
  return off;
}

}  // namespace

Server::Network::Network(const ServerConfig& config, OwnedStore& store, Hub& hub, const Clock& clock,
                         RandomSource& random, const std::string& version,
                         std::map<std::string, StaticPage> pages)
    : rules(config.channels),
      rules_access(rules, config.insecure),
      access(rules_access, clock, config.limits),
      proxy_access({.next = access,
                    .rules = rules,
                    .options = config.proxies,
                    .clock = clock,
                    .limits = config.limits,
                    .allows_anonymous = config.allows_anonymous_connect || config.insecure,
                    .tell =
                        [this](std::string message, std::int64_t count) {
                          log.tell({LogLevel::warning, "proxy", std::move(message), {{"count", count}}});
                        }}),
      token_access(
          proxy_access, clock, token_access_options(config), make_verifier(config, config.token),
          config.has_subscription_token ? make_verifier(config, config.subscription_token) : nullptr),
      log(clock, config.limits),
      origins(config.allowed_origins, config.insecure || config.api_insecure),
      api(hub, config.limits, clock,
          {config.api_key, config.insecure || config.api_insecure, version,
           config.api_error_mode == "transport", config.has_metrics, config.internal_port != 0},
          std::move(pages)),
      shared{{.hub = hub,
              .access = token_access,
              .origins = origins,
              .handler = api,
              .http = http,
              .random = random,
              .limits = config.limits,
              .heartbeat = config.heartbeat,
              .version = version,
              .log = &log,
              .token_cookie = config.token_cookie,
              .switched_off = switched_off(config),
              .tells_time = config.tells_time,
              .deflate = {.is_offered = config.has_compression,
                          .min_bytes = static_cast<std::size_t>(config.compression_min_bytes),
                          .level = static_cast<int>(config.compression_level)},
              .personal_channel = personal_channel_options(config)},
             &log},
      gateway(shared,
              {config.host, static_cast<std::uint16_t>(config.port), threads_of(config), flush_of(config),
               config.internal_host, static_cast<std::uint16_t>(config.internal_port)}),
      fleet(store, clock,
            {config.limits.fleet_answer_timeout_ms, static_cast<std::size_t>(config.limits.fleet_questions),
             config.limits.fleet_waiting_bytes},
            [this](std::function<void()> task) {
              // On a thread that a takeover and a reload hold still.
              if (!gateway.shards().empty()) gateway.shards().front()->shard().post(std::move(task));
            }),
      all_channels(hub, fleet),
      strategies(hub, config.limits, fleet),
      fleet_sessions(fleet, {.directory = shared.directory,
                             .bodies = shared.bodies,
                             .limits = config.limits,
                             .clock = clock,
                             .is_draining = [this] { return shared.is_draining.load(); }}),
      nodes(fleet, [this](std::function<void(NodeInfo)> done) { describe(std::move(done)); }),
      takeover({.store = store,
                .hub = hub,
                .gateway = gateway,
                .tokens = token_access,
                .gate = gate,
                .clock = clock,
                .config = config,
                .version = version,
                .tell = [this](OperatorNote note) { log.tell(std::move(note)); }}) {
  store.set_gateway_listener(&fleet);
  shared.others = &fleet_sessions;
}

std::string Server::Network::address() const {
  std::string host = shared.endpoint.host;
  if (host == "0.0.0.0" || host == "::") {
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) == 0) host = name.data();
  }
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(gateway.port());
}

}  // namespace carillon
