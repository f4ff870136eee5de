#include "load/dialect.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "load/web_frame.hpp"

namespace carillon::load {
namespace {

/// Listens to one line, and plays the server by handing bytes over in pieces.
class DialectTest : public testing::Test, public LineEvents {
 protected:
  void send(Line& /*line*/, std::string_view bytes) override { sent += bytes; }
  void on_live(Line& joined) override { joined.stage = Line::Stage::live; }
  std::size_t on_messages(Line& /*line*/, std::string_view text) override {
    std::size_t count = 0;
    for (std::uint64_t number = 0; next_mark(text, number); ++count) numbers.push_back(number);
    return count;
  }
  void on_ping(Line& /*line*/) override { ++pings; }
  void on_published(Line& /*line*/, std::uint64_t number) override { published.push_back(number); }
  void on_malformed(Line& /*line*/, std::string_view /*text*/) override { ++malformed; }
  void on_refused(Line& /*line*/, std::string_view why) override { refused = why; }
  void on_lost(Line& /*line*/, std::string_view why) override { lost = why; }
  void on_not_recovered(Line& /*line*/) override { ++not_recovered; }

  void start(const std::string& transport, const std::string& protocol = "centrifuge") {
    settings.transport = transport;
    settings.protocol = protocol;
    dialect = make_subscriber_dialect(settings, *this);
    dialect->open(line);
  }

  /// As sockets do: first all but the last byte, then the whole.
  void receive(std::string bytes) {
    std::size_t used = 0;
    for (std::size_t size : {bytes.size() - 1, bytes.size()}) {
      while (used < size) {
        std::string piece = bytes.substr(used, size - used);  // a frame is unmasked in place
        const std::size_t step = dialect->hear(line, piece.data(), piece.size());
        if (step == 0) break;
        used += step;
      }
    }
    EXPECT_EQ(used, bytes.size());
  }

  void receive_text(std::string_view text) {
    std::string frame;
    append_frame(frame, kTextFrame, text);
    receive(frame);
  }

  /// What was sent since the last call; of a WebSocket, the payload of its one frame.
  std::string take() { return std::exchange(sent, {}); }
  std::string take_text() {
    std::string bytes = take();
    const auto frame = read_frame(bytes.data(), bytes.size());
    return frame ? std::string(frame->payload) : "no frame: " + bytes;
  }

  void upgrade() {
    EXPECT_NE(take().find("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), std::string::npos);
    receive("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-ACCEPT: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
  }

  static std::string data(std::uint64_t number) {
    std::string text;
    write_data(text, number, 40);
    return text;
  }

  Settings settings;
  std::unique_ptr<Dialect> dialect;
  Line line;
  std::string sent;
  std::vector<std::uint64_t> numbers;
  std::vector<std::uint64_t> published;
  std::uint64_t malformed = 0;
  std::uint64_t pings = 0;
  int not_recovered = 0;
  std::string refused;
  std::string lost;
};

TEST_F(DialectTest, CentrifugeSubscribesAnswersPingsAndHearsPushes) {
  settings.channels = 3;
  settings.channels_per_connection = 2;
  line.index = 2;
  start("ws");
  upgrade();
  EXPECT_EQ(take_text(),
            "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"bench-1\"}}\n"
            "{\"id\":3,\"subscribe\":{\"channel\":\"bench-2\"}}");
  receive_text("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{}}");
  EXPECT_NE(line.stage, Line::Stage::live);
  receive_text(R"({"id":3,"subscribe":{}})");
  EXPECT_EQ(line.stage, Line::Stage::live);
  receive_text("{}");
  EXPECT_EQ(take_text(), "{}");
  EXPECT_EQ(pings, 1U);
  receive_text(R"({"push":{"channel":"bench-1","pub":{"data":)" + data(4) + "}}}\n" +
               R"({"push":{"channel":"bench-2","pub":{"data":)" + data(5) + "}}}");
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{4, 5}));
  receive_text(R"({"push":{"channel":"bench-1","pub":{"data":"not ours"}}})");
  EXPECT_EQ(malformed, 1U);
  receive_text(R"({"id":3,"error":{"code":103}})");
  EXPECT_NE(refused.find("103"), std::string::npos);
}

TEST_F(DialectTest, CompressedFramesAreInflated) {
  settings.is_deflated = true;
  start("ws");
  EXPECT_NE(take().find("Sec-WebSocket-Extensions: permessage-deflate; "), std::string::npos);
  receive(
      "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
      "sec-websocket-extensions: permessage-deflate\r\n\r\n");
  const std::string push = R"({"push":{"channel":"bench","pub":{"data":)" + data(4) + "}}}";
  const auto size = static_cast<char>(push.size());
  std::string frame;  // a block that is only stored, then an empty one, of which the end stays away
  append_frame(frame, kDeflatedTextFrame,
               std::string{0, size, 0, static_cast<char>(~size), static_cast<char>(0xFF)} + push +
                   std::string(1, '\0'));
  receive(frame);
  EXPECT_EQ(numbers, std::vector<std::uint64_t>{4});
  frame.clear();
  append_frame(frame, kDeflatedTextFrame, "\xFF\xFF");
  receive(frame);
  EXPECT_EQ(malformed, 1U);
}

TEST_F(DialectTest, AServerThatDoesNotCompressIsNoneToMeasure) {
  settings.is_deflated = true;
  start("ws");
  take();
  receive("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
  EXPECT_NE(refused.find("does not compress"), std::string::npos);
}

TEST_F(DialectTest, RepliesToPublicationsAreToldWithTheirNumbers) {
  settings.user = "u";
  line.is_publisher = true;
  dialect = make_publisher_dialect(settings, *this);
  dialect->open(line);
  upgrade();
  take();
  receive_text(R"({"id":1,"connect":{}})");
  std::string frame;
  dialect->append_publish(frame, "bench", data(7), 7);
  EXPECT_NE(std::string(read_frame(frame.data(), frame.size())->payload).find("{\"id\":9,"),
            std::string::npos);
  receive_text("{\"id\":9,\"publish\":{\"offset\":1}}\n{\"id\":2,\"publish\":{}}");
  EXPECT_EQ(published, (std::vector<std::uint64_t>{7, 0}));

  settings.publish_by = "post";
  line = {};
  dialect = make_publisher_dialect(settings, *this);
  for (int i = 0; i < 2; ++i) receive("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"result\":{}}");
  EXPECT_EQ(published, (std::vector<std::uint64_t>{7, 0, 0, 1})) << "in the order of the messages";
}

TEST_F(DialectTest, SubscribersSayWhoTheyAre) {
  settings.user = "member-";
  settings.workers = 2;
  settings.worker = 1;
  line.index = 3;
  for (const std::string transport : {"ws", "sse", "poll"}) {
    start(transport);
    EXPECT_NE(take().find("user=member-503"), std::string::npos) << transport;
    line.stage = Line::Stage::connecting;
  }
}

TEST_F(DialectTest, AWebSocketAnswersPingFramesAndTellsOfTheEnd) {
  start("ws", "raw");
  upgrade();
  EXPECT_EQ(take_text(), "s bench");
  receive_text("ok");
  EXPECT_EQ(line.stage, Line::Stage::live);
  std::string ping;
  append_frame(ping, kPingFrame, "are you there");
  receive(ping);
  std::string pong = take();
  EXPECT_EQ(read_frame(pong.data(), pong.size())->head, kPongFrame);
  EXPECT_EQ(pings, 1U);
  receive_text(data(0));
  EXPECT_EQ(numbers, std::vector<std::uint64_t>{0});
  std::string goodbye;
  append_frame(goodbye, kCloseFrame, "\x03\xe9going away");
  receive(goodbye);
  EXPECT_EQ(lost, "going away");
}

TEST_F(DialectTest, ARefusedHandshakeIsTold) {
  start("ws");
  receive("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n");
  EXPECT_EQ(refused, "HTTP/1.1 503 Service Unavailable");
}

TEST_F(DialectTest, SocketIoJoinsRooms) {
  start("ws", "socketio");
  upgrade();
  receive_text(R"(0{"sid":"a","pingInterval":25000})");
  EXPECT_EQ(take_text(), "40");
  receive_text(R"(40{"sid":"b"})");
  EXPECT_EQ(take_text(), R"(420["s","bench"])");
  receive_text("430[]");
  EXPECT_EQ(line.stage, Line::Stage::live);
  receive_text("2");
  EXPECT_EQ(take_text(), "3");
  receive_text("42[\"m\"," + data(1) + "]");
  EXPECT_EQ(numbers, std::vector<std::uint64_t>{1});
}

TEST_F(DialectTest, SseIsLiveAtItsLastStatusAndHearsEvents) {
  settings.channels = settings.channels_per_connection = 2;
  start("sse");
  EXPECT_TRUE(take().starts_with("GET /sse?channel=bench-0&channel=bench-1 HTTP/1.1\r\n"));
  receive("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 2000\n\n");
  receive("id: e:0\nevent: status\ndata: {}\n\n");
  EXPECT_NE(line.stage, Line::Stage::live);
  receive("event: status\ndata: {}\n\n:\n\nid: e:1\ndata: {\"data\":" + data(3) + "}\n\n");
  EXPECT_EQ(line.stage, Line::Stage::live);
  EXPECT_EQ(numbers, std::vector<std::uint64_t>{3});
  EXPECT_EQ(malformed, 0U);
  receive("event: status\ndata: {}\n\n");
  EXPECT_EQ(malformed, 1U) << "a gap is told";
}

TEST_F(DialectTest, SseInChunks) {
  start("sse");
  receive("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string event = "data: " + data(9) + "\n\n";
  char size[8];
  std::snprintf(size, sizeof size, "%zx\r\n", event.size() * 2);
  receive(size + event + event + "\r\n");
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{9, 9}));
}

TEST_F(DialectTest, APollGoesOnWhereTheLastAnswerEnded) {
  const auto answer = [](const std::string& body) {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  };
  start("poll");
  EXPECT_TRUE(take().starts_with("GET /poll?channel=bench&timeout=0 HTTP/1.1\r\n"));
  receive(answer(R"({"publications":[],"since":"e:7","status":[]})"));
  EXPECT_EQ(line.stage, Line::Stage::live);
  EXPECT_TRUE(take().starts_with("GET /poll?channel=bench&since=e:7&timeout=25 HTTP/1.1\r\n"));
  receive(answer(R"({"publications":[{"data":)" + data(0) + R"(},{"data":)" + data(1) +
                 R"(}],"since":"e:9","status":[]})"));
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{0, 1}));
  EXPECT_TRUE(take().starts_with("GET /poll?channel=bench&since=e:9&timeout=25 HTTP/1.1\r\n"));
  receive("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(refused, "HTTP/1.1 503 Service Unavailable");
}

TEST_F(DialectTest, APollOfNchanRepeatsWhatItsLastAnswerSaid) {
  start("poll", "nchan");
  EXPECT_TRUE(take().starts_with("GET /poll/bench HTTP/1.1\r\n"));
  receive("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nLast-Modified: Mon\r\nEtag: 3\r\n\r\nx");
  EXPECT_EQ(line.stage, Line::Stage::live);
  EXPECT_NE(take().find("If-Modified-Since: Mon\r\nIf-None-Match: 3\r\n\r\n"), std::string::npos);
  receive("HTTP/1.1 200 OK\r\nContent-Length: 40\r\nLast-Modified: Mon\r\nEtag: 4\r\n\r\n" + data(0));
  EXPECT_EQ(numbers, std::vector<std::uint64_t>{0});
  EXPECT_NE(take().find("If-None-Match: 4\r\n"), std::string::npos);
}

const std::string kUpgraded =
    "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

TEST_F(DialectTest, CentrifugeComesBackWithWhatItHasHeard) {
  settings.cuts = 1;
  start("ws");
  receive(kUpgraded);
  receive_text(R"({"id":1,"connect":{}})");
  receive_text(R"({"id":2,"subscribe":{"recoverable":true,"epoch":"abcd","offset":4}})");
  receive_text(R"({"push":{"channel":"bench","pub":{"data":"~0000000000000000~","offset":5}}})");
  take();
  line.stage = Line::Stage::connecting;
  dialect->open(line);
  take();
  receive(kUpgraded);
  EXPECT_NE(take_text().find(R"("recover":true,"epoch":"abcd","offset":5)"), std::string::npos);
  receive_text(R"({"id":1,"connect":{}})");
  receive_text(
      R"({"id":2,"subscribe":{"epoch":"abcd","publications":[{"data":"~0000000000000001~","offset":6}],)"
      R"("recovered":true,"offset":5}})");
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{0, 1})) << "also what is in the reply";
  EXPECT_EQ(line.offset, 6U);
  EXPECT_EQ(not_recovered, 0);
  EXPECT_EQ(line.stage, Line::Stage::live);
}

TEST_F(DialectTest, ARefusedRecoveryIsTold) {
  settings.cuts = 1;
  line.position = "abcd";
  line.offset = 5;
  start("ws");
  receive(kUpgraded);
  receive_text(R"({"id":1,"connect":{}})");
  receive_text(R"({"id":2,"subscribe":{"epoch":"efgh","recovered":false,"offset":2}})");
  EXPECT_EQ(not_recovered, 1);
  EXPECT_EQ(line.position, "efgh");
  EXPECT_EQ(line.offset, 2U);
}

TEST_F(DialectTest, AStreamComesBackWithItsLastId) {
  settings.cuts = 1;
  start("sse");
  receive("HTTP/1.1 200 OK\r\n\r\n");
  receive("id: abcd:4\nevent: status\ndata: {\"recovered\":false}\n\n");
  EXPECT_EQ(not_recovered, 0) << "it had no position";
  receive("id: abcd:5\ndata: \"~0000000000000000~\"\n\n");
  take();
  dialect->open(line);
  EXPECT_NE(take().find("\r\nLast-Event-ID: abcd:5\r\n"), std::string::npos);
  receive("HTTP/1.1 200 OK\r\n\r\n");
  receive("id: abcd:9\nevent: status\ndata: {\"recovered\":false}\n\n");
  EXPECT_EQ(not_recovered, 1);
}

TEST_F(DialectTest, SocketIoComesBackWithItsSession) {
  settings.cuts = 1;
  start("ws", "socketio");
  receive(kUpgraded);
  receive_text(R"(0{"sid":"a"})");
  receive_text(R"(40{"sid":"b","pid":"p1"})");
  receive_text("430[]");
  receive_text(R"(42["m","~0000000000000000~","o7"])");
  take();
  line.stage = Line::Stage::connecting;
  dialect->open(line);
  take();
  receive(kUpgraded);
  receive_text(R"(0{"sid":"c"})");
  EXPECT_EQ(take_text(), R"(40{"pid":"p1","offset":"o7"})");
  receive_text(R"(40{"sid":"d","pid":"p1"})");
  EXPECT_EQ(line.stage, Line::Stage::live) << "it is in its rooms again";
  EXPECT_EQ(not_recovered, 0);
}

TEST_F(DialectTest, PublishersWrapTheData) {
  std::string out;
  settings.publish_by = "post";
  settings.api_key = "k";
  dialect = make_publisher_dialect(settings, *this);
  dialect->append_publish(out, "bench", "\"x\"", 0);
  EXPECT_TRUE(out.starts_with("POST /api/publish HTTP/1.1\r\n"));
  EXPECT_NE(out.find("X-API-Key: k\r\n"), std::string::npos);
  EXPECT_TRUE(out.ends_with("Content-Length: 30\r\n\r\n{\"channel\":\"bench\",\"data\":\"x\"}")) << out;
  receive("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"result\":{}}");
  EXPECT_EQ(refused, "");
  receive("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"error\":{}}");
  EXPECT_NE(refused, "");
}

}  // namespace
}  // namespace carillon::load
