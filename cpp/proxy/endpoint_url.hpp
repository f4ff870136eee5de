#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace carillon {

/// The parts of a backend's URL.
struct EndpointUrl {
  std::string host;  ///< name or address, an IPv6 address without brackets
  std::uint16_t port = 80;
  std::string authority;  ///< for the header Host
  std::string target;     ///< path and query
};

/// Reads `http://host[:port][/path][?query]`. Nothing: see `problem`.
[[nodiscard]] std::optional<EndpointUrl> parse_endpoint_url(std::string_view url, std::string& problem);

}  // namespace carillon
