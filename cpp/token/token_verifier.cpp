#include "token/token_verifier.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "protocol/base64.hpp"
#include "protocol/json_span.hpp"

namespace carillon {

namespace {

using Result = TokenCheck::Result;

constexpr TokenCheck kDoubled{Result::invalid, "a claim stands in it twice"};
constexpr TokenCheck kNoPayload{Result::invalid, "its payload is not a JSON object"};

/// Of a JSON value: raw text, decoded text, or a time.
std::optional<std::string> text_of(std::string_view raw) {
  std::string scratch;
  const std::optional<std::string_view> text = json_string(raw, scratch);
  if (!text) return std::nullopt;
  return std::string(*text);
}

/// Seconds since 1970 (RFC 7519, NumericDate): a fraction is dropped.
std::optional<std::int64_t> time_of(std::string_view raw) {
  if (const auto whole = json_int64(raw)) return std::clamp(*whole, -kFarS, kFarS);
  if (raw.empty() || (raw.front() != '-' && (raw.front() < '0' || raw.front() > '9'))) return std::nullopt;
  const double number = std::strtod(std::string(raw).c_str(), nullptr);
  if (!std::isfinite(number)) return std::nullopt;
  return std::clamp(static_cast<std::int64_t>(std::floor(std::clamp(number, -1e15, 1e15))), -kFarS, kFarS);
}

/// JSON that travels as base64, as `b64info` does.
std::optional<std::string> packed_json_of(std::string_view raw) {
  const std::optional<std::string> text = text_of(raw);
  std::optional<std::string> bytes = text ? from_base64(*text) : std::nullopt;
  if (!bytes || !is_json(*bytes)) return std::nullopt;
  return bytes;
}

bool read_flag(std::string_view raw, std::optional<bool>& flag) {
  JsonObjectReader reader(raw);
  std::string_view key;
  std::string_view value;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    if (key == "value") flag = json_bool(value);
  }
  return step == JsonStep::end;
}

bool read_overrides(std::string_view raw, SubscriptionOverrides& overrides) {
  JsonObjectReader reader(raw);
  std::string_view key;
  std::string_view value;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    if (is_json_null(value)) continue;
    std::optional<bool>* const flag = key == "presence"                ? &overrides.presence
                                      : key == "join_leave"            ? &overrides.join_leave
                                      : key == "force_push_join_leave" ? &overrides.force_push_join_leave
                                      : key == "force_recovery"        ? &overrides.force_recovery
                                      : key == "force_positioning"     ? &overrides.force_positioning
                                                                       : nullptr;
    if (flag != nullptr && !read_flag(value, *flag)) return false;
  }
  return step == JsonStep::end;
}

/// A field that `subs` and subscription tokens share. False: its value is not valid.
bool read_grant_field(std::string_view key, std::string_view value, SubscriptionGrant& grant) {
  const auto set = [](std::string& target, std::optional<std::string> text) {
    if (text) target = std::move(*text);
    return text.has_value();
  };
  if (key == "info" || key == "data") {
    (key == "info" ? grant.info_json : grant.data_json) = value;
    return is_json(value);  // not nested too deep
  }
  if (key == "b64info") return set(grant.info_json, packed_json_of(value));
  if (key == "b64data") return set(grant.data_json, packed_json_of(value));
  return key != "override" || read_overrides(value, grant.overrides);
}

bool read_channels(std::string_view raw, std::vector<SubscriptionGrant>& grants) {
  JsonArrayReader reader(raw);
  std::string_view value;
  JsonStep step;
  while ((step = reader.next(value)) == JsonStep::field) {
    std::optional<std::string> channel = text_of(value);
    if (!channel || channel->empty()) return false;
    grants.emplace_back().channel = std::move(*channel);
  }
  return step == JsonStep::end;
}

bool read_subscriptions(std::string_view raw, std::vector<SubscriptionGrant>& grants) {
  JsonObjectReader reader(raw);
  std::string_view key;
  std::string_view value;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    std::string scratch;
    const auto channel = json_key(key, scratch);
    if (!channel || channel->empty()) return false;
    SubscriptionGrant grant;
    grant.channel = *channel;
    JsonObjectReader fields(value);
    std::string_view name;
    std::string_view field;
    JsonStep inner;
    while ((inner = fields.next(name, field)) == JsonStep::field) {
      if (!is_json_null(field) && !read_grant_field(name, field, grant)) return false;
    }
    if (inner == JsonStep::malformed) return false;
    grants.push_back(std::move(grant));
  }
  return step == JsonStep::end;
}

bool has_text(std::string_view raw, std::string_view wanted) {
  if (const auto text = text_of(raw)) return *text == wanted;
  JsonArrayReader reader(raw);
  std::string_view value;
  bool is_there = false;
  JsonStep step;
  while ((step = reader.next(value)) == JsonStep::field) {
    const auto text = text_of(value);
    is_there = is_there || (text && *text == wanted);
  }
  return is_there && step == JsonStep::end;
}

std::string content_of(const std::string& path) {
  if (path.starts_with('{') || path.starts_with("-----"))
    throw KeyError("is a key, not the path of a file with keys");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const std::string why = errno != 0 ? ": " + std::generic_category().message(errno) : std::string();
    throw KeyError("cannot be read" + why);  // not what stands there: it may be a key
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Reads all keys of the options, and notes those that are wrong.
template <typename Note>
void read_keys(const TokenOptions& options, KeySet& keys, std::string& jwks_of_file, Note note) {
  const auto add_key = [&](std::string_view option, const std::string& value, auto add) {
    if (value.empty()) return;
    try {
      add(value);
    } catch (const KeyError& error) {
      note(option, error.what());
    }
  };
  const auto add_pem = [&](const std::string& pem) { keys.add_pem(pem); };
  keys.add_secret(options.hmac_secret_key);
  keys.add_secret(options.hmac_previous_secret_key, options.hmac_previous_secret_key_valid_until_s);
  add_key("rsa_public_key", options.rsa_public_key, add_pem);
  add_key("ecdsa_public_key", options.ecdsa_public_key, add_pem);
  add_key("eddsa_public_key", options.eddsa_public_key, add_pem);
  add_key("jwks_file", options.jwks_file, [&](const std::string& path) {
    jwks_of_file = content_of(path);
    keys.add_jwks(jwks_of_file, true);
  });
}

/// SHA-256, as bytes.
std::string digest_of_url(const std::string& url) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned length = 0;
  if (EVP_Digest(url.data(), url.size(), bytes.data(), &length, EVP_sha256(), nullptr) != 1) return {};
  return {reinterpret_cast<const char*>(bytes.data()), length};
}

}  // namespace

std::vector<KeyMistake> key_mistakes(const TokenOptions& options) {
  std::vector<KeyMistake> mistakes;
  KeySet keys;
  std::string jwks_of_file;
  read_keys(options, keys, jwks_of_file,
            [&](std::string_view option, const char* problem) { mistakes.push_back({option, problem}); });
  return mistakes;
}

/// The claims of a token, of either kind; views into its payload where raw.
struct TokenVerifier::Claims {
  std::string user;
  std::optional<std::string> channel;
  std::string client;
  std::optional<std::int64_t> expires_s;
  std::optional<std::int64_t> ends_s;  // `expire_at`: of the connection or the subscription alone
  std::optional<std::int64_t> begins_s;
  std::vector<SubscriptionGrant> subscriptions;
  SubscriptionGrant grant;
};

TokenVerifier::TokenVerifier(TokenOptions options, Millis leeway_ms, std::size_t token_bytes_max)
    : options_(std::move(options)), leeway_ms_(leeway_ms), token_bytes_max_(token_bytes_max) {
  read_keys(options_, own_keys_, jwks_of_file_, [](std::string_view option, const char* problem) {
    throw KeyError(std::string(option) + ": " + problem);
  });
}

bool TokenVerifier::awaits_keys() const {
  const std::lock_guard lock(mutex_);
  return !options_.jwks_public_endpoint.empty() && !fetched_;
}

std::optional<EndpointKeys> TokenVerifier::endpoint_keys() const {
  const std::lock_guard lock(mutex_);
  if (options_.jwks_public_endpoint.empty() || !fetched_) return std::nullopt;
  return EndpointKeys{digest_of_url(options_.jwks_public_endpoint), fetched_->jwks};
}

bool TokenVerifier::use_until_fetched(const EndpointKeys& keys) {
  const std::string& url = options_.jwks_public_endpoint;
  if (url.empty() || keys.endpoint.empty() || keys.endpoint != digest_of_url(url)) return false;
  try {
    std::shared_ptr<const Fetched> read = read_fetched(keys.jwks);
    const std::lock_guard lock(mutex_);
    if (fetched_) return false;
    fetched_ = std::move(read);
    return true;
  } catch (const KeyError&) {  // of a version that knows other kinds: the endpoint will answer
    return false;
  }
}

std::shared_ptr<const TokenVerifier::Fetched> TokenVerifier::read_fetched(std::string_view jwks) {
  auto fetched = std::make_shared<Fetched>();
  fetched->keys.add_jwks(jwks, false);
  fetched->jwks = public_jwks(jwks);
  return fetched;
}

void TokenVerifier::continue_from(const TokenVerifier& before) noexcept {
  unknown_keys_ = before.unknown_keys();
  const std::scoped_lock lock(mutex_, before.mutex_);
  if (!fetched_ && options_.jwks_public_endpoint == before.options_.jwks_public_endpoint)
    fetched_ = before.fetched_;
}

void TokenVerifier::set_remote_keys(std::string_view jwks) {
  std::shared_ptr<const Fetched> fetched = read_fetched(jwks);
  const std::lock_guard lock(mutex_);
  fetched_ = std::move(fetched);
}

TokenCheck TokenVerifier::check(std::string_view token, Millis wall_ms, Claims& claims) const {
  if (token.size() > token_bytes_max_) return {Result::invalid, "it is longer than limits.token_bytes"};
  const std::optional<Jwt> jwt = parse_jwt(token);
  if (!jwt) return {Result::invalid, "it is not a signed token, or its algorithm is not known"};
  std::shared_ptr<const Fetched> fetched;
  {
    const std::lock_guard lock(mutex_);
    fetched = fetched_;
  }
  const KeySet* const remote = fetched ? &fetched->keys : nullptr;
  if (!own_keys_.verify(*jwt, wall_ms) && !(remote != nullptr && remote->verify(*jwt, wall_ms))) {
    const bool is_known = own_keys_.may_verify(*jwt) || (remote != nullptr && remote->may_verify(*jwt));
    // An endpoint has no secrets. A key that has no id may be another than the token names.
    const bool may_come = !options_.jwks_public_endpoint.empty() && !jwt->is_signed_by_secret() &&
                          !(remote != nullptr && remote->has_named(*jwt)) &&
                          (!is_known || !jwt->key_id.empty());
    if (!may_come && is_known) return {Result::invalid, "its signature is wrong"};
    if (may_come) {
      unknown_keys_.fetch_add(1, std::memory_order_relaxed);
      return {Result::unknown_key, "the keys of jwks_public_endpoint have none for it"};
    }
    return {Result::invalid, "no key of the configuration is for its algorithm and kid"};
  }

  bool has_issuer = options_.issuer.empty();
  bool has_audience = options_.audience.empty();
  const std::string_view user_claim =
      options_.user_id_claim.empty() ? "sub" : std::string_view(options_.user_id_claim);
  std::vector<std::string_view> seen;
  std::string_view channels;
  std::string_view subs;
  TokenCheck problem{Result::valid, {}};
  const auto require = [&](bool is_met, std::string_view reason) {
    if (!is_met && problem.result == Result::valid) problem = {Result::invalid, reason};
  };
  JsonObjectReader reader(jwt->payload);
  std::string_view key;
  std::string_view value;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    // Names with escapes are not compared, so none may stand there: it could be a claim in disguise.
    if (key.find('\\') != std::string_view::npos)
      return {Result::invalid, "the name of a claim has an escape"};
    for (const std::string_view other : seen) {
      if (other == key) return kDoubled;
    }
    seen.push_back(key);
    if (key == user_claim) {
      const auto user = text_of(value);
      require(user.has_value(), "the claim of the user is not a string");
      claims.user = user.value_or("");
    }
    if (key == "iss" && !has_issuer) has_issuer = has_text(value, options_.issuer);
    if (key == "aud" && !has_audience) has_audience = has_text(value, options_.audience);
    for (const auto& [name, target] :
         {std::pair{"exp", &claims.expires_s}, {"expire_at", &claims.ends_s}, {"nbf", &claims.begins_s}}) {
      if (key != name) continue;
      *target = time_of(value);
      require(target->has_value(), "exp, nbf or expire_at is not a number");
    }
    if (key == "channel") {
      claims.channel = text_of(value);
      require(claims.channel.has_value(), "channel is not a string");
    }
    if (key == "client") {
      const auto client = text_of(value);
      require(client.has_value(), "client is not a string");
      claims.client = client.value_or("");
    }
    if (key == "channels") channels = value;
    if (key == "subs") subs = value;
    require(is_json_null(value) || read_grant_field(key, value, claims.grant),
            "b64info, b64data or override is not valid");
  }
  if (step == JsonStep::malformed) return kNoPayload;
  if (!has_issuer) return {Result::invalid, "iss is not the configured issuer"};
  if (!has_audience) return {Result::invalid, "aud has not the configured audience"};
  if (!subs.empty() && !is_json_null(subs)) {
    require(read_subscriptions(subs, claims.subscriptions), "subs is not valid");
  } else if (!channels.empty() && !is_json_null(channels)) {
    require(read_channels(channels, claims.subscriptions), "channels is not a list of names");
  }
  return problem;
}

TokenCheck TokenVerifier::check_time(const Claims& claims, Millis wall_ms) const {
  if (claims.expires_s && wall_ms >= *claims.expires_s * 1'000 + leeway_ms_)
    return {Result::expired, "it has expired"};
  if (claims.begins_s && wall_ms + leeway_ms_ < *claims.begins_s * 1'000)
    return {Result::not_yet_valid,
            "it is not expired, but not valid yet: its nbf is in the future; compare the clocks, or set "
            "client.token.leeway"};
  return {Result::valid, {}};
}

std::int64_t TokenVerifier::end_of(const Claims& claims) const {
  if (claims.ends_s) return *claims.ends_s;
  // What the leeway lets in is not over at once.
  return claims.expires_s ? *claims.expires_s + (leeway_ms_ + 999) / 1'000 : 0;
}

TokenCheck TokenVerifier::check(std::string_view token, Millis wall_ms, ConnectionClaims& claims) const {
  Claims read;
  if (const TokenCheck form = check(token, wall_ms, read); form.result != Result::valid) return form;
  claims.has_channel = read.channel.has_value();
  claims.identity.user = std::move(read.user);
  claims.identity.info_json = std::move(read.grant.info_json);
  claims.identity.expiry = {end_of(read), true};
  claims.identity.subscriptions = std::move(read.subscriptions);
  if (claims.has_channel) return {Result::invalid, "it is for a subscription: it has the claim channel"};
  return check_time(read, wall_ms);
}

TokenCheck TokenVerifier::check(std::string_view token, Millis wall_ms, SubscriptionClaims& claims) const {
  Claims read;
  if (const TokenCheck form = check(token, wall_ms, read); form.result != Result::valid) return form;
  if (!read.channel || read.channel->empty())
    return {Result::invalid, "it is not for a subscription: the claim channel is missing"};
  claims.user = std::move(read.user);
  claims.client = std::move(read.client);
  claims.grant = std::move(read.grant);
  claims.grant.channel = std::move(*read.channel);
  claims.grant.expiry = {end_of(read), true};
  return check_time(read, wall_ms);
}

}  // namespace carillon
