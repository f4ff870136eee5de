#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "session/access.hpp"

namespace carillon {

/// Where a backend is asked over HTTP, and how.
struct ProxyEndpoint {
  std::string endpoint;  ///< URL; empty: none
  std::int64_t timeout_ms = 1'000;
  std::vector<std::string> http_headers;              ///< of the client's request that are passed on
  bool is_binary = false;                             ///< data travels as base64
  std::map<std::string, std::string> static_headers;  ///< of every request
};

/// The proxies of a server (protocol.md section 14), with an endpoint for each operation.
struct ProxyOptions {
  bool has_connect = false;
  bool has_refresh = false;
  ProxyEndpoint connect;
  ProxyEndpoint refresh;
  ProxyEndpoint subscribe;
  ProxyEndpoint publish;
  ProxyEndpoint sub_refresh;
  ProxyEndpoint rpc;
  bool has_rpc_without_namespace = false;
  std::map<std::string, bool, std::less<>> rpc_namespaces;  ///< whether each asks

  /// Null: the operation has none.
  [[nodiscard]] const ProxyEndpoint* of(Operation operation) const;
  /// Is the method one that a backend carries out?
  [[nodiscard]] bool carries_out(std::string_view method) const;
  /// The table of the endpoint, as the configuration names it.
  [[nodiscard]] static std::string_view table_of(Operation operation);
};

}  // namespace carillon
