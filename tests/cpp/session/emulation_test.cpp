// Centrifuge clients over HTTP: replies leave in one endless response, commands come by requests of their
// own.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "session/session_clients.hpp"
#include "session/session_world.hpp"

namespace carillon::testing {
namespace {

std::string post(std::string_view target, std::string_view body, std::string_view type = "application/json") {
  return "POST " + std::string(target) +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + std::string(type) +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

/// A client over http_stream, or over an event stream.
class StreamClient : public Client {
 public:
  explicit StreamClient(World& the_world, bool is_event_stream = false)
      : Client(the_world), is_event_stream_(is_event_stream) {}

  void open(std::string_view commands = R"({"id":1,"connect":{}})", std::string_view query = {}) {
    const std::string path = is_event_stream_ ? "/connection/sse" : "/connection/http_stream";
    write(post(path + std::string(query), commands));
    world.run();
    if (messages.empty()) return;
    const Json& connect = messages.front()["connect"];
    session = connect.value("session", "");
    node = connect.value("node", "");
  }
  /// Sends commands by a connection of their own; the status of the answer.
  int send(std::string_view commands) {
    HttpClient other(world);
    other.write(post("/emulation", Json{{"session", session}, {"node", node}, {"data", commands}}.dump()));
    world.run();
    EXPECT_EQ(other.responses.size(), 1U);
    return other.responses.empty() ? 0 : other.responses.back().status;
  }
  void on_bytes(std::string_view bytes) override {
    pending_.append(bytes);
    if (!head) {
      head = take_head(pending_);
      if (!head) return;
    }
    if (head->status != 200) return;
    if (is_event_stream_ && is_beginning_ && pending_.starts_with('\n')) pending_.erase(0, 1);
    is_beginning_ = false;
    const std::string end = is_event_stream_ ? "\n\n" : "\n";
    for (std::size_t at = 0; (at = pending_.find(end)) != std::string::npos;) {
      std::string_view text = std::string_view(pending_).substr(0, at);
      if (is_event_stream_) {
        EXPECT_TRUE(text.starts_with("data: ")) << text;
        text.remove_prefix(6);
      }
      messages.push_back(Json::parse(text));
      pending_.erase(0, at + end.size());
    }
  }
  [[nodiscard]] std::vector<Json> publications() const {
    std::vector<Json> found;
    for (const Json& message : messages) {
      if (message.contains("push") && message["push"].contains("pub"))
        found.push_back(message["push"]["pub"]["data"]);
    }
    return found;
  }

  std::optional<Response> head;
  std::deque<Json> messages;
  std::string session;
  std::string node;

 private:
  const bool is_event_stream_;
  bool is_beginning_ = true;
  std::string pending_;
};

class Emulation : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Streams, Emulation, ::testing::Values(false, true),
                         [](const auto& each) { return each.param ? "EventStream" : "HttpStream"; });

TEST_P(Emulation, ConnectAndSubscribeInTheFirstRequestAndCommandsInOthers) {
  World world;
  StreamClient client(world, GetParam());
  client.open("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
  ASSERT_EQ(client.head->status, 200);
  EXPECT_EQ(client.head->header("cache-control").substr(0, 7), "private");
  ASSERT_EQ(client.messages.size(), 2U);
  EXPECT_EQ(client.session.size(), 36U);
  EXPECT_NE(client.session, client.messages[0]["connect"]["client"]) << "it is a secret";
  EXPECT_EQ(world.loops[0]->counters.emulated(), 1U);
  world.publish("a", "1");
  EXPECT_EQ(client.send(R"({"id":3,"publish":{"channel":"a","data":2}})"), 204);
  EXPECT_EQ(client.publications(), (std::vector<Json>{1, 2}));
  EXPECT_EQ(std::count_if(client.messages.begin(), client.messages.end(),
                          [](const Json& message) { return message.contains("publish"); }),
            1);
  client.cut();
  world.run();
  EXPECT_EQ(world.loops[0]->counters.emulated(), 0U);
  EXPECT_FALSE(world.shared.directory.find(client.session).has_value());
  EXPECT_EQ(client.send(R"({"id":4,"ping":{}})"), 404) << "of a client that has gone";
}

TEST_P(Emulation, ADisconnectIsAPushAndTheEnd) {
  World world;
  StreamClient client(world, GetParam());
  client.open();
  EXPECT_EQ(client.send("nonsense"), 204);
  EXPECT_EQ(client.messages.back()["push"]["disconnect"]["code"], 3'501);
  EXPECT_TRUE(client.is_ended);

  StreamClient drained(world, GetParam());
  drained.open();
  drained.connection->session->drain();
  world.run();
  EXPECT_EQ(drained.messages.back()["push"]["disconnect"]["code"], 3'001);
  EXPECT_TRUE(drained.is_ended);
}

TEST_P(Emulation, PingsComeInTheStreamAndPongsByRequests) {
  WorldOptions options;
  options.heartbeat.ping_interval_ms = 1'000;
  options.heartbeat.pong_timeout_ms = 500;
  World world(options);
  StreamClient client(world, GetParam());
  client.open();
  for (int i = 0; i < 3; ++i) {
    const std::size_t before = client.messages.size();
    while (client.messages.size() == before) world.advance(10);
    EXPECT_EQ(client.messages.back(), Json::object());
    EXPECT_EQ(client.send("{}"), 204);
  }
  ASSERT_TRUE(client.is_open());
  world.advance(2'000);
  EXPECT_EQ(client.messages.back()["push"]["disconnect"]["code"], 3'012);
}

TEST_P(Emulation, ATakeoverKeepsTheClientAndItsName) {
  WorldOptions options;
  options.shards = 2;
  World world(options);
  StreamClient client(world, GetParam());
  client.open("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
  ASSERT_TRUE(world.take_over());
  world.publish("a", "1");
  EXPECT_EQ(client.send(R"({"id":3,"publish":{"channel":"a","data":2}})"), 204);
  EXPECT_EQ(client.publications(), (std::vector<Json>{1, 2}));
}

TEST(EmulationRequests, AreRefusedForWhatIsWrongWithThem) {
  World world;
  StreamClient client(world);
  client.open();
  const auto status_of = [&](const std::string& request) {
    HttpClient other(world);
    other.write(request);
    world.run();
    return other.responses.empty() ? 0 : other.responses.back().status;
  };
  const auto body = [&](const std::string& node, const std::string& data) {
    return post("/emulation", Json{{"session", client.session}, {"node", node}, {"data", data}}.dump());
  };
  EXPECT_EQ(status_of(body("another", "{}")), 404);
  EXPECT_EQ(status_of(body(client.node, "")), 400);
  EXPECT_EQ(status_of(body(client.node, std::string(70'000, ' '))), 413);
  EXPECT_EQ(status_of(post("/emulation", "{")), 400);
  EXPECT_EQ(status_of(post("/emulation", R"({"session":1})")), 400);
  EXPECT_EQ(status_of(post("/connection/http_stream", "")), 400);
  EXPECT_EQ(status_of(post("/connection/http_stream", std::string(70'000, ' '))), 413);
  HttpClient other(world);
  EXPECT_EQ(other.get("/emulation").status, 405);
  EXPECT_EQ(other.get("/connection/http_stream").status, 405);
  EXPECT_EQ(other.get("/connection/sse").status, 400);
  const Response options = other.exchange("OPTIONS", "/emulation");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.header("allow"), "POST, OPTIONS");
  EXPECT_TRUE(client.is_open()) << "no other client notices";
}

/// Other gateways, played by the test.
class PlayedGateways final : public OtherGateways {
 public:
  void forward(std::string_view node, std::string_view session, std::string_view commands,
               std::function<void(Forwarding)> done) override {
    asked.push_back(std::string(node) + '|' + std::string(session) + '|' + std::string(commands));
    waiting.push_back(std::move(done));
  }
  void count(std::function<void(const std::optional<Count>&)> done) override { counted = std::move(done); }
  std::vector<std::string> asked;
  std::deque<std::function<void(Forwarding)>> waiting;
  std::function<void(const std::optional<Count>&)> counted;
};

TEST(EmulationRequests, ForAnotherGatewayGetTheAnswerThatItGives) {
  using Forwarding = OtherGateways::Forwarding;
  PlayedGateways others;
  World world;
  world.shared.others = &others;
  for (const auto& [outcome, status] :
       {std::pair(Forwarding::taken, 204), std::pair(Forwarding::unknown, 404),
        std::pair(Forwarding::too_long, 413), std::pair(Forwarding::refused, 503),
        std::pair(Forwarding::late, 504)}) {
    HttpClient client(world);
    client.write(post("/emulation", R"({"session":"s","node":"another","data":"{}\n{}"})"));
    world.run();
    EXPECT_TRUE(client.responses.empty()) << "nobody has it yet";
    EXPECT_EQ(world.loops[0]->counters.answers_due, 1U) << "a drain waits for the answer";
    EXPECT_GT(world.shared.bodies.bytes(), 0) << "its memory counts as long as it waits";
    ASSERT_EQ(others.waiting.size(), 1U);
    EXPECT_EQ(others.asked.back(), "another|s|{}\n{}");
    others.waiting.front()(outcome);
    others.waiting.pop_front();
    world.run();
    ASSERT_EQ(client.responses.size(), 1U);
    EXPECT_EQ(client.responses[0].status, status);
    EXPECT_EQ(world.loops[0]->counters.answers_due, 0U);
    EXPECT_EQ(world.shared.bodies.bytes(), 0);
  }
}

TEST(EmulationRequests, ForAnotherGatewayMayBeBinaryAndOutliveTheirConnection) {
  PlayedGateways others;
  World world;
  world.shared.others = &others;
  const std::string data("\x01\x00\n\xff", 4);
  const std::string body = std::string("\x0a\x01n\x12\x01s\x1a\x04", 8) + data;
  {
    HttpClient client(world);
    client.write(post("/emulation", body, "application/octet-stream"));
    world.run();
    ASSERT_EQ(others.asked, std::vector<std::string>{"n|s|" + data});
    client.cut();
    world.run();
  }
  others.waiting.front()(OtherGateways::Forwarding::taken);  // too late: nobody is there
  others.waiting.clear();
  world.run();
  EXPECT_EQ(world.shared.bodies.bytes(), 0);
  EXPECT_EQ(world.loops[0]->counters.answers_due, 0U);
}

TEST(Health, OfTheFleetIsAskedForByName) {
  PlayedGateways others;
  World world;
  world.shared.others = &others;
  HttpClient client(world);
  EXPECT_EQ(client.get("/health").body, "{}");
  EXPECT_FALSE(others.counted) << "a probe asks nobody";
  client.write("GET /health?fleet=true HTTP/1.1\r\nHost: localhost\r\n\r\n");
  world.run();
  EXPECT_EQ(client.responses.size(), 1U) << "it waits";
  others.counted(OtherGateways::Count{.gateways = 3, .draining = 1, .silent = 2});
  world.run();
  ASSERT_EQ(client.responses.size(), 2U);
  EXPECT_EQ(client.responses[1].status, 200);
  EXPECT_EQ(client.responses[1].body, R"({"fleet":{"gateways":3,"draining":1,"silent":2}})");
  client.write("GET /health?fleet=true HTTP/1.1\r\nHost: localhost\r\n\r\n");
  world.run();
  others.counted(std::nullopt);
  world.run();
  EXPECT_EQ(client.responses.back().body, R"({"fleet":"unavailable"})");
  world.shared.others = nullptr;
  World alone;
  HttpClient single(alone);
  EXPECT_EQ(single.get("/health?fleet=true").body, R"({"fleet":{"gateways":1,"draining":0,"silent":0}})");
}

TEST(EmulationRequests, CommandsThatNobodyReadsEndTheirClientAlone) {
  WorldOptions options;
  options.limits.pipelined_bytes = 2'000;
  options.limits.commands_under_way = 1;
  World world(options);
  StreamClient client(world);
  client.open();
  world.store.is_late = true;  // no answer comes
  for (int i = 0; i < 50 && client.is_open(); ++i)
    client.send(R"({"id":)" + std::to_string(i + 2) + R"(,"publish":{"channel":"a","data":1}})" +
                std::string(200, ' '));
  EXPECT_FALSE(client.is_open());
  EXPECT_EQ(client.messages.back()["push"]["disconnect"]["code"], 3'008);
}

TEST(EmulationRequests, AnEventStreamBeginsByGetAsWell) {
  World world;
  StreamClient client(world, true);
  client.write(
      "GET /connection/sse?cf_connect=%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D HTTP/1.1\r\nHost: "
      "localhost\r\n\r\n");
  world.run();
  ASSERT_EQ(client.messages.size(), 1U);
  EXPECT_TRUE(client.messages[0]["connect"].contains("session"));
}

}  // namespace
}  // namespace carillon::testing
