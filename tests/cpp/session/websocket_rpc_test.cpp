// The inbox of a connection's own user, over rpc.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

Json rpc(WsClient& client, const char* method, Json data = nullptr) {
  return client.command("rpc", {{"method", method}, {"data", std::move(data)}});
}

void add_members(World& world, std::string_view channel, const std::vector<std::string>& users) {
  world.hub.add_members(channel, users, [](FanOutError error, const MembersResult& /*result*/) {
    ASSERT_EQ(error, FanOutError::none);
  });
}

TEST(WebSocketRpc, TheInboxIsThatOfTheConnectionsUser) {
  World world;
  WsClient ann(world);
  ann.connect("?user=ann");
  WsClient bob(world);
  bob.connect("?user=bob");
  add_members(world, "a", {"ann"});
  add_members(world, "b", {"ann", "bob"});
  world.publish("a", R"({"x":1})");
  world.publish("b", "2");
  world.run();
  Position top;
  world.hub.history("a", {}, [&top](const HistoryResult& found) { top = found.top; });
  const std::string epoch(top.epoch.text());
  const Json inbox = rpc(ann, "carillon.inbox")["rpc"]["data"];
  ASSERT_EQ(inbox["items"].size(), 2U);
  EXPECT_EQ(inbox["items"][0],
            Json({{"channel", "a"}, {"epoch", epoch}, {"offset", 1}, {"data", {{"x", 1}}}}));
  EXPECT_EQ(inbox["unread"], Json::parse(R"({"a":1,"b":1})"));
  EXPECT_EQ(inbox["has_more"], false);
  EXPECT_EQ(rpc(bob, "carillon.unread")["rpc"]["data"], Json::parse(R"({"unread":{"b":1}})"));

  const Json first = rpc(ann, "carillon.inbox", {{"limit", 1}})["rpc"]["data"];
  EXPECT_EQ(first["items"].size(), 1U);
  EXPECT_EQ(first["has_more"], true);
  EXPECT_EQ(rpc(ann, "carillon.mark_read", {{"channel", "b"}, {"offset", 1}})["rpc"]["data"], Json::object());
  EXPECT_EQ(rpc(ann, "carillon.unread")["rpc"]["data"]["unread"], Json::parse(R"({"a":1})"));
  EXPECT_EQ(rpc(bob, "carillon.unread")["rpc"]["data"]["unread"], Json::parse(R"({"b":1})"))
      << "only one's own";
}

TEST(WebSocketRpc, Refusals) {
  WorldOptions options;
  options.limits.inbox_items = 5;
  World world(options);
  WsClient nobody(world);
  nobody.connect();
  EXPECT_EQ(error_of(rpc(nobody, "carillon.inbox")), 103U);
  EXPECT_EQ(error_of(rpc(nobody, "other")), 108U) << "there is none but ours";
  WsClient ann(world);
  ann.connect("?user=ann");
  EXPECT_EQ(error_of(rpc(ann, "carillon.inbo")), 104U);
  EXPECT_EQ(error_of(rpc(ann, "carillon.inbox", {{"limit", 5}})), 0U);
  const Json above = rpc(ann, "carillon.inbox", {{"limit", 6}});
  EXPECT_EQ(error_of(above), 107U);
  EXPECT_NE(above["error"]["message"].get<std::string>().find("limits.inbox_items (5)"), std::string::npos);
  for (const char* data : {R"({"limit":-1})", R"({"limit":"1"})", "[]", "7"})
    EXPECT_EQ(error_of(rpc(ann, "carillon.inbox", Json::parse(data))), 107U) << data;
  add_members(world, "a", {"ann"});
  world.publish("a", "1");
  world.run();
  for (const char* data :
       {R"({"channel":"a","offset":2})", R"({"channel":"a"})", R"({"channel":"a","offset":0})",
        R"({"channel":"","offset":1})", R"({"channel":5,"offset":1})"}) {
    EXPECT_EQ(error_of(rpc(ann, "carillon.mark_read", Json::parse(data))), 107U) << data;
  }
  EXPECT_EQ(rpc(ann, "carillon.unread")["rpc"]["data"]["unread"], Json::parse(R"({"a":1})"));
}

TEST(WebSocketRpc, EachMethodIgnoresWhatIsNotItsOwn) {
  World world;
  WsClient ann(world);
  ann.connect("?user=ann");
  EXPECT_EQ(error_of(rpc(ann, "carillon.unread", {{"limit", 1'000'000}})), 0U);
  EXPECT_EQ(error_of(rpc(ann, "carillon.inbox", {{"channel", ""}, {"offset", 0}})), 0U);
}

TEST(WebSocketRpc, AChannelOfNoNamespaceIsUnknown) {
  WorldOptions options;
  options.rules = {rule("news:*", [](ChannelOptions& /*o*/) {})};
  options.rules[0].scope = ChannelRules::Scope::by_namespace;
  World world(options);
  WsClient ann(world);
  ann.connect("?user=ann");
  EXPECT_EQ(error_of(rpc(ann, "carillon.mark_read", {{"channel", "other:a"}, {"offset", 1}})), 102U);
  EXPECT_EQ(error_of(rpc(ann, "carillon.mark_read", {{"channel", "news:a"}, {"offset", 1}})), 0U);
}

TEST(WebSocketRpc, WhatHasLeftTheHistoryIsAGap) {
  WorldOptions options;
  options.rules = {rule("*", [](ChannelOptions& o) { o.history_size = 1; })};
  World world(options);
  WsClient ann(world);
  ann.connect("?user=ann");
  add_members(world, "a", {"ann"});
  for (int i = 0; i < 3; ++i) world.publish("a", "1");
  world.run();
  const Json items = rpc(ann, "carillon.inbox")["rpc"]["data"]["items"];
  ASSERT_EQ(items.size(), 2U);
  EXPECT_EQ(items[0]["gap"], Json::parse(R"({"from":1,"to":2})"));
  EXPECT_EQ(items[1]["offset"], 3);
}

TEST(WebSocketRpc, APublicationThatIsLargerThanAReplyMayBeComesAlone) {
  WorldOptions options;
  options.limits.backlog_bytes = 4'096;
  World world(options);
  WsClient ann(world);
  ann.connect("?user=ann");
  add_members(world, "a", {"ann"});
  for (int i = 0; i < 2; ++i) world.publish("a", Json(std::string(3'000, 'x')).dump());
  world.run();
  const Json inbox = rpc(ann, "carillon.inbox")["rpc"]["data"];
  ASSERT_EQ(inbox["items"].size(), 1U);
  EXPECT_EQ(inbox["items"][0]["offset"], 1);
  EXPECT_EQ(inbox["has_more"], true);
}

TEST(WebSocketRpc, ToMarkReadMakesNoChannel) {
  World world;
  WsClient ann(world);
  ann.connect("?user=ann");
  const std::size_t before = world.hub.channels_in_use();
  for (int i = 0; i < 20; ++i) {
    const Json asked = {{"channel", "made-up-" + std::to_string(i)}, {"offset", 1}};
    EXPECT_EQ(error_of(rpc(ann, "carillon.mark_read", asked)), 0U) << "it is read already, in a way";
  }
  EXPECT_EQ(world.hub.channels_in_use(), before);
}

TEST(WebSocketRpc, AnAnswerThatComesLaterFindsItsCommandOrNobody) {
  World world;
  WsClient ann(world);
  ann.connect("?user=ann");
  add_members(world, "a", {"ann"});
  world.publish("a", "1");
  world.run();
  world.store.is_late = true;
  ann.send(R"({"id":70,"rpc":{"method":"carillon.unread"}})");
  ann.send(R"({"id":71,"ping":{}})");
  world.run();
  EXPECT_EQ(ann.replies.back()["id"], 71);
  world.store.answer();
  world.run();
  EXPECT_EQ(ann.replies.back(), Json::parse(R"({"id":70,"rpc":{"data":{"unread":{"a":1}}}})"));
  ann.send(R"({"id":72,"rpc":{"method":"carillon.inbox"}})");
  world.run();
  ann.cut();
  world.store.answer();
  world.run();
  world.store.is_late = false;
  world.store.is_unavailable = true;
  WsClient bob(world);
  bob.connect("?user=bob");
  EXPECT_EQ(error_of(rpc(bob, "carillon.unread")), 100U);
}

TEST(WebSocketRpc, AReplyStaysBelowWhatMayWaitForAClient) {
  WorldOptions options;
  options.limits.backlog_bytes = 4'096;
  World world(options);
  WsClient ann(world);
  ann.connect("?user=ann");
  add_members(world, "a", {"ann"});
  for (int i = 0; i < 20; ++i) world.publish("a", '"' + std::string(500, 'x') + '"');
  world.run();
  std::vector<Offset> read;
  while (true) {
    const Json inbox = rpc(ann, "carillon.inbox")["rpc"]["data"];
    EXPECT_LT(inbox.dump().size(), 2'500U);
    ASSERT_FALSE(inbox["items"].empty());
    for (const Json& item : inbox["items"]) read.push_back(item["offset"]);
    rpc(ann, "carillon.mark_read", {{"channel", "a"}, {"offset", read.back()}});
    if (!inbox["has_more"].get<bool>()) break;
  }
  ASSERT_EQ(read.size(), 20U);
  for (std::size_t i = 0; i < read.size(); ++i) EXPECT_EQ(read[i], i + 1);
}

}  // namespace
}  // namespace carillon::testing
