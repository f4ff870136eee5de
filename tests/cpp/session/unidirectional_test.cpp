// Clients that only listen: their connect, their pushes, and what ends them. Over each of their transports.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "doubles/token_signer.hpp"
#include "protocol/fossil_oracle.hpp"
#include "session/uni_client.hpp"

namespace carillon::testing {
namespace {

constexpr std::int64_t kWorldStartS = 1'700'001'000;  // of the world's time of day

Verdict uni_verdict(std::vector<std::string> channels, std::string user = "ann") {
  Verdict verdict = allowed(std::move(user));
  for (std::string& channel : channels)
    verdict.identity.subscriptions.push_back({.channel = std::move(channel)});
  return verdict;
}

Json wish(const std::string& channel) { return {{"subs", {{channel, Json::object()}}}}; }

std::string uni_token(const Json& claims) { return signed_token("secret", claims.dump()); }

/// What the server does on the client's shard.
template <typename Act>
void on_its_shard(const UniClient& client, Act act) {
  client.world.loops[client.socket->loop]->shard.post([&client, act] { act(*client.connection->session); });
  client.world.run();
}

class Unidirectional : public ::testing::TestWithParam<UniKind> {};
INSTANTIATE_TEST_SUITE_P(Transports, Unidirectional, ::testing::ValuesIn(kUniKinds),
                         [](const auto& each) { return name_of(each.param); });

TEST_P(Unidirectional, TheConnectPushComesFirstAndPushesHaveNoEnvelope) {
  World world;
  const Position top = world.publish("news", "1");
  UniClient client(world, GetParam());
  const Json connect = client.open(wish("news"), "?user=ann");
  ASSERT_TRUE(connect.is_object());
  EXPECT_EQ(connect["version"], "1.2.3");
  EXPECT_EQ(connect["ping"], 25);
  EXPECT_FALSE(connect.contains("pong"));
  EXPECT_FALSE(connect.contains("node"));
  EXPECT_EQ(connect["client"].get<std::string>().size(), 36U);
  EXPECT_EQ(connect["session"].get<std::string>().size(), 36U);
  EXPECT_NE(connect["session"], connect["client"]) << "it is a secret";
  EXPECT_EQ(connect["subs"]["news"], Json({{"recoverable", true},
                                           {"positioned", true},
                                           {"epoch", std::string(top.epoch.text())},
                                           {"offset", 1}}));
  EXPECT_FALSE(client.replies.front().contains("id"));
  EXPECT_EQ(world.present("news"), 1U);
  EXPECT_EQ(world.loops[0]->counters.unidirectional(), 1U);
  world.publish("news", "2");
  world.run();
  ASSERT_EQ(client.replies.size(), 2U);
  EXPECT_EQ(client.replies[1], Json({{"channel", "news"}, {"pub", {{"data", 2}, {"offset", 2}}}}));
  client.cut();
  world.run();
  EXPECT_EQ(world.present("news"), 0U);
  EXPECT_EQ(world.loops[0]->counters.unidirectional(), 0U);
}

TEST_P(Unidirectional, TheHookSeesTheRequestAndGivesUserChannelsAndData) {
  World world;
  world.access.slow.insert(Operation::connect);
  std::string transport;
  world.access.on_asked = [&](const Question& question) { transport = name_of(question.transport); };
  UniClient client(world, GetParam());
  client.open({{"token", "t"}, {"data", {{"tab", 3}}}, {"name", "curl"}});
  ASSERT_EQ(world.access.given.size(), 1U);
  EXPECT_EQ(world.access.given[0].token, "t");
  EXPECT_EQ(Json::parse(world.access.given[0].data), Json({{"tab", 3}}));
  EXPECT_EQ(transport, client.is_websocket()                 ? "uni_websocket"
                       : client.kind == UniKind::http_stream ? "uni_http_stream"
                                                             : "uni_sse");
  EXPECT_TRUE(client.replies.empty());
  Verdict verdict = uni_verdict({"a", "b"});
  verdict.identity.data_json = R"({"welcome":true})";
  world.access.decide(std::move(verdict));
  world.run();
  ASSERT_EQ(client.replies.size(), 1U);
  EXPECT_EQ(client.replies[0]["connect"]["data"], Json({{"welcome", true}}));
  EXPECT_EQ(client.replies[0]["connect"]["subs"].size(), 2U);
  EXPECT_EQ(client.connection->session->user(), "ann");
}

TEST_P(Unidirectional, AClientThatComesBackRecovers) {
  World world;
  Position from = world.publish("a", "1");
  world.publish("a", "2");
  world.publish("a", "3");
  const auto recovering = [&](std::string_view epoch) {
    return Json{
        {"subs", {{"a", {{"recover", true}, {"offset", from.offset}, {"epoch", std::string(epoch)}}}}}};
  };
  UniClient client(world, GetParam());
  const Json there = client.open(recovering(from.epoch.text()))["subs"]["a"];
  EXPECT_EQ(there["recovered"], true);
  EXPECT_EQ(there["was_recovering"], true);
  EXPECT_EQ(there["offset"], from.offset);
  ASSERT_EQ(there["publications"].size(), 2U);
  EXPECT_EQ(there["publications"][1]["data"], 3);
  world.publish("a", "4");
  world.run();
  EXPECT_EQ(client.pubs_of("a"), std::vector<Json>{4});

  UniClient other(world, GetParam());
  const Json lost = other.open(recovering("another"))["subs"]["a"];
  EXPECT_FALSE(lost.contains("recovered"));
  EXPECT_EQ(lost["was_recovering"], true);
  EXPECT_EQ(lost["offset"], 4);
}

TEST_P(Unidirectional, ItRecoversOnlyWhereTheChannelLetsIt) {
  WorldOptions options = without_pings();
  options.is_insecure = false;
  for (const bool is_let : {true, false}) {
    options.rules.push_back(rule(is_let ? "open" : "shut", [&](ChannelOptions& channel) {
      channel.allow_subscribe = channel.allow_subscribe_for_anonymous = true;
      channel.force_recovery = channel.force_positioning = false;
      channel.allow_recovery = is_let;
    }));
  }
  World world(options);
  for (const auto& [channel, publications] : {std::pair{"open", 1U}, {"shut", 0U}}) {
    const Position from = world.publish(channel, "1");
    world.publish(channel, "2");
    UniClient client(world, GetParam());
    const Json wanted = {
        {"recover", true}, {"offset", from.offset}, {"epoch", std::string(from.epoch.text())}};
    const Json there = client.open({{"subs", {{channel, wanted}}}})["subs"][channel];
    EXPECT_EQ(there.value("recovered", false), publications > 0) << channel;
    EXPECT_EQ(there.value("publications", Json::array()).size(), publications) << channel;
  }
}

TEST_P(Unidirectional, AChannelWithOneValueBeginsWithIt) {
  WorldOptions options = without_pings();
  options.rules = {rule("value", [](ChannelOptions& value) {
    value.recovery_mode = RecoveryMode::cache;
    value.auto_cache_recover = true;
  })};
  World world(options);
  world.publish("value", "1");
  world.publish("value", "2");
  for (int visit = 0; visit < 2; ++visit) {  // an EventSource repeats its request as it is
    UniClient client(world, GetParam());
    const Json there = client.open(wish("value"))["subs"]["value"];
    ASSERT_EQ(there["publications"].size(), 1U) << there;
    EXPECT_EQ(there["publications"][0]["data"], 2);
  }
}

TEST_P(Unidirectional, DeltasComeToWhoAsksForThem) {
  WorldOptions options = without_pings();
  options.rules = {rule("page", [](ChannelOptions& page) {
    page.allowed_delta_types = 1;
    page.delta_publish = true;
  })};
  World world(options);
  UniClient client(world, GetParam());
  const Json there = client.open({{"subs", {{"page", {{"delta", "fossil"}}}}}})["subs"]["page"];
  EXPECT_EQ(there["delta"], true);
  const std::string text(200, 'x');
  world.publish("page", Json(text + "1").dump());
  world.run();
  world.publish("page", Json(text + "2").dump());
  world.run();
  const std::vector<Json> data = client.pubs_of("page");
  ASSERT_EQ(data.size(), 2U);
  EXPECT_EQ(data[0], Json(text + "1").dump());
  EXPECT_EQ(apply_fossil(data[0].get<std::string>(), data[1].get<std::string>()), Json(text + "2").dump());
}

TEST_P(Unidirectional, JoinsLeavesAndWhatTheServerAddsAndEndsArePushes) {
  WorldOptions options = without_pings();
  options.rules = {rule("room", [](ChannelOptions& room) {
    room.join_leave = true;
    room.force_push_join_leave = true;
  })};
  World world(options);
  UniClient client(world, GetParam());
  client.open(wish("room"), "?user=ann");
  UniClient other(world, GetParam());
  other.open(wish("room"), "?user=bob");
  other.cut();
  world.run();
  const auto of = [&](std::string_view kind) {
    return std::count_if(client.replies.begin(), client.replies.end(),
                         [&](const Json& push) { return push.contains(kind); });
  };
  EXPECT_EQ(of("join"), 2) << "its own as well";
  EXPECT_EQ(of("leave"), 1);
  EXPECT_EQ(client.replies.back()["leave"]["info"]["user"], "bob");

  on_its_shard(client, [](Session& session) {
    session.subscribe({.channel = "more", .data_json = R"({"x":1})"}, {}, [](SubscribeAnswer) {});
  });
  EXPECT_EQ(client.replies.back()["channel"], "more");
  EXPECT_EQ(client.replies.back()["subscribe"]["data"], Json({{"x", 1}}));
  on_its_shard(client, [](Session& session) { session.unsubscribe("more", kUnsubscribeByServer); });
  EXPECT_EQ(client.replies.back(),
            Json({{"channel", "more"}, {"unsubscribe", {{"code", 2000}, {"reason", "server unsubscribe"}}}}));
  world.publish("more", "1");
  world.run();
  EXPECT_TRUE(client.pubs_of("more").empty());
}

TEST_P(Unidirectional, PingsComeAndOnlyAWebSocketThatIsDeadIsTold) {
  WorldOptions options;
  options.heartbeat.ping_interval_ms = 1'000;
  options.heartbeat.pong_timeout_ms = 500;
  World world(options);
  UniClient client(world, GetParam());
  client.open();
  world.advance(1'000);
  EXPECT_EQ(client.heartbeats, 1U);
  if (!client.is_websocket()) {
    world.advance(10'000);
    EXPECT_EQ(client.heartbeats, 11U);
    EXPECT_TRUE(client.is_open());
    return;
  }
  ASSERT_EQ(client.pings.size(), 1U);
  client.send_frame(10, "");  // the pong
  world.advance(900);
  ASSERT_TRUE(client.is_open());
  EXPECT_EQ(client.pings.size(), 2U);
  world.advance(1'000);
  EXPECT_EQ(client.disconnect_code(), 3012);
  EXPECT_EQ(client.close_code, 3012);
}

TEST_P(Unidirectional, ADisconnectIsAPushAndTheEnd) {
  World world;
  UniClient client(world, GetParam());
  client.open();
  client.connection->session->disconnect(4'007, "of the application");
  world.run();
  EXPECT_EQ(client.replies.back(),
            Json({{"disconnect", {{"code", 4007}, {"reason", "of the application"}}}}));
  if (client.is_websocket()) {
    EXPECT_EQ(client.close_code, 4007);
  }
  EXPECT_TRUE(client.has_ended());
}

TEST_P(Unidirectional, ADrainSaysShutdown) {
  World world;
  UniClient client(world, GetParam());
  client.open();
  client.connection->session->drain();
  world.run();
  EXPECT_EQ(client.disconnect_code(), 3001);
  EXPECT_TRUE(client.has_ended());
}

TEST_P(Unidirectional, AnEventSourceThatIsSentAwayComesBackAtAMomentOfItsOwn) {
  WorldOptions options = without_pings();
  options.limits.user_connections = 1;
  World world(options);
  world.access.slow.insert(Operation::connect);
  const bool is_event_source = GetParam() == UniKind::sse || GetParam() == UniKind::sse_by_post;
  const auto at_least = static_cast<std::uint64_t>(options.heartbeat.sse_retry_ms);
  std::set<std::uint64_t> delays;
  const auto is_sent_away = [&](const UniClient& client, int code) {
    EXPECT_EQ(client.disconnect_code(), code);
    EXPECT_TRUE(client.has_ended());
    EXPECT_EQ(client.retry_ms != 0, is_event_source);
    if (!is_event_source) return;
    EXPECT_GE(client.retry_ms, at_least);
    EXPECT_LE(client.retry_ms, 2 * at_least);
    delays.insert(client.retry_ms);
  };
  std::deque<UniClient> connected;
  for (int i = 0; i < 5; ++i) {
    UniClient& client = connected.emplace_back(world, GetParam());
    client.open();
    world.access.decide(allowed("user" + std::to_string(i)));
    world.run();
  }
  UniClient one_more(world, GetParam());
  one_more.open();
  world.access.decide(allowed("user0"));
  world.run();
  is_sent_away(one_more, 3504);
  UniClient undecided(world, GetParam());
  undecided.open();
  world.access.decide(Verdict::undecided("the backend is down"));
  world.run();
  is_sent_away(undecided, 3004);
  for (const UniClient& client : connected) client.connection->session->drain();
  world.run();
  for (const UniClient& client : connected) is_sent_away(client, 3001);
  EXPECT_EQ(delays.size() > 1, is_event_source) << "not all at once";
}

TEST_P(Unidirectional, ARefusedConnectIsADisconnectWithTheFamilysCode) {
  struct Case {
    Verdict verdict;
    int code;
    const char* reason;
  };
  for (const Case& each :
       {Case{denied(109, "token expired"), 3005, "connection expired"},
        Case{denied(110), 3005, "connection expired"}, Case{denied(111), 3013, "too many requests"},
        Case{denied(103), 3507, "permission denied"}, Case{denied(1'000, "not today"), 3004, "not today"},
        Case{denied(4'501, "log in"), 4501, "log in"}, Case{denied(), 3507, "permission denied"},
        Case{Verdict::undecided("late"), 3004, "internal server error"}}) {
    World world;
    world.access.slow.insert(Operation::connect);
    UniClient client(world, GetParam());
    client.open();
    world.access.decide(each.verdict);
    world.run();
    ASSERT_EQ(client.replies.size(), 1U);
    EXPECT_EQ(client.replies[0], Json({{"disconnect", {{"code", each.code}, {"reason", each.reason}}}}));
    EXPECT_TRUE(client.has_ended());
  }
}

TEST_P(Unidirectional, AChannelThatCannotBeIsRefusedOrSkipped) {
  WorldOptions options = without_pings();
  options.is_insecure = false;
  options.access.allows_anonymous = true;
  options.rules = {rule("open", [](ChannelOptions& open) {
    open.allow_subscribe = true;
    open.allow_subscribe_for_anonymous = true;
  })};
  World world(options);
  UniClient client(world, GetParam());
  const Json connect = client.open({{"subs", {{"open", Json::object()}, {"shut", Json::object()}}}});
  ASSERT_TRUE(connect.is_object());
  EXPECT_EQ(connect["subs"].size(), 1U);
  EXPECT_TRUE(connect["subs"].contains("open"));

  World hooked(options);
  hooked.access.slow.insert(Operation::connect);
  UniClient refused(hooked, GetParam());
  refused.open();
  hooked.access.decide(uni_verdict({std::string(300, 'x')}));
  hooked.run();
  EXPECT_EQ(refused.disconnect_code(), 3004) << "a name that is too long";
}

TEST_P(Unidirectional, ATokenProvesTheUserAndEndsTheConnectionUnlessTheServerRenewsIt) {
  WorldOptions options = without_pings();
  options.is_insecure = false;
  options.token.hmac_secret_key = "secret";
  World world(options);
  const Json claims{{"sub", "ann"}, {"exp", kWorldStartS + 300}, {"channels", {"a"}}};
  UniClient client(world, GetParam());
  const Json connect = client.open({{"token", uni_token(claims)}});
  ASSERT_TRUE(connect.is_object());
  EXPECT_EQ(connect["expires"], true);
  EXPECT_EQ(connect["ttl"], 300);
  EXPECT_TRUE(connect["subs"].contains("a"));
  UniClient renewed(world, GetParam());
  renewed.open({{"token", uni_token(claims)}});
  ASSERT_TRUE(world.take_over());
  on_its_shard(renewed, [](Session& session) { EXPECT_TRUE(session.refresh({kWorldStartS + 1'000, ""})); });
  EXPECT_EQ(renewed.replies.back(), Json({{"refresh", {{"expires", true}, {"ttl", 1'000}}}}));
  world.advance(324'990);
  EXPECT_TRUE(client.is_open());
  world.advance(20);
  EXPECT_EQ(client.disconnect_code(), 3005) << "after the delay in which a renewal may come";
  EXPECT_TRUE(client.has_ended());
  EXPECT_TRUE(renewed.is_open());
  world.advance(700'000);
  EXPECT_EQ(renewed.disconnect_code(), 3005);

  UniClient late(world, GetParam());
  late.open({{"token", uni_token(claims)}});
  EXPECT_EQ(late.disconnect_code(), 3005);
  UniClient forged(world, GetParam());
  forged.open({{"token", signed_token("other", R"({"sub":"ann"})")}});
  EXPECT_EQ(forged.disconnect_code(), 3500);
  UniClient without(world, GetParam());
  without.open();
  EXPECT_EQ(without.disconnect_code(), 3501);
}

TEST_P(Unidirectional, AHookRenewsItWithoutTheClient) {
  World world(without_pings());
  world.access.slow = {Operation::connect, Operation::refresh};
  UniClient client(world, GetParam());
  client.open();
  Verdict verdict = uni_verdict({});
  verdict.identity.expiry.at_s = kWorldStartS + 10;
  world.access.decide(verdict);
  world.run();
  EXPECT_FALSE(client.replies.at(0)["connect"].contains("ttl")) << "it has nothing to do";
  world.advance(10'100);
  verdict.identity.expiry.at_s = kWorldStartS + 20;
  world.access.decide(verdict);
  world.advance(9'000);
  EXPECT_TRUE(client.is_open());
  world.advance(1'000);
  world.access.decide(denied());
  world.run();
  EXPECT_EQ(client.disconnect_code(), 3005);
}

TEST_P(Unidirectional, ATakeoverKeepsTheClientAndItsSecret) {
  WorldOptions options = without_pings();
  options.shards = 2;
  World world(options);
  UniClient client(world, GetParam());
  const Json connect = client.open(wish("a"), "?user=ann");
  ASSERT_TRUE(world.take_over());
  world.publish("a", "1");
  world.run();
  EXPECT_EQ(client.pubs_of("a"), std::vector<Json>{1});
  EXPECT_EQ(client.connection->session->client_id(), connect["client"]);
  EXPECT_EQ(client.connection->session->client_session(), connect["session"]);
  EXPECT_EQ(client.connection->session->user(), "ann");
  std::uint64_t open = 0;
  for (const auto& one : world.loops) open += one->counters.unidirectional();
  EXPECT_EQ(open, 1U);
  client.connection->session->drain();
  world.run();
  EXPECT_EQ(client.disconnect_code(), 3001);
}

TEST_P(Unidirectional, ASlowReaderIsDisconnectedAndMissesNothingWithoutKnowing) {
  WorldOptions options = without_pings();
  options.limits.stall_timeout_ms = 5'000;
  World world(options);
  UniClient client(world, GetParam());
  client.open(wish("a"));
  client.kernel().room = 0;
  for (int i = 1; i <= 100; ++i) world.publish("a", std::to_string(i));
  world.run();
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.pubs_of("a").size(), 100U) << "they waited in the log";
  client.kernel().room = 0;
  world.publish("a", "101");
  world.run();
  world.advance(10'000);
  EXPECT_FALSE(client.is_open());
}

TEST_P(Unidirectional, ItsSecretBringsNoCommands) {
  World world;
  UniClient client(world, GetParam());
  const Json connect = client.open();
  HttpClient other(world);
  const std::string body =
      Json{{"session", connect["session"]}, {"node", world.shared.node}, {"data", R"({"id":1,"connect":{}})"}}
          .dump();
  other.write(
      "POST /emulation HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  world.run();
  EXPECT_EQ(other.responses.back().status, 404);
  EXPECT_TRUE(client.is_open());
  EXPECT_EQ(client.replies.size(), 1U);
}

TEST_P(Unidirectional, WhatIsNoConnectRequestIsRefused) {
  const std::string deep = R"({"data":)" + std::string(70, '[') + std::string(70, ']') + "}";
  for (const char* request :
       {"", "nonsense", "[]", R"({"token":1})", R"({} {})", R"({"subs":{"a":1}})", deep.c_str()}) {
    World world;
    UniClient client(world, GetParam());
    client.ask(request);
    world.run();
    if (client.kind == UniKind::websocket) {
      EXPECT_EQ(client.disconnect_code(), 3501) << request;
      EXPECT_EQ(client.close_code, 3501) << request;
    } else if (client.kind == UniKind::websocket_by_url && *request == '\0') {
      EXPECT_EQ(client.head->status, 101) << "it is still to come";
    } else if (client.kind == UniKind::sse && *request == '\0') {
      EXPECT_TRUE(client.replies.at(0).contains("connect")) << "an empty request";
    } else {
      ASSERT_TRUE(client.head) << request;
      EXPECT_EQ(client.head->status, 400) << request;
    }
  }
  if (GetParam() == UniKind::websocket_by_url || GetParam() == UniKind::sse) return;  // no query has lines
  World world;
  UniClient pretty(world, GetParam());
  pretty.ask("{\n  \"subs\": {\n    \"a\": {}\n  }\n}\n");
  world.run();
  EXPECT_TRUE(pretty.replies.at(0)["connect"]["subs"].contains("a")) << "a request may have lines";
}

TEST(UniWebSocket, WhateverElseTheClientSaysIsIgnored) {
  World world(without_pings());
  for (const UniKind kind : {UniKind::websocket, UniKind::websocket_by_url}) {
    UniClient client(world, kind);
    client.open(wish("a"));
    client.send("{}");
    client.send("nonsense");
    client.send(R"({"id":5,"publish":{"channel":"a","data":1}})");
    world.run();
    EXPECT_TRUE(client.is_open());
    EXPECT_EQ(client.replies.size(), 1U);
    client.send_frame(9, "there?");
    client.send_frame(8, std::string("\x03\xe8", 2));
    world.run();
    EXPECT_EQ(client.pongs, std::vector<std::string>{"there?"});
    EXPECT_EQ(client.close_code, 1'000);
  }
}

TEST(UniWebSocket, AClientThatNeverAsksIsStale) {
  World world;
  UniClient client(world, UniKind::websocket_by_url);
  client.ask("");
  world.run();
  world.advance(world.options.limits.handshake_timeout_ms + 10);
  EXPECT_EQ(client.disconnect_code(), 3502);
  EXPECT_EQ(client.close_code, 3502);
}

TEST(UniStreams, AreOnlyWhereAndHowTheyAre) {
  World world;
  HttpClient other(world);
  EXPECT_EQ(other.get("/connection/uni_http_stream").status, 405);
  EXPECT_EQ(other.get("/connection/uni_websocket").status, 400);
  EXPECT_EQ(other.exchange("OPTIONS", "/connection/uni_http_stream").header("allow"), "POST, OPTIONS");
  EXPECT_EQ(other.exchange("OPTIONS", "/connection/uni_sse").header("allow"), "GET, POST, OPTIONS");
  EXPECT_EQ(other.exchange("PUT", "/connection/uni_sse").status, 405);
  UniClient large(world, UniKind::http_stream);
  large.ask(std::string(70'000, ' '));
  world.run();
  EXPECT_EQ(large.head->status, 413);
  for (const UniKind kind : {UniKind::sse, UniKind::http_stream}) {
    UniClient client(world, kind);
    client.open();
    EXPECT_EQ(client.head->header("cache-control").substr(0, 7), "private");
    EXPECT_EQ(client.head->header("x-accel-buffering"), "no");
    EXPECT_EQ(client.head->header("content-type"),
              kind == UniKind::sse ? "text/event-stream; charset=utf-8" : "application/x-ndjson");
  }
}

TEST(UniStreams, DuringADrainAnEventSourceIsToldToComeBack) {
  World world;
  world.is_draining = true;
  UniClient client(world, UniKind::sse);
  client.open();
  EXPECT_EQ(client.head->status, 200) << "after another one it would never come back";
  EXPECT_EQ(client.disconnect_code(), 3001);
  EXPECT_TRUE(client.has_ended());
  const auto retry_ms = static_cast<std::uint64_t>(world.options.heartbeat.sse_retry_ms);
  EXPECT_GE(client.retry_ms, retry_ms);
  EXPECT_LE(client.retry_ms, 2 * retry_ms) << "not all come back at once";
  UniClient stream(world, UniKind::http_stream);
  stream.open();
  EXPECT_EQ(stream.head->status, 503);
}

}  // namespace
}  // namespace carillon::testing
