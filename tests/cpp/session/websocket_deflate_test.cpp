// permessage-deflate (RFC 7692): what is compressed, how often, and what a client may send.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "deflate/deflate.hpp"
#include "protocol/fossil_oracle.hpp"
#include "protocol/ws_frame.hpp"
#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

const std::string kOffer = "permessage-deflate; client_max_window_bits";

WorldOptions with_deflate(std::size_t shards = 1) {
  WorldOptions options;
  options.shards = shards;
  options.deflate.is_offered = true;
  return options;
}

std::string long_data(int number) {
  return Json({{"number", number}, {"text", std::string(1'500, 'x')}, {"more", "abcabcabc"}}).dump();
}

std::unique_ptr<WsClient> deflating(World& world, std::size_t loop = 0) {
  auto client = std::make_unique<WsClient>(world, loop);
  client->extensions = kOffer;
  client->connect();
  return client;
}

std::string masked(std::string_view payload, bool is_final, bool is_compressed,
                   WsOpcode opcode = WsOpcode::text) {
  std::string frame;
  append_ws_client_frame(frame, opcode, is_final, 0x01020304, payload, is_compressed);
  return frame;
}

std::string deflated(std::string_view text) {
  std::string out;
  EXPECT_TRUE(deflate(text, 6, out));
  return out;
}

TEST(WebSocketDeflate, IsOffByDefault) {
  World world;
  const auto client = deflating(world);
  EXPECT_EQ(client->head->header("sec-websocket-extensions"), "");
  client->subscribe("a");
  world.publish("a", long_data(1));
  world.run();
  EXPECT_EQ(client->pushes_of("a", "pub").size(), 1U);
  EXPECT_EQ(client->deflated, 0U);
  client->send_compressed(deflated(R"({"id":9,"ping":{},"x":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"})"));
  world.run();
  EXPECT_EQ(client->close_code, 1002) << "not negotiated";
}

TEST(WebSocketDeflate, PublicationsComeCompressedToWhoHasNegotiatedIt) {
  World world(with_deflate());
  const auto client = deflating(world);
  WsClient plain(world);
  plain.connect();
  EXPECT_EQ(client->head->header("sec-websocket-extensions"),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
  EXPECT_EQ(plain.head->header("sec-websocket-extensions"), "") << "it has not asked";
  client->subscribe("a");
  plain.subscribe("a");
  EXPECT_EQ(client->deflated, 0U) << "replies are not compressed";
  const std::size_t before = client->received_bytes;
  world.publish("a", long_data(1));
  world.publish("a", R"({"short":true})");
  world.publish("a", long_data(2));
  world.run();
  for (const WsClient* each : {client.get(), &plain}) {
    const std::vector<Json> got = each->pushes_of("a", "pub");
    ASSERT_EQ(got.size(), 3U);
    EXPECT_EQ(got[0]["data"], Json::parse(long_data(1)));
    EXPECT_EQ(got[1]["data"], Json::parse(R"({"short":true})"));
    EXPECT_EQ(got[2]["data"], Json::parse(long_data(2)));
  }
  EXPECT_EQ(client->deflated, 2U) << "the short one is below the threshold";
  EXPECT_LT(client->received_bytes - before, 600U);
  EXPECT_EQ(plain.deflated, 0U);
  EXPECT_EQ(world.shared.deflation.deflated(), 2U);
  EXPECT_EQ(world.ledger_of("a").account.delivered, 6);
}

TEST(WebSocketDeflate, APublicationIsCompressedOnceForAll) {
  World world(with_deflate(2));
  std::vector<std::unique_ptr<WsClient>> clients;
  for (std::size_t i = 0; i < 20; ++i) {
    clients.push_back(deflating(world, i % 2));
    clients.back()->subscribe("a", i % 3 == 0 ? Json{{"recover", true}} : Json::object());
  }
  for (int n = 0; n < 10; ++n) {
    world.publish("a", long_data(n));
    if (n % 3 == 0) world.run();
  }
  world.run();
  for (const auto& client : clients) EXPECT_EQ(client->pushes_of("a", "pub").size(), 10U);
  EXPECT_EQ(world.shared.deflation.deflated(), 10U);
}

TEST(WebSocketDeflate, LongDeltasAreCompressedToo) {
  WorldOptions options = with_deflate();
  options.rules = {rule("*", [](ChannelOptions& o) {
    o.allowed_delta_types = 1;
    o.delta_publish = true;
  })};
  World world(options);
  const auto client = deflating(world);
  client->subscribe("a", {{"delta", "fossil"}});
  world.publish("a", long_data(1));
  world.run();
  ASSERT_EQ(client->deflated, 1U);
  world.publish("a", Json({{"before", std::string(500, 'y')}, {"old", long_data(1)}}).dump());
  world.run();
  ASSERT_EQ(client->pushes_of("a", "pub").size(), 2U);
  EXPECT_EQ(client->pushes_of("a", "pub")[1]["delta"], true);
  EXPECT_EQ(client->deflated, 2U);
}

TEST(WebSocketDeflate, TheThresholdIsTheWholeMessages) {
  WorldOptions options = with_deflate();
  options.deflate.min_bytes = 1;
  World world(options);
  const auto client = deflating(world);
  client->subscribe("a");
  world.publish("a", R"("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")");
  world.publish("a", R"("q")");
  world.run();
  EXPECT_EQ(client->pushes_of("a", "pub").size(), 2U);
  EXPECT_GE(client->deflated, 1U);
  EXPECT_EQ(world.shared.deflation.deflated(), 2U) << "both were tried";
}

TEST(WebSocketDeflate, ProtobufComesInBinaryFrames) {
  World world(with_deflate());
  WsClient client(world);
  client.extensions = kOffer;
  client.open("?format=protobuf");
  client.send_frame(2, std::string("\x04\x08\x01\x22\x00", 5));              // connect
  client.send_frame(2, std::string("\x07\x08\x02\x2a\x03\x0a\x01\x61", 8));  // subscribe to a
  world.run();
  ASSERT_EQ(client.binaries.size(), 2U);
  world.publish("a", long_data(1));
  world.run();
  ASSERT_EQ(client.binaries.size(), 3U);
  EXPECT_EQ(client.deflated, 1U);
  EXPECT_NE(client.binaries[2].find(long_data(1)), std::string::npos);
}

TEST(WebSocketDeflate, CommandsMayComeCompressedInAnyPieces) {
  World world(with_deflate());
  const std::string text = R"({"id":7,"subscribe":{"channel":"a"}})"
                           "\n"
                           R"({"id":8,"subscribe":{"channel":"b"}})";
  const std::string compressed = deflated(text);
  for (std::size_t cut = 0; cut <= compressed.size(); ++cut) {
    const auto client = deflating(world);
    client->write(masked(compressed.substr(0, cut), false, true), 3);
    client->write(masked("between", true, false, WsOpcode::ping));
    client->write(masked(compressed.substr(cut), true, false, WsOpcode::continuation), 2);
    client->write(masked(R"({"id":9,"presence":{"channel":"a"}})", true, false));  // need not be compressed
    world.run();
    EXPECT_EQ(client->replies.size(), 4U) << cut;
    EXPECT_EQ(client->pongs, std::vector<std::string>{"between"});
    EXPECT_EQ(client->close_code, std::nullopt);
  }
}

TEST(WebSocketDeflate, OnlyTheFirstFrameOfAMessageSaysThatItIsCompressed) {
  World world(with_deflate());
  const std::string compressed = deflated(R"({"id":7,"subscribe":{"channel":"aaaaaaaaaaaaaaaaaaaaaa"}})");
  const std::vector<std::string> refused{
      masked(compressed.substr(0, 5), false, true) +
          masked(compressed.substr(5), true, true, WsOpcode::continuation),
      masked("{}", false, false) + masked("", true, true, WsOpcode::continuation),
      masked("a", true, true, WsOpcode::ping),
      masked("", true, true, WsOpcode::close),
  };
  for (const std::string& bytes : refused) {
    const auto client = deflating(world);
    client->write(bytes);
    world.run();
    EXPECT_EQ(client->close_code, 1002);
  }
}

TEST(WebSocketDeflate, ABombEndsItsConnectionAndNoOther) {
  WorldOptions options = with_deflate();
  options.limits.message_bytes = 20'000;
  World world(options);
  const auto other = deflating(world);
  other->subscribe("a");
  const auto client = deflating(world);
  const std::string bomb = deflated(std::string(5'000'000, ' '));
  ASSERT_LT(bomb.size(), 20'000U) << "what is on the wire is within the limit";
  client->write(masked(bomb, true, true) + masked(bomb, true, true));
  EXPECT_EQ(world.shared.deflation.inflated(), 1U) << "nothing behind it is read";
  world.publish("a", long_data(1));
  world.run();
  EXPECT_EQ(client->close_code, 1009);
  EXPECT_EQ(client->close_reason, "message too big");
  EXPECT_EQ(other->pushes_of("a", "pub").size(), 1U);
  EXPECT_TRUE(other->is_open());
}

TEST(WebSocketDeflate, TheSizeThatCountsIsTheInflatedOne) {
  WorldOptions options = with_deflate();
  options.limits.message_bytes = 12'000;
  options.limits.inflate_ratio = 2;  // of no effect up to 16 KiB
  World world(options);
  const auto client = deflating(world);
  const std::string command = R"({"id":7,"subscribe":{"channel":"a"}})";
  client->send_compressed(deflated(command + std::string(12'000 - command.size(), ' ')));
  world.run();
  EXPECT_EQ(client->replies.size(), 2U);
  client->send_compressed(deflated(command + std::string(12'001 - command.size(), ' ')));
  world.run();
  EXPECT_EQ(client->close_code, 1009);
}

TEST(WebSocketDeflate, BeyondThatTheRatioCounts) {
  WorldOptions options = with_deflate();
  options.limits.inflate_ratio = 200;
  World world(options);
  const std::string command = R"({"id":7,"subscribe":{"channel":"a"}})";
  const std::string compressed = deflated(command + std::string(60'000, ' '));
  ASSERT_GT(60'000U / compressed.size(), 200U);
  const auto client = deflating(world);
  client->send_compressed(compressed);
  world.run();
  EXPECT_EQ(client->close_code, 1009);
  const auto another = deflating(world);
  another->send_compressed(deflated(command + std::string(16'000, ' ')));
  world.run();
  EXPECT_EQ(another->replies.size(), 2U) << "small ones may have any";
}

TEST(WebSocketDeflate, WhatCannotBeReadIsRefused) {
  World world(with_deflate());
  for (const std::string& payload :
       {std::string("\xFF\xFF\xFF"), deflated("\"" + std::string(50, '\xC3') + "\"")}) {
    const auto client = deflating(world);
    client->send_compressed(payload);
    world.run();
    EXPECT_EQ(client->close_code, 1007);
  }
}

TEST(WebSocketDeflate, ATakeoverKeepsWhatWasNegotiated) {
  World world(with_deflate());
  const auto client = deflating(world);
  WsClient plain(world);
  plain.connect();
  client->subscribe("a");
  const std::string compressed =
      deflated(R"({"id":7,"subscribe":{"channel":"bbbbbbbbbbbbbbbbbbbbbbbbbbb"}})");
  const std::string fragments = masked(compressed.substr(0, 5), false, true) +
                                masked(compressed.substr(5), true, false, WsOpcode::continuation);
  for (std::size_t cut = 0; cut < fragments.size(); cut += 3) {
    const std::size_t replies = client->replies.size();
    client->write(fragments.substr(0, cut));
    ASSERT_TRUE(world.take_over());
    client->write(fragments.substr(cut));
    world.run();
    ASSERT_EQ(client->replies.size(), replies + 1) << cut;
    world.publish("a", long_data(1));
    world.run();
  }
  EXPECT_EQ(client->deflated, client->pushes_of("a", "pub").size());
  EXPECT_GT(client->deflated, 5U);
  plain.send_compressed(compressed);
  world.run();
  EXPECT_EQ(plain.close_code, 1002) << "it has negotiated nothing";
}

// Sockets that take parts, cuts, recoveries, takeovers, compressed commands, deltas or none: each client
// reads every publication as it was, and none is compressed more often than there are forms of it.
TEST(WebSocketDeflate, EveryMessageInflatesWhateverHappens) {
  std::size_t frames = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    WorldOptions options = with_deflate(1 + seed % 2);
    options.seed = seed;
    options.deflate.min_bytes = seed % 3 == 0 ? 1 : 256;
    options.deflate.level = 1 + static_cast<int>(seed % 9);
    options.rules = {rule("*", [seed](ChannelOptions& o) {
      o.allowed_delta_types = 1;
      o.delta_publish = true;
      o.slow_consumer = static_cast<SlowConsumer>(seed % 3);
      o.slow_consumer_entries = 10;
      o.live_window_entries = 8;
    })};
    World world(options);
    std::map<Offset, std::string> published;
    struct Reader {
      std::unique_ptr<WsClient> client;
      bool has_delta = false;
      std::string base;
      std::size_t read = 0;
    };
    std::vector<std::unique_ptr<Reader>> readers;
    const auto chance = [&](std::uint64_t one_in) { return world.random.next() % one_in == 0; };
    const auto take = [&](Reader& reader, const Json& publication) {
      if (!reader.has_delta) {
        reader.base = publication["data"].dump();
      } else if (publication.value("delta", false)) {
        const auto made = apply_fossil(reader.base, publication["data"].get<std::string>());
        ASSERT_TRUE(made);
        reader.base = *made;
      } else {
        reader.base = publication["data"].get<std::string>();
      }
      ++reader.read;
      ASSERT_EQ(reader.base, published[publication["offset"]]);
    };
    const auto add_reader = [&] {
      Reader& reader = *readers.emplace_back(std::make_unique<Reader>());
      reader.client = std::make_unique<WsClient>(world, world.random.next() % options.shards);
      if (!chance(4)) reader.client->extensions = kOffer;
      reader.client->connect();
      reader.client->sends_deflated = !reader.client->extensions.empty() && chance(2);
      reader.has_delta = chance(2);
      reader.client->on_reply = [&reader, &take](const Json& reply) {
        if (reply.contains("push") && reply["push"].contains("pub")) take(reader, reply["push"]["pub"]);
      };
      reader.client->subscribe("a", reader.has_delta ? Json{{"delta", "fossil"}} : Json::object());
    };
    add_reader();
    for (int step = 0; step < 100; ++step) {
      if (chance(10) && readers.size() < 6) add_reader();
      if (chance(40)) world.take_over();
      for (const auto& reader : readers) {
        WsClient& client = *reader->client;
        if (client.is_open() && chance(4))
          client.kernel().room = chance(2) ? Kernel::kAll : world.random.next() % 600;
        if (client.is_open() && chance(80)) client.cut();
        if (client.is_open() && chance(9))
          client.send(R"({"id":1000,"presence_stats":{"channel":"aaaaaaaaaaaaaaaaaaaa"}})");
      }
      const std::string text = Json({{"number", step},
                                     {"text", std::string(world.random.next() % 900, 'y')},
                                     {"noise", world.random.next()}})
                                   .dump();
      // The place is known only once others may have it: what comes next has the next offset.
      published[published.size() + 1] = text;
      ASSERT_EQ(world.publish("a", text).offset, published.size());
      if (!chance(3)) world.run();
    }
    for (const auto& reader : readers)
      if (reader->client->is_open()) reader->client->kernel().room = Kernel::kAll;
    world.run();
    for (const auto& reader : readers) {
      frames += reader->client->deflated;
      EXPECT_TRUE(reader->read > 0 || !reader->client->is_open());
      if (reader->client->extensions.empty()) {
        EXPECT_EQ(reader->client->deflated, 0U);
      }
    }
    // In JSON: plain, full, and the delta.
    EXPECT_LE(world.shared.deflation.deflated(), 3 * published.size());
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(frames, 2'000U);
}

}  // namespace
}  // namespace carillon::testing
