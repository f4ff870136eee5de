#include "protocol/plain_head.hpp"

#include <gtest/gtest.h>

#include <string>

namespace carillon {
namespace {

constexpr std::string_view kStart = "POST /a?b=c HTTP/1.1\r\nHost: h:80\r\n";

bool is_plain(std::string_view text) { return PlainHead().read(text); }
bool is_plain_with(std::string_view lines) {
  return is_plain(std::string(kStart).append(lines).append("\r\n"));
}

TEST(PlainHead, ReadsWhatMostClientsSend) {
  const std::string text = std::string(kStart).append(
      "content-LENGTH: 12\r\nAccept:\r\nX-API-Key: \t a b\tc \r\nConnection: close\r\n\r\nbody");
  PlainHead head;
  ASSERT_TRUE(head.read(text));
  EXPECT_EQ(head.method(), "POST");
  EXPECT_EQ(head.target(), "/a?b=c");
  EXPECT_EQ(head.content_length(), 12U);
  EXPECT_FALSE(head.is_keep_alive());
  EXPECT_EQ(head.bytes(), text.size() - 4);
  ASSERT_EQ(head.fields().size(), 5U);
  EXPECT_EQ(head.fields()[1].name, "content-LENGTH");
  EXPECT_EQ(head.fields()[2].value, "");
  EXPECT_EQ(head.fields()[3].value, "a b\tc");
}

TEST(PlainHead, AHeadThatIsNotWholeIsLeftToTheFullParser) {
  const std::string text = std::string(kStart).append("Content-Length: 12\r\n\r\n");
  for (std::size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(is_plain(std::string(text.substr(0, size)))) << size;
  EXPECT_TRUE(is_plain(text));
}

TEST(PlainHead, WhatSaysTwiceWhereTheBodyEndsIsNotPlain) {
  for (const std::string_view lines :
       {"Transfer-Encoding: chunked\r\n", "transfer-encoding: identity\r\n", "Content-Length: 4, 4\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n", "Content-Length: 4\r\ncontent-length: 5\r\n",
        "Content-Length: +4\r\n", "Content-Length: -4\r\n", "Content-Length: 0x4\r\n", "Content-Length:\r\n",
        "Content-Length: 4 4\r\n", "Content-Length: 1234567890123456\r\n", "Content-Length : 4\r\n",
        "Content-Length: 4\r\n 5\r\n"})
    EXPECT_FALSE(is_plain_with(lines)) << lines;
  EXPECT_TRUE(is_plain_with("Content-Length: 004\r\n"));
}

TEST(PlainHead, EveryLineIsCheckedAgainstTheGrammar) {
  for (const std::string_view lines :
       {"A b: c\r\n", ": c\r\n", "A\r\n", "A: b\n", "A: b\r", "A: \x01\r\n", "A: \x7f\r\n", "\xc3\xa4: b\r\n",
        "A: b\r\n c\r\n", "A: b\r\n\tc\r\n", "A: 1\r\na: 2\r\n", "Host: h:80\r\n", "Connection: a\r\n",
        "Connection: keep-alive, close\r\n", "Proxy-Connection: close\r\n"})
    EXPECT_FALSE(is_plain_with(lines)) << lines;
  EXPECT_FALSE(is_plain_with(std::string("A: b\0c\r\n", 8)));
  for (const std::string_view text :
       {"POST /a HTTP/1.1\r\n\r\n", "POST /a HTTP/1.0\r\nHost: h\r\n\r\n",
        "POST  /a HTTP/1.1\r\nHost: h\r\n\r\n", "POST /a  HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a HTTP/1.1 \r\nHost: h\r\n\r\n", " POST /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n", "POST /a HTTP/1.1\r\nHost: a b\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: u@h\r\n\r\n", "POST /a HTTP/1.1\r\n Host: h\r\n\r\n"})
    EXPECT_FALSE(is_plain(text)) << text;
  EXPECT_TRUE(is_plain_with("A: \xc3\xa4\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"));
}

TEST(PlainHead, TheNumberOfFieldsIsBounded) {
  std::string lines;
  for (std::size_t i = 1; i < PlainHead::kFieldsMax; ++i) lines += "X-" + std::to_string(i) + ": y\r\n";
  EXPECT_TRUE(is_plain_with(lines));
  EXPECT_FALSE(is_plain_with(lines + "Y: z\r\n"));
}

}  // namespace
}  // namespace carillon
