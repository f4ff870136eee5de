#include <gtest/gtest.h>

#include <string>

#include "doubles/token_signer.hpp"
#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

constexpr std::int64_t kStartS = 1'700'001'000;  // of the world's time of day

WorldOptions with_tokens() {
  WorldOptions options;
  options.is_insecure = false;
  options.token.hmac_secret_key = "secret";
  options.heartbeat.ping_interval_ms = 0;
  return options;
}

std::string token(const Json& claims) { return signed_token("secret", claims.dump()); }
std::string for_ann(std::int64_t left_s) { return token({{"sub", "ann"}, {"exp", kStartS + left_s}}); }

Json connect(WsClient& client, const std::string& text) {
  client.open();
  return client.command("connect", {{"token", text}});
}

TEST(Tokens, ProveTheUserAndTellTheClientWhenToRefresh) {
  World world(with_tokens());
  WsClient client(world);
  const Json reply = connect(client, for_ann(300));
  ASSERT_TRUE(reply.contains("connect")) << reply;
  EXPECT_EQ(reply["connect"]["expires"], true);
  EXPECT_EQ(reply["connect"]["ttl"], 300);
}

TEST(Tokens, OneWithoutAnExpiryNeedsNoRefresh) {
  World world(with_tokens());
  WsClient client(world);
  const Json reply = connect(client, token({{"sub", "ann"}}));
  ASSERT_TRUE(reply.contains("connect"));
  EXPECT_FALSE(reply["connect"].contains("expires"));
  world.advance(100'000'000);
  EXPECT_TRUE(client.is_open());
}

TEST(Tokens, AnExpiredOneIsAnErrorAndAnyOtherFaultClosesForGood) {
  World world(with_tokens());
  WsClient late(world);
  EXPECT_EQ(error_of(connect(late, for_ann(0))), 109U);
  EXPECT_TRUE(late.is_open());
  EXPECT_TRUE(late.command("connect", {{"token", for_ann(60)}}).contains("connect"));
  WsClient forged(world);
  connect(forged, signed_token("other", R"({"sub":"ann"})"));
  EXPECT_EQ(forged.close_code, 3500);
  WsClient without(world);
  without.connect();
  EXPECT_EQ(without.close_code, 3501);
}

TEST(Tokens, AClientThatDoesNotRefreshIsClosedAfterItsDelay) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, for_ann(300));
  world.advance(324'990);
  EXPECT_TRUE(client.is_open());
  EXPECT_FALSE(client.close_code.has_value());
  world.advance(20);
  EXPECT_EQ(client.close_code, 3005);
}

TEST(Tokens, ARefreshMovesTheEnd) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, for_ann(300));
  world.advance(299'000);
  const Json reply = client.command("refresh", {{"token", for_ann(600)}});
  ASSERT_TRUE(reply.contains("refresh")) << reply;
  EXPECT_EQ(reply["refresh"]["expires"], true);
  EXPECT_EQ(reply["refresh"]["ttl"], 301);
  EXPECT_FALSE(reply["refresh"]["client"].get<std::string>().empty());
  world.advance(300'000);
  EXPECT_FALSE(client.close_code.has_value());
  EXPECT_EQ(client.command("refresh", {{"token", token({{"sub", "ann"}})}})["refresh"].contains("expires"),
            false);
  world.advance(100'000'000);
  EXPECT_FALSE(client.close_code.has_value()) << "the new token has no end";
}

TEST(Tokens, ARefreshIsRefusedWithTheCodeOfItsFault) {
  for (const auto& [text, code] : {std::pair{token({{"sub", "bob"}}), 3500},
                                   {signed_token("other", R"({"sub":"ann"})"), 3500},
                                   {std::string(), 3501},
                                   {for_ann(-1), 3005}}) {
    World world(with_tokens());
    WsClient client(world);
    connect(client, for_ann(300));
    client.command("refresh", {{"token", text}});
    EXPECT_EQ(client.close_code, code) << text;
  }
}

TEST(Tokens, OfASubscriptionAllowItAndCarryItsData) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, for_ann(1'000));
  EXPECT_EQ(error_of(client.subscribe("$a")), 103U);
  const Json reply = client.subscribe(
      "$a",
      {{"token", token({{"sub", "ann"}, {"channel", "$a"}, {"exp", kStartS + 60}, {"data", {{"x", 1}}}})}});
  ASSERT_TRUE(reply.contains("subscribe")) << reply;
  EXPECT_EQ(reply["subscribe"]["expires"], true);
  EXPECT_EQ(reply["subscribe"]["ttl"], 60);
  EXPECT_EQ(reply["subscribe"]["data"]["x"], 1);
}

TEST(Tokens, OfASubscriptionMayHaveKeysOfTheirOwn) {
  WorldOptions options = with_tokens();
  options.subscription_token.hmac_secret_key = "other";
  World world(std::move(options));
  WsClient client(world);
  connect(client, for_ann(1'000));
  const std::string claims = R"({"sub":"ann","channel":"$a"})";
  EXPECT_EQ(error_of(client.subscribe("$a", {{"token", signed_token("secret", claims)}})), 103U);
  EXPECT_TRUE(client.subscribe("$a", {{"token", signed_token("other", claims)}}).contains("subscribe"));
}

TEST(Tokens, WithoutOneAClientIsAnonymousWhereThatIsAllowed) {
  WorldOptions options = with_tokens();
  options.access.allows_anonymous = true;
  World world(std::move(options));
  WsClient client(world);
  client.connect();
  EXPECT_FALSE(client.close_code.has_value());
  WsClient forged(world);
  connect(forged, "x");
  EXPECT_EQ(forged.close_code, 3500) << "a bad token is not as good as none";
}

TEST(Tokens, OneWithoutAUserMayBeRefused) {
  WorldOptions options = with_tokens();
  World lenient(options);
  WsClient anonymous(lenient);
  EXPECT_TRUE(connect(anonymous, token(Json::object())).contains("connect"));
  options.access.refuses_anonymous = true;
  World strict(std::move(options));
  WsClient refused(strict);
  connect(refused, token(Json::object()));
  EXPECT_EQ(refused.close_code, 3507);
}

TEST(Tokens, NoHookOpensAPrivateChannel) {
  World world(with_tokens());
  world.access.slow = {Operation::subscribe};
  WsClient client(world);
  connect(client, for_ann(1'000));
  EXPECT_EQ(error_of(client.subscribe("$a")), 103U);
  EXPECT_TRUE(world.access.waiting.empty()) << "no hook was asked";
}

TEST(Tokens, OfASubscriptionAreRefusedWithTheCodeOfTheirFault) {
  const auto outcome = [](const std::string& text) -> std::uint32_t {
    World world(with_tokens());
    WsClient client(world);
    connect(client, for_ann(1'000));
    const Json reply = client.subscribe("$a", {{"token", text}});
    return client.close_code ? *client.close_code : error_of(reply);
  };
  EXPECT_EQ(outcome(token({{"sub", "ann"}, {"channel", "$a"}, {"exp", kStartS}})), 109U);
  EXPECT_EQ(outcome(token({{"sub", "ann"}})), 103U);
  EXPECT_EQ(outcome(signed_token("other", R"({"sub":"ann","channel":"$a"})")), 103U);
  EXPECT_EQ(outcome(token({{"sub", "ann"}, {"channel", "$b"}})), 3500U);
  EXPECT_EQ(outcome(token({{"sub", "bob"}, {"channel", "$a"}})), 3500U);
  EXPECT_EQ(outcome(token({{"sub", "ann"}, {"channel", "$a"}, {"client", "other"}})), 3500U);
  EXPECT_EQ(
      outcome(token({{"sub", "ann"}, {"channel", "$a"}, {"exp", kStartS + 9}, {"expire_at", kStartS - 1}})),
      110U);
}

TEST(Tokens, ASubscriptionThatIsNotRefreshedEndsAloneAndOthersGoOn) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, for_ann(1'000));
  const auto wish = [](const char* channel, std::int64_t left_s) {
    return Json::object(
        {{"token", token({{"sub", "ann"}, {"channel", channel}, {"exp", kStartS + left_s}})}});
  };
  client.subscribe("$a", wish("$a", 60));
  client.subscribe("$b", wish("$b", 60));
  world.advance(50'000);
  const Json reply = client.command("sub_refresh", [&] {
    Json body = wish("$b", 500);
    body["channel"] = "$b";
    return body;
  }());
  ASSERT_TRUE(reply.contains("sub_refresh")) << reply;
  EXPECT_EQ(reply["sub_refresh"]["ttl"], 450);
  world.advance(34'990);
  EXPECT_TRUE(client.pushes_of("$a", "unsubscribe").empty());
  world.advance(20);
  ASSERT_EQ(client.pushes_of("$a", "unsubscribe").size(), 1U);
  EXPECT_EQ(client.pushes_of("$a", "unsubscribe")[0]["code"], 2501);
  EXPECT_TRUE(client.pushes_of("$b", "unsubscribe").empty());
  world.publish("$a", "1");
  world.publish("$b", "2");
  world.run();
  EXPECT_TRUE(client.pushes_of("$a", "pub").empty());
  EXPECT_EQ(client.pushes_of("$b", "pub").size(), 1U);
  EXPECT_EQ(world.present("$a"), 0U);
  EXPECT_EQ(world.present("$b"), 1U);
}

TEST(Tokens, ARefreshBringsASubscriptionAnEndAndTakesItAway) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, token({{"sub", "ann"}}));
  const auto refresh = [&](Json claims) {
    claims.update({{"sub", "ann"}, {"channel", "$a"}});
    return client.command("sub_refresh", {{"channel", "$a"}, {"token", token(claims)}})["sub_refresh"];
  };
  client.subscribe("$a", {{"token", token({{"sub", "ann"}, {"channel", "$a"}})}});
  EXPECT_EQ(refresh({{"exp", kStartS + 500}})["ttl"], 500);
  EXPECT_EQ(refresh(Json::object()), Json::object()) << "no end any more";
  world.advance(600'000);
  EXPECT_TRUE(client.pushes.empty());
  EXPECT_EQ(refresh({{"exp", kStartS + 900}})["ttl"], 300);
  EXPECT_EQ(refresh({{"exp", kStartS + 660}})["ttl"], 60) << "an earlier one than before";
  world.advance(84'900);
  EXPECT_TRUE(client.pushes.empty());
  world.advance(200);
  ASSERT_EQ(client.pushes_of("$a", "unsubscribe").size(), 1U);
  EXPECT_EQ(client.pushes_of("$a", "unsubscribe")[0]["code"], 2501);
}

TEST(Tokens, ARefreshBringsTheInfoOfItsToken) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, token({{"sub", "ann"}, {"info", 1}}));
  client.subscribe("$a", {{"token", token({{"sub", "ann"}, {"channel", "$a"}, {"info", 10}})}});
  client.subscribe("$b", {{"token", token({{"sub", "ann"}, {"channel", "$b"}})}});
  using Shown = std::vector<std::pair<std::string, std::string>>;
  ASSERT_EQ(world.shown_in("$a"), (Shown{{"1", "10"}}));
  const auto refresh_a = [&](Json claims) {
    claims.update({{"sub", "ann"}, {"channel", "$a"}});
    client.command("sub_refresh", {{"channel", "$a"}, {"token", token(claims)}});
  };
  client.command("refresh", {{"token", token({{"sub", "ann"}, {"info", 2}})}});
  EXPECT_EQ(world.shown_in("$a"), (Shown{{"2", "10"}}));
  EXPECT_EQ(world.shown_in("$b"), (Shown{{"2", ""}}));
  refresh_a({{"info", 20}});
  EXPECT_EQ(world.shown_in("$a"), (Shown{{"2", "20"}}));
  client.command("refresh", {{"token", token({{"sub", "ann"}})}});
  refresh_a(Json::object());
  EXPECT_EQ(world.shown_in("$a"), (Shown{{"2", "20"}})) << "a token that says nothing changes nothing";
  client.command("unsubscribe", {{"channel", "$a"}});
  client.command("refresh", {{"token", token({{"sub", "ann"}, {"info", 3}})}});
  EXPECT_EQ(world.shown_in("$a"), Shown{}) << "who has left does not come back";
  EXPECT_EQ(world.shown_in("$b"), (Shown{{"3", ""}}));
}

TEST(Tokens, ARefreshShowsNobodyWhoIsLeaving) {
  World world(with_tokens());
  world.publish("$a", "1");
  WsClient client(world);
  connect(client, token({{"sub", "ann"}}));
  client.kernel().room = 3;  // inside the reply, which brings what was missed
  client.subscribe("$a", {{"token", token({{"sub", "ann"}, {"channel", "$a"}})}, {"since", "oldest"}});
  ASSERT_EQ(world.present("$a"), 1U);
  client.command("unsubscribe", {{"channel", "$a"}});
  ASSERT_TRUE(client.is_clogged());
  client.command("refresh", {{"token", token({{"sub", "ann"}, {"info", 2}})}});
  EXPECT_EQ(world.present("$a"), 0U);
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_TRUE(client.replies.back().contains("refresh")) << client.replies.back();
  EXPECT_EQ(world.present("$a"), 0U);
}

TEST(Tokens, ARefreshOfASubscriptionIsRefusedWithTheCodeOfItsFault) {
  const auto outcome = [](const Json& body) -> std::uint32_t {
    World world(with_tokens());
    WsClient client(world);
    connect(client, for_ann(1'000));
    client.subscribe("$a", {{"token", token({{"sub", "ann"}, {"channel", "$a"}, {"exp", kStartS + 60}})}});
    const Json reply = client.command("sub_refresh", body);
    return client.close_code ? *client.close_code : error_of(reply);
  };
  EXPECT_EQ(outcome({{"channel", "$b"}, {"token", "x"}}), 103U);
  EXPECT_EQ(outcome({{"channel", "$a"}, {"token", ""}}), 107U);
  EXPECT_EQ(outcome({{"channel", "$a"}, {"token", "x"}}), 3500U);
  EXPECT_EQ(outcome({{"channel", "$a"}, {"token", token({{"sub", "ann"}, {"channel", "$b"}})}}), 3500U);
  EXPECT_EQ(outcome({{"channel", "$a"}, {"token", token({{"sub", "ann"}, {"channel", "$a"}, {"exp", 1}})}}),
            109U);
}

TEST(Tokens, ADeadlineIsKeptInTimeOfDayAcrossATakeover) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, for_ann(300));
  SseClient stream(world);
  stream.open("channel=a&token=" + token({{"sub", "ann"}, {"exp", kStartS + 100}, {"channels", {"a"}}}));
  world.run();
  ASSERT_EQ(stream.head->status, 200);
  world.take_over();
  world.advance(99'900);
  EXPECT_FALSE(stream.is_ended);
  world.advance(200);
  EXPECT_TRUE(stream.is_ended);
  world.advance(224'500);
  EXPECT_FALSE(client.close_code.has_value());
  world.advance(1'000);
  EXPECT_EQ(client.close_code, 3005);
}

TEST(Tokens, AClientHasItsDelayToRenewASubscriptionAlsoAfterATakeover) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, token({{"sub", "ann"}}));
  client.subscribe("$a", {{"token", token({{"sub", "ann"}, {"channel", "$a"}, {"exp", kStartS + 60}})}});
  ASSERT_TRUE(world.take_over());
  world.advance(60'000 + 24'900);
  EXPECT_TRUE(client.pushes_of("$a", "unsubscribe").empty());
  world.advance(200);
  EXPECT_EQ(client.pushes_of("$a", "unsubscribe").size(), 1U);
}

TEST(Tokens, TheHookIsAskedAboutTheUserThatTheTokenProvesAndCanOnlyNarrow) {
  const auto outcome = [](Verdict verdict) {
    World world(with_tokens());
    world.access.slow = {Operation::connect};
    WsClient client(world);
    connect(client, for_ann(300));
    EXPECT_EQ(world.access.proved, std::vector<std::string>{"ann"});
    world.access.decide(std::move(verdict));
    world.run();
    if (client.close_code) return Json(*client.close_code);
    return client.replies.empty() ? Json() : client.replies.back();
  };
  EXPECT_EQ(outcome(allowed("ann"))["connect"]["ttl"], 300);
  EXPECT_EQ(outcome(denied()), 3507);
  EXPECT_EQ(outcome(allowed("root")), 3004) << "a hook names another user";
  Verdict sooner = allowed("ann");
  sooner.identity.expiry.at_s = kStartS + 100;
  EXPECT_FALSE(outcome(sooner)["connect"].contains("ttl")) << "the hook ends it";
}

TEST(Tokens, ARefreshPutsNoEndOffThatAHookHasSet) {
  World world(with_tokens());
  world.access.slow = {Operation::connect};
  WsClient client(world);
  connect(client, for_ann(300));
  Verdict sooner = allowed("ann");
  sooner.identity.expiry.at_s = kStartS + 100;
  world.access.decide(sooner);
  world.run();
  client.command("refresh", {{"token", for_ann(600)}});
  EXPECT_EQ(client.close_code, 3501);
}

TEST(Tokens, AHookTakesChannelsAwayAndAddsNoneAndKeepsWhatTheTokenSaysOfThem) {
  const auto channels = [](const std::function<void(Identity&)>& narrow) {
    World world(with_tokens());
    world.access.slow = {Operation::connect};
    WsClient client(world);
    const Json quiet = {{"override", {{"presence", {{"value", false}}}}}};
    connect(client, token({{"sub", "ann"}, {"subs", {{"a", quiet}, {"b", Json::object()}}}}));
    Verdict verdict = allowed("ann");
    narrow(verdict.identity);
    world.access.decide(verdict);
    world.run();
    EXPECT_EQ(world.present("a"), 0U) << "the token's override stays";
    std::string names;
    if (client.replies.empty()) return names;
    const Json subs = client.replies[0]["connect"].value("subs", Json::object());
    for (const auto& [name, _] : subs.items()) names += name;
    return names;
  };
  EXPECT_EQ(channels([](Identity&) {}), "ab");
  EXPECT_EQ(channels([](Identity& identity) { identity.names_subscriptions = true; }), "");
  EXPECT_EQ(channels([](Identity& identity) {
              identity.names_subscriptions = true;
              identity.subscriptions.resize(2);
              identity.subscriptions[0].channel = "a";
              identity.subscriptions[1].channel = "c";
            }),
            "a");
}

TEST(Tokens, ARefreshWithOtherChannelsMakesTheClientConnectAgain) {
  const auto code_after = [](const Json& channels) {
    World world(with_tokens());
    WsClient client(world);
    connect(client, token({{"sub", "ann"}, {"exp", kStartS + 300}, {"channels", {"a", "b"}}}));
    world.take_over();
    client.command("refresh",
                   {{"token", token({{"sub", "ann"}, {"exp", kStartS + 600}, {"channels", channels}})}});
    return client.close_code.value_or(0);
  };
  EXPECT_EQ(code_after({"b", "a"}), 0);
  EXPECT_EQ(code_after({"a"}), 3010);
  EXPECT_EQ(code_after({"a", "c"}), 3010);
  EXPECT_EQ(code_after(Json::array()), 3010);
}

TEST(Tokens, AHookEndsAConnectionWhetherThereAreTokensOrNot) {
  WorldOptions options;
  options.heartbeat.ping_interval_ms = 0;
  World world(std::move(options));
  world.access.slow = {Operation::connect};
  WsClient client(world);
  client.open();
  client.command("connect", Json::object());
  Verdict verdict = allowed("ann");
  verdict.identity.expiry.at_s = kStartS + 60;
  world.access.decide(verdict);
  world.run();
  ASSERT_EQ(client.replies.size(), 1U);
  EXPECT_FALSE(client.replies[0]["connect"].contains("expires")) << "the client has nothing to refresh";
  world.advance(59'990);
  EXPECT_FALSE(client.close_code.has_value());
  world.advance(20);
  EXPECT_EQ(client.close_code, 3005);
  WsClient late(world);
  late.open();
  late.command("connect", Json::object());
  verdict.identity.expiry.at_s = kStartS;
  world.access.decide(verdict);
  world.run();
  ASSERT_EQ(late.replies.size(), 1U);
  EXPECT_EQ(error_of(late.replies[0]), 110U);
}

TEST(Tokens, ServerSideSubscriptionsThatExpireCloseTheConnection) {
  World world(with_tokens());
  world.access.slow = {Operation::connect};
  WsClient client(world);
  connect(client, token({{"sub", "ann"}, {"channels", {"a"}}}));
  Verdict verdict = allowed("ann");
  verdict.identity.subscriptions.emplace_back().channel = "a";
  verdict.identity.subscriptions.back().expiry = {kStartS + 60, false};
  world.access.decide(verdict);
  world.run();
  ASSERT_EQ(client.replies.size(), 1U);
  EXPECT_TRUE(client.replies[0]["connect"]["subs"].contains("a")) << client.replies[0];
  world.advance(60'010);
  EXPECT_EQ(client.close_code, 3006);
}

TEST(Tokens, TheServerMovesAnEnd) {
  World world(with_tokens());
  WsClient client(world);
  connect(client, for_ann(300));
  client.subscribe("$b", {{"token", token({{"sub", "ann"}, {"channel", "$b"}})}});
  SseClient stream(world);
  stream.open("channel=a&token=" + token({{"sub", "ann"}, {"exp", kStartS + 100}, {"channels", {"a"}}}));
  world.run();
  const auto refresh_all = [&](const Renewal& renewal) {
    std::size_t refreshed = 0;
    for (const auto& one : world.loops) {
      one->shard.bind_to_this_thread();
      one->loop.for_each_session([&](Session& session) { refreshed += session.refresh(renewal) ? 1 : 0; },
                                 [] {});
      Shard::unbind_this_thread();
    }
    world.run();
    return refreshed;
  };
  EXPECT_EQ(refresh_all({kStartS + 1'000, R"({"name":"Ann"})"}), 2U);
  ASSERT_EQ(client.pushes.size(), 1U);
  EXPECT_EQ(client.pushes[0]["refresh"]["ttl"], 1'000) << client.pushes[0];
  using Shown = std::vector<std::pair<std::string, std::string>>;
  const std::string ann = R"({"name":"Ann"})";
  EXPECT_EQ(world.shown_in("a"), (Shown{{ann, ""}}));
  EXPECT_EQ(world.shown_in("$b"), (Shown{{ann, ""}}));
  world.advance(999'000);
  EXPECT_FALSE(client.close_code.has_value());
  EXPECT_FALSE(stream.is_ended);
  world.advance(1'010);
  EXPECT_TRUE(stream.is_ended);
  EXPECT_EQ(refresh_all({}), 1U);
  world.advance(1'000'000);
  EXPECT_FALSE(client.close_code.has_value()) << "it has no end any more";
}

TEST(Tokens, AStreamThatExpiresIsToldWhyAndEnds) {
  World world(with_tokens());
  SseClient stream(world);
  stream.open("channel=a&token=" + token({{"sub", "ann"}, {"exp", kStartS + 60}, {"channels", {"a"}}}));
  world.advance(60'010);
  ASSERT_TRUE(stream.is_ended);
  const SseBlock& end = stream.blocks.back();
  EXPECT_EQ(end.event, "status");
  EXPECT_EQ((*end.data)["code"], 3005);
  EXPECT_EQ((*end.data)["reason"], "connection expired");
  EXPECT_TRUE(end.retry.has_value())
      << "tokens that expire at the same time bring nobody back at the same time";
}

TEST(Tokens, ThePlainTransportsTakeThemFromHeaderQueryAndCookie) {
  WorldOptions options = with_tokens();
  options.token_cookie = "session";
  World world(std::move(options));
  const std::string good = token({{"sub", "ann"}, {"channels", {"a"}}});
  const auto status = [&](const std::string& query, const std::string& headers) {
    HttpClient client(world);
    return client.get("/poll?timeout=0&channel=a" + query, headers).status;
  };
  EXPECT_EQ(status("&token=" + good, ""), 200);
  EXPECT_EQ(status("", "Authorization: Bearer " + good + "\r\n"), 200);
  EXPECT_EQ(status("", "Cookie: other=1; session=" + good + "\r\n"), 200);
  EXPECT_EQ(status("", "Cookie: session=\"" + good + "\"\r\n"), 200);
  EXPECT_EQ(status("", ""), 401);
  EXPECT_EQ(status("&token=x", ""), 401);
  EXPECT_EQ(status("&token=" + for_ann(-1), ""), 401);
  EXPECT_EQ(status("&token=" + for_ann(60), ""), 403) << "the token does not grant the channel";
  EXPECT_EQ(status("&token=" + token({{"sub", "ann"}, {"channel", "a"}}), ""), 200) << "a link to one stream";
  EXPECT_EQ(status("&token=" + token({{"sub", "ann"}, {"channel", "b"}}), ""), 403);
  EXPECT_EQ(status("&channel=b&token=" + token({{"sub", "ann"}, {"channel", "a"}}), ""), 403)
      << "to one alone";
  EXPECT_EQ(status("&token=" + token({{"sub", "ann"}, {"channel", "a"}, {"client", "c"}}), ""), 401);
  EXPECT_EQ(status("&token=" + token({{"sub", "ann"}, {"channel", "a"}, {"exp", 1}}), ""), 401);
  const std::string cookie = "Cookie: session=" + good + "\r\n";
  EXPECT_EQ(status("", cookie + "Sec-Fetch-Site: same-origin\r\n"), 200);
  for (const char* site : {"cross-site", "same-site", "none"})
    EXPECT_EQ(status("", cookie + "Sec-Fetch-Site: " + site + "\r\n"), 401) << site;
}

TEST(Tokens, ALinkMayBeSignedWithTheKeysOfSubscriptions) {
  WorldOptions options = with_tokens();
  options.subscription_token.hmac_secret_key = "other";
  World world(std::move(options));
  const auto status = [&](const std::string& text) {
    HttpClient client(world);
    return client.get("/poll?timeout=0&channel=a&token=" + text).status;
  };
  EXPECT_EQ(status(signed_token("other", R"({"sub":"ann","channel":"a"})")), 200);
  EXPECT_EQ(status(signed_token("secret", R"({"sub":"ann","channel":"a"})")), 401);
  EXPECT_EQ(status(signed_token("other", R"({"sub":"ann","channels":["a"]})")), 401);
}

TEST(Tokens, AnEndThatAHookSetsInThePastLetsNobodyIn) {
  World world;
  world.access.slow = {Operation::connect};
  HttpClient client(world);
  client.request("GET", "/poll?timeout=0&channel=a");
  world.run();
  Verdict verdict = allowed("ann");
  verdict.identity.expiry.at_s = kStartS;
  world.access.decide(verdict);
  world.run();
  ASSERT_EQ(client.responses.size(), 1U);
  EXPECT_EQ(client.responses[0].status, 401);
}

TEST(Tokens, APollEndsWhenItsTokenDoes) {
  World world(with_tokens());
  HttpClient client(world);
  client.request("GET", "/poll?timeout=50&channel=a&token=" +
                            token({{"sub", "ann"}, {"exp", kStartS + 10}, {"channels", {"a"}}}));
  world.advance(9'900);
  EXPECT_TRUE(client.responses.empty());
  world.advance(200);
  ASSERT_EQ(client.responses.size(), 1U);
  EXPECT_EQ(client.responses[0].status, 200);
}

}  // namespace
}  // namespace carillon::testing
