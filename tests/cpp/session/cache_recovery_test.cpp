// Recovery where the newest publication is all that counts (protocol.md section 6, cache mode).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

WorldOptions with_cache(bool is_automatic) {
  WorldOptions options;
  options.rules = {rule("*", [&](ChannelOptions& o) {
    o.recovery_mode = RecoveryMode::cache;
    o.auto_cache_recover = is_automatic;
  })};
  return options;
}

Json back_at(WsClient& client, std::uint64_t offset, const std::string& epoch) {
  client.command("unsubscribe", {{"channel", "a"}});
  return client.subscribe("a", {{"recover", true}, {"offset", offset}, {"epoch", epoch}})["subscribe"];
}

TEST(CacheRecovery, TheNewestIsAllThatComes) {
  World world(with_cache(false));
  WsClient client(world);
  client.connect();
  const Json first = client.subscribe("a")["subscribe"];
  const std::string epoch = first["epoch"];
  EXPECT_FALSE(first.contains("was_recovering")) << "nobody has asked for it";
  for (int i = 1; i <= 5; ++i) world.publish("a", std::to_string(i));
  const Json newest = Json::parse(R"([{"data":5,"offset":5}])");

  Json reply = back_at(client, 2, epoch);
  EXPECT_EQ(reply["was_recovering"], true);
  EXPECT_EQ(reply["recovered"], true);
  EXPECT_EQ(reply["publications"], newest) << "3 and 4 count no longer";
  EXPECT_EQ(reply["offset"], 4);

  reply = back_at(client, 5, epoch);
  EXPECT_EQ(reply["recovered"], true);
  EXPECT_FALSE(reply.contains("publications")) << "the client has it";
  EXPECT_EQ(reply["offset"], 5);

  for (const auto& [offset, of] : {std::pair{5, std::string("otherone")}, {9, epoch}, {0, std::string()}}) {
    reply = back_at(client, static_cast<std::uint64_t>(offset), of);
    EXPECT_EQ(reply["recovered"], true) << offset;
    EXPECT_EQ(reply["publications"], newest) << offset;
    EXPECT_EQ(reply["epoch"], epoch);
  }
  world.publish("a", "6");
  world.run();
  EXPECT_EQ(client.pushes_of("a", "pub").back(), Json::parse(R"({"data":6,"offset":6})"));
  EXPECT_EQ(world.ledger_of("a").account.pending, 0);
}

TEST(CacheRecovery, WithNothingStoredOnlyTheSamePositionIsRecovered) {
  World world(with_cache(false));
  WsClient client(world);
  client.connect();
  const std::string epoch = client.subscribe("a")["subscribe"]["epoch"];
  EXPECT_FALSE(back_at(client, 0, epoch).contains("recovered")) << "there has been no publication";
  for (int i = 1; i <= 3; ++i) world.publish("a", std::to_string(i));
  world.hub.remove_history("a", [](StoreError) {});
  world.run();
  for (const std::uint64_t offset : {1U, 2U, 3U, 4U}) {
    const Json reply = back_at(client, offset, epoch);
    EXPECT_EQ(reply["was_recovering"], true);
    EXPECT_EQ(reply.contains("recovered"), offset == 3) << offset;
    EXPECT_FALSE(reply.contains("publications"));
    EXPECT_EQ(reply["offset"], 3);
  }
  const Json refused = client.command(
      "subscribe", {{"channel", "b"}, {"recover", true}, {"offset", 7}, {"epoch", epoch}, {"flag", 2}});
  EXPECT_EQ(error_of(refused), 112U);
}

TEST(CacheRecovery, AFirstSubscribeGetsTheNewestToo) {
  World world(with_cache(true));
  for (int i = 1; i <= 3; ++i) world.publish("a", std::to_string(i));
  WsClient client(world);
  client.connect();
  const Json reply = client.subscribe("a")["subscribe"];
  EXPECT_EQ(reply["was_recovering"], true);
  EXPECT_EQ(reply["recovered"], true);
  EXPECT_EQ(reply["publications"], Json::parse(R"([{"data":3,"offset":3}])"));
  const Json empty = client.subscribe("b")["subscribe"];
  EXPECT_EQ(empty["was_recovering"], true);
  EXPECT_FALSE(empty.contains("recovered"));
}

}  // namespace
}  // namespace carillon::testing
