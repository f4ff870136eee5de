#include "protocol/ws_frame.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/utf8.hpp"

namespace carillon {
namespace {

// An event that has outlived its buffer.
struct Seen {
  WsEventKind kind;
  WsOpcode opcode;
  std::string payload;
  std::uint16_t close_code;
  bool is_compressed = false;

  bool operator==(const Seen&) const = default;

  friend std::ostream& operator<<(std::ostream& out, const Seen& seen) {
    constexpr const char* kNames[] = {"need_more", "message", "ping", "pong", "close", "error"};
    return out << kNames[static_cast<int>(seen.kind)] << " opcode " << static_cast<int>(seen.opcode)
               << " code " << seen.close_code << (seen.is_compressed ? " compressed" : "") << " bytes "
               << seen.payload.size() << " '" << seen.payload.substr(0, 40) << "'";
  }
};

constexpr std::uint32_t kMaskKey = 0x37FA213D;
constexpr std::size_t kMessageBytesMax = 65536;

using Events = std::vector<Seen>;

Seen text(std::string payload) { return {WsEventKind::message, WsOpcode::text, std::move(payload), 0}; }
Seen binary(std::string payload) { return {WsEventKind::message, WsOpcode::binary, std::move(payload), 0}; }
Seen ping(std::string payload) { return {WsEventKind::ping, WsOpcode::ping, std::move(payload), 0}; }
Seen pong(std::string payload) { return {WsEventKind::pong, WsOpcode::pong, std::move(payload), 0}; }
Seen closed(std::uint16_t code, std::string reason = "") {
  return {WsEventKind::close, WsOpcode::close, std::move(reason), code};
}
Seen error(std::uint16_t code) { return {WsEventKind::error, WsOpcode::continuation, "", code}; }

// A client's frame; `final` and opcode as on the wire.
std::string frame(WsOpcode opcode, std::string_view payload, bool is_final = true,
                  std::uint32_t mask_key = kMaskKey) {
  std::string out;
  append_ws_client_frame(out, opcode, is_final, mask_key, payload);
  return out;
}
std::string fragment(WsOpcode opcode, std::string_view payload) { return frame(opcode, payload, false); }

// A client's frame with its first two bytes given, a key of zeros and whatever follows.
std::string raw(std::uint8_t first, std::uint8_t second, std::string_view rest = {}) {
  std::string out{static_cast<char>(first), static_cast<char>(second)};
  return out.append(rest);
}

std::string close_payload(std::uint16_t code, std::string_view reason = "") {
  std::string out{static_cast<char>(code >> 8), static_cast<char>(code & 0xFF)};
  return out.append(reason);
}

// Feeds one piece from a heap block of exactly its size, so that a sanitizer sees a step past its end, and a
// view that is kept after it.
void feed(WsParser& parser, std::string_view piece, Events& events) {
  const auto buffer = std::make_unique<char[]>(piece.size());
  std::memcpy(buffer.get(), piece.data(), piece.size());
  std::span<char> input(buffer.get(), piece.size());
  for (;;) {
    const bool was_finished = parser.is_finished();
    const WsEvent event = parser.next(input);
    if (event.kind == WsEventKind::need_more) {
      ASSERT_TRUE(input.empty());
      ASSERT_TRUE(parser.has_partial() || parser.heap_bytes() == 0);
      return;
    }
    ASSERT_FALSE(was_finished) << "an event after the last";
    ASSERT_EQ(event.kind == WsEventKind::error, event.error != nullptr);
    ASSERT_LE(std::string_view(event.error == nullptr ? "" : event.error).size(), kWsCloseReasonBytesMax);
    events.push_back(
        {event.kind, event.opcode, std::string(event.payload), event.close_code, event.is_compressed});
  }
}

Events parse(const std::vector<std::string_view>& pieces, std::size_t message_bytes_max = kMessageBytesMax,
             bool allows_compressed = false) {
  WsParser parser(message_bytes_max, allows_compressed);
  Events events;
  for (const auto piece : pieces) feed(parser, piece, events);
  return events;
}

// The same, but each piece is read by a new parser, which is brought to where the one before it stood.
Events parse_by_successors(const std::vector<std::string_view>& pieces,
                           std::size_t message_bytes_max = kMessageBytesMax, bool allows_compressed = false) {
  WsParser parser(message_bytes_max, allows_compressed);
  Events events;
  for (const auto piece : pieces) {
    if (!parser.is_finished()) {
      WsParser successor(message_bytes_max, allows_compressed);
      Events none;
      feed(successor, parser.unfinished(), none);
      EXPECT_EQ(none, Events{}) << "what is unfinished holds no event";
      EXPECT_EQ(successor.has_partial(), parser.has_partial());
      parser = std::move(successor);
    }
    feed(parser, piece, events);
  }
  return events;
}

std::vector<std::string_view> chopped(std::string_view wire, std::size_t bytes) {
  std::vector<std::string_view> pieces;
  for (; wire.size() > bytes; wire.remove_prefix(bytes)) pieces.push_back(wire.substr(0, bytes));
  pieces.push_back(wire);
  return pieces;
}

// The heart of this file: whole, split at every byte (long input: at every byte near its ends and at some in
// between), and byte by byte, the input must give the same events.
void expect_events(std::string_view wire, const Events& expected,
                   std::size_t message_bytes_max = kMessageBytesMax, bool allows_compressed = false) {
  ASSERT_EQ(parse({wire}, message_bytes_max, allows_compressed), expected) << "whole";
  const std::size_t step = wire.size() > 4000 ? wire.size() / 97 : 1;
  for (std::size_t at = 0; at <= wire.size();) {
    const std::vector<std::string_view> halves{wire.substr(0, at), wire.substr(at)};
    ASSERT_EQ(parse(halves, message_bytes_max, allows_compressed), expected) << "split at " << at;
    ASSERT_EQ(parse_by_successors(halves, message_bytes_max, allows_compressed), expected)
        << "handed over at " << at;
    at += at < 32 || wire.size() - at <= step + 32 ? 1 : step;
  }
  for (const std::size_t bytes : {1U, 2U, 3U, 7U, 64U, 997U}) {
    ASSERT_EQ(parse(chopped(wire, bytes), message_bytes_max, allows_compressed), expected)
        << "pieces of " << bytes;
  }
}

// --- 1: framing

TEST(WsFraming, MessagesOfEveryLengthFormArriveAsSent) {
  for (const std::size_t bytes : {0U, 1U, 7U, 8U, 9U, 125U, 126U, 127U, 128U, 180U, 65535U, 65536U}) {
    std::string payload(bytes, '*');
    for (std::size_t i = 0; i < bytes; ++i) payload[i] = static_cast<char>('0' + i % 75);
    expect_events(frame(WsOpcode::text, payload), {text(payload)});
    for (std::size_t i = 0; i < bytes; ++i) payload[i] = static_cast<char>(i * 7);
    expect_events(frame(WsOpcode::binary, payload), {binary(payload)});
  }
}

TEST(WsFraming, SeveralFramesInOneInputComeInOrder) {
  expect_events(frame(WsOpcode::text, "one") + frame(WsOpcode::binary, "two") + frame(WsOpcode::text, "") +
                    frame(WsOpcode::ping, "p") + frame(WsOpcode::text, "three"),
                {text("one"), binary("two"), text(""), ping("p"), text("three")});
}

TEST(WsFraming, EveryAlignmentAndMaskKeyUnmasks) {
  const std::string payload = "The carillon rings for all, in one order.";
  for (std::size_t bytes = 0; bytes <= payload.size(); ++bytes) {
    for (const std::uint32_t key : {0U, 0xFFFFFFFFU, 0x01020304U, 0x80FF007FU}) {
      const auto cut = payload.substr(0, bytes);
      ASSERT_EQ(parse({frame(WsOpcode::text, cut, true, key)}), Events{text(cut)});
      ASSERT_EQ(parse(chopped(frame(WsOpcode::text, cut, true, key), 3)), Events{text(cut)});
    }
  }
}

TEST(WsFraming, TheExampleOfTheRfcIsRead) {
  expect_events("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", {text("Hello")});
}

TEST(WsFraming, UnmaskedFramesAreRefused) {
  expect_events(raw(0x81, 0x02, "hi"), {error(1002)});
  expect_events(raw(0x89, 0x00), {error(1002)});
}

TEST(WsFraming, LengthsNotInTheShortestFormAreRefused) {
  using namespace std::string_view_literals;
  expect_events(raw(0x82, 0x80 | 126, "\x00\x7D\0\0\0\0"sv), {error(1002)});
  expect_events(raw(0x82, 0x80 | 126, "\x00\x00\0\0\0\0"sv), {error(1002)});
  expect_events(raw(0x82, 0x80 | 127, "\0\0\0\0\0\0\xFF\xFF\0\0\0\0"sv), {error(1002)});
  expect_events(raw(0x82, 0x80 | 127, "\0\0\0\0\0\0\0\x05\0\0\0\0"sv), {error(1002)});
}

TEST(WsFraming, LengthsWithTheHighestBitAreRefused) {
  using namespace std::string_view_literals;
  expect_events(raw(0x82, 0x80 | 127, "\x80\0\0\0\0\0\0\0\0\0\0\0"sv), {error(1002)});
  expect_events(raw(0x82, 0x80 | 127, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0"sv), {error(1002)});
}

// --- 2: pings and pongs

TEST(WsPing, PayloadsUpToTheLimitComeBackWhole) {
  expect_events(frame(WsOpcode::ping, ""), {ping("")});
  expect_events(frame(WsOpcode::ping, "Hello"), {ping("Hello")});
  const std::string bytes("\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF", 8);
  expect_events(frame(WsOpcode::ping, bytes), {ping(bytes)});
  const std::string longest(125, '\xFE');
  expect_events(frame(WsOpcode::ping, longest), {ping(longest)});
}

TEST(WsPing, LongerThan125BytesIsRefused) {
  expect_events(frame(WsOpcode::ping, std::string(126, 'x')), {error(1002)});
  expect_events(frame(WsOpcode::pong, std::string(70000, 'x')), {error(1002)});
  expect_events(frame(WsOpcode::close, close_payload(1000, std::string(124, 'x'))), {error(1002)});
}

TEST(WsPing, UnsolicitedPongsAreHandedOut) {
  expect_events(frame(WsOpcode::pong, "") + frame(WsOpcode::pong, "late") + frame(WsOpcode::ping, "p"),
                {pong(""), pong("late"), ping("p")});
}

TEST(WsPing, ManyInOneInputAllCome) {
  std::string wire;
  Events expected;
  for (int i = 0; i < 10; ++i) {
    wire += frame(WsOpcode::ping, "ping " + std::to_string(i));
    expected.push_back(ping("ping " + std::to_string(i)));
  }
  expect_events(wire, expected);
}

// --- 3 and 4: reserved bits and opcodes

TEST(WsReserved, EveryReservedBitIsRefusedOnEveryOpcode) {
  for (unsigned bits = 1; bits < 8; ++bits) {
    for (const unsigned opcode : {0U, 1U, 2U, 8U, 9U, 10U}) {
      const auto bad = frame(WsOpcode{static_cast<std::uint8_t>(opcode | bits << 4)}, "Hello");
      expect_events(frame(WsOpcode::text, "before") + bad + frame(WsOpcode::ping, ""),
                    {text("before"), error(1002)});
    }
  }
}

TEST(WsReserved, EveryReservedOpcodeIsRefused) {
  for (const unsigned opcode : {3U, 4U, 5U, 6U, 7U, 11U, 12U, 13U, 14U, 15U}) {
    const auto bad = frame(WsOpcode{static_cast<std::uint8_t>(opcode)}, "x");
    expect_events(frame(WsOpcode::text, "before") + bad + frame(WsOpcode::ping, ""),
                  {text("before"), error(1002)});
  }
}

TEST(WsReserved, ABadFirstByteIsRefusedBeforeTheSecondCame) {
  EXPECT_EQ(parse({"\xC1"}), Events{error(1002)});
  EXPECT_EQ(parse({"\x83"}), Events{error(1002)});
  EXPECT_EQ(parse({"\x80"}), Events{error(1002)});
  EXPECT_EQ(parse({"\x09"}), Events{error(1002)});
}

// --- compressed messages (RFC 7692 section 6)

constexpr std::uint8_t kCompressed = 0x40;

Seen compressed(Seen message) {
  message.is_compressed = true;
  return message;
}
std::string first_of(WsOpcode opcode, std::string_view payload, bool is_final) {
  return frame(WsOpcode{static_cast<std::uint8_t>(static_cast<std::uint8_t>(opcode) | kCompressed)}, payload,
               is_final);
}
void expect_with_extension(std::string_view wire, const Events& expected) {
  expect_events(wire, expected, kMessageBytesMax, true);
}

TEST(WsCompressed, TheFirstFrameOfAMessageSaysSo) {
  const std::string bytes = "\xFF\xC0 no UTF-8";  // of what is compressed nothing is known
  expect_with_extension(
      first_of(WsOpcode::text, bytes, true) + frame(WsOpcode::text, "not this one") +
          first_of(WsOpcode::binary, bytes, true) + first_of(WsOpcode::text, "", true),
      {compressed(text(bytes)), text("not this one"), compressed(binary(bytes)), compressed(text(""))});
  expect_with_extension(first_of(WsOpcode::text, bytes, false) + frame(WsOpcode::ping, "p") +
                            fragment(WsOpcode::continuation, bytes) + frame(WsOpcode::continuation, "") +
                            fragment(WsOpcode::text, "plain") + frame(WsOpcode::continuation, ""),
                        {ping("p"), compressed(text(bytes + bytes)), text("plain")});
  expect_with_extension(frame(WsOpcode::text, bytes), {error(1007)});
}

TEST(WsCompressed, NoOtherFrameMay) {
  for (const WsOpcode opcode : {WsOpcode::ping, WsOpcode::pong, WsOpcode::close})
    expect_with_extension(first_of(opcode, "", true), {error(1002)});
  expect_with_extension(first_of(WsOpcode::continuation, "", true), {error(1002)});
  expect_with_extension(first_of(WsOpcode::text, "a", false) + first_of(WsOpcode::continuation, "b", true),
                        {error(1002)});
  expect_with_extension(raw(0xE1, 0x80, std::string(4, '\0')), {error(1002)});  // another bit beside it
  expect_with_extension(raw(0xC3, 0x80, std::string(4, '\0')), {error(1002)});
}

// --- 5: fragmentation

TEST(WsFragments, AreJoinedInOrder) {
  expect_events(fragment(WsOpcode::text, "one ") + fragment(WsOpcode::continuation, "two ") +
                    frame(WsOpcode::continuation, "three") + frame(WsOpcode::text, "next"),
                {text("one two three"), text("next")});
  expect_events(fragment(WsOpcode::binary, "a") + frame(WsOpcode::continuation, "b"), {binary("ab")});
}

TEST(WsFragments, MayBeEmpty) {
  expect_events(
      fragment(WsOpcode::text, "") + fragment(WsOpcode::continuation, "") + frame(WsOpcode::continuation, ""),
      {text("")});
  expect_events(fragment(WsOpcode::text, "") + fragment(WsOpcode::continuation, "middle") +
                    frame(WsOpcode::continuation, ""),
                {text("middle")});
}

TEST(WsFragments, ControlFramesComeBetweenThemAtOnce) {
  expect_events(fragment(WsOpcode::text, "one ") + frame(WsOpcode::ping, "p1") +
                    fragment(WsOpcode::continuation, "two ") + frame(WsOpcode::pong, "p2") +
                    frame(WsOpcode::ping, "p3") + frame(WsOpcode::continuation, "three"),
                {ping("p1"), pong("p2"), ping("p3"), text("one two three")});
  expect_events(fragment(WsOpcode::text, "lost") + frame(WsOpcode::close, close_payload(1001, "bye")),
                {closed(1001, "bye")});
}

TEST(WsFragments, ControlFramesMustNotBeFragmented) {
  expect_events(fragment(WsOpcode::ping, "a") + frame(WsOpcode::continuation, "b"), {error(1002)});
  expect_events(fragment(WsOpcode::pong, "a"), {error(1002)});
  expect_events(fragment(WsOpcode::close, close_payload(1000)), {error(1002)});
}

TEST(WsFragments, AContinuationNeedsAMessage) {
  expect_events(frame(WsOpcode::continuation, "x") + frame(WsOpcode::text, "y"), {error(1002)});
  expect_events(fragment(WsOpcode::continuation, "x"), {error(1002)});
  expect_events(frame(WsOpcode::text, "whole") + frame(WsOpcode::continuation, "x"),
                {text("whole"), error(1002)});
  expect_events(
      fragment(WsOpcode::text, "a") + frame(WsOpcode::continuation, "b") + frame(WsOpcode::continuation, "c"),
      {text("ab"), error(1002)});
}

TEST(WsFragments, ANewMessageMustNotStartInsideOne) {
  expect_events(fragment(WsOpcode::text, "one") + frame(WsOpcode::text, "two"), {error(1002)});
  expect_events(fragment(WsOpcode::binary, "one") + fragment(WsOpcode::binary, "two"), {error(1002)});
  expect_events(fragment(WsOpcode::text, "one") + frame(WsOpcode::ping, "p") + frame(WsOpcode::binary, "two"),
                {ping("p"), error(1002)});
}

// --- 6: UTF-8

TEST(WsUtf8, ValidTextPassesHoweverItIsFragmented) {
  const std::string payload =
      "κόσμε \xF0\x9F\x94\x94 \xEF\xBF\xBF \xF4\x8F\xBF\xBF ascii at the end, enough for a word";
  expect_events(frame(WsOpcode::text, payload), {text(payload)});
  std::string by_byte;
  for (std::size_t i = 0; i < payload.size(); ++i) {
    by_byte += frame(i == 0 ? WsOpcode::text : WsOpcode::continuation, payload.substr(i, 1),
                     i + 1 == payload.size(), kMaskKey + static_cast<std::uint32_t>(i));
  }
  ASSERT_EQ(parse({by_byte}), Events{text(payload)});
  ASSERT_EQ(parse(chopped(by_byte, 1)), Events{text(payload)});
}

TEST(WsUtf8, InvalidTextIsRefused) {
  for (const std::string bad :
       {"\xCE\xBA\xED\xA0\x80z", "\xC0\xAF", "\xE0\x80\xAF", "\xF0\x80\x80\xAF", "\xF4\x90\x80\x80", "\xFF",
        "\x80", "\xF8\x88\x80\x80\x80", "\xE2\x82", "\xF0\x9F\x94", "eight by\xFEte words, and on"}) {
    expect_events(frame(WsOpcode::text, bad), {error(1007)});
    expect_events(fragment(WsOpcode::text, bad.substr(0, 1)) + frame(WsOpcode::continuation, bad.substr(1)),
                  {error(1007)});
    expect_events(frame(WsOpcode::binary, bad), {binary(bad)});
  }
}

TEST(WsUtf8, ASequenceMayNotRunIntoTheNextMessage) {
  expect_events(frame(WsOpcode::text, "\xE2\x82") + frame(WsOpcode::text, "\xAC"), {error(1007)});
}

TEST(WsUtf8, StateDoesNotLeakIntoTheNextMessage) {
  expect_events(fragment(WsOpcode::binary, "\xE2\x82") + frame(WsOpcode::continuation, "\xFF") +
                    fragment(WsOpcode::text, "\xE2") + frame(WsOpcode::ping, "\xFF") +
                    frame(WsOpcode::continuation, "\x82\xAC"),
                {binary("\xE2\x82\xFF"), ping("\xFF"), text("€")});
}

TEST(WsUtf8, FailsAtTheInvalidByteAndNotLater) {
  // Autobahn 6.4: the frame goes on, but the verdict is in.
  const std::string valid = "κόσμε";
  const auto wire = frame(WsOpcode::text, valid + "\xF4\x90\x80\x80" + std::string(500, 'x'));
  const std::size_t bad_at = 8 + valid.size() + 1;  // F4 may stand; 90 behind it may not
  EXPECT_EQ(parse({wire.substr(0, bad_at)}), Events{});
  EXPECT_EQ(parse({wire.substr(0, bad_at + 1)}), Events{error(1007)});
  EXPECT_EQ(parse(chopped(wire.substr(0, bad_at + 1), 1)), Events{error(1007)});

  // In a fragment that is not the last one.
  EXPECT_EQ(parse({fragment(WsOpcode::text, valid + "\xFF")}), Events{error(1007)});
}

// --- 7: close

TEST(WsClose, GivesCodeAndReason) {
  expect_events(frame(WsOpcode::close, ""), {closed(1005)});
  expect_events(frame(WsOpcode::close, close_payload(1000)), {closed(1000)});
  expect_events(frame(WsOpcode::close, close_payload(1000, "Hello World")), {closed(1000, "Hello World")});
  const std::string longest(123, '*');
  expect_events(frame(WsOpcode::close, close_payload(4999, longest)), {closed(4999, longest)});
}

TEST(WsClose, NothingIsReadAfterIt) {
  expect_events(frame(WsOpcode::text, "a") + frame(WsOpcode::close, close_payload(1000)) +
                    frame(WsOpcode::text, "b") + frame(WsOpcode::ping, "c") + frame(WsOpcode::close, ""),
                {text("a"), closed(1000)});
}

TEST(WsClose, NothingIsReadAfterAnError) {
  expect_events(raw(0x81, 0x00) + frame(WsOpcode::text, "b") + raw(0x81, 0x00), {error(1002)});
}

TEST(WsClose, HalfACodeIsRefused) { expect_events(frame(WsOpcode::close, "\x03"), {error(1002)}); }

TEST(WsClose, CodesAreValidated) {
  const auto is_valid = [](unsigned code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
  };
  for (unsigned code = 0; code <= 0xFFFF; ++code) {
    const auto value = static_cast<std::uint16_t>(code);
    const Events expected{is_valid(code) ? closed(value) : error(1002)};
    ASSERT_EQ(parse({frame(WsOpcode::close, close_payload(value))}), expected) << code;
  }
  expect_events(frame(WsOpcode::close, close_payload(1004, "reason")), {error(1002)});
  expect_events(frame(WsOpcode::close, close_payload(3000, "reason")), {closed(3000, "reason")});
}

TEST(WsClose, TheReasonIsUtf8) {
  expect_events(frame(WsOpcode::close, close_payload(1000, "κόσμε")), {closed(1000, "κόσμε")});
  expect_events(frame(WsOpcode::close, close_payload(1000, "\xCE\xBA\xED\xA0\x80")), {error(1007)});
  expect_events(frame(WsOpcode::close, close_payload(1000, "\xE2\x82")), {error(1007)});
}

// --- 9 and 10: limits, memory, delivery

TEST(WsLimits, AMessageOfExactlyTheLimitPassesAndOneByteMoreDoesNot) {
  for (const std::size_t limit : {1U, 10U, 125U, 126U, 1000U}) {
    const std::string longest(limit, 'x');
    const auto tail = frame(WsOpcode::ping, "still here");
    expect_events(frame(WsOpcode::text, longest) + tail, {text(longest), ping("still here")}, limit);
    expect_events(frame(WsOpcode::text, longest + "x") + tail, {error(1009)}, limit);
    expect_events(fragment(WsOpcode::text, "x") + frame(WsOpcode::continuation, longest), {error(1009)},
                  limit);
    expect_events(fragment(WsOpcode::text, longest) + frame(WsOpcode::continuation, "") + tail,
                  {text(longest), ping("still here")}, limit);
  }
}

TEST(WsLimits, ALimitOfZeroLeavesEmptyMessagesAndControlFrames) {
  expect_events(frame(WsOpcode::text, "") + frame(WsOpcode::ping, "p") + frame(WsOpcode::text, "x"),
                {text(""), ping("p"), error(1009)}, 0);
}

TEST(WsLimits, TooBigIsSaidAtTheHeaderBeforeMaskAndPayload) {
  using namespace std::string_view_literals;
  EXPECT_EQ(parse({"\x82\xFF\x00\x00\x00\x00\x00\x01\x00\x01"sv}), Events{error(1009)});
  EXPECT_EQ(parse({"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"sv}), Events{error(1009)});
  EXPECT_EQ(parse({"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"sv}, std::numeric_limits<std::size_t>::max()),
            Events{error(1009)});
  EXPECT_EQ(parse({"\x82\xFE\x00\xC8"sv}, 199), Events{error(1009)});
}

TEST(WsMemory, TheParserIsSmall) { EXPECT_LE(sizeof(WsParser), 16U); }

TEST(WsMemory, AWholeMessageIsAViewIntoTheInputWithoutHeap) {
  std::string wire = frame(WsOpcode::text, std::string(180, 'x')) + frame(WsOpcode::ping, "p");
  std::span<char> input(wire);
  WsParser parser(kMessageBytesMax);
  const auto message = parser.next(input);
  EXPECT_EQ(message.payload.data(), wire.data() + 8);
  EXPECT_EQ(parser.heap_bytes(), 0U);
  const auto control = parser.next(input);
  EXPECT_EQ(control.payload.data(), wire.data() + wire.size() - 1);
  EXPECT_EQ(parser.heap_bytes(), 0U);
}

TEST(WsMemory, APayloadBehindACutHeaderIsStillAView) {
  const std::string wire = frame(WsOpcode::text, std::string(180, 'x'));
  WsParser parser(kMessageBytesMax);
  Events events;
  feed(parser, std::string_view(wire).substr(0, 5), events);
  std::string rest = wire.substr(5);
  std::span<char> input(rest);
  EXPECT_EQ(parser.next(input).payload.data(), rest.data() + 3);
  EXPECT_EQ(parser.next(input).kind, WsEventKind::need_more);
  EXPECT_EQ(parser.heap_bytes(), 0U);
}

TEST(WsMemory, FollowsWhatArrivedAndNotWhatAHeaderClaims) {
  const std::string wire = frame(WsOpcode::binary, std::string(1 << 20, 'x'));
  WsParser parser(1 << 20);
  Events events;
  constexpr std::size_t kFixedBytes = 512;
  std::size_t arrived = 0;
  for (const auto piece : chopped(wire, 4096)) {
    feed(parser, piece, events);
    arrived += piece.size();
    ASSERT_LE(parser.heap_bytes(), 2 * arrived + kFixedBytes);
    ASSERT_LE(parser.heap_bytes(), (1 << 20) + kFixedBytes);
  }
  EXPECT_EQ(events.size(), 1U);
  EXPECT_EQ(parser.heap_bytes(), 0U);
}

TEST(WsMemory, DoesNotGrowPastTheKnownEndOfAMessage) {
  const std::string wire = frame(WsOpcode::binary, std::string(5000, 'x'));
  WsParser parser(1 << 20);
  Events events;
  for (const auto piece : chopped(wire, 1500)) {
    feed(parser, piece, events);
    ASSERT_LE(parser.heap_bytes(), 5000U + 512U);
  }
  EXPECT_EQ(events, Events{binary(std::string(5000, 'x'))});
}

TEST(WsMemory, EndlessEmptyFragmentsTakeNoMore) {
  WsParser parser(kMessageBytesMax);
  Events events;
  feed(parser, fragment(WsOpcode::text, "x"), events);
  const std::size_t heap_bytes = parser.heap_bytes();
  std::string burst;
  for (int i = 0; i < 10000; ++i) burst += fragment(WsOpcode::continuation, "");
  feed(parser, burst, events);
  EXPECT_EQ(parser.heap_bytes(), heap_bytes);
  EXPECT_TRUE(events.empty());
}

TEST(WsMemory, IsFreedByAnErrorAndAfterAClose) {
  WsParser failing(kMessageBytesMax);
  Events events;
  feed(failing, fragment(WsOpcode::text, "x") + raw(0xF1, 0x80), events);
  EXPECT_EQ(failing.heap_bytes(), 0U);
  WsParser closing(kMessageBytesMax);
  feed(closing, fragment(WsOpcode::text, "x") + frame(WsOpcode::close, ""), events);
  EXPECT_EQ(closing.heap_bytes(), 0U);
  EXPECT_TRUE(closing.is_finished());
}

TEST(WsMemory, AMovedParserGoesOnInMidFrame) {
  const std::string wire = fragment(WsOpcode::text, "one ") + frame(WsOpcode::continuation, "two");
  WsParser first(kMessageBytesMax);
  Events events;
  feed(first, std::string_view(wire).substr(0, 13), events);
  WsParser second(std::move(first));
  feed(second, std::string_view(wire).substr(13), events);
  EXPECT_EQ(events, Events{text("one two")});
}

TEST(WsDelivery, RandomConversationsAreTheSameInRandomPieces) {
  std::mt19937 random(20261);
  const auto below = [&random](std::size_t end) { return random() % end; };
  const auto random32 = [&random] { return static_cast<std::uint32_t>(random()); };
  for (int round = 0; round < 300; ++round) {
    std::string wire;
    Events expected;
    for (std::size_t count = 1 + below(6); count > 0; --count) {
      const bool is_text = below(2) == 0;
      std::string payload(below(below(4) == 0 ? 3000 : 200), 'a');
      if (!is_text) {
        for (auto& byte : payload) byte = static_cast<char>(random());
      }
      auto opcode = is_text ? WsOpcode::text : WsOpcode::binary;
      std::string_view rest = payload;
      for (std::size_t fragments = below(4); fragments > 0; --fragments) {
        const std::size_t bytes = below(rest.size() + 1);
        append_ws_client_frame(wire, std::exchange(opcode, WsOpcode::continuation), false, random32(),
                               rest.substr(0, bytes));
        rest.remove_prefix(bytes);
        if (below(3) == 0) {
          wire += frame(WsOpcode::ping, "between");
          expected.push_back(ping("between"));
        }
      }
      append_ws_client_frame(wire, opcode, true, random32(), rest);
      expected.push_back(is_text ? text(payload) : binary(payload));
    }
    std::vector<std::string_view> pieces;
    for (std::string_view rest = wire; !rest.empty();) {
      const std::size_t bytes = std::min<std::size_t>(below(400), rest.size());
      pieces.push_back(rest.substr(0, bytes));
      rest.remove_prefix(bytes);
    }
    ASSERT_EQ(parse(pieces), expected) << "round " << round;
    ASSERT_EQ(parse_by_successors(pieces), expected) << "round " << round;
  }
}

// --- writing

TEST(WsWriting, HeadersHaveTheShortestForm) {
  using namespace std::string_view_literals;
  const auto header = [](WsOpcode opcode, std::size_t bytes) {
    std::string out;
    append_ws_header(out, opcode, bytes);
    EXPECT_EQ(out.size(), ws_header_bytes(bytes));
    return out;
  };
  EXPECT_EQ(header(WsOpcode::text, 0), "\x81\x00"sv);
  EXPECT_EQ(header(WsOpcode::ping, 125), "\x89\x7D"sv);
  EXPECT_EQ(header(WsOpcode::binary, 126), "\x82\x7E\x00\x7E"sv);
  EXPECT_EQ(header(WsOpcode::text, 65535), "\x81\x7E\xFF\xFF"sv);
  EXPECT_EQ(header(WsOpcode::text, 65536), "\x81\x7F\x00\x00\x00\x00\x00\x01\x00\x00"sv);
}

TEST(WsWriting, FramesAreAppended) {
  std::string out = "before";
  append_ws_frame(out, WsOpcode::text, "Hello");
  append_ws_frame(out, WsOpcode::pong, "");
  EXPECT_EQ(out, std::string_view("before\x81\x05Hello\x8A\x00", 15));
}

TEST(WsWriting, ACloseCarriesCodeAndReason) {
  std::string out;
  append_ws_close(out, 3001, "shutdown");
  EXPECT_EQ(out, "\x88\x0A\x0B\xB9shutdown");
}

TEST(WsWriting, ACloseWithoutACodeIsEmpty) {
  for (const std::uint16_t code : std::initializer_list<std::uint16_t>{1005, 1006, 1015}) {
    std::string out;
    append_ws_close(out, code, "unsaid");
    EXPECT_EQ(out, std::string_view("\x88\x00", 2));
  }
}

TEST(WsWriting, AReasonIsCutBetweenCharacters) {
  for (std::size_t lead = 100; lead < 130; ++lead) {
    for (const std::string_view tail : {"", "€€€€€€€€€€", "𝄞𝄞𝄞𝄞𝄞𝄞𝄞𝄞", "éééééééé"}) {
      const std::string reason = std::string(lead, 'x').append(tail);
      std::string out;
      append_ws_close(out, 4000, reason);
      const std::string kept = out.substr(4);
      ASSERT_LE(kept.size(), kWsCloseReasonBytesMax);
      ASSERT_GT(kept.size() + 4, std::min(reason.size(), kWsCloseReasonBytesMax));
      ASSERT_TRUE(reason.starts_with(kept));
      ASSERT_TRUE(is_utf8(kept));
      ASSERT_EQ(static_cast<std::size_t>(out[1]), kept.size() + 2);
    }
  }
}

TEST(WsWriting, AClientFrameIsMasked) {
  EXPECT_EQ(frame(WsOpcode::text, "Hello"), "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
}

}  // namespace
}  // namespace carillon
