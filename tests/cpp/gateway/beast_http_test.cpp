#include "gateway/beast_http.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace carillon {
namespace {

struct Reading {
  HttpReader::Result result;
  std::size_t consumed = 0;
  std::shared_ptr<HttpReader> reader;  // has the request's texts
  HttpRequest head;                    // if a body followed
  HttpRequest request;
};

/// Feeds `text` in pieces of `piece` bytes, the first one of `first` bytes, to one reader.
Reading read_in_pieces(std::string_view text, std::size_t first, std::size_t piece,
                       std::size_t header_max = 8'192, std::size_t body_max = 100'000) {
  const BeastHttp http;
  Reading reading;
  reading.reader = http.make_reader(header_max, body_max);
  std::size_t size = first;
  while (!text.empty()) {
    const std::string part(text.substr(0, size));  // a copy: a read beyond its end is found by the sanitizer
    size = piece;
    reading.result = reading.reader->read(part);
    EXPECT_LE(reading.result.consumed, part.size());
    reading.consumed += reading.result.consumed;
    if (reading.result.step == HttpReader::Step::head) {
      reading.head = reading.reader->request();
      text.remove_prefix(reading.result.consumed);
      continue;
    }
    if (reading.result.step == HttpReader::Step::request) reading.request = reading.reader->request();
    if (reading.result.step != HttpReader::Step::need_more) break;
    EXPECT_EQ(reading.result.consumed, part.size()) << "what is not enough is kept by the reader";
    text.remove_prefix(part.size());
  }
  return reading;
}

/// Also over a head; the last step.
HttpReader::Step read_all(HttpReader& reader, std::string_view text) {
  HttpReader::Result result;
  while (!text.empty()) {
    result = reader.read(std::string(text));
    text.remove_prefix(result.consumed);
    if (result.step != HttpReader::Step::head) break;
  }
  return result.step;
}

Reading read_whole(std::string_view text, std::size_t header_max = 8'192, std::size_t body_max = 100'000) {
  return read_in_pieces(text, text.size(), text.size(), header_max, body_max);
}

int refusal(std::string_view text) {
  const Reading reading = read_whole(text);
  return reading.result.step == HttpReader::Step::refused ? reading.result.refusal_status : 0;
}

constexpr std::string_view kPost =
    "POST /api/publish?x=1 HTTP/1.1\r\nHost: localhost\r\nX-API-Key: secret\r\nContent-Length: "
    "11\r\n\r\n{\"a\":\"b c\"}";
constexpr std::string_view kChunked =
    "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n7;x=y\r\npedia "
    "i\r\n0\r\n\r\n";

TEST(BeastReader, ReadsARequestSplitAtEveryByte) {
  for (std::size_t split = 1; split < kPost.size(); ++split) {
    const Reading reading = read_in_pieces(kPost, split, kPost.size());
    ASSERT_EQ(reading.result.step, HttpReader::Step::request) << split;
    EXPECT_EQ(reading.consumed, kPost.size()) << split;
    EXPECT_EQ(reading.request.method, "POST");
    EXPECT_EQ(reading.request.target, "/api/publish?x=1");
    EXPECT_EQ(reading.request.header("x-api-key"), "secret");
    EXPECT_EQ(reading.request.body, "{\"a\":\"b c\"}") << split;
    EXPECT_TRUE(reading.request.is_keep_alive);
  }
  EXPECT_EQ(read_in_pieces(kPost, 1, 1).request.body, "{\"a\":\"b c\"}");
}

TEST(BeastReader, ReadsAChunkedBodySplitAtEveryByte) {
  for (std::size_t split = 1; split < kChunked.size(); ++split) {
    const Reading reading = read_in_pieces(kChunked, split, kChunked.size());
    ASSERT_EQ(reading.result.step, HttpReader::Step::request) << split;
    EXPECT_EQ(reading.request.body, "Wikipedia i") << split;
    EXPECT_EQ(reading.consumed, kChunked.size()) << split;
  }
  EXPECT_EQ(read_in_pieces(kChunked, 1, 1).request.body, "Wikipedia i");
}

TEST(BeastReader, ConsumesExactlyOneRequestOfABufferThatHoldsTwo) {
  for (const std::string_view first :
       {kPost, kChunked, std::string_view("GET / HTTP/1.1\r\nHost: h\r\n\r\n")}) {
    const std::string both = std::string(first) + "GET /second HTTP/1.1\r\nHost: h\r\n\r\n";
    for (std::size_t split = 1; split <= both.size(); ++split) {
      const Reading reading = read_in_pieces(both, split, both.size());
      ASSERT_EQ(reading.result.step, HttpReader::Step::request) << split;
      ASSERT_EQ(reading.consumed, first.size()) << split;
    }
  }
}

TEST(BeastReader, WhatIsUnfinishedBringsAnotherReaderToTheSamePlace) {
  const BeastHttp http;
  for (const std::string_view text : {kPost, kChunked}) {
    for (std::size_t first = 1; first < text.size(); ++first) {
      for (std::size_t second = first; second < text.size(); second += 7) {
        const auto one = http.make_reader(8'192, 100'000);
        EXPECT_EQ(one->unfinished(), "");
        ASSERT_NE(read_all(*one, text.substr(0, first)), HttpReader::Step::request);
        ASSERT_NE(read_all(*one, text.substr(first, second - first)), HttpReader::Step::request);
        const auto two = http.make_reader(8'192, 100'000);
        ASSERT_NE(read_all(*two, one->unfinished()), HttpReader::Step::request);
        ASSERT_EQ(read_all(*two, text.substr(second)), HttpReader::Step::request) << first << " " << second;
        EXPECT_EQ(two->request().body, text == kPost ? "{\"a\":\"b c\"}" : "Wikipedia i");
      }
    }
  }
}

TEST(BeastReader, OfChunksOnlyTheBodyIsKept) {
  const BeastHttp http;
  const auto reader = http.make_reader(1'000, 100'000);
  read_all(*reader, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  std::string chunks;
  for (int i = 0; i < 100; ++i) chunks += "1;" + std::string(400, 'x') + "\r\ny\r\n";
  for (int i = 0; i < 10; ++i) ASSERT_EQ(reader->read(chunks).step, HttpReader::Step::need_more);
  EXPECT_LT(reader->unfinished().size(), 1'100U);
  ASSERT_EQ(reader->read(std::string_view("0\r\n\r\n")).step, HttpReader::Step::request);
  EXPECT_EQ(reader->request().body, std::string(1'000, 'y'));
}

TEST(BeastReader, TheHeadOfAChunkAndATrailerAreBounded) {
  for (const std::string_view endless : {std::string_view("1;"), std::string_view("0\r\nX: ")}) {
    const BeastHttp http;
    const auto reader = http.make_reader(1'000, 100'000);
    read_all(*reader, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    HttpReader::Result result = reader->read(endless);
    for (int i = 0; i < 20 && result.step == HttpReader::Step::need_more; ++i)
      result = reader->read(std::string(1'000, 'x'));
    EXPECT_EQ(result.step, HttpReader::Step::refused) << endless;
  }
}

TEST(BeastReader, TellsTheHeadBeforeABody) {
  for (const std::string_view text : {kPost, kChunked}) {
    const Reading reading = read_in_pieces(text, 1, 1);
    EXPECT_EQ(reading.head.method, "POST");
    EXPECT_TRUE(reading.head.has_body());
    EXPECT_EQ(reading.head.is_chunked, text == kChunked);
    EXPECT_EQ(reading.head.content_length, text == kPost ? 11U : 0U);
    EXPECT_EQ(reading.head.body, "");
  }
  EXPECT_EQ(read_whole("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").head.method, "");
}

TEST(BeastReader, JoinsTheLinesOfAHeader) {
  const Reading reading = read_whole(
      "GET / HTTP/1.1\r\nhost: h\r\nA: 1\r\nb: x\r\na:2\r\nCookie: c=1\r\nCookie: d=2\r\nConnection: "
      "x\r\nConnection: close\r\n\r\n");
  const HttpRequest& request = reading.request;
  EXPECT_EQ(request.header("a"), "1, 2");
  EXPECT_EQ(request.header("b"), "x");
  EXPECT_EQ(request.header("cookie"), "c=1; d=2");
  EXPECT_EQ(request.headers.size(), 5U);
  EXPECT_FALSE(request.is_keep_alive);
}

TEST(BeastReader, ARequestHasOneHost) {
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  for (const std::string host : {"a b", "a/b", "u@h", "a,b", "a?b"})
    EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"), 400) << host;
  for (const std::string host : {"", "a", "a:80", "[::1]:80", "xn--a.example", "1.2.3.4"})
    EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"), 0) << host;
  EXPECT_TRUE(read_whole("GET / HTTP/1.0\r\n\r\n").request.is_http_1_0);
}

TEST(BeastReader, ALineThatEndsWithoutACarriageReturnIsRefusedAtOnce) {
  EXPECT_EQ(refusal("GET / HTTP/1.1\nHost: h\n\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: h\n\n"), 400);
  const Reading split = read_in_pieces("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n", 15, 1);
  EXPECT_EQ(split.result.step, HttpReader::Step::request) << "CR at the end of a piece, LF in the next one";
}

TEST(BeastReader, RefusesOrUnfoldsWhatRfc9112Forbids) {
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost : h\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: h\r\n: empty\r\n\r\n"), 400);
  EXPECT_EQ(refusal(std::string("GET / HTTP/1.1\r\nHost: h\r\nA: b") + '\0' + "\r\n\r\n"), 400);
  EXPECT_EQ(read_whole("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n  c\r\n\r\n").request.header("a"), "b c");
}

TEST(BeastReader, LimitsTheHead) {
  const std::string name = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
  const Reading fits = read_whole(name + std::string(8'000, 'x') + "\r\n\r\n");
  EXPECT_EQ(fits.result.step, HttpReader::Step::request);
  const std::string long_head = name + std::string(9'000, 'x') + "\r\n\r\n";
  EXPECT_EQ(refusal(long_head), 431);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{100}, std::size_t{8'190}}) {
    const Reading slow = read_in_pieces(long_head, piece, piece);
    EXPECT_EQ(slow.result.step, HttpReader::Step::refused) << piece;
    EXPECT_EQ(slow.result.refusal_status, 431) << piece;
    EXPECT_LE(slow.consumed, 8'192U + 8'190U) << piece;
  }
  // Without a single line end it must not grow for ever either.
  EXPECT_EQ(read_in_pieces(std::string(20'000, 'x'), 1'000, 1'000).result.step, HttpReader::Step::refused);
}

TEST(BeastReader, LimitsTheBody) {
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\n";
  const auto length = [&](std::size_t bytes) {
    return read_whole(head + "Content-Length: " + std::to_string(bytes) + "\r\n\r\n" +
                          std::string(std::min<std::size_t>(bytes, 101), 'x'),
                      8'192, 100);
  };
  EXPECT_EQ(length(100).request.body.size(), 100U);
  EXPECT_EQ(length(101).head.content_length, 101U) << "whoever gets the head refuses it";
  std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 11; ++i) chunked += "a\r\n0123456789\r\n";
  EXPECT_EQ(read_whole(chunked + "0\r\n\r\n", 8'192, 100).result.refusal_status, 413);
}

TEST(BeastReader, TwoLengthsAreRefused) {
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\n";
  for (const std::string lengths : {"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                                    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                                    "Content-Length: 4\r\nContent-Length: 5\r\n"}) {
    EXPECT_EQ(refusal(head + lengths + "\r\n0\r\n\r\n"), 400) << lengths;
  }
}

TEST(BeastReader, ATransferEncodingThatDoesNotEndTheBodyIsRefused) {
  // RFC 9112 section 6.3: where the body ends is unknown, and what follows must not be read as a request.
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\n";
  for (const std::string coding : {"gzip", "chunked, gzip", "identity"}) {
    EXPECT_NE(refusal(head + "Transfer-Encoding: " + coding + "\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"), 0)
        << coding;
  }
}

TEST(BeastReader, RefusesWhatIsNoRequest) {
  EXPECT_EQ(refusal("nonsense\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/9.9\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: a\r\nX: a\x01z\r\n\r\n"), 400);
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(refusal(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)), 400) << "a TLS hello";
  const Reading reading = read_whole("nonsense\r\n\r\n");
  EXPECT_FALSE(reading.result.refusal_reason.empty());
}

TEST(BeastReader, KnowsWhenTheConnectionEnds) {
  EXPECT_FALSE(read_whole("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").request.is_keep_alive);
  EXPECT_FALSE(read_whole("GET / HTTP/1.0\r\n\r\n").request.is_keep_alive);
  EXPECT_TRUE(read_whole("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").request.is_keep_alive);
}

TEST(BeastReader, KeepsAHeadWithoutABodyAndAnEmptyValue) {
  const Reading reading = read_whole("GET /p HTTP/1.1\r\nSec-WebSocket-Protocol:\r\nHost: h\r\n\r\n");
  EXPECT_EQ(reading.request.header("sec-websocket-protocol"), "");
  EXPECT_EQ(reading.request.header("host"), "h");
}

// ---- upgrade

Reading read_handshake(std::string_view extra = {}, std::string_view version = "13") {
  std::string text =
      "GET /connection/websocket HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: "
      "Upgrade\r\n";
  text.append("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
  if (!version.empty()) text.append("Sec-WebSocket-Version: ").append(version).append("\r\n");
  return read_whole(text.append(extra).append("\r\n"));
}

TEST(BeastUpgrade, AnswersTheExampleOfRfc6455Section1_3) {
  const BeastHttp http;
  const Reading handshake = read_handshake();
  ASSERT_TRUE(http.is_websocket_upgrade(handshake.request));
  const HttpLibrary::Upgrade upgrade = http.upgrade(handshake.request, "", "");
  EXPECT_EQ(upgrade.refusal_status, 0);
  EXPECT_EQ(upgrade.response.find("HTTP/1.1 101 Switching Protocols\r\n"), 0U);
  EXPECT_NE(upgrade.response.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            std::string::npos);
  EXPECT_EQ(upgrade.response.find("Sec-WebSocket-Protocol"), std::string::npos);
  EXPECT_EQ(upgrade.response.find("Beast"), std::string::npos);
  EXPECT_EQ(upgrade.response.substr(upgrade.response.size() - 4), "\r\n\r\n");
}

TEST(BeastUpgrade, EchoesTheSubprotocolItIsGiven) {
  const BeastHttp http;
  const Reading handshake = read_handshake("Sec-WebSocket-Protocol: other, centrifuge-json\r\n");
  const HttpRequest& request = handshake.request;
  EXPECT_NE(http.upgrade(request, "centrifuge-json", "")
                .response.find("Sec-WebSocket-Protocol: centrifuge-json\r\n"),
            std::string::npos);
  EXPECT_EQ(http.upgrade(request, "", "").response.find("Sec-WebSocket-Protocol"), std::string::npos);
  EXPECT_NE(http.upgrade(request, "", "permessage-deflate; a=1")
                .response.find("Sec-WebSocket-Extensions: permessage-deflate; a=1\r\n"),
            std::string::npos);
  EXPECT_EQ(http.upgrade(request, "", "").response.find("Extensions"), std::string::npos);
}

TEST(BeastUpgrade, AnEmptySubprotocolHeaderIsNone) {
  const BeastHttp http;
  for (const char* header : {"Sec-WebSocket-Protocol:\r\n", "Sec-WebSocket-Protocol: \r\n"}) {
    const Reading handshake = read_handshake(header);
    ASSERT_TRUE(http.is_websocket_upgrade(handshake.request));
    EXPECT_EQ(http.upgrade(handshake.request, "", "").refusal_status, 0);
  }
}

TEST(BeastUpgrade, RefusesOtherVersionsAndBadKeys) {
  const BeastHttp http;
  EXPECT_EQ(http.upgrade(read_handshake({}, "8").request, "", "").refusal_status, 426);
  EXPECT_EQ(http.upgrade(read_handshake({}, "").request, "", "").refusal_status, 426);
  const Reading handshake = read_handshake();
  for (const char* key :
       {"", "abc=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "not base64 at all ====="}) {
    HttpRequest request = handshake.request;
    std::vector<HttpField> fields(request.headers.begin(), request.headers.end());
    for (HttpField& field : fields) {
      if (field.name == "Sec-WebSocket-Key") field.value = key;
    }
    request.headers = fields;
    EXPECT_EQ(http.upgrade(request, "", "").refusal_status, 400) << key;
  }
  HttpRequest old = handshake.request;
  old.is_http_1_0 = true;
  EXPECT_EQ(http.upgrade(old, "", "").refusal_status, 400);
}

TEST(BeastUpgrade, ReadsListsOverSeveralLines) {
  const BeastHttp http;
  const Reading handshake = read_handshake("Connection: keep-alive\r\nUpgrade: h2c\r\n");
  const HttpRequest& request = handshake.request;
  ASSERT_TRUE(http.is_websocket_upgrade(request));
  EXPECT_EQ(http.upgrade(request, "", "").refusal_status, 0);
}

TEST(BeastUpgrade, OrdinaryRequestsAreNone) {
  const BeastHttp http;
  EXPECT_FALSE(http.is_websocket_upgrade(read_whole("GET / HTTP/1.1\r\nHost: h\r\n\r\n").request));
  EXPECT_FALSE(http.is_websocket_upgrade(
      read_whole("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").request));
  EXPECT_FALSE(http.is_websocket_upgrade(
      read_whole("POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").request));
}

}  // namespace
}  // namespace carillon
