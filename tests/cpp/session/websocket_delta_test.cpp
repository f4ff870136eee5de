// Publications as deltas (protocol.md section 18), as JSON clients see them.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "protocol/fossil_oracle.hpp"
#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

std::string payload(int number) {
  return Json({{"number", number}, {"text", std::string(200, 'x')}, {"end", number * 7}}).dump();
}

WorldOptions with_delta(const std::function<void(ChannelOptions&)>& change = [](ChannelOptions&) {}) {
  WorldOptions options;
  options.rules = {rule("*", [&](ChannelOptions& o) {
    o.allowed_delta_types = 1;
    o.delta_publish = true;
    change(o);
  })};
  return options;
}

/// Reads what comes as SDKs do: a full text is the base of the next delta, and so is what a delta makes.
class DeltaReader {
 public:
  explicit DeltaReader(WsClient& client) {
    client.on_reply = [this](const Json& reply) {
      if (reply.contains("push") && reply["push"].contains("pub")) take(reply["push"]["pub"]);
      if (!reply.contains("subscribe")) return;
      for (const Json& each : reply["subscribe"].value("publications", Json::array())) take(each);
    };
  }
  std::vector<std::string> texts;
  std::vector<Offset> offsets;
  std::size_t deltas = 0;
  std::vector<bool> is_delta;

 private:
  void take(const Json& publication) {
    const std::string data = publication["data"];
    is_delta.push_back(publication.value("delta", false));
    if (is_delta.back()) {
      ++deltas;
      const std::optional<std::string> made = apply_fossil(base_, data);
      ASSERT_TRUE(made) << data << "\nto " << base_;
      EXPECT_LT(data.size(), made->size());
      base_ = *made;
    } else {
      base_ = data;
    }
    EXPECT_TRUE(Json::accept(base_)) << base_;
    texts.push_back(base_);
    offsets.push_back(publication.value("offset", Offset{0}));
  }
  std::string base_;
};

const Json kFossil = {{"delta", "fossil"}};

TEST(WebSocketDelta, IsGrantedWhereTheClientKnowsEveryPublication) {
  struct Case {
    const char* what;
    std::function<void(ChannelOptions&)> change;
    bool is_granted;
  };
  for (const Case& each : {
           Case{"allowed", [](ChannelOptions&) {}, true},
           Case{"not allowed", [](ChannelOptions& o) { o.allowed_delta_types = 0; }, false},
           Case{"some are left out", [](ChannelOptions& o) { o.conflate = true; }, false},
           Case{"no history", [](ChannelOptions& o) { o.history_size = 0; }, false},
           Case{"no position", [](ChannelOptions& o) { o.force_recovery = o.force_positioning = false; },
                false},
       }) {
    WorldOptions options = with_delta(each.change);
    options.is_insecure = false;
    options.rules.front().options.allow_subscribe = true;
    options.rules.front().options.allow_subscribe_for_anonymous = true;
    World world(options);
    WsClient client(world);
    client.connect();
    EXPECT_EQ(client.subscribe("a", kFossil)["subscribe"].value("delta", false), each.is_granted)
        << each.what;
    world.publish("a", payload(1));
    world.run();
    ASSERT_EQ(client.pushes_of("a", "pub").size(), 1U) << each.what;
    EXPECT_EQ(client.pushes_of("a", "pub")[0]["data"].is_string(), each.is_granted) << each.what;
  }
}

TEST(WebSocketDelta, TheFirstPublicationIsFullAndThenDeltasCome) {
  World world(with_delta());
  WsClient client(world);
  WsClient plain(world);
  client.connect();
  plain.connect();
  const DeltaReader reader(client);
  world.publish("a", payload(0));
  client.subscribe("a", kFossil);
  plain.subscribe("a");
  for (int n = 1; n <= 4; ++n) {
    world.publish("a", payload(n));
    world.run();
  }
  EXPECT_EQ(reader.is_delta, (std::vector<bool>{false, true, true, true}));
  EXPECT_EQ(reader.texts, (std::vector<std::string>{payload(1), payload(2), payload(3), payload(4)}));
  const std::vector<Json> others = plain.pushes_of("a", "pub");
  ASSERT_EQ(others.size(), 4U);
  EXPECT_EQ(others[3]["data"], Json::parse(payload(4))) << "nobody else gets deltas";
  const Json history = client.command("history", {{"channel", "a"}, {"limit", -1}})["history"];
  EXPECT_EQ(history["publications"][4]["data"], Json::parse(payload(4))) << "and the history has none";
}

TEST(WebSocketDelta, IsTextAlsoWhereCharactersDifferInOneByte) {
  World world(with_delta());
  WsClient client(world);
  client.connect();
  const DeltaReader reader(client);
  client.subscribe("a", kFossil);
  std::vector<std::string> texts;
  for (const char* letter : {"\u00E9", "\u00E8", "\u20AC", "\u20AA"}) {  // two bytes, and three
    const std::string same(100, 'x');
    texts.push_back(Json(same + letter + same).dump());
    world.publish("a", texts.back());
    world.run();
  }
  EXPECT_EQ(reader.is_delta, (std::vector<bool>{false, true, true, true}));
  EXPECT_EQ(reader.texts, texts);
}

TEST(WebSocketDelta, AConnectAsksForItOnBehalfOfAServerSideSubscription) {
  World world(with_delta());
  WsClient client(world);
  const DeltaReader reader(client);
  client.open();
  const Json reply =
      client.command("connect", {{"subs", {{"a", kFossil}, {"b", Json::object()}}}})["connect"];
  EXPECT_EQ(reply["subs"]["a"]["delta"], true);
  EXPECT_FALSE(reply["subs"]["b"].contains("delta"));
  for (int n = 1; n <= 3; ++n) {
    world.publish("a", payload(n));
    world.run();
  }
  EXPECT_EQ(reader.is_delta, (std::vector<bool>{false, true, true}));
  WsClient wrong(world);
  wrong.open();
  wrong.command("connect", {{"subs", {{"a", {{"delta", "other"}}}}}});
  EXPECT_EQ(wrong.close_code, 3501);
}

TEST(WebSocketDelta, AreOnlyMadeOfPublicationsThatWantThem) {
  World world(with_delta([](ChannelOptions& o) { o.delta_publish = false; }));
  WsClient client(world);
  client.connect();
  const DeltaReader reader(client);
  client.subscribe("a", kFossil);
  for (int n = 1; n <= 4; ++n) {
    Publication publication;
    publication.data = payload(n);
    publication.has_delta = n == 3;
    world.hub.publish("a", std::move(publication), {}, [](const AppendResult&) {});
    world.run();
  }
  EXPECT_EQ(reader.is_delta, (std::vector<bool>{false, false, true, false}));
  EXPECT_EQ(reader.texts.back(), payload(4));
}

TEST(WebSocketDelta, AFullOneComesWhereADeltaWouldNotBeShorter) {
  World world(with_delta());
  WsClient client(world);
  client.connect();
  const DeltaReader reader(client);
  client.subscribe("a", kFossil);
  for (const char* data : {R"({"a":1})", R"({"a":2})", R"("other")"}) {
    world.publish("a", data);
    world.run();
  }
  EXPECT_EQ(reader.deltas, 0U);
  EXPECT_EQ(reader.texts, (std::vector<std::string>{R"({"a":1})", R"({"a":2})", R"("other")"}));
}

TEST(WebSocketDelta, OfRecoveredPublicationsTheFirstIsFull) {
  World world(with_delta());
  WsClient client(world);
  client.connect();
  const DeltaReader reader(client);
  const std::string epoch = client.subscribe("a", kFossil)["subscribe"]["epoch"];
  client.command("unsubscribe", {{"channel", "a"}});
  for (int n = 1; n <= 4; ++n) world.publish("a", payload(n));
  const Json reply = client.subscribe(
      "a", {{"delta", "fossil"}, {"recover", true}, {"offset", 1}, {"epoch", epoch}})["subscribe"];
  EXPECT_EQ(reply["delta"], true);
  world.publish("a", payload(5));
  world.run();
  EXPECT_EQ(reader.is_delta, (std::vector<bool>{false, true, true, true})) << "the live one, too";
  EXPECT_EQ(reader.texts, (std::vector<std::string>{payload(2), payload(3), payload(4), payload(5)}));
  const Account account = world.ledger_of("a").account;
  EXPECT_EQ(account.delivered, 4);
}

// SDKs take each publication as the base of the next delta, also one without an offset.
TEST(WebSocketDelta, WhatComesBetweenTwoStoredOnesMakesTheNextFull) {
  World world(with_delta());
  WsClient client(world);
  client.connect();
  const DeltaReader reader(client);
  client.subscribe("a", kFossil);
  const auto publish = [&](int number, bool is_stored) {
    PublishOptions options;
    options.skip_history = !is_stored;
    world.publish("a", payload(number), options);
    world.run();
  };
  publish(1, true);
  publish(2, true);
  publish(3, false);
  publish(4, true);
  publish(5, true);
  EXPECT_EQ(reader.is_delta, (std::vector<bool>{false, true, false, false, true}));
  EXPECT_EQ(reader.texts.back(), payload(5));
}

TEST(WebSocketDelta, NoticesBetweenPublicationsChangeNothing) {
  World world(with_delta([](ChannelOptions& o) { o.join_leave = o.force_push_join_leave = true; }));
  WsClient client(world);
  client.connect();
  const DeltaReader reader(client);
  client.subscribe("a", kFossil);
  world.publish("a", payload(1));
  world.run();
  WsClient other(world);
  other.connect();
  other.subscribe("a");
  world.publish("a", payload(2));
  world.run();
  EXPECT_EQ(client.pushes_of("a", "join").size(), 2U);
  EXPECT_EQ(reader.is_delta, (std::vector<bool>{false, true}));
}

TEST(WebSocketDelta, BytesAreSentInFullToJsonClients) {
  World world(with_delta());
  WsClient client(world);
  client.connect();
  client.subscribe("a", kFossil);
  const std::string bytes(300, '\xFF');
  for (int i = 0; i < 2; ++i) world.publish("a", bytes, {}, ContentType::binary);
  world.run();
  for (const Json& push : client.pushes_of("a", "pub")) {
    EXPECT_EQ(push["binary"], true);
    EXPECT_FALSE(push.contains("delta"));
    EXPECT_EQ(Json::parse(push["data"].get<std::string>())["b64"].get<std::string>().size(), 400U);
  }
}

TEST(WebSocketDelta, ATakeoverKeepsTheBase) {
  World world(with_delta());
  WsClient client(world);
  WsClient fresh(world);
  client.connect();
  fresh.connect();
  const DeltaReader reader(client);
  client.subscribe("a", kFossil);
  world.publish("a", payload(1));
  world.run();
  const DeltaReader later(fresh);
  fresh.subscribe("a", kFossil);
  ASSERT_TRUE(world.take_over());
  world.publish("a", payload(2));
  world.run();
  world.publish("a", payload(3));
  world.run();
  EXPECT_EQ(reader.is_delta, (std::vector<bool>{false, true, true}));
  EXPECT_EQ(later.is_delta, (std::vector<bool>{false, true})) << "who had nothing gets a full one first";
  EXPECT_EQ(later.texts.back(), payload(3));
}

// Sockets that take parts, cuts, recoveries, takeovers, publications that are not stored: whatever comes,
// each delta fits to what its client has got, and the values are those that were published.
TEST(WebSocketDelta, EveryDeltaFitsWhateverHappens) {
  std::size_t deltas = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    WorldOptions options = with_delta([seed](ChannelOptions& o) {
      o.join_leave = o.force_push_join_leave = seed % 2 == 0;
      o.slow_consumer = static_cast<SlowConsumer>(seed % 3);
      o.slow_consumer_entries = 10;
      o.history_size = seed % 5 == 0 ? 5 : 1'000;
      o.live_window_entries = 8;
    });
    options.seed = seed;
    World world(options);
    std::map<Offset, std::string> published;
    std::vector<std::unique_ptr<WsClient>> clients;
    std::vector<std::unique_ptr<DeltaReader>> readers;
    std::string epoch;
    const auto chance = [&](std::uint64_t one_in) { return world.random.next() % one_in == 0; };
    const auto add_client = [&] {
      clients.push_back(std::make_unique<WsClient>(world));
      clients.back()->connect();
      readers.push_back(std::make_unique<DeltaReader>(*clients.back()));
      Json body = kFossil;
      if (!epoch.empty() && chance(2))
        body.update({{"recover", true}, {"offset", published.size() / 2}, {"epoch", epoch}});
      const Json reply = clients.back()->subscribe("a", body);
      if (reply.contains("subscribe")) epoch = reply["subscribe"].value("epoch", "");
    };
    add_client();
    for (int step = 0; step < 150; ++step) {
      if (chance(12) && clients.size() < 6) add_client();
      if (chance(40)) world.take_over();
      for (const auto& client : clients) {
        if (client->is_open() && chance(4))
          client->kernel().room = chance(2) ? Kernel::kAll : world.random.next() % 600;
        if (client->is_open() && chance(60)) client->cut();
      }
      PublishOptions publish_options;
      publish_options.skip_history = chance(8);
      const std::string text = payload(step);
      const Position position = world.publish("a", text, publish_options);
      if (position.offset > 0 && !publish_options.skip_history) published[position.offset] = text;
      if (!chance(3)) world.run();
    }
    for (const auto& client : clients)
      if (client->is_open()) client->kernel().room = Kernel::kAll;
    world.run();
    for (const auto& reader : readers) {
      deltas += reader->deltas;
      for (std::size_t i = 0; i < reader->texts.size(); ++i)
        if (reader->offsets[i] > 0) {
          ASSERT_EQ(reader->texts[i], published[reader->offsets[i]]);
        }
    }
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(deltas, 500U);
}

}  // namespace
}  // namespace carillon::testing
