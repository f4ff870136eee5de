#pragma once

#include <map>
#include <shared_mutex>
#include <string>

#include "gateway/beast_http.hpp"
#include "gateway/gateway.hpp"
#include "proxy/proxy_access.hpp"
#include "server/fleet.hpp"
#include "server/fleet_channels.hpp"
#include "server/fleet_connections.hpp"
#include "server/fleet_nodes.hpp"
#include "server/fleet_sessions.hpp"
#include "server/fleet_strategies.hpp"
#include "server/live_connections.hpp"
#include "server/reload.hpp"
#include "server/server.hpp"
#include "server/shard_probe.hpp"
#include "server/takeover.hpp"
#include "session/access.hpp"
#include "session/origin.hpp"
#include "token/token_access.hpp"

namespace carillon {

/// The gateway, and all that its sessions ask: made in the order in which one needs the other.
struct Server::Network {
  Network(const ServerConfig& config, OwnedStore& store, Hub& hub, const Clock& clock, RandomSource& random,
          const std::string& version, std::map<std::string, StaticPage> pages);

  /// Of this gateway, for people: `host:port`.
  [[nodiscard]] std::string address() const;

  ChannelRules rules;
  RulesAccess rules_access;
  HookAccess access;
  ProxyAccess proxy_access;
  TokenAccess token_access;
  EventLog log;
  ReloadRequests reloads;
  OriginPolicy origins;
  BeastHttp http;
  Api api;
  GatewayShared shared;
  Gateway gateway;
  LiveConnections connections{gateway};  // here
  ShardProbe probe;
  Fleet fleet;
  FleetConnections all_connections{connections, fleet};  // of all gateways
  FleetChannels all_channels;
  FleetStrategies strategies;
  FleetSessions fleet_sessions;
  FleetNodes::Describe describe;  // this gateway; the server sets it
  FleetNodes nodes;
  std::shared_mutex gate;
  Takeover takeover;
};

}  // namespace carillon
