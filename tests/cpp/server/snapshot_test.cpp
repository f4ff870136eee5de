#include "server/snapshot.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace carillon {
namespace {

CursorState cursor(std::uint64_t seed) {
  return {.is_open = true,
          .is_live = seed % 2 == 0,
          .is_parked = seed % 2 == 1,
          .seq = seed + 1,
          .offset = seed + 2,
          .resets = 3,
          .announced_at_start = -4,
          .delivered = 5,
          .dropped = {6, 7, 8, 10},
          .under_way = 9,
          .has_fallen_behind = seed % 2 == 1};
}

EntryRef entry(Offset offset, std::string data) {
  Publication publication{.data = std::move(data),
                          .content = ContentType::binary,
                          .info_json = "{}",
                          .tags = {{"a", "b"}, {"c", std::string("\0d", 2)}},
                          .key = "key"};
  auto made = std::make_shared<Entry>(EntryKind::publication, std::move(publication), 1'700'000'000'000);
  made->offset = offset;
  return made;
}

Snapshot example() {
  Snapshot snapshot;
  snapshot.process = 41;
  snapshot.held_since_ms = 42;
  const Epoch epoch = Epoch::from_bits(12'345);
  snapshot.store.streams = {{"a", {epoch, 7}, 100}};
  snapshot.store.keys = {{std::string("a\0key", 5), {epoch, 3}, 200}};
  snapshot.store.presence = {{"a", {"client", "user", "{\"x\":1}", "{\"y\":2}"}}};
  ChannelState channel;
  channel.name = "a";
  channel.epoch = epoch;
  channel.log.slots = {{entry(6, "six"), 60, 5, 10}, {entry(0, std::string(1'000, '\xff')), 61, 6, 11}};
  channel.log.end_seq = 62;
  channel.log.top = 6;
  channel.needs_unfollow = true;
  channel.announced = 77;
  channel.ended.delivered = 70;
  channel.ended.dropped = {1, 2, 3};
  channel.has_chosen_fan_out = true;
  channel.fan_out = FanOut::adaptive;
  channel.fan_out_threshold = 500;
  channel.fan_out_mode = FanOutMode::read;
  channel.fan_out_switches = 3;
  snapshot.hub.channels = {channel};
  snapshot.hub.published = 99;
  snapshot.hub.adaptive_permille = 1'500;
  snapshot.hub.forgotten.returned = 4;
  snapshot.gateway.host = "127.0.0.1";
  snapshot.gateway.port = 8'000;

  ConnectionState socket;
  ClientState web;
  web.phase = 2;
  web.user = "ann";
  web.link = WebSocketLinkState{true, "pong", "half of a fra", true};
  web.encoding = Encoding::protobuf;
  web.queued = {{"the end of one", "another"}, true, 1'000};
  web.subscriptions = {{"a", cursor(1), true, false, true, false},
                       {"b", cursor(2), false, true, false, true, true, "{\"z\":3}"}};
  web.skipped = {{"c", {epoch, 8}}};
  web.request = ClientRequest{{{"cookie", "session=1"}}, {{"room", "7"}}, "192.0.2.1"};
  socket.session.kind = web;
  socket.session.connected_age_ms = 5;
  socket.unsent = std::string("\x81\0x", 3);
  socket.is_clogged = true;
  ConnectionState stream;
  SseState sse;
  sse.client = "id";
  sse.subscriptions = {{"a", cursor(3), epoch, true, false, true, false}};
  stream.session.kind = sse;
  stream.session.end_code = 3'001;
  stream.session.end_reason = "shutdown";
  ConnectionState poll;
  HttpState http;
  http.requests = 12;
  http.left_ms = std::numeric_limits<Millis>::max();
  http.poll.emplace();
  http.poll->publications = "{}";
  http.poll->subscriptions = {{"a", cursor(4), epoch, Offset{5}, true, 2}};
  poll.session.kind = http;
  poll.linger_left_ms = -3;
  poll.listener = 1;
  ConnectionState emulated;
  ClientState client;
  client.link = StreamLinkState{Framing::event, "a secret"};
  emulated.session.kind = client;
  snapshot.gateway.connections = {socket, stream, poll, emulated};
  snapshot.gateway.node = "a name";
  snapshot.gateway.further = {{"127.0.0.2", 8'001}};
  snapshot.keys = {{"digest of an address", R"({"keys":[]})"}};
  return snapshot;
}

TEST(Snapshot, IsReadAsItWasWritten) {
  const std::string bytes = encode_snapshot(example(), {});
  const Snapshot read = decode_snapshot(bytes, {});
  EXPECT_EQ(encode_snapshot(read, {}), bytes) << "every field, in both directions";

  EXPECT_EQ(read.process, 41);
  EXPECT_EQ(read.held_since_ms, 42);
  ASSERT_EQ(read.hub.channels.size(), 1U);
  const LogState& log = read.hub.channels[0].log;
  ASSERT_EQ(log.slots.size(), 2U);
  EXPECT_EQ(log.slots[0].entry->offset, 6U);
  EXPECT_EQ(log.slots[0].entry->publication.tags[1].second, std::string("\0d", 2));
  EXPECT_EQ(log.slots[1].entry->publication.data.size(), 1'000U);
  const ChannelState& channel = read.hub.channels[0];
  EXPECT_TRUE(channel.has_chosen_fan_out);
  EXPECT_EQ(channel.fan_out, FanOut::adaptive);
  EXPECT_EQ(channel.fan_out_threshold, 500U);
  EXPECT_EQ(channel.fan_out_mode, FanOutMode::read);
  EXPECT_EQ(channel.fan_out_switches, 3U);
  EXPECT_EQ(read.hub.adaptive_permille, 1'500U);
  ASSERT_EQ(read.store.presence.size(), 1U);
  EXPECT_EQ(read.store.presence[0].member.chan_info_json, "{\"y\":2}");
  ASSERT_EQ(read.gateway.connections.size(), 4U);
  const auto& subscriptions = std::get<ClientState>(read.gateway.connections[0].session.kind).subscriptions;
  EXPECT_FALSE(subscriptions[0].is_by_server);
  EXPECT_TRUE(subscriptions[1].is_by_server);
  EXPECT_EQ(subscriptions[1].info_json, "{\"z\":3}");
  EXPECT_EQ(read.gateway.node, "a name");
  const auto& web = std::get<ClientState>(read.gateway.connections[0].session.kind);
  const auto& link = std::get<WebSocketLinkState>(web.link);
  EXPECT_TRUE(link.has_own_pings);
  EXPECT_TRUE(link.is_deflated);
  EXPECT_EQ(link.pong, "pong");
  EXPECT_EQ(link.unfinished, "half of a fra");
  EXPECT_EQ(web.encoding, Encoding::protobuf);
  ASSERT_TRUE(web.queued);
  EXPECT_EQ(web.queued->messages, (std::vector<std::string>{"the end of one", "another"}));
  EXPECT_TRUE(web.queued->is_begun);
  EXPECT_EQ(web.queued->close_code, 1'000);
  EXPECT_EQ(web.subscriptions[1].cursor.announced_at_start, -4);
  EXPECT_TRUE(web.subscriptions[0].cursor.has_fallen_behind);
  EXPECT_EQ(web.subscriptions[0].cursor.dropped[3], 10U);
  ASSERT_EQ(web.skipped.size(), 1U);
  EXPECT_EQ(web.skipped[0].position.offset, 8U);
  ASSERT_TRUE(web.request);
  EXPECT_EQ(web.request->headers, (ClientRequest::Fields{{"cookie", "session=1"}}));
  EXPECT_EQ(web.request->parameter("room"), "7");
  EXPECT_EQ(web.request->address, "192.0.2.1");
  const auto& emulated = std::get<ClientState>(read.gateway.connections[3].session.kind);
  EXPECT_EQ(std::get<StreamLinkState>(emulated.link).session, "a secret");
  EXPECT_EQ(std::get<StreamLinkState>(emulated.link).framing, Framing::event);
  EXPECT_TRUE(std::get<SseState>(read.gateway.connections[1].session.kind).subscriptions[0].has_notices);
  EXPECT_EQ(std::get<SseState>(read.gateway.connections[1].session.kind).subscriptions[0].gets_notices,
            false);
  EXPECT_EQ(std::get<SseState>(read.gateway.connections[1].session.kind).subscriptions[0].epoch,
            Epoch::from_bits(12'345));
  const auto& http = std::get<HttpState>(read.gateway.connections[2].session.kind);
  EXPECT_EQ(http.poll->subscriptions[0].ends_at, 5U);
  EXPECT_EQ(http.left_ms, std::numeric_limits<Millis>::max());
  EXPECT_EQ(read.gateway.connections[2].linger_left_ms, -3);
  EXPECT_EQ(read.gateway.connections[2].listener, 1U);
  ASSERT_EQ(read.gateway.further.size(), 1U);
  EXPECT_EQ(read.gateway.further[0].port, 8'001);
  ASSERT_EQ(read.keys.size(), 1U);
  EXPECT_EQ(read.keys[0].endpoint, "digest of an address");
  EXPECT_EQ(read.keys[0].jwks, R"({"keys":[]})");
}

TEST(Snapshot, EntriesThatWentAheadAreNotSentAgain) {
  const Snapshot snapshot = example();
  const auto& slots = snapshot.hub.channels[0].log.slots;
  SentEntries sent;
  std::string ahead;
  for (const EntryRef& each : {entry(5, "trimmed meanwhile"), slots[1].entry}) {
    sent.add(each);
    encode_entry(ahead, *each);
  }
  const std::string rest = encode_snapshot(snapshot, sent);
  EXPECT_LT(rest.size() + 1'000, encode_snapshot(snapshot, {}).size());

  std::vector<EntryRef> received;
  decode_entries(ahead, received);
  const Snapshot read = decode_snapshot(rest, received);
  EXPECT_EQ(read.hub.channels[0].log.slots[1].entry, received[1]);
  EXPECT_EQ(read.hub.channels[0].log.slots[0].entry->publication.data, "six");
  EXPECT_EQ(encode_snapshot(read, {}), encode_snapshot(snapshot, {}));
  EXPECT_THROW(std::ignore = decode_snapshot(rest, {}), SnapshotError) << "without them it is of no use";
}

TEST(Snapshot, OneThatIsCutShortIsRefused) {
  const std::string bytes = encode_snapshot(example(), {});
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    const std::string part =
        bytes.substr(0, size);  // a copy: a read beyond its end is found by the sanitizer
    EXPECT_THROW(std::ignore = decode_snapshot(part, {}), SnapshotError) << size;
  }
}

TEST(Snapshot, RandomDamageIsNoCrash) {
  const std::string bytes = encode_snapshot(example(), {});
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const char damage : {'\x00', '\x01', '\x7f', '\xff'}) {
      std::string damaged = bytes;
      damaged[at] = damage;
      try {
        std::ignore = decode_snapshot(damaged, {});
      } catch (const SnapshotError&) {
        continue;
      }
    }
  }
}

TEST(Snapshot, AFieldThatOnlyOneSideKnowsIsNoHarm) {
  // The outermost record: its size, then its fields.
  std::string bytes = encode_snapshot(example(), {});
  const auto with_size = [](std::string record) {
    for (std::uint64_t i = 0, size = record.size() - 8; i < 8; ++i, size >>= 8U)
      record[i] = static_cast<char>(size & 0xFFU);
    return record;
  };
  const Snapshot longer = decode_snapshot(with_size(bytes + std::string(24, '\x05')), {});
  EXPECT_EQ(longer.gateway.connections.size(), 4U) << "a newer one has added fields";
  const Snapshot shorter = decode_snapshot(with_size(bytes.substr(0, 16)), {});
  EXPECT_EQ(shorter.process, 41) << "an older one did not have the others";
  EXPECT_TRUE(shorter.gateway.connections.empty());
  Snapshot without = example();
  without.keys.clear();  // which is their number alone: eight bytes at the end
  const std::string empty = encode_snapshot(without, {});
  const Snapshot before_keys = decode_snapshot(with_size(empty.substr(0, empty.size() - 8)), {});
  EXPECT_EQ(before_keys.gateway.connections.size(), 4U) << "an older one sent no keys";
  EXPECT_TRUE(before_keys.keys.empty());
}

}  // namespace
}  // namespace carillon
