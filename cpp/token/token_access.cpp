#include "token/token_access.hpp"

#include <algorithm>
#include <functional>
#include <vector>

#include "protocol/centrifuge_codes.hpp"

namespace carillon {

namespace {

using Result = TokenCheck::Result;

/// `user`: whom the token proves, for the record.
Verdict refused(const ErrorCode& error, std::string_view user = {}, std::string_view remark = {}) {
  Verdict verdict;
  verdict.identity.user = user;
  verdict.code = error.code;
  verdict.reason = error.message;
  verdict.remark = remark;
  return verdict;
}

bool is_out_of_time(const TokenCheck& check) {
  return check.result == Result::expired || check.result == Result::not_yet_valid;
}

/// The protocol has one code for both. The log says which.
Verdict out_of_time(const TokenCheck& check, std::string_view user = {}) {
  return refused(kErrorTokenExpired, user,
                 check.result == Result::not_yet_valid ? check.reason : std::string_view());
}

Verdict disconnected(const DisconnectCode& code, std::string_view remark = {}) {
  Verdict verdict;
  verdict.code = code.code;
  verdict.reason = code.reason;
  verdict.remark = remark;
  return verdict;
}

Verdict unknown_key(const TokenCheck& check) {
  return Verdict::undecided("the token: " + std::string(check.reason));
}

bool is_plain(Transport transport) { return transport == Transport::sse || transport == Transport::poll; }

std::int64_t earlier(std::int64_t one, std::int64_t other) {
  if (one == 0 || other == 0) return std::max(one, other);
  return std::min(one, other);
}

const SubscriptionGrant* find_grant(const std::vector<SubscriptionGrant>& grants, std::string_view channel) {
  const auto found =
      std::find_if(grants.begin(), grants.end(), [&](const auto& each) { return each.channel == channel; });
  return found == grants.end() ? nullptr : &*found;
}

/// Of the channels' names, in any order; not 0.
std::uint64_t channels_hash(const std::vector<SubscriptionGrant>& grants) {
  std::uint64_t sum = grants.size();
  for (const SubscriptionGrant& grant : grants) sum += std::hash<std::string>()(grant.channel) | 1U;
  return grants.empty() ? 0 : std::max<std::uint64_t>(1, sum);
}

/// What is left of the token's grant after the hook has decided: it takes away, and adds only what others
/// see.
Verdict narrowed(const Identity& proved, Verdict verdict) {
  Identity& identity = verdict.identity;
  if (verdict.is_allowed && identity.user != proved.user) {
    verdict = Verdict::undecided(
        "the hook or backend answers another user than the token proves; it must answer the user that it is "
        "asked about (in Python: return True, or User() with the user of the context)");
  }
  if (!verdict.is_allowed) {
    identity.user = proved.user;  // for the record
    return verdict;
  }
  if (identity.info_json.empty()) identity.info_json = proved.info_json;
  const std::int64_t at_s = earlier(identity.expiry.at_s, proved.expiry.at_s);
  identity.expiry = {at_s, at_s == proved.expiry.at_s};
  identity.token_channels = proved.token_channels;
  identity.has_only_these = proved.has_only_these;
  std::vector<SubscriptionGrant> wanted = std::move(identity.subscriptions);
  identity.subscriptions.clear();
  for (const SubscriptionGrant& grant : proved.subscriptions) {
    const SubscriptionGrant* const named = find_grant(wanted, grant.channel);
    if (identity.names_subscriptions && named == nullptr) continue;
    SubscriptionGrant& kept = identity.subscriptions.emplace_back(grant);
    if (named == nullptr) continue;
    if (!named->info_json.empty()) kept.info_json = named->info_json;
    if (!named->data_json.empty()) kept.data_json = named->data_json;
    kept.expiry.at_s = earlier(kept.expiry.at_s, named->expiry.at_s);
  }
  return verdict;
}

}  // namespace

bool TokenAccess::awaits_keys() const {
  return (connections_ && connections_->awaits_keys()) || (subscriptions_ && subscriptions_->awaits_keys());
}

std::vector<EndpointKeys> TokenAccess::endpoint_keys() const {
  std::vector<EndpointKeys> all;
  for (const TokenVerifier* verifier : {connections_.get(), subscriptions_.get()}) {
    if (verifier == nullptr) continue;
    if (std::optional<EndpointKeys> keys = verifier->endpoint_keys()) all.push_back(std::move(*keys));
  }
  return all;
}

std::size_t TokenAccess::use_until_fetched(const std::vector<EndpointKeys>& all) {
  std::size_t used = 0;
  for (TokenVerifier* verifier : {connections_.get(), subscriptions_.get()}) {
    for (const EndpointKeys& keys : all)
      if (verifier != nullptr && verifier->use_until_fetched(keys)) ++used;
  }
  return used;
}

std::optional<Verdict> TokenAccess::answer(const Question& question) const {
  if (!connections_) return next_.answer(question);
  switch (question.operation) {
    case Operation::connect:
      return answer_connect(question);
    case Operation::refresh:
      if (question.token.empty() && next_.has_hook(Operation::refresh)) break;
      return answer_refresh(question);
    case Operation::sub_refresh:
      if (question.token.empty() && next_.asks_hook(Operation::sub_refresh, question.channel)) break;
      return answer_sub_refresh(question);
    case Operation::subscribe:
      // The plain transports have one token for all: that of the connection.
      if (!question.token.empty() && !is_plain(question.transport)) return answer_subscribe(question);
      if (question.channel.starts_with('$')) {  // no hook is asked: a token alone allows it
        Verdict verdict = refused(kErrorPermissionDenied);
        verdict.remark = "a private channel needs a token";
        return verdict;
      }
      break;
    case Operation::publish:
    case Operation::presence:
    case Operation::history:
    case Operation::rpc:
    case Operation::disconnect:
      break;
  }
  return next_.answer(question);
}

void TokenAccess::ask(const Question& question, std::function<void(Verdict)> then) {
  if (!connections_ || question.operation != Operation::connect || question.token.empty())
    return next_.ask(question, std::move(then));
  Verdict proved = identify(question);
  if (!proved.is_allowed) return then(std::move(proved));
  auto identity = std::make_shared<const Identity>(std::move(proved.identity));
  Question asked = question;
  asked.proved = identity.get();
  next_.ask(asked, [identity, then = std::move(then)](Verdict verdict) {
    then(narrowed(*identity, std::move(verdict)));
  });
}

std::optional<Verdict> TokenAccess::answer_connect(const Question& question) const {
  if (question.token.empty()) {
    if (options_.allows_anonymous || next_.has_hook(Operation::connect)) return next_.answer(question);
    return disconnected(kDisconnectBadRequest, "the client has no token, and needs one");
  }
  Verdict proved = identify(question);
  if (!proved.is_allowed || !next_.has_hook(Operation::connect)) return proved;
  return std::nullopt;
}

Verdict TokenAccess::identify(const Question& question) const {
  ConnectionClaims claims;
  // One moment for all of it: a token that expires between two of them would get the code of a deadline that
  // no new token moves.
  const Millis now_ms = clock_.wall_ms();
  TokenCheck check = connections_->check(question.token, now_ms, claims);
  if (check.result != Result::valid && is_plain(question.transport)) {
    // A link to one stream: the token of the subscription says who the client is, too.
    SubscriptionClaims link;
    const TokenCheck link_check = for_subscriptions().check(question.token, now_ms, link);
    if (link_check.result == Result::valid && link.client.empty()) {
      check = link_check;
      claims.identity = {};
      claims.identity.user = link.user;
      claims.identity.expiry = link.grant.expiry;
      claims.identity.subscriptions = {std::move(link.grant)};
      claims.identity.has_only_these = true;
    } else if (is_out_of_time(link_check)) {
      check = link_check;
    }
  }
  if (check.result == Result::unknown_key) return unknown_key(check);
  if (is_out_of_time(check)) return out_of_time(check, claims.identity.user);
  if (check.result == Result::invalid) return disconnected(kDisconnectInvalidToken, check.reason);
  if (claims.identity.user.empty() && options_.refuses_anonymous)
    return disconnected(kDisconnectPermissionDenied, "its token names no user");
  if (options_.ignores_expiry) claims.identity.expiry = {};
  const std::int64_t at_s = claims.identity.expiry.at_s;
  if (at_s != 0 && now_ms >= at_s * 1'000) return refused(kErrorExpired, claims.identity.user);
  Verdict verdict;
  verdict.is_allowed = true;
  verdict.identity = std::move(claims.identity);
  verdict.identity.token_channels = channels_hash(verdict.identity.subscriptions);
  return verdict;
}

Verdict TokenAccess::answer_refresh(const Question& question) const {
  if (question.token.empty()) return disconnected(kDisconnectBadRequest, "its refresh has no token");
  Verdict verdict = identify(question);
  if (verdict.code == kErrorTokenExpired.code)
    return disconnected(kDisconnectConnectionExpired, verdict.remark);
  if (verdict.is_allowed && verdict.identity.user != question.user)
    return disconnected(kDisconnectInvalidToken, "its new token is of another user");
  return verdict;
}

Verdict TokenAccess::answer_subscribe(const Question& question) const {
  SubscriptionClaims claims;
  const Millis now_ms = clock_.wall_ms();
  const TokenCheck check = for_subscriptions().check(question.token, now_ms, claims);
  if (check.result == Result::unknown_key) return unknown_key(check);
  if (is_out_of_time(check)) return out_of_time(check);
  if (check.result == Result::invalid) {
    Verdict verdict = refused(kErrorPermissionDenied);
    verdict.remark = check.reason;
    return verdict;
  }
  if (claims.grant.channel != question.channel)
    return disconnected(kDisconnectInvalidToken, "the token is for another channel");
  if (claims.user != question.user)
    return disconnected(kDisconnectInvalidToken, "the token is for another user");
  if (!claims.client.empty() && claims.client != question.client)
    return disconnected(kDisconnectInvalidToken, "the token is for another client");
  const std::int64_t at_s = claims.grant.expiry.at_s;
  if (at_s != 0 && now_ms >= at_s * 1'000) return refused(kErrorExpired);
  Verdict verdict;
  verdict.is_allowed = true;
  verdict.subscription = std::move(claims.grant);
  return verdict;
}

Verdict TokenAccess::answer_sub_refresh(const Question& question) const {
  if (question.token.empty()) return refused(kErrorBadRequest);
  Verdict verdict = answer_subscribe(question);
  if (verdict.code == kErrorPermissionDenied.code)
    return disconnected(kDisconnectInvalidToken, verdict.remark);
  return verdict;
}

}  // namespace carillon
