#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace carillon {

/// How a token is signed (RFC 7518 section 3.1, RFC 8037 section 3.1). "none" is not among them.
enum class JwtAlgorithm : std::uint8_t {
  hs256,
  hs384,
  hs512,
  rs256,
  rs384,
  rs512,
  es256,
  es384,
  es512,
  eddsa
};

/// Nothing: it is not one of ours.
[[nodiscard]] std::optional<JwtAlgorithm> jwt_algorithm(std::string_view name);

/// A signed token in its compact form (RFC 7515 section 3.1), taken apart. Nothing in it has been verified.
struct Jwt {
  JwtAlgorithm algorithm = JwtAlgorithm::hs256;
  std::string key_id;            ///< `kid`; empty: none
  std::string_view signed_text;  ///< header and payload, as they stand in the token
  std::string signature;         ///< bytes
  std::string payload;           ///< JSON text, not checked

  [[nodiscard]] bool is_signed_by_secret() const { return algorithm <= JwtAlgorithm::hs512; }
};

/// Views live as long as `token`. Nothing: it is malformed, its algorithm is not known, or its header demands
/// an extension (`crit`) or names a field twice.
[[nodiscard]] std::optional<Jwt> parse_jwt(std::string_view token);

}  // namespace carillon
