#include <gtest/gtest.h>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

constexpr std::string_view kGet = " HTTP/1.1\r\nHost: localhost:8000\r\n\r\n";

std::string get_text(std::string_view target) { return "GET " + std::string(target) + std::string(kGet); }

TEST(Http, KeepsTheConnectionAndAnswersEachRequest) {
  World world;
  HttpClient client(world);
  EXPECT_EQ(client.get("/now").status, 200);
  EXPECT_EQ(client.get("/now?2").body, "\"/now?2\"");
  EXPECT_FALSE(client.responses.back().headers.contains("connection"));
  EXPECT_EQ(client.get("/nowhere").status, 404);
  EXPECT_TRUE(client.is_open());
  EXPECT_EQ(client.get("/now", "Connection: close\r\n").header("connection"), "close");
  EXPECT_TRUE(client.is_ended);
  EXPECT_EQ(client.responses.size(), 4U);
  EXPECT_EQ(world.loops[0]->counters.requests.load(), 4U);
}

TEST(Http, PipelinedRequestsAreAnsweredInOrder) {
  for (const std::size_t piece : {Kernel::kAll, std::size_t{1}, std::size_t{13}}) {
    World world;
    HttpClient client(world);
    client.write(get_text("/now?1") + get_text("/later") + get_text("/now?3") + get_text("/later?4") +
                     get_text("/now?5"),
                 piece);
    world.run();
    EXPECT_EQ(client.responses.size(), 1U);
    ASSERT_EQ(world.handler.waiting.size(), 1U);
    world.handler.waiting[0].second({.body = "\"late\""});
    world.run();
    ASSERT_EQ(world.handler.waiting.size(), 2U);
    EXPECT_EQ(client.responses.size(), 3U);
    world.handler.waiting[1].second({.body = "\"late\""});
    world.run();
    ASSERT_EQ(client.responses.size(), 5U);
    EXPECT_EQ(client.responses[0].body, "\"/now?1\"");
    EXPECT_EQ(client.responses[1].body, "\"late\"");
    EXPECT_EQ(client.responses[2].body, "\"/now?3\"");
    EXPECT_EQ(client.responses[4].body, "\"/now?5\"");
  }
}

TEST(Http, APollHoldsThePipelineBehindIt) {
  World world;
  HttpClient client(world);
  client.write(get_text("/poll?channel=a") + get_text("/now?2"));
  world.run();
  EXPECT_TRUE(client.responses.empty());
  world.publish("a", "1");
  world.run();
  ASSERT_EQ(client.responses.size(), 2U);
  EXPECT_EQ(client.responses[1].body, "\"/now?2\"");
}

TEST(Http, WhatIsReadAheadIsBoundedAndReadingGoesOn) {
  WorldOptions options;
  options.limits.pipelined_bytes = 300;
  World world(options);
  HttpClient client(world);
  client.write(get_text("/later"));
  std::size_t sent = 0;
  for (int i = 0; i < 50; ++i) {
    client.write(get_text("/now?" + std::to_string(i)), 10);
    sent += client.connection->is_reading_paused ? 0 : 1;
  }
  EXPECT_TRUE(client.connection->is_reading_paused);
  EXPECT_LT(sent, 10U);
  world.handler.waiting[0].second({});
  world.run();
  ASSERT_EQ(client.responses.size(), 51U);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(client.responses[static_cast<std::size_t>(i) + 1].body, "\"/now?" + std::to_string(i) + "\"");
  }
  EXPECT_FALSE(client.connection->is_reading_paused);
}

/// A connection whose first request waits, and behind it more than is read ahead.
void fill_pipeline(HttpClient& client, std::string_view first) {
  client.write(get_text(first) + get_text("/now?" + std::string(300, 'x')));
  client.write(get_text("/now"));
  ASSERT_TRUE(client.connection->is_reading_paused);
}

TEST(Http, WhoIsSentAwayWithItsPipelineUnreadIsGoneWithItsEnd) {
  WorldOptions options;
  options.limits.pipelined_bytes = 256;
  World world(options);
  HttpClient client(world);
  fill_pipeline(client, "/later");
  world.loops[0]->loop.drain(world.endpoint, 0);
  world.advance(10);
  world.handler.waiting[0].second({});
  world.run();
  EXPECT_EQ(client.responses.size(), 1U);
  EXPECT_FALSE(client.is_open()) << "its end is read, and not waited for";
}

TEST(Http, AWaitingPollIsAnsweredWhenItsPeerEndsBehindAPipelineThatIsNotRead) {
  WorldOptions options;
  options.limits.pipelined_bytes = 256;
  World world(options);
  HttpClient client(world);
  fill_pipeline(client, "/poll?channel=a");
  world.run();
  EXPECT_TRUE(client.responses.empty());
  world.end_input(client);
  world.run();
  EXPECT_EQ(client.responses.size(), 3U);
  EXPECT_FALSE(client.is_open());
}

TEST(Http, APipelineThatIsNotReadIsNotReadAfterATakeoverEither) {
  WorldOptions options;
  options.limits.pipelined_bytes = 256;
  World world(options);
  HttpClient client(world);
  fill_pipeline(client, "/poll?channel=a");
  world.run();
  ASSERT_TRUE(world.take_over());
  world.run();
  EXPECT_TRUE(client.connection->is_reading_paused);
  world.publish("a", "1");
  world.run();
  EXPECT_EQ(client.responses.size(), 3U);
  EXPECT_FALSE(client.connection->is_reading_paused);
}

TEST(Http, AWebSocketBehindAPausedPipelineReads) {
  WorldOptions options;
  options.limits.pipelined_bytes = 256;
  World world(options);
  WsClient client(world);
  client.write(get_text("/later"));
  client.open("?padding=" + std::string(300, 'x'));
  ASSERT_TRUE(client.connection->is_reading_paused);
  world.handler.waiting[0].second({.status = 204});
  world.run();
  EXPECT_EQ(client.head->status, 204);
  client.head.reset();
  client.on_bytes({});  // the next head: that of the handshake
  client.send(R"({"id":1,"connect":{}})");
  world.run();
  EXPECT_FALSE(client.connection->is_reading_paused);
  EXPECT_EQ(client.replies.size(), 1U);
}

TEST(Http, WhoAsksOnAndOnMustReadItsAnswers) {
  WorldOptions options;
  options.limits.backlog_bytes = 200'000;
  World world(options);
  HttpClient client(world);
  client.kernel().room = 0;
  for (int i = 0; i < 500; ++i) client.write(get_text("/big"));
  world.run();
  EXPECT_LT(client.connection->outlet.pending_bytes(), 350'000U);
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(client.responses.size(), 500U);
  EXPECT_EQ(client.get("/now").status, 200);
}

TEST(Http, HeadHasTheHeadersAndNoBody) {
  World world;
  HttpClient client(world);
  const Response response = client.exchange("HEAD", "/now");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.header("content-length"), "6");
  EXPECT_EQ(response.body, "");
  EXPECT_EQ(client.get("/now").body, "\"/now\"");
  client.exchange("HEAD", "/now");
  client.write("bad\r\n\r\n");
  world.run();
  EXPECT_EQ(client.responses.back().status, 400);
  EXPECT_NE(client.responses.back().body, "") << "a request that could not be read was no HEAD";
}

TEST(Http, OptionsAnswersThePreflightForAllowedOriginsOnly) {
  WorldOptions options;
  options.allowed_origins = {"https://*.example.com"};
  World world(options);
  HttpClient client(world);
  const Response good =
      client.exchange("OPTIONS", "/api/publish",
                      "Origin: https://app.example.com\r\nAccess-Control-Request-Method: POST\r\n"
                      "Access-Control-Request-Headers: x-api-key, content-type\r\n");
  EXPECT_EQ(good.status, 204);
  EXPECT_EQ(good.header("access-control-allow-origin"), "https://app.example.com");
  EXPECT_EQ(good.header("access-control-allow-headers"), "x-api-key, content-type");
  EXPECT_EQ(good.header("access-control-allow-credentials"), "true");
  EXPECT_NE(good.header("access-control-allow-methods").find("POST"), std::string::npos);
  EXPECT_EQ(good.header("vary"), "Origin");
  EXPECT_FALSE(good.headers.contains("content-length"));
  EXPECT_EQ(client.exchange("OPTIONS", "/now", "Origin: https://evil.example\r\n").status, 403);
  EXPECT_EQ(client.get("/now", "Origin: https://app.example.com\r\n").header("access-control-allow-origin"),
            "https://app.example.com");
  EXPECT_FALSE(client.get("/now").headers.contains("access-control-allow-origin"));
}

TEST(Http, OriginsOfOtherSitesAreRefusedOnEveryTransport) {
  World world;
  for (const std::string& target : {std::string("/now"), std::string("/poll?channel=a"),
                                    std::string("/sse?channel=a"), std::string("/connection/websocket")}) {
    HttpClient client(world);
    const Response refused = client.get(target, "Origin: https://evil.example\r\n");
    EXPECT_EQ(refused.status, 403) << target;
    EXPECT_NE(refused.body.find("Origin: 'https://evil.example' is not in client.allowed_origins"),
              std::string::npos)
        << refused.body;
    EXPECT_FALSE(refused.headers.contains("access-control-allow-origin"));
  }
  HttpClient rude(world);
  const std::string origin = "https://\xC3\xBC" + std::string(1'000, 'x');
  const std::string body = rude.get("/now", "Origin: " + origin + "\r\n").body;
  EXPECT_NE(body.find("'https://??x"), std::string::npos) << body;
  EXPECT_LT(body.size(), 400U);
  HttpClient same(world);
  EXPECT_EQ(same.get("/now", "Origin: http://localhost:8000\r\n").status, 200);
  EXPECT_EQ(same.get("/now", "Origin: http://localhost:9000\r\n").status, 403);
  EXPECT_EQ(same.get("/now", "Origin: null\r\n").status, 403);
}

TEST(Http, InsecureModeServesLoopbackHostsOnly) {
  World world;
  HttpClient client(world);
  const auto status = [&](const std::string& host) {
    client.write("GET /now HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
    world.run();
    return client.responses.back().status;
  };
  for (const char* host :
       {"localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "app.localhost", ""}) {
    EXPECT_EQ(status(host), 200) << host;
  }
  for (const char* host :
       {"example.com", "127.0.0.1.example.com", "localhost.example.com:8000", "[::2]", "10.0.0.1"}) {
    EXPECT_EQ(status(host), 421) << host;
  }
  WorldOptions options;
  options.is_insecure = false;
  World secure(options);
  HttpClient elsewhere(secure);
  elsewhere.write("GET /now HTTP/1.1\r\nHost: example.com\r\n\r\n");
  secure.run();
  EXPECT_EQ(elsewhere.responses.back().status, 200);
}

TEST(Http, TransportsTakeGetOnly) {
  World world;
  for (const std::string& target : {std::string("/poll?channel=a"), std::string("/sse?channel=a"),
                                    std::string("/connection/websocket")}) {
    HttpClient client(world);
    for (const char* method : {"POST", "PUT", "DELETE"}) {
      const Response refused = client.exchange(method, target);
      EXPECT_EQ(refused.status, 405) << method << target;
      EXPECT_EQ(refused.body, R"({"error":{"code":405,"message":"this path takes GET"}})");
    }
  }
}

TEST(Http, BadRequestsOfThePlainTransportsSayWhatIsWrong) {
  WorldOptions options;
  options.limits.channels_per_connection = 2;
  World world(options);
  HttpClient client(world);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "channel: name at least one"},
      {"?channel=", "a name is 1 to 255 bytes"},
      {"?channel=" + std::string(256, 'a'), "a name is 1 to 255 bytes"},
      {"?channel=a&channel=a", "named twice"},
      {"?channel=a&channel=b&channel=c", "channels_per_connection (2)"},
      {"?channel=a&since=x", "since: not a position"},
      {"?channel=a&since=x:1,y:2", "2 positions for 1 channels"},
      {"?channel=a&sinse=x", "'sinse': unknown parameter; did you mean 'since'?"},
      {"?channel=a&room=7",
       "'room': unknown parameter; known: channel, since, last, user, token, data, timeout"},
      {"?channel=a&data=x", "data: not JSON"},
      {"?channel=a%0a", "not a valid path"},
      {"?channel=%ff", "not a valid path"},
  };
  for (const std::string path : {"/poll", "/sse"}) {
    for (const auto& [query, text] : cases) {
      const Response refused = client.get(path + query);
      EXPECT_EQ(refused.status, 400) << path << query;
      EXPECT_NE(refused.body.find(text), std::string::npos) << path << query << ": " << refused.body;
      EXPECT_EQ(refused.header("content-type"), "application/json");
      EXPECT_EQ(Json::parse(refused.body)["error"]["code"], 400);
    }
  }
  EXPECT_EQ(client.get("/connection/websocket").status, 400);
  EXPECT_NE(client.responses.back().body.find("RFC 6455"), std::string::npos);
  HttpClient odd(world);
  EXPECT_EQ(odd.get("/connection/websocket", "Upgrade: websocket\r\nSec-WebSocket-Version: 8\r\n").status,
            426);
  EXPECT_EQ(odd.responses.back().header("sec-websocket-version"), "13");
}

TEST(Http, ParametersOfSdksAndAgainstCachesAreIgnored) {
  World world;
  HttpClient client(world);
  EXPECT_EQ(client.get("/poll?channel=a&timeout=0&_=1700000000&cf_anything=true&data=&token=").status, 200);
  EXPECT_EQ(client.get("/poll?channel=a&timeout=0&lastEventId=e:1").status, 400) << "only streams have one";
}

TEST(Http, ChannelsWithoutPermissionAreForbidden) {
  WorldOptions options;
  options.is_insecure = false;
  ChannelOptions open;
  open.allow_subscribe = true;
  ChannelOptions all = open;
  all.allow_subscribe_for_anonymous = true;
  options.rules = {{"open", all}, {"users", open}};
  World world(options);
  HttpClient client(world);
  EXPECT_EQ(client.get("/poll?channel=users").status, 403);
  EXPECT_EQ(client.get("/sse?channel=users").status, 403);
  EXPECT_EQ(client.get("/poll?channel=$open").status, 403);
  EXPECT_EQ(client.get("/poll?channel=open&channel=closed").status, 403);
  EXPECT_EQ(client.get("/sse?channel=closed").status, 403);
  EXPECT_EQ(client.get("/poll?channel=open&timeout=0").status, 200);
}

TEST(Http, TheSubprotocolIsEchoedWhenItIsOurs) {
  World world;
  const auto echoed = [&](const std::string& offer) {
    WsClient client(world);
    client.write(
        "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: "
        "websocket\r\nSec-WebSocket-Version: 13\r\n" +
        offer + "\r\n");
    world.run();
    EXPECT_EQ(client.head->status, 101);
    return client.head->header("sec-websocket-protocol");
  };
  EXPECT_EQ(echoed(""), "");
  EXPECT_EQ(echoed("Sec-WebSocket-Protocol: \r\n"), "");
  EXPECT_EQ(echoed("Sec-WebSocket-Protocol: other\r\n"), "");
  EXPECT_EQ(echoed("Sec-WebSocket-Protocol: other, centrifuge-json\r\n"), "centrifuge-json");
}

TEST(HttpLimits, OneConnectionTooManyIsRefusedSoThatTheClientComesBack) {
  World world;
  HttpClient client(world, 0, true);
  const Response refused = client.get("/now");
  EXPECT_EQ(refused.status, 503);
  EXPECT_GE(std::stoi(refused.header("retry-after")), 1);
  EXPECT_TRUE(client.is_ended);
  WsClient socket(world, 0, true);
  socket.open();
  world.run();
  EXPECT_EQ(socket.head->status, 503);
  SseClient stream(world, 0, true);
  stream.open("channel=a", "Origin: http://localhost:8000\r\n");
  world.run();
  EXPECT_EQ(stream.head->status, 200);
  EXPECT_EQ(stream.head->header("content-type"), "text/event-stream");
  EXPECT_EQ(stream.head->header("access-control-allow-origin"), "http://localhost:8000");
  ASSERT_EQ(stream.blocks.size(), 1U);
  EXPECT_GE(*stream.blocks[0].retry, 2'000U);
  EXPECT_TRUE(stream.is_ended);
  HttpClient page(world, 0, true);
  EXPECT_EQ(page.get("/now", "Origin: http://localhost:8000\r\n").header("access-control-allow-origin"),
            "http://localhost:8000");
  EXPECT_EQ(world.loops[0]->counters.refused.load(), 4U);
  EXPECT_TRUE(world.hub.channels("*").empty());
}

TEST(Handshakes, AreOverWhenTheClientIsLetInOrRefused) {
  World world;
  WsClient socket(world);
  socket.open();
  EXPECT_TRUE(socket.connection->is_handshaking) << "it goes on until the connect command";
  HttpClient http(world);
  http.get("/now");
  EXPECT_FALSE(http.connection->is_handshaking);
  HttpClient later(world);
  later.request("GET", "/later");
  EXPECT_TRUE(later.connection->is_handshaking);
  HttpClient poll(world);
  poll.request("GET", "/poll?channel=a");
  EXPECT_FALSE(poll.connection->is_handshaking) << "it waits";
  SseClient stream(world);
  stream.open("channel=a");
  EXPECT_FALSE(stream.connection->is_handshaking);
  HttpClient bad(world);
  bad.get("/poll");
  EXPECT_FALSE(bad.connection->is_handshaking);
  EXPECT_EQ(world.shared.admission.handshakes(), 2U);
}

TEST(Handshakes, DoNotCountWhileADrainWaitsForItsMoment) {
  World world;
  HttpClient silent(world);
  EXPECT_EQ(world.shared.admission.handshakes(), 1U);
  world.loops[0]->loop.drain(world.endpoint, 1'000);
  EXPECT_EQ(world.shared.admission.handshakes(), 0U);
}

TEST(HttpLimits, WhoWasThereBeforeADrainIsServedUntilItIsAsked) {
  World world;
  HttpClient poller(world);
  EXPECT_EQ(poller.get("/poll?channel=a&timeout=0").status, 200);
  world.is_draining = true;
  EXPECT_EQ(poller.get("/health").status, 503) << "a balancer is told at once";
  EXPECT_EQ(poller.get("/poll?channel=a&timeout=0").status, 200);
  EXPECT_FALSE(poller.is_ended);
  poller.request("GET", "/poll?channel=a");
  world.run();
  world.loops[0]->shard.bind_to_this_thread();
  poller.connection->session->drain();
  world.run();
  EXPECT_EQ(poller.responses.back().status, 200) << "and its position";
  EXPECT_TRUE(poller.is_ended);
}

TEST(HttpLimits, WhileDrainingTransportsAreRefusedAndOtherAnswersEndTheConnection) {
  World world;
  HttpClient idle(world);
  EXPECT_EQ(idle.get("/now").status, 200);
  HttpClient busy(world);
  busy.request("GET", "/later");
  world.is_draining = true;
  SseClient stream(world);
  stream.open("channel=a");
  HttpClient poll(world);
  EXPECT_EQ(poll.get("/poll?channel=a").status, 503);
  EXPECT_FALSE(poll.responses.back().header("retry-after").empty());
  EXPECT_TRUE(poll.is_ended);
  WsClient socket(world);
  socket.open();
  HttpClient health(world);
  EXPECT_EQ(health.get("/now").status, 200);
  EXPECT_TRUE(health.is_ended);
  world.loops[0]->shard.bind_to_this_thread();
  idle.connection->session->drain();
  busy.connection->session->drain();
  world.run();
  EXPECT_EQ(socket.head->status, 503);
  EXPECT_EQ(stream.head->status, 200);
  EXPECT_EQ(stream.blocks.size(), 1U);
  EXPECT_TRUE(stream.is_ended);
  EXPECT_TRUE(idle.is_ended);
  EXPECT_TRUE(busy.is_open());
  world.handler.waiting[0].second({});
  world.run();
  EXPECT_EQ(busy.responses.size(), 1U);
  EXPECT_TRUE(busy.is_ended);
}

TEST(HttpLimits, ARequestThatIsNotCompleteInTimeIsTold) {
  World world;
  HttpClient client(world);
  client.write("GET /now HTTP/1.1\r\nHo");
  world.advance(5'000);
  client.write("st: local");  // a drop now and then does not help
  world.advance(4'999);
  EXPECT_TRUE(client.responses.empty());
  world.advance(1);
  EXPECT_EQ(client.responses.at(0).status, 408);
  EXPECT_TRUE(client.is_ended);
  HttpClient silent(world);
  world.advance(10'000);
  EXPECT_EQ(silent.responses.at(0).status, 408);
}

TEST(HttpLimits, AnIdleConnectionIsClosedAndTheNextRequestHasItsOwnTime) {
  World world;
  HttpClient client(world);
  client.get("/now");
  world.advance(59'999);
  EXPECT_TRUE(client.is_open());
  client.write("GET /now HTTP/1.1\r\n");
  world.advance(9'999);
  EXPECT_TRUE(client.is_open());
  client.write("\r\n");
  world.run();
  EXPECT_EQ(client.responses.size(), 2U);
  HttpClient other(world);
  other.get("/now");
  world.advance(30'000);
  other.write("GET /now HTTP/1.1\r\n");
  world.advance(9'999);
  EXPECT_TRUE(other.is_open());
  world.advance(1);
  EXPECT_EQ(other.responses.back().status, 408);
  HttpClient idle(world);
  idle.get("/now");
  world.advance(60'000);
  EXPECT_TRUE(idle.is_ended);
  EXPECT_EQ(idle.responses.size(), 1U) << "closed without a word";
}

TEST(HttpLimits, AnAnswerThatIsAwaitedHasNoDeadline) {
  World world;
  HttpClient client(world);
  client.request("GET", "/later");
  world.advance(600'000);
  EXPECT_TRUE(client.is_open());
  world.handler.waiting[0].second({});
  world.handler.waiting[0].second({.status = 404});  // a second answer is nobody's
  world.run();
  EXPECT_EQ(client.responses.size(), 1U);
}

TEST(HttpLimits, HeadsAndBodiesOverTheLimitAreRefused) {
  World world;
  HttpClient head(world);
  head.write("GET /now HTTP/1.1\r\nX: " + std::string(9'000, 'x'), 100);
  world.run();
  EXPECT_EQ(head.responses.at(0).status, 431);
  EXPECT_TRUE(head.is_ended);
  HttpClient body(world);
  body.write("POST /echo HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n");
  world.run();
  EXPECT_EQ(body.responses.at(0).status, 413);
  EXPECT_TRUE(body.is_ended);
  EXPECT_EQ(world.shared.bodies.bytes(), 0);
}

TEST(HttpLimits, ABodyOfExactlyTheLimitIsRead) {
  WorldOptions options;
  options.limits.body_bytes = 1'000;
  World world(options);
  HttpClient client(world);
  client.write("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" +
               std::string(1'000, 'x'));
  world.run();
  EXPECT_EQ(client.responses.at(0).body.size(), 1'000U);
}

TEST(HttpLimits, ABodyThatDoesNotComeGivesItsMemoryBackWithTheRefusal) {
  World world;
  HttpClient client(world);
  client.ends_with_server = false;
  client.write("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx");
  world.run();
  EXPECT_EQ(world.shared.bodies.bytes(), 1'000);
  world.advance(world.options.limits.handshake_timeout_ms);
  EXPECT_EQ(client.responses.at(0).status, 408);
  EXPECT_TRUE(client.is_open()) << "its end is awaited";
  EXPECT_EQ(world.shared.bodies.bytes(), 0);
}

TEST(HttpLimits, WhoKeepsABodyKeepsItsMemory) {
  World world;
  HttpClient client(world);
  client.write("POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
  world.run();
  EXPECT_EQ(world.shared.bodies.bytes(), 5);
  client.cut();
  world.run();
  EXPECT_EQ(world.shared.bodies.bytes(), 5) << "the handler has it still";
  world.handler.body_memories.clear();
  EXPECT_EQ(world.shared.bodies.bytes(), 0);
}

TEST(HttpLimits, AllBodiesUnderWayShareOneLimit) {
  WorldOptions options;
  options.limits.body_bytes_total = 100;
  World world(options);
  const std::string head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60\r\n\r\n";
  HttpClient first(world);
  first.write(head + "x");
  world.run();
  EXPECT_EQ(world.shared.bodies.bytes(), 60);
  HttpClient second(world);
  second.write(head);
  world.run();
  ASSERT_EQ(second.responses.at(0).status, 503);
  EXPECT_GE(std::stoi(second.responses[0].header("retry-after")), 1);
  EXPECT_TRUE(second.is_ended);
  EXPECT_EQ(world.shared.bodies.refused(), 1U);
  ASSERT_TRUE(world.take_over());
  EXPECT_EQ(world.shared.bodies.bytes(), 60) << "a moved connection has its share";
  first.write(std::string(59, 'x'));
  world.run();
  EXPECT_EQ(first.responses.at(0).body.size(), 60U);
  EXPECT_EQ(world.shared.bodies.bytes(), 0);
  {
    HttpClient broken(world);
    broken.write(head + "x");
    broken.cut();
    world.run();
  }
  HttpClient late(world);
  late.write(head);
  world.advance(options.limits.handshake_timeout_ms);
  EXPECT_EQ(late.responses.at(0).status, 408);
  EXPECT_EQ(world.shared.bodies.bytes(), 0);
}

TEST(Http, ABodyIsRefusedByItsHeadAndNotRead) {
  World world;
  for (const auto& [lines, status] : {std::pair<std::string, int>{"X-API-Key: wrong\r\n", 401},
                                      {"Content-Encoding: gzip\r\n", 415},
                                      {"Expect: a miracle\r\n", 417},
                                      {"Origin: https://evil.test\r\n", 403}}) {
    HttpClient client(world);
    client.write("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n" + lines + "\r\n");
    world.run();
    ASSERT_EQ(client.responses.size(), 1U) << lines;
    EXPECT_EQ(client.responses[0].status, status);
    EXPECT_EQ(client.responses[0].header("connection"), "close") << "what follows is not the next request";
    EXPECT_TRUE(client.is_ended);
  }
  HttpClient page(world);  // needs no body: it is answered, and the body ignored
  page.write("GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nGET /now");
  world.run();
  ASSERT_EQ(page.responses.size(), 1U);
  EXPECT_EQ(page.responses[0].status, 200);
  EXPECT_TRUE(page.is_ended);
  EXPECT_EQ(world.shared.bodies.bytes(), 0);
}

TEST(Http, ABodyIsAskedForWhenItsHeadIsAccepted) {
  World world;
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n";
  HttpClient client(world);
  client.write(head + "\r\n");
  world.run();
  ASSERT_EQ(client.responses.size(), 1U);
  EXPECT_EQ(client.responses[0].status, 100);
  client.write("hello");
  world.run();
  ASSERT_EQ(client.responses.size(), 2U);
  EXPECT_EQ(client.responses[1].body, "hello");
  EXPECT_TRUE(client.is_open());
  HttpClient hasty(world);
  hasty.write(head + "\r\nhello");
  world.run();
  ASSERT_EQ(hasty.responses.size(), 1U) << "it did not wait";
  HttpClient refused(world);
  refused.write(head + "X-API-Key: wrong\r\n\r\n");
  world.run();
  EXPECT_EQ(refused.responses.at(0).status, 401);
}

TEST(Http, Http10KnowsNoInterimAnswer) {
  World world;
  HttpClient client(world);
  client.write("POST /echo HTTP/1.0\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  world.run();
  EXPECT_TRUE(client.responses.empty());
  client.write("hello");
  world.run();
  EXPECT_EQ(client.responses.at(0).body, "hello");
}

TEST(Http, AHandshakeOfAWebSocketHasNoBody) {
  World world;
  HttpClient client(world);
  client.write(
      "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nContent-Length: 5\r\n\r\nhello");
  world.run();
  EXPECT_EQ(client.responses.at(0).status, 400);
  EXPECT_TRUE(client.is_ended);
}

TEST(Http, WhoSentItsEndWhileAHookDecidedIsNotWaitedFor) {
  World world;
  world.access.slow = {Operation::subscribe};
  HttpClient poll(world);
  poll.request("GET", "/poll?channel=a");
  world.run();
  world.end_input(poll);
  world.access.decide(allowed());
  world.run();
  EXPECT_EQ(poll.responses.at(0).status, 200);
  EXPECT_TRUE(poll.is_ended);
  SseClient stream(world);
  stream.open("channel=a");
  world.run();
  world.end_input(stream);
  world.access.decide(allowed());
  world.run();
  EXPECT_TRUE(stream.is_ended);
  EXPECT_EQ(world.ledger_of("a").subscriptions, 0U);
}

TEST(Http, APeerThatSendsNoMoreGetsItsAnswers) {
  World world;
  HttpClient asking(world);
  asking.write(get_text("/later") + get_text("/now?2"));
  world.end_input(asking);
  world.run();
  EXPECT_TRUE(asking.is_open());
  world.handler.waiting.at(0).second({});
  world.run();
  ASSERT_EQ(asking.responses.size(), 2U);
  EXPECT_EQ(asking.responses[1].body, "\"/now?2\"");
  EXPECT_TRUE(asking.is_ended);
  HttpClient polling(world);
  polling.request("GET", "/poll?channel=c");
  world.run();
  world.end_input(polling);
  world.run();
  EXPECT_EQ(polling.responses.at(0).status, 200) << "at once, as it may have gone";
  EXPECT_TRUE(polling.is_ended);
  HttpClient cut_short(world);
  cut_short.write("GET /now HTTP/1.1\r\nHo");
  world.end_input(cut_short);
  world.run();
  EXPECT_EQ(cut_short.responses.at(0).status, 400);
  HttpClient idle(world);
  idle.get("/now");
  world.end_input(idle);
  world.run();
  EXPECT_TRUE(idle.is_ended);
  SseClient stream(world);
  stream.open("channel=c");
  world.run();
  world.end_input(stream);
  world.run();
  EXPECT_TRUE(stream.is_ended);
}

TEST(Http, Http10KeepsTheConnectionIfItIsTold) {
  World world;
  HttpClient client(world);
  client.write("GET /now HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
  world.run();
  EXPECT_EQ(client.responses.at(0).header("connection"), "keep-alive");
  EXPECT_TRUE(client.is_open());
}

TEST(Http, EmptyLinesBeforeARequestAreIgnored) {
  World world;
  HttpClient client(world);
  for (int i = 0; i < 3; ++i) client.write("\r\n" + get_text("/now") + "\r\n\r\n", 1);
  world.run();
  EXPECT_EQ(client.responses.size(), 3U);
  world.advance(world.options.limits.keepalive_timeout_ms);
  EXPECT_EQ(client.responses.size(), 3U) << "idle, not in the middle of a request";
  EXPECT_TRUE(client.is_ended);
}

TEST(Http, TheAbsoluteFormNamesTheHost) {
  World world;
  HttpClient client(world);
  EXPECT_EQ(client.get("http://localhost/now").status, 200);
  EXPECT_EQ(client.get("HTTP://localhost:8000").status, 200);
  EXPECT_EQ(client.get("http://evil.test/now").status, 421) << "not the Host header";
  EXPECT_EQ(client.exchange("OPTIONS", "*").status, 204);
  EXPECT_EQ(client.responses.back().header("allow"), "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(client.exchange("POST", "/poll?channel=c").header("allow"), "GET, OPTIONS");
}

TEST(Origin, ADefaultPortMayBeWrittenOrNot) {
  const OriginPolicy own({}, false);
  for (const auto& [origin, host] :
       std::vector<std::pair<std::string, std::string>>{{"http://a.test", "a.test:80"},
                                                        {"http://a.test:80", "a.test"},
                                                        {"https://a.test", "A.test:443"},
                                                        {"https://a.test:443", "a.test"},
                                                        {"wss://a.test", "a.test:443"},
                                                        {"ws://a.test:80", "a.test"},
                                                        {"HTTP://A.test", "a.test"},
                                                        {"http://[::1]", "[::1]:80"},
                                                        {"http://[::1]:80", "[::1]"},
                                                        {"https://[2001:DB8::80]:443", "[2001:db8::80]"},
                                                        {"http://a.test:8080", "a.test:8080"}}) {
    EXPECT_TRUE(own.accepts_origin(origin, host)) << origin << " " << host;
  }
  for (const auto& [origin, host] :
       std::vector<std::pair<std::string, std::string>>{{"http://a.test", "a.test:443"},
                                                        {"https://a.test", "a.test:80"},
                                                        {"http://a.test:8080", "a.test"},
                                                        {"http://a.test", "a.test:8080"},
                                                        {"http://a.test:443", "a.test"},
                                                        {"http://[::1]", "[::1]:443"},
                                                        {"http://[::80]", "[:"},
                                                        {"other://a.test:80", "a.test"},
                                                        {"http://b.test:80", "a.test"}}) {
    EXPECT_FALSE(own.accepts_origin(origin, host)) << origin << " " << host;
  }
  const OriginPolicy listed({"https://b.test:443", "http://*:80"}, false);
  EXPECT_TRUE(listed.accepts_origin("https://b.test", "a.test"));
  EXPECT_FALSE(listed.accepts_origin("http://c.test:8080", "a.test")) << "a pattern is not shortened";
}

TEST(HttpLimits, ADisconnectedClientsLateAnswerGoesNowhere) {
  World world;
  auto client = std::make_unique<HttpClient>(world);
  client->request("GET", "/later");
  client->cut();
  client.reset();
  world.handler.waiting[0].second({});
  world.run();
  WsClient upgraded(world);  // a session that was replaced is not answered either
  upgraded.connect();
  EXPECT_TRUE(upgraded.is_open());
}

TEST(ClientId, IsAVersion4Uuid) {
  SeededRandom random(3);
  for (int i = 0; i < 100; ++i) {
    const std::string id = make_client_id(random);
    ASSERT_EQ(id.size(), 36U);
    EXPECT_EQ(id[14], '4');
    EXPECT_NE(std::string("89ab").find(id[19]), std::string::npos);
    for (const std::size_t dash : {8U, 13U, 18U, 23U}) EXPECT_EQ(id[dash], '-');
  }
}

}  // namespace
}  // namespace carillon::testing
