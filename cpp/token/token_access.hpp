#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "session/access.hpp"
#include "token/endpoint_keys.hpp"
#include "token/token_verifier.hpp"

namespace carillon {

/// Access by tokens (protocol.md sections 3 to 5 and 13), before the access that decides on everything else.
/// A valid connection token proves who a client is; a hook is then asked with that user, and can only narrow
/// what the token grants. A valid subscription token alone allows its subscription. Without keys tokens are
/// left to hooks. Thread-safe.
class TokenAccess final : public Access {
 public:
  struct Options {
    bool allows_anonymous = false;   ///< clients without a token are anonymous; else they are refused
    bool refuses_anonymous = false;  ///< tokens without a user are refused
    bool ignores_expiry = false;     ///< insecure mode: connections do not expire
  };
  /// `connections`: null where no key is configured. `subscriptions`: null stands for `connections`.
  TokenAccess(Access& next, const Clock& clock, Options options, std::unique_ptr<TokenVerifier> connections,
              std::unique_ptr<TokenVerifier> subscriptions)
      : next_(next),
        clock_(clock),
        options_(options),
        connections_(std::move(connections)),
        subscriptions_(std::move(subscriptions)) {}

  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override;
  void ask(const Question& question, std::function<void(Verdict)> then) override;
  [[nodiscard]] bool has_hook(Operation operation) const override { return next_.has_hook(operation); }
  [[nodiscard]] bool asks_hook(Operation operation, std::string_view subject) const override {
    return next_.asks_hook(operation, subject);
  }
  [[nodiscard]] bool wants_request(Operation operation) const override {
    return next_.wants_request(operation);
  }
  [[nodiscard]] bool takes_tokens() const override { return connections_ != nullptr; }
  [[nodiscard]] bool awaits_keys() const override;
  /// Other options and keys from now on; the arguments get those that were there. While nothing is asked.
  void reload(Options options, std::unique_ptr<TokenVerifier>& connections,
              std::unique_ptr<TokenVerifier>& subscriptions) noexcept {
    options_ = options;
    connections_.swap(connections);
    subscriptions_.swap(subscriptions);
  }
  /// What the endpoints of keys have answered.
  [[nodiscard]] std::vector<EndpointKeys> endpoint_keys() const;
  /// Uses the keys that another process has got from the same endpoints, where this one has none yet: number
  /// of endpoints.
  std::size_t use_until_fetched(const std::vector<EndpointKeys>& all);
  /// Null: there is none with keys of its own.
  [[nodiscard]] TokenVerifier* connections() const { return connections_.get(); }
  [[nodiscard]] TokenVerifier* subscriptions() const { return subscriptions_.get(); }

 private:
  [[nodiscard]] const TokenVerifier& for_subscriptions() const {
    return subscriptions_ ? *subscriptions_ : *connections_;
  }
  /// By the token alone.
  [[nodiscard]] Verdict identify(const Question& question) const;
  [[nodiscard]] std::optional<Verdict> answer_connect(const Question& question) const;
  [[nodiscard]] Verdict answer_refresh(const Question& question) const;
  [[nodiscard]] Verdict answer_subscribe(const Question& question) const;
  [[nodiscard]] Verdict answer_sub_refresh(const Question& question) const;

  Access& next_;
  const Clock& clock_;
  Options options_;
  std::unique_ptr<TokenVerifier> connections_;
  std::unique_ptr<TokenVerifier> subscriptions_;
};

}  // namespace carillon
