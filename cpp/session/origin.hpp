#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace carillon {

/// Decides which web pages may connect. A request without an `Origin` does not come from a page of another
/// site, and passes. A page of the same host and port passes (a default port may be written or not). Any
/// other must match one of the allowed patterns (`*` in a pattern stands for any text). In insecure mode the
/// `Host` itself must be a loopback name, or a page could reach the server by letting its own name resolve to
/// 127.0.0.1. Any thread; a reload assigns another one while nothing reads it.
class OriginPolicy {
 public:
  OriginPolicy(std::vector<std::string> allowed, bool is_insecure)
      : allowed_(std::move(allowed)), is_insecure_(is_insecure) {}

  [[nodiscard]] bool accepts_host(std::string_view host) const;
  [[nodiscard]] bool accepts_origin(std::string_view origin, std::string_view host) const;

 private:
  std::vector<std::string> allowed_;
  bool is_insecure_;
};

/// Can any `Origin` match the pattern? An origin is "null", or a scheme, a host and perhaps a port, without a
/// path.
[[nodiscard]] bool can_match_origin(std::string_view pattern);

/// Is `host` (a name or address, without port) this machine?
[[nodiscard]] bool is_loopback_host(std::string_view host);

}  // namespace carillon
