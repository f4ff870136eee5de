#include "token/token_verifier.hpp"

#include <gtest/gtest.h>
#include <openssl/pem.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doubles/token_signer.hpp"

namespace carillon::testing {
namespace {

using Result = TokenCheck::Result;

constexpr Millis kNow = 1'700'000'000'000;

TokenOptions with_secret(std::string secret = "secret") {
  TokenOptions options;
  options.hmac_secret_key = std::move(secret);
  return options;
}

struct Outcome {
  TokenCheck check;
  ConnectionClaims claims;
};

Outcome connection(const std::string& token, TokenOptions options = with_secret(), Millis leeway_ms = 0,
                   std::size_t bytes_max = 4'096) {
  const TokenVerifier verifier(std::move(options), leeway_ms, bytes_max);
  Outcome outcome;
  outcome.check = verifier.check(token, kNow, outcome.claims);
  return outcome;
}

Outcome claims_of(std::string_view payload, TokenOptions options = with_secret(), Millis leeway_ms = 0) {
  return connection(signed_token("secret", payload), std::move(options), leeway_ms);
}

TEST(TokenVerifier, SaysWhoAClientIsAndWhatItGets) {
  const Outcome outcome =
      claims_of(R"({"sub":"42","exp":1700000060,"info":{"name":"Ann"},"channels":["news","chat"]})");
  ASSERT_EQ(outcome.check.result, Result::valid) << outcome.check.reason;
  const Identity& identity = outcome.claims.identity;
  EXPECT_EQ(identity.user, "42");
  EXPECT_EQ(identity.info_json, R"({"name":"Ann"})");
  EXPECT_EQ(identity.expiry.at_s, 1'700'000'060);
  EXPECT_TRUE(identity.expiry.is_renewed_by_client);
  ASSERT_EQ(identity.subscriptions.size(), 2U);
  EXPECT_EQ(identity.subscriptions[1].channel, "chat");
}

TEST(TokenVerifier, SubscriptionsOfTheServerWinOverTheListOfChannels) {
  const Outcome outcome = claims_of(
      R"({"channels":["a"],"subs":{"b":{"info":{"x":1},"data":2,"override":{"presence":{"value":false},)"
      R"("force_recovery":{"value":true}}},"c":{"b64info":"eyJ5IjoxfQ=="}}})");
  ASSERT_EQ(outcome.check.result, Result::valid) << outcome.check.reason;
  const auto& grants = outcome.claims.identity.subscriptions;
  ASSERT_EQ(grants.size(), 2U);
  EXPECT_EQ(grants[0].channel, "b");
  EXPECT_EQ(grants[0].info_json, R"({"x":1})");
  EXPECT_EQ(grants[0].data_json, "2");
  EXPECT_EQ(grants[0].overrides.presence, false);
  EXPECT_EQ(grants[0].overrides.force_recovery, true);
  EXPECT_FALSE(grants[0].overrides.join_leave.has_value());
  EXPECT_EQ(grants[1].info_json, R"({"y":1})");
}

TEST(TokenVerifier, TheExpiryOfTheConnectionMayDifferFromThatOfTheToken) {
  EXPECT_EQ(claims_of(R"({"exp":1700000060,"expire_at":1700000300})").claims.identity.expiry.at_s,
            1'700'000'300);
  EXPECT_EQ(claims_of(R"({"exp":1700000060,"expire_at":0})").claims.identity.expiry.at_s, 0);
  EXPECT_EQ(claims_of(R"({"exp":1700000060.7})").claims.identity.expiry.at_s, 1'700'000'060);
}

TEST(TokenVerifier, TimeIsCheckedLastAndForgivesTheLeeway) {
  EXPECT_EQ(claims_of(R"({"exp":1700000000})").check.result, Result::expired);
  EXPECT_EQ(claims_of(R"({"exp":1700000001})").check.result, Result::valid);
  const TokenCheck early = claims_of(R"({"nbf":1700000001})").check;
  EXPECT_EQ(early.result, Result::not_yet_valid);
  EXPECT_NE(early.reason.find("not valid yet: its nbf"), std::string_view::npos) << early.reason;
  EXPECT_EQ(claims_of(R"({"exp":1699999998})", with_secret(), 3'000).check.result, Result::valid);
  EXPECT_EQ(claims_of(R"({"nbf":1700000002})", with_secret(), 3'000).check.result, Result::valid);
  EXPECT_EQ(claims_of(R"({"exp":1,"channel":"x"})").check.result, Result::invalid) << "the claims come first";
  EXPECT_EQ(claims_of(R"({"exp":9223372036854775807})").check.result, Result::valid);
  EXPECT_EQ(claims_of(R"({"exp":-9223372036854775808})").check.result, Result::expired);
}

TEST(TokenVerifier, MalformedTokensAndClaimsAreInvalid) {
  for (const char* payload :
       {R"({"sub":42})", R"({"exp":"tomorrow"})", R"({"exp":1e999})", R"({"channels":"a"})",
        R"({"channels":[1]})", R"({"channels":[""]})", R"({"subs":[]})", R"({"subs":{"":{}}})",
        R"({"subs":{"a":{"b64info":"!"}}})", R"({"b64info":"bm90IGpzb24="})", R"({"sub":"a","sub":"b"})",
        R"({"exp":1800000000,"exp":1900000000})", R"({"channel":"x"})", R"([1])", "", R"({"sub":"a")",
        "{\"sub\":\"\\ud800\"}", R"({"sub":"a","s\u0075b":"b"})", R"({"e\u0078p":1})"})
    EXPECT_EQ(claims_of(payload).check.result, Result::invalid) << payload;
  for (const std::string token : {"", ".", "..", "a.b.c", "a.b", "....", "e30.e30.", "\xff.\xff.\xff"})
    EXPECT_EQ(connection(token).check.result, Result::invalid) << token;
}

TEST(TokenVerifier, OneThatIsTooLongIsNotEvenRead) {
  const std::string token = signed_token("secret", R"({"sub":"ann"})");
  EXPECT_EQ(connection(token, with_secret(), 0, token.size()).check.result, Result::valid);
  EXPECT_EQ(connection(token, with_secret(), 0, token.size() - 1).check.result, Result::invalid);
}

TEST(TokenVerifier, EveryChangedByteMakesTheSignatureWrong) {
  const std::string token = signed_token("secret", R"({"sub":"ann","exp":1800000000})");
  const TokenVerifier verifier(with_secret(), 0, 4'096);
  for (std::size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    ConnectionClaims claims;
    EXPECT_NE(verifier.check(changed, kNow, claims).result, Result::valid) << i;
  }
}

TEST(TokenVerifier, AlgorithmsThatAreNoneOrUnknownAndHeadersWithExtensionsAreRefused) {
  for (const char* header : {R"({"alg":"none"})", R"({"alg":"None"})", R"({"alg":"HS1"})", R"({"typ":"JWT"})",
                             R"({"alg":"HS256","alg":"HS256"})", R"({"alg":"HS256","crit":["exp"]})",
                             R"({"alg":["HS256"]})", R"({"alg":"HS256","kid":7})"})
    EXPECT_EQ(connection(signed_token("secret", R"({"sub":"a"})", header)).check.result, Result::invalid)
        << header;
  const std::string unsigned_token = base64url(R"({"alg":"none"})") + "." + base64url(R"({"sub":"a"})") + ".";
  EXPECT_EQ(connection(unsigned_token).check.result, Result::invalid);
}

TEST(TokenVerifier, IssuerAndAudienceMustBeThoseOfTheConfiguration) {
  TokenOptions options = with_secret();
  options.issuer = "shop";
  options.audience = "hub";
  EXPECT_EQ(claims_of(R"({"iss":"shop","aud":"hub"})", options).check.result, Result::valid);
  EXPECT_EQ(claims_of(R"({"iss":"shop","aud":["other","hub"]})", options).check.result, Result::valid);
  for (const char* payload : {R"({"iss":"shop"})", R"({"aud":"hub"})", R"({"iss":"Shop","aud":"hub"})",
                              R"({"iss":"shop","aud":["other"]})", R"({"iss":"shop","aud":null})"})
    EXPECT_EQ(claims_of(payload, options).check.result, Result::invalid) << payload;
}

TEST(TokenVerifier, AnotherClaimMayNameTheUser) {
  TokenOptions options = with_secret();
  options.user_id_claim = "uid";
  EXPECT_EQ(claims_of(R"({"sub":"a","uid":"b"})", options).claims.identity.user, "b");
}

TEST(TokenVerifier, APreviousSecretCountsUntilItsTime) {
  TokenOptions options = with_secret("new");
  options.hmac_previous_secret_key = "secret";
  EXPECT_EQ(claims_of(R"({})", options).check.result, Result::valid);
  options.hmac_previous_secret_key_valid_until_s = kNow / 1'000 + 1;
  EXPECT_EQ(claims_of(R"({})", options).check.result, Result::valid);
  options.hmac_previous_secret_key_valid_until_s = kNow / 1'000;
  EXPECT_EQ(claims_of(R"({})", options).check.result, Result::invalid);
}

TEST(TokenVerifier, ATokenOfASubscriptionNamesItsChannel) {
  const TokenVerifier verifier(with_secret(), 0, 4'096);
  SubscriptionClaims claims;
  const std::string token = signed_token(
      "secret", R"({"sub":"42","channel":"$room:7","client":"c1","exp":1700000060,"info":1,"data":{"a":2}})");
  ASSERT_EQ(verifier.check(token, kNow, claims).result, Result::valid);
  EXPECT_EQ(claims.user, "42");
  EXPECT_EQ(claims.client, "c1");
  EXPECT_EQ(claims.grant.channel, "$room:7");
  EXPECT_EQ(claims.grant.info_json, "1");
  EXPECT_EQ(claims.grant.data_json, R"({"a":2})");
  EXPECT_EQ(claims.grant.expiry.at_s, 1'700'000'060);
  for (const char* payload : {R"({"sub":"42"})", R"({"channel":""})", R"({"channel":7})"})
    EXPECT_EQ(verifier.check(signed_token("secret", payload), kNow, claims).result, Result::invalid)
        << payload;
}

// ---- public keys

struct KeyPair {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key{nullptr, EVP_PKEY_free};
  [[nodiscard]] std::string pem() const {
    BIO* const bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(bio, key.get());
    char* text = nullptr;
    const long length = BIO_get_mem_data(bio, &text);
    std::string copy(text, static_cast<std::size_t>(length));
    BIO_free(bio);
    return copy;
  }
};

TEST(TokenVerifier, APublicKeyIsNeverASecret) {
  KeyPair rsa{{EVP_RSA_gen(2'048), EVP_PKEY_free}};
  TokenOptions options;
  options.rsa_public_key = rsa.pem();
  // What an attacker can do who knows the public key.
  EXPECT_EQ(connection(signed_token(rsa.pem(), R"({"sub":"admin"})"), options).check.result, Result::invalid);
}

TEST(TokenVerifier, KeysThatCannotBeReadAreTold) {
  const auto complaint = [](const TokenOptions& options) -> std::string {
    try {
      const TokenVerifier verifier(options, 0, 4'096);
    } catch (const KeyError& error) {
      return error.what();
    }
    return "";
  };
  TokenOptions options;
  options.rsa_public_key = "nonsense";
  EXPECT_EQ(complaint(options),
            "rsa_public_key: is not a public key in PEM form (-----BEGIN PUBLIC KEY-----)");
  options.rsa_public_key = KeyPair{{EVP_RSA_gen(1'024), EVP_PKEY_free}}.pem();
  EXPECT_EQ(complaint(options),
            "rsa_public_key: an RSA key of fewer than 2048 bits is too weak; make a longer one");
  options = {};
  options.jwks_file = "/nowhere.json";
  EXPECT_EQ(complaint(options), "jwks_file: cannot be read: No such file or directory");
}

TEST(TokenVerifier, TheKeysOfAnEndpointMayComeLaterAndChange) {
  TokenOptions options;
  options.jwks_public_endpoint = "https://example.org/keys";
  TokenVerifier verifier(options, 0, 4'096);
  ConnectionClaims claims;
  const std::string token = signed_token("secret", "{}");
  EXPECT_EQ(verifier.check(token, kNow, claims).result, Result::invalid) << "an endpoint has no secrets";
  const std::string of_rsa =
      base64url(R"({"alg":"RS256","kid":"1"})") + "." + base64url("{}") + "." + base64url("signature");
  EXPECT_EQ(verifier.check(of_rsa, kNow, claims).result, Result::unknown_key);
  EXPECT_EQ(verifier.unknown_keys(), 1U);
  EXPECT_THROW(verifier.set_remote_keys(R"({"keys":[{"kty":"oct","k":"c2VjcmV0"}]})"), KeyError)
      << "a secret does not come over a network";
  EXPECT_THROW(verifier.set_remote_keys("[]"), KeyError);
  EXPECT_THROW(verifier.set_remote_keys(R"({"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]})"), KeyError);
  EXPECT_THROW(verifier.set_remote_keys(R"({"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]})"),
               KeyError);
  // RFC 7515 appendix A.3: a key that is valid, beside one that is not.
  constexpr const char* kP256 =
      R"({"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
      R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"2"})";
  verifier.set_remote_keys(std::string(R"({"keys":[{"kty":"RSA","n":"!","e":"AQAB"},)") + kP256 + "]}");
  const std::string of_ec =
      base64url(R"({"alg":"ES256","kid":"2"})") + "." + base64url("{}") + "." + base64url("signature");
  EXPECT_EQ(verifier.check(of_ec, kNow, claims).result, Result::invalid) << "the key is there now";
  const std::string of_other =
      base64url(R"({"alg":"ES256","kid":"3"})") + "." + base64url("{}") + "." + base64url("signature");
  EXPECT_EQ(verifier.check(of_other, kNow, claims).result, Result::unknown_key);
  std::string unnamed = kP256;
  unnamed.replace(unnamed.find(R"(,"kid":"2")"), 10, "");
  verifier.set_remote_keys(R"({"keys":[)" + unnamed + "]}");
  EXPECT_EQ(verifier.check(of_other, kNow, claims).result, Result::unknown_key)
      << "a key without an id may be another than the one that the token names";
  const std::string of_any =
      base64url(R"({"alg":"ES256"})") + "." + base64url("{}") + "." + base64url("signature");
  EXPECT_EQ(verifier.check(of_any, kNow, claims).result, Result::invalid);
  verifier.set_remote_keys(std::string(R"({"keys":[)") + kP256 + "]}");
  std::string many = R"({"keys":[)";
  for (int i = 0; i < 101; ++i) many += std::string(i > 0 ? "," : "") + kP256;
  EXPECT_THROW(verifier.set_remote_keys(many + "]}"), KeyError);
  EXPECT_EQ(verifier.check(of_ec, kNow, claims).result, Result::invalid) << "the earlier ones stay";
}

TEST(TokenVerifier, TheKeysOfAnEndpointGoToTheNextProcessUntilItHasFetchedItsOwn) {
  // RFC 7515 appendix A.3, with what no verifier needs: the private part, and a secret beside it.
  constexpr const char* kSet =
      R"({"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
      R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"2",)"
      R"("d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"},{"kty":"oct","k":"c2VjcmV0","kid":"3"}]})";
  TokenOptions options;
  options.jwks_public_endpoint = "https://example.org/keys?password=hush";
  TokenVerifier before(options, 0, 4'096);
  EXPECT_TRUE(before.awaits_keys());
  EXPECT_FALSE(before.endpoint_keys().has_value());
  before.set_remote_keys(kSet);
  EXPECT_FALSE(before.awaits_keys());
  const std::optional<EndpointKeys> keys = before.endpoint_keys();
  ASSERT_TRUE(keys.has_value());
  for (const std::string& text : {keys->endpoint, keys->jwks})
    for (const char* const secret : {"jpsQ", "c2Vj", "hush", "\"d\"", "\"k\""})
      EXPECT_EQ(text.find(secret), std::string::npos) << text;

  const std::string of_ec =
      base64url(R"({"alg":"ES256","kid":"2"})") + "." + base64url("{}") + "." + base64url("signature");
  ConnectionClaims claims;
  TokenVerifier next(options, 0, 4'096);
  EXPECT_EQ(next.check(of_ec, kNow, claims).result, Result::unknown_key);
  EXPECT_TRUE(next.use_until_fetched(*keys));
  EXPECT_FALSE(next.awaits_keys());
  EXPECT_EQ(next.check(of_ec, kNow, claims).result, Result::invalid) << "the key is there";
  EXPECT_EQ(next.endpoint_keys()->jwks, keys->jwks) << "and goes on to the next but one";

  TokenVerifier quick(options, 0, 4'096);
  std::string other = kSet;
  other.replace(other.find("\"kid\":\"2\""), 9, "\"kid\":\"9\"");
  quick.set_remote_keys(other);
  EXPECT_FALSE(quick.use_until_fetched(*keys)) << "its own are newer";
  EXPECT_EQ(quick.check(of_ec, kNow, claims).result, Result::unknown_key);

  TokenVerifier damaged(options, 0, 4'096);
  EXPECT_FALSE(damaged.use_until_fetched({keys->endpoint, "no JSON"}));

  options.jwks_public_endpoint = "https://example.org/other";
  TokenVerifier elsewhere(options, 0, 4'096);
  EXPECT_FALSE(elsewhere.use_until_fetched(*keys));
  TokenVerifier nowhere(with_secret(), 0, 4'096);
  EXPECT_FALSE(nowhere.use_until_fetched(*keys));
  EXPECT_FALSE(nowhere.use_until_fetched({}));
  EXPECT_FALSE(nowhere.awaits_keys());
}

}  // namespace
}  // namespace carillon::testing
