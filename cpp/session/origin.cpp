#include "session/origin.hpp"

#include <algorithm>

#include "hub/channel_rules.hpp"
#include "protocol/http_field.hpp"

namespace carillon {

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), ascii_lower);
  return result;
}

std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

/// The port that a scheme stands for when none is written; empty for other schemes.
std::string_view default_port(std::string_view scheme) {
  if (scheme == "http" || scheme == "ws") return ":80";
  if (scheme == "https" || scheme == "wss") return ":443";
  return {};
}

/// `host` (lower case) without the port that the scheme stands for anyway.
std::string_view without_default_port(std::string_view host, std::string_view scheme) {
  const std::string_view port = default_port(scheme);
  if (!port.empty() && without_port(host).size() + port.size() == host.size() && host.ends_with(port))
    host.remove_suffix(port.size());
  return host;
}

/// The same for an origin, or a pattern of one.
std::string_view without_default_port(std::string_view origin) {
  const std::size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos) return origin;
  const std::string_view host = origin.substr(scheme + 3);
  if (host.find('*') != std::string_view::npos)
    return origin;  // it stands for any text, also for other ports
  return origin.substr(0, scheme + 3 + without_default_port(host, origin.substr(0, scheme)).size());
}

}  // namespace

bool can_match_origin(std::string_view pattern) {
  const std::size_t scheme = pattern.find("://");
  const bool has_scheme = scheme != std::string_view::npos;
  if (pattern.substr(has_scheme ? scheme + 3 : 0).find('/') != std::string_view::npos) return false;
  return has_scheme || pattern == "null" || pattern.find('*') != std::string_view::npos;
}

bool is_loopback_host(std::string_view host) {
  if (host == "localhost" || host == "::1" || host == "[::1]" || host.ends_with(".localhost")) return true;
  if (!host.starts_with("127.")) return false;
  return std::all_of(host.begin(), host.end(), [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
}

bool OriginPolicy::accepts_host(std::string_view host) const {
  return !is_insecure_ || host.empty() || is_loopback_host(lower(without_port(host)));
}

bool OriginPolicy::accepts_origin(std::string_view origin, std::string_view host) const {
  if (origin.empty()) return true;
  const std::string written = lower(origin);
  const std::string_view wanted = without_default_port(written);
  const std::size_t scheme = wanted.find("://");
  if (scheme != std::string_view::npos &&
      wanted.substr(scheme + 3) == without_default_port(lower(host), wanted.substr(0, scheme))) {
    return true;
  }
  return std::any_of(allowed_.begin(), allowed_.end(), [&](const std::string& pattern) {
    return matches_pattern(without_default_port(lower(pattern)), wanted);
  });
}

}  // namespace carillon
