// Subscriptions with a tags filter (protocol.md section 19).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "session/session_clients.hpp"
#include "session/websocket_journal.hpp"

namespace carillon::testing {
namespace {

WorldOptions with_filter(bool is_allowed = true) {
  WorldOptions options;
  options.rules = {rule("*", [&](ChannelOptions& o) { o.allow_tags_filter = is_allowed; })};
  return options;
}

void publish_tagged(World& world, std::string team) {
  Publication publication;
  publication.data = "1";
  publication.tags = {{"team", std::move(team)}};
  world.hub.publish("a", std::move(publication), {}, [](const AppendResult&) {});
  world.run();
}

const Json kTeamA = {{"key", "team"}, {"cmp", "eq"}, {"val", "a"}};

std::int64_t filtered(World& world) {
  EXPECT_TRUE(world.ledger().is_balanced());
  return world.ledger_of("a").account.dropped[static_cast<std::size_t>(DropReason::filtered)];
}

TEST(WebSocketFilter, WhoGivesOneGetsWhatPassesAndTheOthersAll) {
  World world(with_filter());
  WsClient chooser(world);
  WsClient other(world);
  chooser.connect();
  other.connect();
  const Journal journal(chooser, "a");
  const Journal all(other, "a");
  const Json reply = chooser.subscribe("a", {{"tf", kTeamA}, {"delta", "fossil"}});
  EXPECT_TRUE(reply.contains("subscribe")) << reply;
  EXPECT_FALSE(reply["subscribe"].contains("delta"));
  other.subscribe("a");
  for (const char* team : {"a", "b", "a", "b"}) publish_tagged(world, team);
  EXPECT_EQ(journal.offsets, (std::vector<Offset>{1, 3}));
  EXPECT_EQ(all.offsets, range(1, 4));
  EXPECT_EQ(filtered(world), 2);
}

TEST(WebSocketFilter, IsMalformedOrNotAllowed) {
  World world(with_filter());
  WsClient client(world);
  client.connect();
  EXPECT_EQ(error_of(client.subscribe("a", {{"tf", {{"op", "eq"}}}})), 107U);
  EXPECT_EQ(error_of(client.subscribe("a", {{"tf", kTeamA}})), 0U);
  World strict(with_filter(false));
  WsClient refused(strict);
  refused.connect();
  EXPECT_EQ(error_of(refused.subscribe("a", {{"tf", kTeamA}})), 107U);
}

TEST(WebSocketFilter, BringsNoJoinsToWhoDoesNotGetThem) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.allow_tags_filter = o.join_leave = true; })};
  World world(options);
  WsClient chooser(world);
  WsClient other(world);
  chooser.connect();
  other.connect();
  chooser.subscribe("a", {{"tf", kTeamA}});
  WsClient curious(world);
  curious.connect();
  curious.subscribe("a", {{"tf", kTeamA}, {"join_leave", true}});
  other.subscribe("a");
  EXPECT_TRUE(chooser.pushes_of("a", "join").empty());
  EXPECT_EQ(curious.pushes_of("a", "join").size(), 2U) << "its own, and that of the other one";
}

TEST(WebSocketFilter, APositionMovesOverWhatDoesNotPass) {
  World world(with_filter());
  WsClient client(world);
  client.connect();
  const Journal journal(client, "a");
  const std::string epoch = client.subscribe("a", {{"tf", kTeamA}})["subscribe"]["epoch"];
  client.command("unsubscribe", {{"channel", "a"}});
  for (const char* team : {"b", "a", "b"}) publish_tagged(world, team);
  const Json reply = client.subscribe(
      "a", {{"tf", kTeamA}, {"recover", true}, {"offset", 0}, {"epoch", epoch}})["subscribe"];
  EXPECT_EQ(reply["recovered"], true);
  ASSERT_EQ(reply["publications"].size(), 1U) << "the others count as present";
  EXPECT_EQ(reply["publications"][0]["offset"], 2);
  publish_tagged(world, "a");
  EXPECT_EQ(journal.offsets, (std::vector<Offset>{2, 4}));
  EXPECT_EQ(filtered(world), 2);
}

// The socket takes parts, so that cut batches go back to the cursor.
TEST(WebSocketFilter, ASlowSocketLosesNothingAndATakeoverKeepsTheFilter) {
  World world(with_filter());
  WsClient client(world);
  client.connect();
  const Journal journal(client, "a");
  client.subscribe("a", {{"tf", kTeamA}});
  std::vector<Offset> wanted;
  for (Offset offset = 1; offset <= 60; ++offset) {
    client.kernel().room = offset % 7 == 0 ? Kernel::kAll : offset * 13 % 90;
    const bool passes = offset % 3 != 0;
    if (passes) wanted.push_back(offset);
    publish_tagged(world, passes ? "a" : "b");
    if (offset == 30) {
      ASSERT_TRUE(world.take_over());
    }
  }
  client.kernel().room = Kernel::kAll;
  world.run();
  EXPECT_EQ(journal.offsets, wanted);
  EXPECT_EQ(filtered(world), 20);
}

}  // namespace
}  // namespace carillon::testing
