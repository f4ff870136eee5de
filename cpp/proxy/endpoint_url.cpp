#include "proxy/endpoint_url.hpp"

#include <algorithm>
#include <charconv>

namespace carillon {

namespace {

bool is_clean(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

std::optional<EndpointUrl> parse_endpoint_url(std::string_view url, std::string& problem) {
  constexpr std::string_view kScheme = "http://";
  const auto refuse = [&](std::string_view text) {
    problem = text;
    return std::nullopt;
  };
  if (url.starts_with("https://")) {
    return refuse(
        "this version asks backends over plain HTTP; give http:// and the address of a local proxy that "
        "speaks "
        "TLS to the backend");
  }
  if (url.starts_with("grpc://") || url.find("://") == std::string_view::npos)
    return refuse("this version asks backends over HTTP, not gRPC; write http://host:port/path");
  if (!url.starts_with(kScheme) || !is_clean(url)) return refuse("is not a URL; write http://host:port/path");
  url.remove_prefix(kScheme.size());
  const std::size_t end = std::min(url.find_first_of("/?#"), url.size());
  const std::string_view authority = url.substr(0, end);
  std::string_view target = url.substr(end);
  target = target.substr(0, target.find('#'));
  if (authority.find('@') != std::string_view::npos)
    return refuse("has a user; give credentials in http.static_headers");

  EndpointUrl parts;
  parts.authority = authority;
  parts.target = target.starts_with('/') ? std::string(target) : "/" + std::string(target);
  std::string_view host = authority;
  std::string_view port;
  if (host.starts_with('[')) {
    const std::size_t bracket = host.find(']');
    if (bracket == std::string_view::npos) return refuse("has an address without its closing bracket");
    port = host.substr(bracket + 1);
    host = host.substr(1, bracket - 1);
  } else if (const std::size_t colon = host.find(':'); colon != std::string_view::npos) {
    port = host.substr(colon);
    host = host.substr(0, colon);
  }
  if (host.empty()) return refuse("names no host; write http://host:port/path");
  parts.host = host;
  if (!port.empty()) {
    if (port.front() != ':') return refuse("is not a URL; write http://host:port/path");
    port.remove_prefix(1);
    const auto [rest, error] = std::from_chars(port.data(), port.data() + port.size(), parts.port);
    if (error != std::errc() || rest != port.data() + port.size() || parts.port == 0)
      return refuse("has a port that is not valid; write http://host:port/path with a port from 1 to 65535");
  }
  return parts;
}

}  // namespace carillon
