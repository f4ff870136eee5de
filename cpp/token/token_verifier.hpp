#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "session/access.hpp"
#include "token/endpoint_keys.hpp"
#include "token/key_set.hpp"
#include "token/token_options.hpp"

namespace carillon {

/// The outcome of a verification. `reason` is for the log; it never has anything of the token.
struct TokenCheck {
  enum class Result : std::uint8_t {
    valid,
    invalid,
    expired,        ///< `exp` has passed: everything else is in order
    not_yet_valid,  ///< `nbf` has not passed: everything else is in order
    unknown_key     ///< signed by a key that is not there, or not yet
  };
  Result result = Result::invalid;
  std::string_view reason = {};
};

/// What a connection token says (protocol.md section 13).
struct ConnectionClaims {
  Identity identity;
  bool has_channel = false;  ///< it is a token for a subscription
};

/// What a subscription token says.
struct SubscriptionClaims {
  std::string user;
  std::string client;  ///< empty: any
  SubscriptionGrant grant;
};

/// A key of the options that cannot be used.
struct KeyMistake {
  std::string_view option;
  std::string problem;  ///< never has anything of the key
};
/// All of them.
[[nodiscard]] std::vector<KeyMistake> key_mistakes(const TokenOptions& options);

/// Verifies tokens of one kind. Thread-safe; keys may be exchanged while it is in use.
class TokenVerifier {
 public:
  /// `leeway_ms`: difference of clocks that is forgiven. Throws KeyError, whose text begins with the option.
  TokenVerifier(TokenOptions options, Millis leeway_ms, std::size_t token_bytes_max);

  /// Checks in the order of protocol.md section 13: form, signature, issuer and audience, claims, time.
  [[nodiscard]] TokenCheck check(std::string_view token, Millis wall_ms, ConnectionClaims& claims) const;
  [[nodiscard]] TokenCheck check(std::string_view token, Millis wall_ms, SubscriptionClaims& claims) const;

  /// The keys of the endpoint, as it has answered. Throws KeyError: the earlier ones stay.
  void set_remote_keys(std::string_view jwks);
  /// Is there an endpoint that has not given keys yet?
  [[nodiscard]] bool awaits_keys() const;
  /// What the endpoint has answered; nothing: no answer yet, or no endpoint.
  [[nodiscard]] std::optional<EndpointKeys> endpoint_keys() const;
  /// Uses these keys if they are of the same endpoint, and it has not answered yet. False: they are not used.
  bool use_until_fetched(const EndpointKeys& keys);
  /// Continues the count of `before`, and has the keys of its endpoint if that is the same one and it has
  /// not been asked yet.
  void continue_from(const TokenVerifier& before) noexcept;
  /// Has the key file other keys than that of `other`, which has the same name?
  [[nodiscard]] bool has_other_file_than(const TokenVerifier& other) const {
    return options_.jwks_file == other.options_.jwks_file && jwks_of_file_ != other.jwks_of_file_;
  }
  /// Number of tokens that named a key which was not there, since the start.
  [[nodiscard]] std::uint64_t unknown_keys() const { return unknown_keys_.load(std::memory_order_relaxed); }

 private:
  struct Claims;
  struct Fetched {
    KeySet keys;
    std::string jwks;  // the public part
  };
  [[nodiscard]] static std::shared_ptr<const Fetched> read_fetched(std::string_view jwks);
  [[nodiscard]] TokenCheck check(std::string_view token, Millis wall_ms, Claims& claims) const;
  /// Of the connection or the subscription, seconds since 1970; 0: none.
  [[nodiscard]] std::int64_t end_of(const Claims& claims) const;
  [[nodiscard]] TokenCheck check_time(const Claims& claims, Millis wall_ms) const;

  const TokenOptions options_;
  const Millis leeway_ms_;
  const std::size_t token_bytes_max_;
  KeySet own_keys_;
  std::string jwks_of_file_;  // as it was read
  mutable std::atomic<std::uint64_t> unknown_keys_{0};
  mutable std::mutex mutex_;  // guards the pointer alone
  std::shared_ptr<const Fetched> fetched_;
};

}  // namespace carillon
