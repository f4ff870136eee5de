#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

std::vector<Json> data_of(const SseClient& client, std::string_view event = {}) {
  std::vector<Json> found;
  for (const SseBlock& block : client.events(event)) found.push_back(*block.data);
  return found;
}

TEST(Sse, TheHeadAndTheFirstBytesComeAtOnce) {
  World world;
  SseClient client(world);
  client.open("channel=a");
  world.run();
  ASSERT_TRUE(client.head.has_value());
  EXPECT_EQ(client.head->status, 200);
  EXPECT_EQ(client.head->header("content-type"), "text/event-stream");
  EXPECT_EQ(client.head->header("cache-control"), "no-store");
  EXPECT_EQ(client.head->header("x-accel-buffering"), "no");
  EXPECT_FALSE(client.head->headers.contains("content-length"));
  ASSERT_EQ(client.blocks.size(), 2U);
  EXPECT_EQ(client.blocks[0].retry, 2'000U);
  EXPECT_EQ(client.blocks[1].event, "status");
  EXPECT_EQ((*client.blocks[1].data)["channel"], "a");
  EXPECT_EQ((*client.blocks[1].data)["recovered"], nullptr) << "no position was given";
  EXPECT_EQ((*client.blocks[1].data)["offset"], 0);
  EXPECT_EQ(client.last_id, (*client.blocks[1].data)["epoch"].get<std::string>() + ":0");
}

TEST(Sse, PublicationsAreDefaultEventsWithTheTokenAsId) {
  World world;
  SseClient client(world);
  client.open("channel=a");
  world.run();
  const Position first = world.publish("a", "{\"x\":\n1}");
  world.publish("a", std::string("\0\x01", 2), {}, ContentType::binary);
  world.publish("a", "3", {.skip_history = true});
  world.run();
  const auto events = client.events("");
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(*events[0].data, Json::parse(R"({"channel":"a","offset":1,"data":{"x":1}})"));
  EXPECT_EQ(*events[0].id, std::string(first.epoch.text()) + ":1");
  EXPECT_EQ(*events[1].data, Json::parse(R"({"channel":"a","offset":2,"b64":"AAE="})"));
  EXPECT_EQ(*events[2].data, Json::parse(R"({"channel":"a","data":3})"));
  EXPECT_FALSE(events[2].id.has_value());
  EXPECT_EQ(client.last_id, std::string(first.epoch.text()) + ":2");
  EXPECT_EQ(world.ledger_of("a").account.delivered, 3);
}

TEST(Sse, ResumesFromSinceAndTheHeaderWins) {
  World world;
  Position top;
  for (int i = 1; i <= 9; ++i) top = world.publish("a", std::to_string(i));
  const std::string epoch(top.epoch.text());
  SseClient by_query(world);
  by_query.open("channel=a&since=" + epoch + ":6");
  SseClient by_header(world);
  by_header.open("channel=a&since=" + epoch + ":1", "Last-Event-ID: " + epoch + ":8\r\n");
  SseClient by_empty_header(world);
  by_empty_header.open("channel=a&since=" + epoch + ":7", "Last-Event-ID: \r\n");
  world.run();
  EXPECT_EQ(data_of(by_query).size(), 3U);
  EXPECT_EQ(data_of(by_query)[0]["offset"], 7);
  EXPECT_EQ(data_of(by_query, "status")[0],
            Json({{"channel", "a"}, {"recovered", true}, {"epoch", epoch}, {"offset", 6}}));
  EXPECT_EQ(data_of(by_header).size(), 1U);
  EXPECT_EQ(data_of(by_empty_header).size(), 2U);
}

TEST(Sse, WhatCannotBeResumedIsToldInTheStream) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.history_size = 2; })};
  World world(options);
  Position top;
  for (int i = 1; i <= 9; ++i) top = world.publish("a", "1");
  const std::string epoch(top.epoch.text());
  for (const auto& [since, offset] : {std::pair(epoch + ":3", 7),  // what is kept follows
                                      {epoch + ":10", 9},
                                      {std::string("otherone:9"), 7},
                                      {std::string("x:9"), 7}}) {
    SseClient client(world);
    client.open("channel=a&since=" + since);
    world.run();
    ASSERT_EQ(client.events("status").size(), 1U) << since;
    EXPECT_EQ(data_of(client, "status")[0],
              Json({{"channel", "a"}, {"recovered", false}, {"epoch", epoch}, {"offset", offset}}));
    EXPECT_EQ(data_of(client).size(), static_cast<std::size_t>(9 - offset));
    EXPECT_EQ(client.last_id, epoch + ":9");
  }
}

TEST(Sse, SeveralChannelsShareAStreamAndEveryIdHoldsAllPositions) {
  WorldOptions options;
  options.rules = {rule("live", [](ChannelOptions& o) { o.history_size = 0; })};
  World world(options);
  SseClient client(world);
  client.open("channel=a&channel=live&channel=b");
  world.run();
  const std::string a(world.publish("a", "1").epoch.text());
  world.run();
  const std::string b(world.publish("b", "1").epoch.text());
  world.publish("live", "1");
  world.run();
  EXPECT_EQ(client.last_id, a + ":1,-," + b + ":1");
  EXPECT_EQ(data_of(client).size(), 3U);
  world.publish("a", "2");
  world.publish("b", "2");
  SseClient again(world);
  again.open("channel=a&channel=live&channel=b", "Last-Event-ID: " + client.last_id + "\r\n");
  world.run();
  EXPECT_EQ(data_of(again).size(), 2U);
  SseClient partly(world);
  partly.open("channel=a&channel=b&since=-," + b + ":0");
  world.run();
  EXPECT_EQ(data_of(partly).size(), 2U);
  EXPECT_EQ(data_of(partly)[0]["channel"], "b");
}

TEST(Sse, EveryPrefixOfTheStreamLeavesTheClientWithAPositionThatLosesNothing) {
  // A client that came with positions, cut anywhere, comes back with its last id and still gets everything
  // once.
  World world;
  Position a;
  Position b;
  for (int i = 0; i < 3; ++i) a = world.publish("a", Json("a" + std::to_string(i)).dump());
  for (int i = 0; i < 3; ++i) b = world.publish("b", Json("b" + std::to_string(i)).dump());
  const std::string since = std::string(a.epoch.text()) + ":1," + std::string(b.epoch.text()) + ":1";
  for (std::size_t bytes = 100; bytes < 1'200; bytes += 3) {
    SseClient first(world);
    first.kernel().room = bytes;
    first.open("channel=a&channel=b&since=" + since);
    world.run();
    first.cut();
    SseClient second(world);
    second.open("channel=a&channel=b&since=" + since,
                first.last_id.empty() ? "" : "Last-Event-ID: " + first.last_id + "\r\n");
    world.run();
    std::vector<Json> all = data_of(first);
    for (const Json& each : data_of(second)) all.push_back(each);
    ASSERT_EQ(all.size(), 4U) << bytes << " bytes, last id " << first.last_id;
  }
}

TEST(Sse, AStreamThatStartsWhileTheStoreThinksKeepsThePositionItCameWith) {
  for (const std::string& second : {std::string("x:5"), std::string("ABCDEFGH:7")}) {
    World world;
    const std::string first(world.publish("a", "1").epoch.text());
    SseClient holder(world);  // keeps channel a open in the hub
    holder.open("channel=a");
    world.run();
    world.store.is_late = true;
    SseClient client(world);
    client.open("channel=a&channel=new&since=" + first + ":0," + second);
    world.run();
    ASSERT_EQ(data_of(client).size(), 1U);
    const std::string waiting = client.last_id;
    EXPECT_EQ(waiting.find(first + ":1,"), 0U) << waiting;
    EXPECT_EQ(waiting.find('-'), std::string::npos) << waiting;
    world.store.is_late = false;
    world.store.answer();
    world.run();
    SseClient again(world);
    again.open("channel=a&channel=new", "Last-Event-ID: " + waiting + "\r\n");
    world.run();
    EXPECT_EQ(data_of(again, "status")[1]["recovered"], false) << "told, not silently live";
  }
}

TEST(Sse, AGapIsToldInTheStream) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) {
    o.history_size = 4;
    o.live_window_entries = 4;
  })};
  World world(options);
  for (const std::string query : {"channel=a", "channel=a&channel=b"}) {
    SseClient client(world);
    client.open(query);
    world.run();
    const std::size_t before = data_of(client, "status").size();
    client.kernel().room = 10;
    const Position first = world.publish("a", "1");
    world.run();
    for (int i = 0; i < 20; ++i) {
      world.publish("a", "1");
      world.run();
    }
    client.kernel().room = Kernel::kAll;
    world.run();
    const auto status = data_of(client, "status");
    ASSERT_EQ(status.size(), before + 1);
    EXPECT_EQ(status.back()["recovered"], false);
    const Offset told = status.back()["offset"];
    const auto events = data_of(client);
    ASSERT_EQ(events.size(), 1 + first.offset + 20 - told);
    EXPECT_EQ(events[0]["offset"], first.offset);
    EXPECT_EQ(events[1]["offset"], told + 1);
    EXPECT_TRUE(world.ledger().is_balanced());
  }
}

TEST(Sse, AGapsIdIsNeverAheadOfWhatTheClientHas) {
  // Channel b has a gap in the same turn in which entries of a are staged, and the kernel takes only some of
  // those.
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) {
    o.history_size = 4;
    o.live_window_entries = 4;
  })};
  for (std::size_t room = 1; room < 700; room += 5) {
    World world(options);
    SseClient client(world);
    client.open("channel=a&channel=b");
    world.run();
    Offset seen = 0;
    client.on_block = [&](const SseBlock& block) {
      if (block.data && block.event.empty() && (*block.data)["channel"] == "a")
        seen = (*block.data)["offset"];
      if (!block.id) return;
      const std::size_t colon = block.id->find(':');
      EXPECT_LE(std::stoull(block.id->substr(colon + 1)), seen) << *block.id;
    };
    client.kernel().room = 10;
    world.publish("b", "1");
    world.run();
    for (int i = 0; i < 10; ++i) {
      world.publish("b", "1");
      world.run();
    }
    for (int i = 0; i < 4; ++i) world.publish("a", "1");
    client.kernel().room = 60 + room;
    world.run();
    client.kernel().room = Kernel::kAll;
    world.run();
    EXPECT_EQ(seen, 4U);
    EXPECT_TRUE(world.ledger().is_balanced());
  }
}

TEST(Sse, CommentsKeepAnIdleStreamAlive) {
  World world;
  SseClient client(world);
  client.open("channel=a");
  world.advance(11'249);
  EXPECT_FALSE(client.blocks.back().is_comment);
  world.advance(15'000 - 11'249);
  EXPECT_TRUE(client.blocks.back().is_comment);
  world.advance(5'000);
  world.publish("a", "1");
  world.advance(11'249);
  EXPECT_FALSE(client.blocks.back().is_comment) << "an event is a sign of life too";
  world.advance(15'000 - 11'249);
  EXPECT_TRUE(client.blocks.back().is_comment);
}

TEST(Sse, CommentsOfManyThatWereSentOneEventAtOnceAreSpread) {
  constexpr std::size_t kMany = 700;
  constexpr std::size_t kSteps = 13;
  World world;
  std::deque<SseClient> clients;
  for (std::size_t i = 0; i < kMany; ++i) {
    clients.emplace_back(world);
    clients.back().open("channel=a");
  }
  world.advance(30'000);
  world.publish("a", "1");
  world.advance(11'249);
  std::size_t before = 0;
  std::size_t most = 0;
  for (std::size_t i = 0; i < kSteps; ++i) {  // 300 ms by 300 ms, to 15 s
    world.advance(300);
    const auto now = static_cast<std::size_t>(std::count_if(
        clients.begin(), clients.end(), [](const auto& client) { return client.blocks.back().is_comment; }));
    most = std::max(most, now - before);
    before = now;
  }
  EXPECT_EQ(before, kMany);
  EXPECT_LT(most, 2 * kMany / kSteps) << "one step has twice its share";
}

TEST(Sse, CommentsDoNotPileUpForAReaderThatStands) {
  World world;
  SseClient client(world);
  client.open("channel=a");
  world.run();
  client.kernel().room = 10;
  world.publish("a", Json(std::string(300, 'x')).dump());
  world.run();
  const std::size_t waiting = client.connection->outlet.pending_bytes();
  world.advance(29'000);
  EXPECT_EQ(client.connection->outlet.pending_bytes(), waiting);
  world.advance(1'000);
  EXPECT_FALSE(client.is_open()) << "stalled";
}

TEST(Sse, ADrainEndsTheStreamBetweenTwoEventsWithAJitteredRetry) {
  World world;
  SseClient client(world);
  client.open("channel=a");
  world.run();
  client.kernel().room = 15;
  for (int i = 0; i < 3; ++i) world.publish("a", "1");
  world.run();
  world.is_draining = true;
  world.loops[0]->shard.bind_to_this_thread();
  client.connection->session->drain();
  world.run();
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_TRUE(client.is_ended);
  EXPECT_EQ(data_of(client).size(), 1U);
  ASSERT_TRUE(client.blocks.back().retry.has_value());
  EXPECT_GE(*client.blocks.back().retry, 2'000U);
  EXPECT_LE(*client.blocks.back().retry, 4'000U);
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.delivered, 1);
  EXPECT_EQ(account.returned, 2);
}

TEST(Sse, WhoIsDisconnectedComesBackAtAMomentOfItsOwn) {
  World world;
  SseClient client(world);
  client.open("channel=a");
  world.run();
  client.connection->session->disconnect(3503, "force disconnect");
  world.run();
  EXPECT_TRUE(client.is_ended);
  ASSERT_GT(client.blocks.size(), 1U) << "not the one of the beginning";
  ASSERT_TRUE(client.blocks.back().retry.has_value());
  EXPECT_GE(*client.blocks.back().retry, 2'000U);
  EXPECT_LE(*client.blocks.back().retry, 4'000U);
}

TEST(Sse, PresenceCountsStreamsUntilTheyEnd) {
  World world;
  SseClient client(world);
  client.open("channel=a&user=ann");
  world.run();
  EXPECT_EQ(world.present("a"), 1U);
  EXPECT_EQ(world.loops[0]->counters.sse.load(), 1U);
  client.cut();
  EXPECT_EQ(world.present("a"), 0U);
  EXPECT_TRUE(world.hub.channels("*").empty());
  world.run();
  EXPECT_EQ(world.loops[0]->counters.sse.load(), 0U);
}

TEST(Sse, AStreamJoinsAndLeavesAndHearsOfOthers) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.join_leave = true; })};
  World world(options);
  WsClient member(world);
  member.connect("?user=wes");
  member.subscribe("a", {{"join_leave", true}});
  SseClient client(world);
  client.open("channel=a&user=sue");
  SseClient both(world);
  both.open("channel=a&channel=b&user=bob");
  world.run();
  const auto users = [](const std::vector<SseBlock>& events) {
    std::vector<std::string> list;
    for (const SseBlock& event : events)
      list.push_back((*event.data)["channel"].get<std::string>() + " " +
                     (*event.data)["info"]["user"].get<std::string>());
    std::sort(list.begin(), list.end());  // channels have no order among each other
    return list;
  };
  EXPECT_EQ(users(client.events("join")), (std::vector<std::string>{"a bob", "a sue"}));
  EXPECT_EQ(users(both.events("join")), (std::vector<std::string>{"a bob", "b bob"}));
  const std::string sue = (*client.events("join")[0].data)["info"]["client"];
  const std::string id_before = client.last_id;
  ASSERT_TRUE(world.take_over());
  client.cut();
  world.publish("a", "1");
  world.run();
  member.cut();
  world.run();
  const std::vector<SseBlock> left = both.events("leave");
  EXPECT_EQ(users(left), (std::vector<std::string>{"a sue", "a wes"}));
  EXPECT_EQ((*left[0].data)["info"]["client"], sue);
  const std::vector<Json> joins = member.pushes_of("a", "join");
  ASSERT_EQ(joins.size(), 3U);
  EXPECT_EQ(joins[1]["info"]["user"], "sue");
  EXPECT_EQ(member.pushes_of("a", "leave").size(), 1U);
  EXPECT_EQ(id_before, client.last_id) << "they are not part of the log";
  HttpClient poller(world);
  EXPECT_EQ(poller.get("/poll?channel=a&timeout=0").status, 200);
  world.run();
  EXPECT_EQ(both.events("join").size(), 2U) << "a poll is in no presence either";
}

TEST(Sse, NoticesGoToStreamsThatMayReadThePresence) {
  for (const bool may_read : {false, true}) {
    for (const bool is_forced : {false, true}) {
      WorldOptions options;
      options.is_insecure = false;
      options.rules = {rule("*", [&](ChannelOptions& o) {
        o.join_leave = o.allow_subscribe = o.allow_subscribe_for_anonymous = true;
        o.force_push_join_leave = is_forced;
        o.allow_presence = o.allow_presence_for_anonymous = may_read;
      })};
      World world(options);
      SseClient one(world);
      one.open("channel=a");
      SseClient both(world);
      both.open("channel=a&channel=b");
      ASSERT_TRUE(world.take_over());
      SseClient last(world);
      last.open("channel=a");
      world.run();
      const bool is_told = may_read || is_forced;
      EXPECT_EQ(one.events("join").size(), is_told ? 3U : 0U);
      EXPECT_EQ(both.events("join").size(), is_told ? 3U : 0U);
    }
  }
}

TEST(Sse, WhereRecoveryIsOffThereIsNothingOfThePast) {
  WorldOptions options;
  options.is_insecure = false;
  options.rules = {rule("*", [](ChannelOptions& o) {
    o.allow_subscribe = o.allow_subscribe_for_anonymous = true;
    o.force_recovery = false;
    o.force_positioning = false;
  })};
  World world(options);
  const Position first = world.publish("a", "1");
  world.publish("a", "2");
  for (const std::string& start :
       {std::string("since=oldest"), "since=" + std::string(first.epoch.text()) + ":1"}) {
    SseClient client(world);
    client.open("channel=a&" + start);
    world.run();
    ASSERT_EQ(client.events("status").size(), 1U);
    EXPECT_EQ((*client.events("status")[0].data)["recovered"], false) << start;
    EXPECT_TRUE(client.events("message").empty()) << start;
    HttpClient poller(world);
    const Response refused = poller.get("/poll?channel=a&timeout=0&" + start);
    EXPECT_EQ(refused.status, 403);
    EXPECT_NE(refused.body.find("allow_recovery"), std::string::npos) << refused.body;
  }
  HttpClient poller(world);
  EXPECT_EQ(poller.get("/poll?channel=a&timeout=0").status, 200);
}

TEST(Sse, AStoreThatIsNotThereSendsTheClientAwayToComeBack) {
  World world;
  world.store.is_unavailable = true;
  SseClient client(world);
  client.open("channel=a");
  world.run();
  EXPECT_EQ(client.head->status, 200);
  EXPECT_TRUE(client.blocks.back().retry.has_value());
  EXPECT_TRUE(client.is_ended);
}

TEST(Sse, ALastEventIdThatIsNotAPositionIsToldAsNotRecovered) {
  for (const std::string id :
       {"42", "urn:uuid:3fa85f64-5717-4562-b3fc-2c963f66afa6", "abc:1,abc:2", "\xff"}) {
    World world;
    world.publish("c", "1");
    SseClient stream(world);
    stream.open("channel=c&since=-", "Last-Event-ID: " + id + "\r\n");
    world.run();
    ASSERT_EQ(stream.head->status, 200) << id;
    const auto status = stream.events("status");
    ASSERT_EQ(status.size(), 1U) << id;
    EXPECT_EQ((*status[0].data)["recovered"], false) << id;
    EXPECT_EQ((*status[0].data)["offset"], 0) << id;
    world.publish("c", "2");
    world.run();
    EXPECT_EQ(stream.events("").size(), 2U) << id << ": what the log holds now, and what comes";
  }
}

TEST(Sse, TheNewestPositionCounts) {
  World world;
  for (const char* data : {"1", "2", "3", "4"}) world.publish("c", data);
  const Position top = world.publish("c", "5");
  const auto first = [&](const std::string& query, const std::string& headers) {
    SseClient stream(world);
    stream.open("channel=c" + query, headers);
    world.run();
    return (*stream.events("").at(0).data)["offset"].get<int>();
  };
  const std::string at = std::string(top.epoch.text()) + ":";
  EXPECT_EQ(first("&since=" + at + "1", ""), 2);
  EXPECT_EQ(first("&lastEventId=" + at + "2", ""), 3);
  EXPECT_EQ(first("&since=" + at + "1&lastEventId=" + at + "2", ""), 3) << "since is where the page began";
  EXPECT_EQ(first("&since=" + at + "1&lastEventId=" + at + "2", "Last-Event-ID: " + at + "3\r\n"), 4);
  EXPECT_EQ(first("&since=" + at + "1&lastEventId=", ""), 2);
}

}  // namespace
}  // namespace carillon::testing
