#pragma once

#include <string>

namespace carillon {

/// Keys that an endpoint has answered, as they go to a process that takes over.
struct EndpointKeys {
  std::string endpoint;  ///< SHA-256 of its URL, which may have a secret
  std::string jwks;      ///< public keys alone, see public_jwks()
};

}  // namespace carillon
