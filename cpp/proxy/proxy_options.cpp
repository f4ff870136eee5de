#include "proxy/proxy_options.hpp"

namespace carillon {

const ProxyEndpoint* ProxyOptions::of(Operation operation) const {
  switch (operation) {
    case Operation::connect:
      return has_connect ? &connect : nullptr;
    case Operation::refresh:
      return has_refresh ? &refresh : nullptr;
    case Operation::subscribe:
      return &subscribe;
    case Operation::publish:
      return &publish;
    case Operation::sub_refresh:
      return &sub_refresh;
    case Operation::rpc:
      return &rpc;
    case Operation::presence:
    case Operation::history:
    case Operation::disconnect:
      break;
  }
  return nullptr;
}

bool ProxyOptions::carries_out(std::string_view method) const {
  const std::size_t boundary = method.find(':');
  if (boundary == std::string_view::npos) return has_rpc_without_namespace;
  const auto found = rpc_namespaces.find(method.substr(0, boundary));
  return found != rpc_namespaces.end() && found->second;
}

std::string_view ProxyOptions::table_of(Operation operation) {
  switch (operation) {
    case Operation::connect:
      return "client.proxy.connect";
    case Operation::refresh:
      return "client.proxy.refresh";
    case Operation::subscribe:
      return "channel.proxy.subscribe";
    case Operation::publish:
      return "channel.proxy.publish";
    case Operation::sub_refresh:
      return "channel.proxy.sub_refresh";
    case Operation::rpc:
      return "rpc.proxy";
    case Operation::presence:
    case Operation::history:
    case Operation::disconnect:
      break;
  }
  return "";
}

}  // namespace carillon
