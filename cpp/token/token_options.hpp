#pragma once

#include <cstdint>
#include <string>

namespace carillon {

/// How tokens of one kind are verified: the keys, and what must stand in a token (protocol.md section 13).
struct TokenOptions {
  std::string hmac_secret_key;
  std::string hmac_previous_secret_key;  ///< while clients still have tokens that were signed with it
  std::int64_t hmac_previous_secret_key_valid_until_s = 0;  ///< since 1970; 0: no end
  std::string rsa_public_key;                               ///< PEM
  std::string ecdsa_public_key;                             ///< PEM
  std::string eddsa_public_key;                             ///< PEM
  std::string jwks_file;                                    ///< path
  std::string jwks_public_endpoint;                         ///< URL
  std::string audience;                                     ///< `aud` must have it; empty: anything
  std::string issuer;                                       ///< `iss` must be it; empty: anything
  std::string user_id_claim;                                ///< of the user's id; empty: `sub`

  [[nodiscard]] bool has_keys() const {
    return !hmac_secret_key.empty() || !rsa_public_key.empty() || !ecdsa_public_key.empty() ||
           !eddsa_public_key.empty() || !jwks_file.empty() || !jwks_public_endpoint.empty();
  }
};

}  // namespace carillon
