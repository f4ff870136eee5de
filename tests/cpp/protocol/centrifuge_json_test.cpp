#include "protocol/centrifuge_json.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "protocol/json_span.hpp"

namespace carillon {
namespace {

using Json = nlohmann::json;

const CentrifugeJsonCodec& codec() { return centrifuge_json_codec(); }

// One command, which must be alone in its frame; its scratch lives with it.
struct Decoded {
  explicit Decoded(std::string text) : frame(std::move(text)) {
    std::string_view rest = frame;
    step = codec().decode(rest, command, scratch);
    EXPECT_TRUE(step != DecodeStep::command || rest.empty()) << frame;
  }
  Decoded(const Decoded&) = delete;

  std::string frame;
  std::string scratch;
  Command command;
  DecodeStep step;
};

bool is_malformed(const std::string& frame) { return Decoded(frame).step == DecodeStep::malformed; }

CommandKind kind_of(const std::string& frame) {
  const Decoded decoded(frame);
  EXPECT_EQ(decoded.step, DecodeStep::command) << frame;
  return decoded.command.kind;
}

// All steps of a frame, as a string of c, e and m.
std::string steps_of(std::string_view frame) {
  std::string steps, scratch;
  Command command;
  for (;;) {
    switch (codec().decode(frame, command, scratch)) {
      case DecodeStep::command:
        steps += 'c';
        continue;
      case DecodeStep::end:
        return steps + 'e';
      case DecodeStep::malformed:
        return steps + 'm';
    }
  }
}

TEST(CentrifugeDecode, TakesCommandsOffTheFrameOneByOne) {
  EXPECT_EQ(steps_of(""), "e");
  EXPECT_EQ(steps_of("{}"), "ce");
  EXPECT_EQ(steps_of("{}\n"), "ce");
  EXPECT_EQ(steps_of("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{}}\n{}"), "ccce");
  EXPECT_EQ(steps_of("{}\r\n{}\r\n"), "cce");
}

TEST(CentrifugeDecode, RefusesEmptyLinesAndBrokenCommands) {
  for (const char* frame :
       {"\n", " ", "\n{}", "null", "[]", "1", "{", "}", "{}{}", "{} x", "{\"id\":1}", "nonsense"}) {
    EXPECT_EQ(steps_of(frame), "m") << frame;
  }
  EXPECT_EQ(steps_of("{}\n\n{}"), "cm");
  EXPECT_EQ(steps_of("{}\n\n"), "cm");
  EXPECT_EQ(steps_of("{\"id\":1,\n\"connect\":{}}"), "m");
}

TEST(CentrifugeDecode, ReadsConnect) {
  const Decoded decoded(R"({"id":1,"connect":{"token":"tok","data":{"tab": 3},"name":"js","version":"5",)"
                        R"("subs":{"a":{"recover":true}},"headers":{"x":"y"},"flag":1}})");
  const Command& command = decoded.command;
  ASSERT_EQ(decoded.step, DecodeStep::command);
  EXPECT_EQ(command.kind, CommandKind::connect);
  EXPECT_EQ(command.id, 1u);
  EXPECT_EQ(command.token, "tok");
  EXPECT_EQ(command.data, R"({"tab": 3})");
  EXPECT_EQ(command.flag, 1u);
}

TEST(CentrifugeDecode, ReadsSubscribe) {
  const Decoded decoded(
      R"({"subscribe":{"channel":"room:7","token":"t","recover":true,"epoch":"ep",)"
      R"("offset":18446744073709551615,"data":[1],"positioned":true,"recoverable":true,)"
      R"("join_leave":true,"delta":"fossil","tf":{"op":"x"},"flag":3,"type":1},"id":4294967295})");
  const Command& command = decoded.command;
  ASSERT_EQ(decoded.step, DecodeStep::command);
  EXPECT_EQ(command.kind, CommandKind::subscribe);
  EXPECT_EQ(command.id, 4294967295u);
  EXPECT_EQ(command.channel, "room:7");
  EXPECT_EQ(command.token, "t");
  EXPECT_EQ(command.epoch, "ep");
  EXPECT_EQ(command.offset, 18446744073709551615u);
  EXPECT_EQ(command.data, "[1]");
  EXPECT_EQ(command.delta, "fossil");
  EXPECT_TRUE(command.is_recover && command.is_positioned && command.is_recoverable && command.is_join_leave);
  EXPECT_TRUE(command.has_tags_filter);
  EXPECT_EQ(command.flag, 3u);
  EXPECT_EQ(command.type, 1);
}

TEST(CentrifugeDecode, PassesDataOnByteForByte) {
  const std::string data = "{ \"b\":1.50,\"a\" : \"\\u00e9\\ud800\xC3\xA9\", \"n\":12345678901234567890123 }";
  const Decoded decoded("{\"id\":2,\"publish\":{\"data\": " + data + " ,\"channel\":\"c\"}}");
  ASSERT_EQ(decoded.step, DecodeStep::command);
  EXPECT_EQ(decoded.command.data, data);
  EXPECT_EQ(decoded.command.channel, "c");
}

TEST(CentrifugeDecode, ADataThatIsTooDeepIsNoMalformedFrame) {
  for (const int depth : {kJsonDepthMax, kJsonDepthMax + 1, 30'000}) {
    const auto count = static_cast<std::size_t>(depth);
    const std::string open = R"({"id":2,"publish":{"channel":"c","data":)" + std::string(count, '[');
    const Decoded decoded(open + std::string(count, ']') + "}}");
    ASSERT_EQ(decoded.step, DecodeStep::command) << depth;
    EXPECT_EQ(decoded.command.id, 2u);
    EXPECT_EQ(decoded.command.is_too_deep, depth > kJsonDepthMax) << depth;
    EXPECT_TRUE(is_malformed(open + std::string(count - 1, ']') + "}}}")) << depth;
  }
}

TEST(CentrifugeDecode, ReadsWhereASubscribeStarts) {
  const Decoded since(R"({"id":7,"subscribe":{"channel":"c","since":"oldest"}})");
  EXPECT_EQ(since.command.since, "oldest");
  EXPECT_FALSE(since.command.last);
  EXPECT_EQ(Decoded(R"({"id":7,"subscribe":{"channel":"c","last":20}})").command.last, 20U);
  for (const char* start : {R"("since":5)", R"("since":{})", R"("last":-1)", R"("last":"5")"}) {
    EXPECT_TRUE(is_malformed(std::string(R"({"id":7,"subscribe":{"channel":"c",)") + start + "}}")) << start;
  }
}

TEST(CentrifugeDecode, ReadsHistoryWithAndWithoutSince) {
  const Decoded decoded(
      R"({"id":7,"history":{"channel":"c","limit":-1,"since":{"offset":9,"epoch":"ep"},"reverse":true}})");
  EXPECT_EQ(decoded.command.kind, CommandKind::history);
  EXPECT_EQ(decoded.command.limit, -1);
  EXPECT_TRUE(decoded.command.has_since && decoded.command.is_reverse);
  EXPECT_EQ(decoded.command.offset, 9u);
  EXPECT_EQ(decoded.command.epoch, "ep");
  const Decoded none(R"({"id":7,"history":{"channel":"c","since":null}})");
  EXPECT_EQ(none.step, DecodeStep::command);
  EXPECT_FALSE(none.command.has_since);
  EXPECT_TRUE(Decoded(R"({"id":7,"history":{"channel":"c","since":{}}})").command.has_since);
  EXPECT_TRUE(is_malformed(R"({"id":7,"history":{"channel":"c","since":5}})"));
}

TEST(CentrifugeDecode, ReadsTheOtherCommands) {
  EXPECT_EQ(kind_of(R"({"id":1,"unsubscribe":{"channel":"c"}})"), CommandKind::unsubscribe);
  EXPECT_EQ(kind_of(R"({"id":1,"presence":{"channel":"c"}})"), CommandKind::presence);
  EXPECT_EQ(kind_of(R"({"id":1,"presence_stats":{"channel":"c"}})"), CommandKind::presence_stats);
  EXPECT_EQ(kind_of(R"({"id":1,"refresh":{"token":"t"}})"), CommandKind::refresh);
  EXPECT_EQ(kind_of(R"({"id":1,"sub_refresh":{"channel":"c","token":"t"}})"), CommandKind::sub_refresh);
  EXPECT_EQ(kind_of(R"({"id":1,"ping":{}})"), CommandKind::ping);
  EXPECT_EQ(kind_of(R"({"send":{"data":1}})"), CommandKind::send);
  const Decoded rpc(R"({"id":1,"rpc":{"method":"m","data":{}}})");
  EXPECT_EQ(rpc.command.kind, CommandKind::rpc);
  EXPECT_EQ(rpc.command.method, "m");
}

TEST(CentrifugeDecode, KeepsSeveralDecodedStringsAtOnce) {
  const Decoded decoded(R"({"id":1,"subscribe":{"token":"t\u00e9","channel":"n\"","epoch":"\ud83d\ude00"}})");
  EXPECT_EQ(decoded.command.token, "t\xC3\xA9");
  EXPECT_EQ(decoded.command.channel, "n\"");
  EXPECT_EQ(decoded.command.epoch, "\xF0\x9F\x98\x80");
  EXPECT_TRUE(is_malformed(R"({"id":1,"subscribe":{"channel":"\ud800"}})"));
}

TEST(CentrifugeDecode, IgnoresUnknownFieldsAndFieldsOfOtherCommands) {
  const Decoded decoded(
      R"({"x":[{}],"id":1,"publish":{"channel":"c","data":1,"epoch":5,"y":null,"limit":"z"}})");
  EXPECT_EQ(decoded.step, DecodeStep::command);
  EXPECT_EQ(decoded.command.channel, "c");
}

TEST(CentrifugeDecode, CountsNullAsAbsentButForData) {
  EXPECT_EQ(kind_of(R"({"id":null})"), CommandKind::pong);
  EXPECT_EQ(kind_of(R"({"id":1,"connect":null,"ping":{}})"), CommandKind::ping);
  EXPECT_TRUE(is_malformed(R"({"id":1,"connect":null})"));
  const Decoded decoded(R"({"id":1,"publish":{"channel":null,"data":null}})");
  EXPECT_EQ(decoded.step, DecodeStep::command);
  EXPECT_TRUE(decoded.command.channel.empty());
  EXPECT_EQ(decoded.command.data, "null");
}

TEST(CentrifugeDecode, TakesTheFirstRequestInTheProtocolsOrder) {
  EXPECT_EQ(kind_of(R"({"id":1,"publish":{},"connect":{}})"), CommandKind::connect);
  EXPECT_EQ(kind_of(R"({"id":1,"connect":{},"publish":{}})"), CommandKind::connect);
  EXPECT_EQ(kind_of(R"({"id":1,"send":{},"rpc":{}})"), CommandKind::rpc);
  const Decoded decoded(R"({"id":1,"publish":{"channel":"p","data":1},"subscribe":{"token":"t"}})");
  EXPECT_EQ(decoded.command.kind, CommandKind::subscribe);
  EXPECT_TRUE(decoded.command.channel.empty() && decoded.command.data.empty());
}

TEST(CentrifugeDecode, LetsTheLastDuplicateWin) {
  const Decoded decoded(
      R"({"id":1,"id":2,"publish":{"channel":"a","channel":"b","data":1},"publish":{"data":2}})");
  EXPECT_EQ(decoded.command.id, 2u);
  EXPECT_EQ(decoded.command.channel, "b");
  EXPECT_EQ(decoded.command.data, "2");
}

TEST(CentrifugeDecode, ReadsIdZeroAsPongUnlessItSends) {
  for (const char* frame :
       {"{}", R"({"id":0})", R"({"id":0,"connect":{"token":"t"}})", R"({"publish":{}})", R"({"z":1})"}) {
    const Decoded decoded(frame);
    EXPECT_EQ(decoded.step, DecodeStep::command);
    EXPECT_EQ(decoded.command.kind, CommandKind::pong) << frame;
    EXPECT_TRUE(decoded.command.token.empty());
  }
  EXPECT_EQ(kind_of(R"({"id":0,"send":{}})"), CommandKind::send);
  EXPECT_TRUE(is_malformed(R"({"send":{},"connect":{}})"));
}

TEST(CentrifugeDecode, RefusesFieldsOfTheWrongType) {
  for (const char* frame :
       {R"({"id":-1,"ping":{}})", R"({"id":4294967296,"ping":{}})", R"({"id":1.0,"ping":{}})",
        R"({"id":"1","ping":{}})", R"({"id":1,"connect":1})", R"({"id":1,"connect":[]})",
        R"({"id":1,"connect":{},"publish":"x"})", R"({"id":1,"subscribe":{"channel":1}})",
        R"({"id":1,"subscribe":{"recover":1}})", R"({"id":1,"subscribe":{"offset":-1}})",
        R"({"id":1,"subscribe":{"offset":"1"}})", R"({"id":1,"history":{"limit":1.5}})",
        R"({"id":1,"history":{"since":{"epoch":1}}})", R"({"id":1,"publish":{"channel":"c","data":{]}})",
        R"({"id":1,"publish":{"channel":"c","data":}})"}) {
    EXPECT_TRUE(is_malformed(frame)) << frame;
  }
}

TEST(CentrifugeDecode, AcceptsNoMutationThatIsNotJson) {
  const std::string original =
      R"({"id":12,"publish":{"channel":"room\u0031","data":{"t":[1,-2.5e3,"x\n"],"ok":true}},"z":[null]})";
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string text = original;
    const std::size_t at = random() % text.size();
    static constexpr std::string_view kBytes = "\"{}[]:,\\ 01ae\x80";
    if (round % 3 == 0)
      text.erase(at, 1);
    else if (round % 3 == 1)
      text[at] = kBytes[random() % kBytes.size()];
    else
      text.insert(at, 1, kBytes[random() % kBytes.size()]);
    const Decoded decoded(text);
    if (decoded.step == DecodeStep::command) {
      ASSERT_TRUE(Json::accept(text)) << text;
      const std::string_view data = decoded.command.data;
      ASSERT_TRUE(data.empty() || Json::accept(data)) << text;
    }
  }
}

// Encoders: the exact text where the order is a contract with nobody, but stable bytes are easier to read.

template <class Encode>
std::string encoded(Encode encode) {
  std::string out;
  encode(out);
  EXPECT_TRUE(Json::accept(out)) << out;
  EXPECT_EQ(out.find('\n'), std::string::npos);
  return out;
}

TEST(CentrifugeEncode, WritesErrors) {
  EXPECT_EQ(encoded([](auto& out) { codec().encode_error(out, 3, kErrorPermissionDenied); }),
            R"({"id":3,"error":{"code":103,"message":"permission denied"}})");
  EXPECT_EQ(encoded([](auto& out) { codec().encode_error(out, 3, kErrorInternal); }),
            R"({"id":3,"error":{"code":100,"message":"internal server error","temporary":true}})");
}

TEST(CentrifugeEncode, WritesConnect) {
  EXPECT_EQ(encoded([](auto& out) {
              codec().encode_connect(
                  out, 1, {.client = "c-1", .version = "1.0.0", .ping_s = 25, .is_pong_expected = true});
            }),
            R"({"id":1,"connect":{"client":"c-1","version":"1.0.0","ping":25,"pong":true}})");
}

TEST(CentrifugeEncode, WritesSubscribe) {
  EXPECT_EQ(encoded([](auto& out) { codec().encode_subscribe(out, 2, {}); }), R"({"id":2,"subscribe":{}})");
  std::string list;
  for (std::uint64_t offset = 3; offset <= 4; ++offset) {
    codec().append_listed(
        list, encoded([&](auto& out) { codec().encode_publication(out, {.data = "1", .offset = offset}); }));
  }
  EXPECT_EQ(Json::parse(encoded([&](auto& out) {
              codec().encode_subscribe(out, 3,
                                       {.is_recoverable = true,
                                        .epoch = "ep",
                                        .offset = 2,
                                        .is_positioned = true,
                                        .was_recovering = true,
                                        .is_recovered = true,
                                        .publications = list,
                                        .is_conflated = true});
            })),
            Json::parse(
                R"({"id":3,"subscribe":{"recoverable":true,"epoch":"ep","publications":[{"data":1,"offset":3},
                            {"data":1,"offset":4}],"recovered":true,"offset":2,"positioned":true,"conflated":true,
                            "was_recovering":true}})"));
}

TEST(CentrifugeDecode, ReadsTheWishesOfAConnect) {
  std::vector<SubscriptionWish> wishes;
  ASSERT_TRUE(codec().decode_wishes(
      R"({"a\"1":{"recover":true,"offset":18446744073709551615,"epoch":"e\u0070","delta":"fossil"},"b":{"x":[1]},"c":{}})",
      2, wishes));
  ASSERT_EQ(wishes.size(), 2U) << "as many as are wanted";
  EXPECT_EQ(wishes[0].channel, "a\"1");
  EXPECT_TRUE(wishes[0].is_recover);
  EXPECT_EQ(wishes[0].offset, UINT64_MAX);
  EXPECT_EQ(wishes[0].epoch, "ep");
  EXPECT_TRUE(wishes[0].wants_delta);
  EXPECT_FALSE(wishes[1].wants_delta);
  EXPECT_EQ(wishes[1].channel, "b");
  EXPECT_FALSE(wishes[1].is_recover);
  ASSERT_TRUE(codec().decode_wishes("", 2, wishes));
  EXPECT_TRUE(wishes.empty());
  for (const std::string_view malformed :
       {R"([])", R"({"a":1})", R"({"a":{"offset":-1}})", R"({"a":{"epoch":1}})", R"({"a":{"recover":1}})",
        R"({"a":{"delta":"other"}})"})
    EXPECT_FALSE(codec().decode_wishes(malformed, 2, wishes)) << malformed;
}

TEST(CentrifugeEncode, WritesEmptyResults) {
  EXPECT_EQ(encoded([](auto& out) { codec().encode_unsubscribe(out, 5); }), R"({"id":5,"unsubscribe":{}})");
  EXPECT_EQ(encoded([](auto& out) { codec().encode_publish(out, 5); }), R"({"id":5,"publish":{}})");
  EXPECT_EQ(encoded([](auto& out) { codec().encode_ping_reply(out, 5); }), R"({"id":5,"ping":{}})");
  EXPECT_EQ(encoded([](auto& out) { codec().encode_rpc(out, 5, "[1]", false); }),
            R"({"id":5,"rpc":{"data":[1]}})");
  EXPECT_EQ(encoded([](auto& out) { codec().encode_rpc(out, 5, "\xff", true); }),
            R"({"id":5,"rpc":{"data":{"b64":"/w=="},"binary":true}})");
  EXPECT_EQ(encoded([](auto& out) { codec().encode_heartbeat(out); }), "{}");
}

TEST(CentrifugeEncode, WritesPresenceAlwaysWithItsFields) {
  EXPECT_EQ(encoded([](auto& out) { codec().encode_presence(out, 6, {}, false); }),
            R"({"id":6,"presence":{"presence":{}}})");
  const std::vector<ClientInfoView> clients{{"", "c1", ""}, {"42", "c\"2", R"({"n": 1})", R"({"r": 2})"}};
  EXPECT_EQ(encoded([&](auto& out) { codec().encode_presence(out, 6, clients, false); }),
            R"({"id":6,"presence":{"presence":{"c1":{"user":"","client":"c1"},)"
            R"("c\"2":{"user":"42","client":"c\"2","conn_info":{"n": 1},"chan_info":{"r": 2}}}}})");
  EXPECT_EQ(encoded([](auto& out) { codec().encode_presence_stats(out, 6, 0, 0); }),
            R"({"id":6,"presence_stats":{"num_clients":0,"num_users":0}})");
}

TEST(CentrifugeEncode, WritesHistoryAlwaysWithItsFields) {
  EXPECT_EQ(encoded([](auto& out) { codec().encode_history(out, 7, "", "", 0); }),
            R"({"id":7,"history":{"publications":[],"epoch":"","offset":0}})");
  EXPECT_EQ(encoded([](auto& out) { codec().encode_history(out, 7, "{},{}", "ep", UINT64_MAX); }),
            R"({"id":7,"history":{"publications":[{},{}],"epoch":"ep","offset":18446744073709551615}})");
}

TEST(CentrifugeEncode, WritesPublications) {
  const std::vector<Tag> tags{{"lang", "en"}};
  const auto publication = [](const PublicationView& view) {
    return encoded([&](auto& out) { codec().encode_publication(out, view); });
  };
  EXPECT_EQ(publication({.data = "{\"t\":\r\n1}", .offset = 1, .epoch = "ep"}),
            R"({"data":{"t":1},"offset":1,"epoch":"ep"})");
  EXPECT_EQ(publication({.data = "2",
                         .info_json = R"({"user":"u","client":"c"})",
                         .tags = tags,
                         .offset = 2,
                         .epoch = "ep"}),
            R"({"data":2,"info":{"user":"u","client":"c"},"offset":2,"tags":{"lang":"en"}})");
  EXPECT_EQ(publication({.data = std::string_view("\0\xff", 2), .is_json = false}),
            R"({"data":{"b64":"AP8="},"binary":true})");
}

TEST(CentrifugeEncode, WritesThePushOfAPublication) {
  std::string out = "before";
  codec().encode_push_publication(out, "a\"b", {.data = "{}", .offset = 3});
  EXPECT_EQ(out, R"(before{"push":{"channel":"a\"b","pub":{"data":{},"offset":3}}})");
}

TEST(CentrifugeEncode, WritesTheOtherPushes) {
  const std::string info = encoded([](auto& out) { append_client_info(out, {"42", "c", ""}); });
  EXPECT_EQ(encoded([&](auto& out) { codec().encode_push_join(out, "x", info); }),
            R"({"push":{"channel":"x","join":{"info":{"user":"42","client":"c"}}}})");
  EXPECT_EQ(encoded([&](auto& out) { codec().encode_push_leave(out, "x", info); }),
            R"({"push":{"channel":"x","leave":{"info":{"user":"42","client":"c"}}}})");
  EXPECT_EQ(encoded([](auto& out) {
              codec().encode_push_unsubscribe(out, "x", kUnsubscribeInsufficientState.code,
                                              kUnsubscribeInsufficientState.reason);
            }),
            R"({"push":{"channel":"x","unsubscribe":{"code":2500,"reason":"insufficient state"}}})");
}

}  // namespace
}  // namespace carillon
