#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "token/jwt.hpp"

namespace carillon {

/// A key cannot be read. what() says what it should be, and never what it is.
class KeyError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Keys that verify tokens, by OpenSSL's EVP interface. A key verifies only what its kind is for: an RSA key
/// never serves as an HMAC secret. Immutable once filled; verify() may then be called from any thread.
class KeySet {
 public:
  static constexpr std::size_t kKeysMax = 100;

  KeySet();
  KeySet(KeySet&&) noexcept;
  KeySet& operator=(KeySet&&) noexcept;
  ~KeySet();

  /// A secret for HS256, HS384 and HS512, of any length above 0. `valid_until_s`: no longer used from then
  /// on, seconds since 1970; 0: no end.
  void add_secret(std::string secret, std::int64_t valid_until_s = 0);
  /// A public key as PEM (`BEGIN PUBLIC KEY`): RSA of at least 2048 bits, an elliptic curve of the three, or
  /// Ed25519. Throws KeyError.
  void add_pem(std::string_view pem);
  /// The keys of a JWKS document (RFC 7517): RSA, EC, OKP (Ed25519) and, where `takes_secrets`, oct. Those of
  /// other kinds, for encryption, or not valid are left out. Throws KeyError: it is not one, has no key that
  /// is of use, or more than kKeysMax.
  void add_jwks(std::string_view json, bool takes_secrets);

  [[nodiscard]] bool is_empty() const;
  /// Is there a key of that id, or one without an id, that could verify the token?
  [[nodiscard]] bool may_verify(const Jwt& jwt) const;
  /// Is there a key of the token's kind that has exactly the id which the token names, or any if it names
  /// none?
  [[nodiscard]] bool has_named(const Jwt& jwt) const;
  /// Is the token signed by one of the keys? Of a token that names no key a few are tried.
  [[nodiscard]] bool verify(const Jwt& jwt, Millis wall_ms) const;

 private:
  struct Key;
  /// Nothing: it is of another kind.
  [[nodiscard]] static std::optional<Key> read_jwk(const nlohmann::json& jwk, bool takes_secrets);
  [[nodiscard]] static bool is_for(const Key& key, const Jwt& jwt);
  std::vector<Key> keys_;
};

/// The set without everything that is not needed to verify: private parts, secrets, certificates. Not a set
/// of keys: an empty one.
[[nodiscard]] std::string public_jwks(std::string_view json);

}  // namespace carillon
