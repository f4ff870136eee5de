// What a reload of rules and keys means for clients that are connected.
#include <gtest/gtest.h>

#include <string>

#include "doubles/token_signer.hpp"
#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

ChannelRules::Rule open_to_all(std::string pattern) {
  return rule(std::move(pattern),
              [](ChannelOptions& o) { o.allow_subscribe = o.allow_subscribe_for_anonymous = true; });
}

TEST(Reload, ASubscriptionStaysAndTheNextOneFollowsTheNewRules) {
  WorldOptions options;
  options.is_insecure = false;
  options.rules = {open_to_all("news")};
  World world(options);
  WsClient client(world);
  client.connect();
  ASSERT_TRUE(client.command("subscribe", {{"channel", "news"}}).contains("subscribe"));
  EXPECT_EQ(error_of(client.command("subscribe", {{"channel", "talk"}})), 103U);

  world.reload({open_to_all("talk")});
  world.publish("news", R"("after")");
  world.run();
  EXPECT_EQ(client.pushes_of("news", "pub").size(), 1U);
  EXPECT_TRUE(client.command("subscribe", {{"channel", "talk"}}).contains("subscribe"));
  client.command("unsubscribe", {{"channel", "news"}});
  EXPECT_EQ(error_of(client.command("subscribe", {{"channel", "news"}})), 103U);
  WsClient other(world);
  other.connect();
  EXPECT_EQ(error_of(other.command("subscribe", {{"channel", "news"}})), 103U);
}

TEST(Reload, AClientStaysWithTheTokenThatItHasAndComesBackWithOneOfTheNewKey) {
  WorldOptions options;
  options.is_insecure = false;
  options.token.hmac_secret_key = "old";
  options.rules = {open_to_all("news")};
  World world(options);
  WsClient client(world);
  client.open();
  const std::string old_token = signed_token("old", R"({"sub":"ann"})");
  ASSERT_TRUE(client.command("connect", {{"token", old_token}}).contains("connect"));

  TokenOptions next;
  next.hmac_secret_key = "new";
  auto connections = std::make_unique<TokenVerifier>(next, 0, 16'384);
  std::unique_ptr<TokenVerifier> subscriptions;
  world.token_access.reload({}, connections, subscriptions);
  EXPECT_TRUE(client.command("subscribe", {{"channel", "news"}}).contains("subscribe"));
  EXPECT_TRUE(client.is_open());
  WsClient late(world);
  late.open();
  late.command("connect", {{"token", old_token}});
  EXPECT_EQ(late.close_code, 3500);
  WsClient other(world);
  other.open();
  const std::string new_token = signed_token("new", R"({"sub":"ann"})");
  EXPECT_TRUE(other.command("connect", {{"token", new_token}}).contains("connect"));
}

TEST(Reload, TheKeysOfAnEndpointStayAsLongAsTheEndpoint) {
  const std::string jwks =
      R"({"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]})";
  TokenOptions options;
  options.jwks_public_endpoint = "https://issuer.test/keys";
  TokenVerifier before(options, 0, 16'384);
  before.set_remote_keys(jwks);
  const std::string unsigned_by_it = "eyJhbGciOiJFZERTQSJ9.e30." + std::string(86, 'A');
  ConnectionClaims claims;
  const auto result_of = [&](const TokenVerifier& verifier) {
    return verifier.check(unsigned_by_it, 0, claims).result;
  };
  ASSERT_EQ(result_of(before), TokenCheck::Result::invalid);  // with the key: the signature is wrong

  TokenVerifier same(options, 0, 16'384);
  EXPECT_EQ(result_of(same), TokenCheck::Result::unknown_key);
  same.continue_from(before);
  EXPECT_EQ(result_of(same), TokenCheck::Result::invalid);
  options.jwks_public_endpoint = "https://issuer.test/others";
  TokenVerifier other(options, 0, 16'384);
  other.continue_from(before);
  EXPECT_EQ(result_of(other), TokenCheck::Result::unknown_key);
}

}  // namespace
}  // namespace carillon::testing
