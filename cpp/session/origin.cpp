#include "session/origin.hpp"

#include <algorithm>
#include <cctype>

#include "hub/channel_options.hpp"

namespace carillon {

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
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
  const std::string wanted = lower(origin);
  const std::size_t scheme = wanted.find("://");
  if (scheme != std::string::npos && std::string_view(wanted).substr(scheme + 3) == lower(host)) return true;
  return std::any_of(allowed_.begin(), allowed_.end(),
                     [&](const std::string& pattern) { return matches_pattern(lower(pattern), wanted); });
}

}  // namespace carillon
