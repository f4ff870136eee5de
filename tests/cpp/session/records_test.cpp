// What the log hears of clients that come, go, or are not let in, and what the counters say.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "session/session_clients.hpp"
#include "session/session_world.hpp"
#include "session/uni_client.hpp"

namespace carillon::testing {
namespace {

class Log final : public ConnectionLog {
 public:
  void write(const ConnectionRecord& record) override {
    lines.push_back(std::string(name_of(record.transport)) + " " + std::string(name_of(record.event)) + " " +
                    std::string(record.user) +
                    (record.claimed_user.empty() ? "" : "?" + std::string(record.claimed_user)) + " " +
                    std::to_string(record.code) + " " + std::string(record.reason));
    channels.emplace_back(record.channel);
    peers.emplace_back(record.peer);
  }
  std::vector<std::string> lines;
  std::vector<std::string> peers;
  std::vector<std::string> channels;
};

struct Records : ::testing::Test {
  explicit Records(WorldOptions options = {}) : world(std::move(options)) { world.shared.log = &log; }
  [[nodiscard]] const SessionCounters& counters() const { return world.loops[0]->counters; }
  Log log;  // outlives the sessions
  World world;
};

// ---- takeovers

TEST_F(Records, ATakeoverIsNoCloseAndTheNextOneHasTheRecord) {
  WsClient socket(world);
  socket.connect("?user=ann");
  SseClient stream(world);
  stream.open("channel=c");
  world.run();
  log.lines.clear();
  ASSERT_TRUE(world.take_over());
  EXPECT_TRUE(log.lines.empty()) << "they are still there";
  world.advance(5'000);
  socket.cut();
  world.run();
  ASSERT_EQ(log.lines.size(), 1U);
  EXPECT_TRUE(log.lines[0].starts_with("websocket close ann ")) << log.lines[0];
}

// ---- goodbyes

TEST_F(Records, AGoodbyeThatHasLeftIsToldByItsCode) {
  WsClient client(world);
  client.connect("?user=ann");
  client.connection->session->drain();
  world.run();
  client.cut();
  world.run();
  EXPECT_EQ(log.lines,
            (std::vector<std::string>{"websocket connect ann 0 ", "websocket close ann 3001 shutdown"}));
  EXPECT_EQ(log.peers, (std::vector<std::string>{"192.0.2.1:1024", "192.0.2.1:1024"}));
}

TEST_F(Records, AMessageThatIsTooLongNamesTheOptionInTheRecordAlone) {
  WsClient client(world);
  client.connect("?user=ann");
  log.lines.clear();
  client.send(std::string(70'000, ' '));
  world.run();
  client.cut();
  world.run();
  EXPECT_EQ(log.lines, (std::vector<std::string>{"websocket close ann 1009 message too big; the limit is "
                                                 "websocket.message_size_limit"}));
  EXPECT_EQ(client.close_reason, "message too big");
}

TEST_F(Records, AGoodbyeThatWaitsBehindWhatIsNotTakenIsNotToldAsIfItHadLeft) {
  WsClient socket(world);
  socket.connect();
  socket.subscribe("c");
  SseClient stream(world);
  stream.open("channel=c");
  world.run();
  for (Client* client : {static_cast<Client*>(&socket), static_cast<Client*>(&stream)}) {
    client->kernel().room = 10;
  }
  world.publish("c", "\"" + std::string(1'000, 'x') + "\"");
  world.run();
  log.lines.clear();
  for (Client* client : {static_cast<Client*>(&socket), static_cast<Client*>(&stream)}) {
    ASSERT_TRUE(client->is_clogged());
    client->connection->session->drain();
    world.run();
    client->cut();
    world.run();
  }
  EXPECT_EQ(log.lines,
            (std::vector<std::string>{"websocket close  0 the goodbye was not delivered: 3001 shutdown",
                                      "sse close  0 the goodbye was not delivered: 3001 shutdown"}));
}

TEST_F(Records, AGoodbyeThatLeavesLateIsToldAfterAll) {
  WsClient client(world);
  client.connect();
  client.subscribe("c");
  client.kernel().room = 10;
  world.publish("c", "\"" + std::string(1'000, 'x') + "\"");
  world.run();
  client.connection->session->disconnect(3503, "force disconnect");
  world.run();
  client.kernel().room = Kernel::kAll;
  world.run();
  client.cut();
  world.run();
  EXPECT_EQ(log.lines.back(), "websocket close  3503 force disconnect");
}

// ---- those who are not let in

TEST_F(Records, ADeniedConnectLeavesARecord) {
  world.access.slow = {Operation::connect};
  WsClient plain(world);
  plain.connect("?user=eve");
  world.access.decide(denied());
  world.run();
  WsClient with_reason(world);
  with_reason.connect("?user=eve");
  world.access.decide(denied(4403, "banned"));
  world.run();
  SseClient stream(world);
  stream.open("channel=c&user=eve");
  world.run();
  world.access.decide(denied(0, "not today"));
  world.run();
  EXPECT_EQ(log.lines,
            (std::vector<std::string>{"websocket refuse ?eve 3507 permission denied",
                                      "websocket refuse ?eve 4403 banned", "sse refuse ?eve 401 not today"}));
}

TEST_F(Records, AConnectThatIsRefusedLeavesOneRecordOnEveryTransport) {
  world.access.slow = {Operation::connect};
  Verdict ended = allowed("ann");
  ended.identity.expiry.at_s = 1;
  Verdict known = denied(3507, "not you");
  known.identity.user = "ann";  // as a token has proved it
  Verdict down = Verdict::undecided("the backend is down");
  Verdict down_as_error = down;
  down_as_error.code = 100;
  struct Refused {
    Verdict verdict;
    std::string record;
  };
  for (const Refused& each :
       {Refused{ended, "ann 110 expired: "}, Refused{known, "ann 3507 not you"},
        Refused{denied(103), "?eve 103 permission denied"},
        Refused{denied(4403, "banned"), "?eve 4403 banned"}, Refused{down, "?eve 3004 the backend is down"},
        Refused{down_as_error, "?eve 100 the backend is down"}}) {
    const auto play = [&](Client& client, const std::string& transport) {
      world.run();
      world.access.decide(each.verdict);
      world.run();
      client.cut();
      world.run();
      ASSERT_EQ(log.lines.size(), 1U) << transport << " " << each.record;
      EXPECT_TRUE(log.lines[0].starts_with(transport + " refuse " + each.record)) << log.lines[0];
      log.lines.clear();
    };
    WsClient socket(world);
    socket.connect("?user=eve");
    play(socket, "websocket");
    for (const auto& [kind, transport] : {std::pair{UniKind::websocket, "uni_websocket"},
                                          {UniKind::websocket_by_url, "uni_websocket"},
                                          {UniKind::sse, "uni_sse"},
                                          {UniKind::sse_by_post, "uni_sse"},
                                          {UniKind::http_stream, "uni_http_stream"}}) {
      UniClient client(world, kind);
      client.ask("{}", "?user=eve");
      play(client, transport);
    }
    const std::string body = R"({"id":1,"connect":{}})";
    HttpClient stream(world);
    stream.write("POST /connection/http_stream?user=eve HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
                 std::to_string(body.size()) + "\r\n\r\n" + body);
    play(stream, "http_stream");
  }
}

TEST_F(Records, OneThatIsRefusedAgainAndAgainDoesNotFloodTheLog) {
  world.access.slow = {Operation::connect};
  WsClient client(world);
  client.open();
  for (int i = 0; i < 30; ++i) {
    client.send(R"({"id":1,"connect":{}})");
    world.run();
    world.access.decide(denied(111));
    world.run();
  }
  EXPECT_EQ(client.replies.size(), 30U);
  ASSERT_EQ(log.lines.size(), 10U);
  EXPECT_TRUE(log.lines.back().ends_with("(further refusals of this client are not logged)"));
}

TEST_F(Records, ABadConnectIsToldByTheFieldAndNotByItsValue) {
  const std::string deep = R"({"data":)" + std::string(70, '[') + std::string(70, ']') + "}";
  struct Bad {
    std::string request;
    std::string field;
  };
  for (const Bad& each :
       {Bad{R"({"token":["s3cret"]})", "token: must be a string"}, Bad{"nonsense", "is not a JSON object"},
        Bad{R"({"flag":"s3cret"})", "flag: must be a whole number"}, Bad{R"({"subs":{"a":1}})", "subs: "},
        Bad{deep, "nested deeper"}}) {
    for (const UniKind kind : kUniKinds) {
      UniClient client(world, kind);
      client.ask(each.request);
      world.run();
      client.cut();
      world.run();
      ASSERT_EQ(log.lines.size(), 1U) << each.request;
      EXPECT_NE(log.lines[0].find(each.field), std::string::npos) << log.lines[0];
      EXPECT_EQ(log.lines[0].find("s3cret"), std::string::npos) << log.lines[0];
      log.lines.clear();
    }
    WsClient socket(world);
    socket.open();
    socket.send(R"({"id":1,"connect":)" + each.request + "}");
    world.run();
    socket.cut();
    world.run();
    ASSERT_EQ(log.lines.size(), 1U) << each.request;
    EXPECT_TRUE(log.lines[0].starts_with("websocket refuse ")) << log.lines[0];
    EXPECT_EQ(log.lines[0].find("s3cret"), std::string::npos) << log.lines[0];
    log.lines.clear();
  }
  WsClient first(world);
  first.open();
  first.send(R"({"id":1,"subscribe":{"channel":"a"}})");
  world.run();
  first.cut();
  world.run();
  EXPECT_EQ(
      log.lines,
      (std::vector<std::string>{"websocket refuse  3501 bad request: its first command is not a connect"}));
}

struct RecordsOfRules : Records {
  static WorldOptions strict() {
    WorldOptions options;
    options.is_insecure = false;
    options.limits.channels_per_connection = 1;
    options.rules = {{"open", [] {
                        ChannelOptions open;
                        open.allow_subscribe = open.allow_subscribe_for_anonymous = true;
                        return open;
                      }()}};
    return options;
  }
  RecordsOfRules() : Records(strict()) {}
};

TEST_F(RecordsOfRules, ACommandThatIsRefusedLeavesARecordWithTheOptionThatWouldAllowIt) {
  WsClient client(world);
  client.connect();
  log.lines.clear();
  log.channels.clear();
  client.subscribe("news");
  client.command("publish", {{"channel", "news"}, {"data", 1}});
  client.subscribe("bad\u0001");
  client.subscribe("open");
  client.subscribe("open");
  client.subscribe("more");
  EXPECT_EQ(
      log.lines,
      (std::vector<std::string>{
          "websocket refuse  103 subscribe 'news': permission denied; set allow_subscribe_for_client and "
          "allow_subscribe_for_anonymous to allow it",
          "websocket refuse  103 publish 'news': permission denied; set allow_publish_for_client and "
          "allow_publish_for_anonymous to allow it",
          "websocket refuse  107 subscribe 'bad?': bad request; a name is UTF-8 without control characters, "
          "1 to limits.channel_name_bytes long",
          "websocket refuse  105 subscribe 'open': already subscribed",
          "websocket refuse  106 subscribe 'more': limit exceeded; raise limits.channels_per_connection"}));
  EXPECT_EQ(log.channels[0], "news");
  HttpClient poll(world);
  EXPECT_EQ(poll.get("/poll?channel=news&timeout=0").status, 403);
  EXPECT_EQ(
      log.lines.back(),
      "poll refuse  403 channel: no permission to subscribe to 'news'; set allow_subscribe_for_client and "
      "allow_subscribe_for_anonymous to allow it");
  EXPECT_EQ(log.channels.back(), "news");
}

TEST_F(RecordsOfRules, AClientThatIsRefusedAgainAndAgainDoesNotFloodTheLog) {
  WsClient client(world);
  client.connect();
  log.lines.clear();
  for (int i = 0; i < 50; ++i) client.subscribe("news");
  ASSERT_EQ(log.lines.size(), 10U);
  EXPECT_NE(log.lines.back().find("further refusals"), std::string::npos);
}

TEST_F(Records, OfPollsOnlyThoseThatFailLeaveARecord) {
  HttpClient client(world);
  EXPECT_EQ(client.get("/poll?channel=c&timeout=0&user=ann").status, 200);
  EXPECT_TRUE(log.lines.empty());
  world.access.slow = {Operation::subscribe};
  client.request("GET", "/poll?channel=c&timeout=0&user=ann");
  world.run();
  world.access.decide(denied());
  world.run();
  EXPECT_EQ(client.responses.back().status, 403);
  world.access.slow = {};
  world.store.is_unavailable = true;
  EXPECT_EQ(client.get("/poll?channel=new&timeout=0&user=ann").status, 503);
  ASSERT_EQ(log.lines.size(), 2U);
  EXPECT_EQ(log.lines[0], "poll refuse ann 403 channel: no permission to subscribe to 'c'");
  EXPECT_EQ(log.lines[1], "poll refuse ann 503 the store is not available");
}

TEST_F(Records, AWebPageOfAnotherOriginLeavesARecord) {
  HttpClient client(world);
  EXPECT_EQ(client.get("/now", "Origin: https://evil.test\r\n").status, 403);
  ASSERT_EQ(log.lines.size(), 1U);
  EXPECT_TRUE(log.lines[0].starts_with("http refuse  403 Origin")) << log.lines[0];
  log.lines.clear();
  EXPECT_EQ(client.get("/sse?channel=c&user=ann", "Origin: https://evil.test\r\n").status, 403);
  ASSERT_EQ(log.lines.size(), 1U);
  EXPECT_TRUE(log.lines[0].starts_with("sse refuse ?ann 403 Origin")) << log.lines[0];
}

TEST_F(Records, WhoFindsNoPlaceLeavesARecordAndOperatorsDoNot) {
  HttpClient poll(world, 0, true);
  EXPECT_EQ(poll.get("/poll?channel=c&user=ann").status, 503);
  SseClient stream(world, 0, true);
  stream.open("channel=c");
  world.run();
  WsClient socket(world, 0, true);
  socket.open();
  world.run();
  HttpClient health(world, 0, true);
  EXPECT_EQ(health.get("/health").status, 200);
  EXPECT_EQ(log.lines,
            (std::vector<std::string>{"poll refuse ?ann 503 over the limit of connections: "
                                      "client.connection_limit, or that of descriptors (ulimit -n)",
                                      "sse refuse  200 over the limit of connections: "
                                      "client.connection_limit, or that of descriptors (ulimit -n)",
                                      "websocket refuse  503 over the limit of connections: "
                                      "client.connection_limit, or that of descriptors (ulimit -n)"}));
}

TEST_F(Records, WhoComesDuringADrainLeavesARecord) {
  world.is_draining = true;
  HttpClient poll(world);
  EXPECT_EQ(poll.get("/poll?channel=c&user=ann").status, 503);
  SseClient stream(world);
  stream.open("channel=c");
  world.run();
  HttpClient page(world);
  EXPECT_EQ(page.get("/now").status, 200);
  EXPECT_EQ(log.lines,
            (std::vector<std::string>{"poll refuse ?ann 503 shutdown", "sse refuse  200 shutdown"}));
}

TEST_F(Records, EveryRefusalLeavesARecord) {
  const auto refused = [this](std::string_view request) {
    HttpClient client(world);
    client.write(request);
    world.run();
    EXPECT_TRUE(client.responses.empty() || client.responses.back().status >= 400) << request;
    EXPECT_EQ(log.lines.size(), 1U) << request;
    return log.lines.empty() ? std::string() : std::exchange(log.lines, {}).front();
  };
  const std::string host = " HTTP/1.1\r\nHost: localhost\r\n";
  EXPECT_TRUE(refused("GET /sse?channel=c&since=42&user=ann" + host + "\r\n")
                  .starts_with("sse refuse ?ann 400 since"));
  EXPECT_TRUE(refused("GET /sse" + host + "\r\n").starts_with("sse refuse  400 channel"));
  EXPECT_TRUE(
      refused("GET /poll?channel=c&timeout=x" + host + "\r\n").starts_with("poll refuse  400 timeout"));
  EXPECT_TRUE(refused("GET /connection/websocket" + host + "\r\n").starts_with("websocket refuse  400 "));
  EXPECT_TRUE(refused("GET /connection/websocket" + host + "Upgrade: websocket\r\n\r\n")
                  .starts_with("websocket refuse  426 "));
  EXPECT_TRUE(refused("PUT /poll?channel=c" + host + "\r\n").starts_with("poll refuse  405 "));
  EXPECT_TRUE(refused("GET /now?%zz" + host + "\r\n").starts_with("http refuse  400 "));
  EXPECT_EQ(refused("POST /forbidden" + host + "Content-Length: 9\r\n\r\n"), "http refuse  401 no");
  EXPECT_TRUE(refused("GET /nowhere" + host + "\r\n").starts_with("http refuse  404"));
  EXPECT_TRUE(refused("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n").starts_with("http refuse  421 "));
  EXPECT_TRUE(refused("nonsense\r\n\r\n").starts_with("http refuse  400 "));
  EXPECT_TRUE(refused("GET /sse?channel=c" + host + "X: " + std::string(9'000, 'x'))
                  .starts_with("http refuse  431 "));
  HttpClient silent(world);
  world.advance(world.options.limits.handshake_timeout_ms);
  EXPECT_EQ(std::exchange(log.lines, {}),
            (std::vector<std::string>{"http refuse  408 the request was not complete in time"}));
}

TEST_F(Records, ALaterRequestOfAConnectionIsRecordedWithItsOwnClientAndTransport) {
  const std::string end = " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  // With a user that is known, with one that is only claimed.
  for (const std::string first : {"/poll?channel=c&timeout=0&user=ann", "/now?user=eve"}) {
    for (const auto& [second, record] : {std::pair<std::string, std::string>{"GET /nowhere" + end, "404"},
                                         {"GET /now?%zz" + end, "400"},
                                         {"nonsense\r\n\r\n", "400"}}) {
      HttpClient client(world);
      EXPECT_EQ(client.get(first).status, 200);
      EXPECT_TRUE(log.lines.empty());
      client.write(second);
      world.run();
      ASSERT_EQ(log.lines.size(), 1U) << second;
      EXPECT_TRUE(log.lines[0].starts_with("http refuse  " + record)) << first << ", " << log.lines[0];
      log.lines.clear();
    }
  }
}

TEST_F(Records, AWebSocketThatIsClosedBeforeItsConnectCommandIsARefusal) {
  WsClient mute(world);
  mute.open("?user=ann");
  world.advance(world.options.limits.handshake_timeout_ms + world.options.limits.close_timeout_ms + 100);
  ASSERT_EQ(log.lines.size(), 1U);
  EXPECT_TRUE(log.lines[0].starts_with("websocket refuse ")) << log.lines[0];
  EXPECT_NE(log.lines[0].find(" 3502 "), std::string::npos) << log.lines[0];
  log.lines.clear();
  WsClient noise(world);
  noise.open();
  noise.send("no command");
  world.advance(world.options.limits.close_timeout_ms + 100);
  ASSERT_EQ(log.lines.size(), 1U);
  EXPECT_TRUE(log.lines[0].starts_with("websocket refuse ")) << log.lines[0];
  log.lines.clear();
  WsClient gone(world);
  gone.open();
  world.run();
  gone.cut();
  world.run();
  EXPECT_TRUE(log.lines.empty()) << "it has gone by itself";
}

// ---- counters

TEST_F(Records, CountersTellHandshakesThatWereNotFinishedAndRequestsThatWereBad) {
  HttpClient silent(world);
  WsClient mute(world);
  mute.open();
  world.run();
  world.advance(world.options.limits.handshake_timeout_ms + 100);
  EXPECT_EQ(counters().handshake_timeouts, 2U);
  EXPECT_EQ(counters().bad_requests, 0U);

  HttpClient client(world);
  EXPECT_EQ(client.get("/sse").status, 400);  // no channel
  EXPECT_EQ(client.get("/now").status, 200);
  EXPECT_EQ(counters().bad_requests, 1U);
  EXPECT_EQ(client.exchange("POST", "/sse?channel=c").status, 405);
  EXPECT_EQ(counters().bad_requests, 2U);
  HttpClient noise(world);
  noise.write("noise\r\n\r\n");
  world.run();
  EXPECT_EQ(counters().bad_requests, 3U);
  WsClient socket(world);
  socket.connect();
  socket.send("no command");
  world.run();
  EXPECT_EQ(counters().bad_requests, 4U);
  WsClient masked(world);
  masked.connect();
  masked.send_frame(0x3, "");  // no such opcode
  world.run();
  EXPECT_EQ(counters().bad_requests, 5U);
  EXPECT_EQ(counters().handshake_timeouts, 2U);
}

}  // namespace
}  // namespace carillon::testing
