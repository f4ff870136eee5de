// The codec by itself; tests/python/wire/test_ws_protobuf.py compares it with the published schema.
#include "protocol/centrifuge_protobuf.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/protobuf.hpp"

namespace carillon {
namespace {

using namespace std::string_literals;

const CentrifugeCodec& protobuf() { return codec_of(Encoding::protobuf); }

/// A command behind its length: `id`, and one request field with what `write` writes.
template <typename Write>
std::string command_of(std::uint32_t id, std::uint32_t field, Write write) {
  std::string out;
  const std::size_t begin = ProtobufWriter::open_delimited(out);
  ProtobufWriter writer(out);
  writer.number(1, id);
  const std::size_t request = writer.open(field);
  write(writer);
  writer.close(request);
  ProtobufWriter::close_delimited(out, begin);
  return out;
}

/// The frame stays until the next one.
DecodeStep decode(const std::string& bytes, Command& command) {
  static std::string scratch;
  static std::string frame;
  frame = bytes;
  std::string_view rest = frame;
  return protobuf().decode(rest, command, scratch);
}

TEST(CentrifugeProtobuf, WishesOfAConnectAreRead) {
  Command command;
  ASSERT_EQ(decode(command_of(1, 4,
                              [](auto& connect) {
                                for (const std::string channel : {"a", "b", "c"}) {
                                  const std::size_t entry = connect.open(3);
                                  connect.bytes(1, channel);
                                  const std::size_t wish = connect.open(2);
                                  connect.number(3, channel == "a" ? 1 : 0);
                                  connect.bytes(6, "epoch");
                                  connect.number(7, 12);
                                  if (channel == "a") connect.bytes(12, "fossil");
                                  connect.close(wish);
                                  connect.close(entry);
                                  connect.bytes(4, "js");  // between the entries
                                }
                              }),
                   command),
            DecodeStep::command);
  std::vector<SubscriptionWish> wishes;
  ASSERT_TRUE(protobuf().decode_wishes(command.wishes, 2, wishes));
  ASSERT_EQ(wishes.size(), 2U) << "as many as are wanted";
  EXPECT_EQ(wishes[0].channel, "a");
  EXPECT_TRUE(wishes[0].is_recover);
  EXPECT_EQ(wishes[0].epoch, "epoch");
  EXPECT_EQ(wishes[0].offset, 12U);
  EXPECT_TRUE(wishes[0].wants_delta);
  EXPECT_FALSE(wishes[1].wants_delta);
  EXPECT_EQ(wishes[1].channel, "b");
  EXPECT_FALSE(wishes[1].is_recover);
  for (const std::string& malformed :
       {command_of(1, 4, [](auto& connect) { connect.number(3, 1); }),
        command_of(1, 4,
                   [](auto& connect) {
                     connect.bytes(3,
                                   "\x0a\x05"
                                   "a");
                   }),
        command_of(1, 4, [](auto& connect) { connect.bytes(3, "\x0a\x01\xff"); })}) {
    ASSERT_EQ(decode(malformed, command), DecodeStep::command);
    EXPECT_FALSE(protobuf().decode_wishes(command.wishes, 9, wishes));
  }
}

TEST(CentrifugeProtobuf, CommandsOfOneFrameComeOneAfterTheOther) {
  const std::string frame = command_of(1, 4, [](auto& connect) { connect.bytes(1, "token"); }) + "\0"s +
                            command_of(2, 5, [](auto& subscribe) {
                              subscribe.bytes(1, "news");
                              subscribe.number(3, 1);
                              subscribe.bytes(6, "epoch");
                              subscribe.number(7, 12);
                              subscribe.bytes(8, R"({"a":1})");
                              subscribe.number(10, 1);
                              subscribe.number(11, 1);
                              subscribe.bytes(12, "fossil");
                              subscribe.number(14, 3);
                            });
  std::string_view rest = frame;
  std::string scratch;
  Command command;
  ASSERT_EQ(protobuf().decode(rest, command, scratch), DecodeStep::command);
  EXPECT_EQ(command.kind, CommandKind::connect);
  EXPECT_EQ(command.token, "token");
  ASSERT_EQ(protobuf().decode(rest, command, scratch), DecodeStep::command);
  EXPECT_EQ(command.kind, CommandKind::pong);
  ASSERT_EQ(protobuf().decode(rest, command, scratch), DecodeStep::command);
  EXPECT_EQ(command.id, 2U);
  EXPECT_EQ(command.kind, CommandKind::subscribe);
  EXPECT_EQ(command.channel, "news");
  EXPECT_TRUE(command.is_recover && command.is_join_leave && !command.is_binary);
  EXPECT_TRUE(command.is_recoverable && !command.is_positioned);
  EXPECT_EQ(command.epoch, "epoch");
  EXPECT_EQ(command.offset, 12U);
  EXPECT_EQ(command.data, R"({"a":1})");
  EXPECT_EQ(command.delta, "fossil");
  EXPECT_EQ(command.flag, 3U);
  EXPECT_EQ(protobuf().decode(rest, command, scratch), DecodeStep::end);
}

TEST(CentrifugeProtobuf, HistoryHasAPositionAndANegativeLimit) {
  Command command;
  ASSERT_EQ(decode(command_of(3, 10,
                              [](auto& history) {
                                history.bytes(1, "news");
                                history.number(7, static_cast<std::uint64_t>(-1));
                                const std::size_t since = history.open(8);
                                history.number(1, 5);
                                history.bytes(2, "ep");
                                history.close(since);
                                history.number(9, 1);
                              }),
                   command),
            DecodeStep::command);
  EXPECT_EQ(command.limit, -1);
  EXPECT_TRUE(command.has_since && command.is_reverse);
  EXPECT_EQ(command.offset, 5U);
  EXPECT_EQ(command.epoch, "ep");
}

TEST(CentrifugeProtobuf, APayloadIsBinaryUnlessItIsJson) {
  for (const auto& [data, is_binary] : std::vector<std::pair<std::string, bool>>{{"{}", false},
                                                                                 {"\"x\"", false},
                                                                                 {"null", false},
                                                                                 {"\xFF\0"s, true},
                                                                                 {"{", true},
                                                                                 {"hello", true}}) {
    Command command;
    ASSERT_EQ(decode(command_of(1, 7,
                                [&](auto& publish) {
                                  publish.bytes(1, "news");
                                  publish.bytes(2, data);
                                }),
                     command),
              DecodeStep::command);
    EXPECT_EQ(command.data, data);
    EXPECT_EQ(command.is_binary, is_binary) << data;
  }
}

TEST(CentrifugeProtobuf, APayloadThatIsNestedTooDeepIsToldApart) {
  for (const std::size_t depth : {64U, 65U}) {
    Command command;
    const std::string data = std::string(depth, '[') + std::string(depth, ']');
    ASSERT_EQ(decode(command_of(1, 7, [&](auto& publish) { publish.bytes(2, data); }), command),
              DecodeStep::command);
    EXPECT_FALSE(command.is_binary) << depth;
    EXPECT_EQ(command.is_too_deep, depth > 64) << depth;
  }
}

TEST(CentrifugeProtobuf, OfSeveralRequestsOneWinsWhateverTheirOrder) {
  using Requests = std::vector<std::pair<std::uint32_t, std::string>>;
  for (const Requests& requests : {Requests{{5, "early"}, {7, "other"}, {5, "wanted"}},
                                   Requests{{7, "other"}, {5, "early"}, {5, "wanted"}, {7, "other"}}}) {
    std::string frame;
    const std::size_t begin = ProtobufWriter::open_delimited(frame);
    ProtobufWriter writer(frame);
    writer.number(1, 5);
    for (const auto& [field, channel] : requests) {
      const std::size_t request = writer.open(field);
      writer.bytes(1, channel);
      writer.close(request);
    }
    ProtobufWriter::close_delimited(frame, begin);
    Command command;
    ASSERT_EQ(decode(frame, command), DecodeStep::command);
    EXPECT_EQ(command.kind, CommandKind::subscribe);
    EXPECT_EQ(command.channel, "wanted") << "of one kind the last";
  }
}

TEST(CentrifugeProtobuf, WhatIsMalformedIsRefused) {
  const std::string whole = command_of(1, 5, [](auto& subscribe) { subscribe.bytes(1, "news"); });
  Command command;
  for (std::size_t cut = 1; cut < whole.size(); ++cut)
    EXPECT_EQ(decode(whole.substr(0, cut), command), DecodeStep::malformed) << cut;
  const auto number_for_text = [](auto& subscribe) { subscribe.number(1, 7); };
  const auto no_utf8 = [](auto& subscribe) { subscribe.bytes(1, "\xC0\x80"); };
  const auto text_for_number = [](auto& subscribe) { subscribe.bytes(7, "12"); };
  EXPECT_EQ(decode(command_of(1, 5, number_for_text), command), DecodeStep::malformed);
  EXPECT_EQ(decode(command_of(1, 5, no_utf8), command), DecodeStep::malformed);
  EXPECT_EQ(decode(command_of(1, 5, text_for_number), command), DecodeStep::malformed);
  EXPECT_EQ(decode(command_of(0, 12, [](auto& send) { send.bytes(1, "{}"); }), command), DecodeStep::command);
  EXPECT_EQ(command.kind, CommandKind::send);
  EXPECT_EQ(decode("\x02\x08\x01"s, command), DecodeStep::malformed) << "an id without a request";
  EXPECT_EQ(decode(command_of(1, 99, [](auto&) {}), command), DecodeStep::malformed) << "an unknown request";
}

TEST(CentrifugeProtobuf, RepliesHaveTheNumbersOfTheSchema) {
  std::string out;
  protobuf().encode_heartbeat(out);
  EXPECT_EQ(out, "\0"s);
  out.clear();
  protobuf().encode_error(out, 7, 103, "no", true);
  EXPECT_EQ(out, "\x0C\x08\x07\x12\x08\x08\x67\x12\x02no\x18\x01"s);
  out.clear();
  protobuf().encode_push_publication(out, "c", {.data = "\xFF", .is_json = false, .offset = 2});
  EXPECT_EQ(out, "\x0C\x22\x0A\x12\x01"s + "c\x22\x05\x22\x01\xFF\x30\x02"s);
}

TEST(CentrifugeProtobuf, TheInfoOfEntriesIsReadFromItsText) {
  std::string info;
  const std::string user = "a\"nn, whose name is longer than a short text";
  const std::string client =
      "id-\"1\", which is decoded behind it into the same scratch, and is longer still";
  append_client_info(info, {user, client, R"({"x":1})"});
  std::string out;
  protobuf().encode_push_join(out, "c", info);
  std::string_view frame = out;
  ProtobufReader reply(*take_delimited(frame));
  ProtobufField field;
  ASSERT_TRUE(reply.next(field));
  ProtobufReader push(field.bytes);
  ASSERT_TRUE(push.next(field));
  ASSERT_TRUE(push.next(field));
  EXPECT_EQ(field.number, 5U);
  ProtobufReader join(field.bytes);
  ASSERT_TRUE(join.next(field));
  ProtobufReader person(field.bytes);
  std::vector<std::string> texts;
  while (person.next(field)) texts.emplace_back(field.bytes);
  EXPECT_EQ(texts, (std::vector<std::string>{user, client, R"({"x":1})"}));
}

}  // namespace
}  // namespace carillon
