// Connections and subscriptions that a hook renews, calls that it carries out, and notices of disconnects.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "doubles/token_signer.hpp"
#include "session/session_clients.hpp"

namespace carillon::testing {
namespace {

constexpr std::int64_t kRenewalStartS = 1'700'001'000;  // of the world's time of day

/// Connected, until so many seconds have passed.
void connect_for(World& world, WsClient& client, std::int64_t left_s) {
  world.access.slow = {Operation::connect, Operation::refresh};
  client.open();
  client.send(R"({"id":1,"connect":{}})");
  client.next_id = 2;
  world.run();
  Verdict verdict = allowed("ann");
  verdict.identity.expiry.at_s = kRenewalStartS + left_s;
  world.access.decide(verdict);
  world.run();
}

/// It goes on until so many seconds have passed since the start; 0: for ever.
Verdict until_s(std::int64_t left_s) {
  Verdict verdict = allowed("ann");
  verdict.identity.expiry.at_s = left_s == 0 ? 0 : kRenewalStartS + left_s;
  verdict.subscription.expiry = verdict.identity.expiry;
  return verdict;
}

void answer(World& world, const Verdict& verdict) {
  world.access.decide(verdict);
  world.run();
}

TEST(Renewal, AConnectionGoesOnUntilTheEndThatItsHookNames) {
  World world(without_pings());
  WsClient client(world);
  connect_for(world, client, 60);
  EXPECT_FALSE(client.replies.at(0)["connect"].contains("expires")) << "the client has nothing to do";
  world.advance(59'990);
  EXPECT_TRUE(world.access.waiting.empty());
  world.advance(20);
  ASSERT_EQ(world.access.asked.back(), "refresh ann");
  world.advance(4'000);
  EXPECT_TRUE(client.is_open()) << "it lives while its hook thinks";
  ASSERT_EQ(world.access.waiting.size(), 1U) << "asked once";
  answer(world, until_s(100));
  world.advance(35'900);
  EXPECT_TRUE(world.access.waiting.empty());
  world.advance(200);
  ASSERT_EQ(world.access.waiting.size(), 1U);
  answer(world, until_s(0));
  world.advance(100'000'000);
  EXPECT_TRUE(client.is_open());
  EXPECT_TRUE(world.access.waiting.empty()) << "it has no end any more";
}

TEST(Renewal, ADenialEndsTheConnectionWithItsReason) {
  for (const auto& [verdict, code, reason] :
       {std::tuple{denied(), 3005, "connection expired"}, std::tuple{denied(0, "locked"), 3005, "locked"},
        std::tuple{denied(470, "locked"), 3005, "locked"}, std::tuple{denied(4'500, "out"), 4500, "out"},
        std::tuple{until_s(1), 3005, "connection expired"}}) {
    World world(without_pings());
    WsClient client(world);
    connect_for(world, client, 60);
    world.advance(60'010);
    answer(world, verdict);
    EXPECT_EQ(client.close_code, code);
    EXPECT_EQ(client.close_reason, reason);
  }
}

TEST(Renewal, WithoutADecisionItIsAskedAgainLater) {
  World world(without_pings());
  WsClient client(world);
  connect_for(world, client, 60);
  world.advance(60'010);
  answer(world, Verdict::undecided("the hook failed"));
  world.advance(59'000);
  EXPECT_TRUE(world.access.waiting.empty());
  world.advance(2'000);
  ASSERT_EQ(world.access.waiting.size(), 1U);
  EXPECT_TRUE(client.is_open());
}

TEST(Renewal, AnAnswerDoesNotUndoWhatTheApplicationHasSetMeanwhile) {
  World world(without_pings());
  WsClient client(world);
  connect_for(world, client, 60);
  world.advance(60'010);
  world.loops[0]->loop.for_each_session(
      [](Session& session) { session.refresh({kRenewalStartS + 1'000, {}}); }, [] {});
  world.run();
  answer(world, until_s(100));
  world.advance(200'000);
  EXPECT_TRUE(world.access.waiting.empty()) << "its end is that of the application";
}

TEST(Renewal, AHookThatFailsDoesNotUndoWhatTheApplicationHasSetMeanwhile) {
  World world(without_pings());
  WsClient client(world);
  connect_for(world, client, 60);
  world.advance(60'010);
  world.loops[0]->loop.for_each_session(
      [](Session& session) { session.refresh({kRenewalStartS + 1'000, {}}); }, [] {});
  world.run();
  answer(world, Verdict::undecided("the hook failed"));
  world.advance(200'000);
  EXPECT_TRUE(world.access.waiting.empty()) << "its end is that of the application";
  EXPECT_TRUE(client.is_open());
}

TEST(Renewal, OthersSeeTheInfoThatTheHookHasRenewed) {
  World world(without_pings());
  WsClient client(world);
  connect_for(world, client, 60);
  client.subscribe("a");
  const auto seen = [&] {
    client.command("publish", {{"channel", "a"}, {"data", 1}});
    return client.pushes_of("a", "pub").back()["info"].value("conn_info", Json());
  };
  EXPECT_EQ(seen(), Json());
  world.advance(60'010);
  Verdict renewed = until_s(200);
  renewed.identity.info_json = R"({"n":1})";
  answer(world, renewed);
  EXPECT_EQ(seen(), Json({{"n", 1}})) << "not what was written for the publication before";
  ASSERT_EQ(world.shown_in("a").size(), 1U);
  EXPECT_EQ(world.shown_in("a")[0].first, R"({"n":1})") << "presence shows it, too";
}

TEST(Renewal, AClientDoesNotRenewWhatItsServerRenews) {
  World world(without_pings());
  WsClient client(world);
  connect_for(world, client, 60);
  client.command("refresh", {{"token", "any"}});
  EXPECT_EQ(client.close_code, 3501);
}

TEST(Renewal, AnAnswerThatComesAfterTheClientHasGoneIsVoid) {
  World world(without_pings());
  WsClient client(world);
  connect_for(world, client, 60);
  world.advance(60'010);
  client.cut();
  world.run();
  answer(world, until_s(100));
  EXPECT_EQ(world.hub.subscriptions(), 0U);
}

TEST(Renewal, AHookThatIsSlowIsAskedOnceMoreByTheProcessThatTakesOver) {
  World world(without_pings());
  WsClient client(world);
  connect_for(world, client, 60);
  world.advance(60'010);
  ASSERT_EQ(world.access.waiting.size(), 1U);
  ASSERT_TRUE(world.take_over()) << "nobody waits for the hook";
  world.advance(10);
  ASSERT_EQ(world.access.waiting.size(), 1U) << "it is asked there";
  EXPECT_EQ(world.access.asked.back(), "refresh ann");
  answer(world, until_s(100));
  world.advance(40'000);
  ASSERT_EQ(world.access.waiting.size(), 1U) << "the end came along";
  answer(world, denied());
  EXPECT_EQ(client.close_code, 3005);
}

TEST(Renewal, ASubscriptionGoesOnUntilTheEndThatItsHookNames) {
  World world(without_pings());
  world.access.slow = {Operation::subscribe, Operation::sub_refresh};
  WsClient client(world);
  client.connect();
  client.send(R"({"id":2,"subscribe":{"channel":"a"}})");
  world.run();
  answer(world, until_s(60));
  EXPECT_FALSE(client.replies.back()["subscribe"].contains("expires"));
  world.advance(60'010);
  ASSERT_EQ(world.access.asked.back(), "sub_refresh a");
  answer(world, Verdict::undecided("the hook failed"));
  world.advance(61'000);
  ASSERT_EQ(world.access.waiting.size(), 1U) << "asked again";
  Verdict renewed = until_s(200);
  renewed.subscription.info_json = R"("host")";
  answer(world, renewed);
  ASSERT_EQ(world.shown_in("a").size(), 1U);
  EXPECT_EQ(world.shown_in("a")[0].second, R"("host")");
  world.advance(60'000);
  EXPECT_TRUE(client.pushes.empty());
  world.advance(30'000);
  answer(world, denied());
  ASSERT_EQ(client.pushes.size(), 1U);
  EXPECT_EQ(client.pushes[0]["unsubscribe"]["code"], 2501);
  EXPECT_EQ(world.hub.subscriptions(), 0U);
}

TEST(Renewal, AnAnswerForASubscriptionThatWasMadeAnewIsVoid) {
  World world(without_pings());
  world.access.slow = {Operation::subscribe, Operation::sub_refresh};
  WsClient client(world);
  client.connect();
  client.send(R"({"id":2,"subscribe":{"channel":"a"}})");
  world.run();
  answer(world, until_s(60));
  world.advance(60'010);
  client.send(R"({"id":3,"unsubscribe":{"channel":"a"}})");
  client.send(R"({"id":4,"subscribe":{"channel":"a"}})");
  world.run();
  ASSERT_EQ(world.access.waiting.size(), 2U);
  world.access.decide(until_s(0), 1);  // the new one has no end
  world.run();
  answer(world, denied());  // of the old one
  EXPECT_TRUE(client.pushes.empty());
  EXPECT_EQ(world.hub.subscriptions(), 1U);
}

TEST(Rpc, AHookAnswersIt) {
  World world(without_pings());
  world.access.slow = {Operation::rpc};
  WsClient client(world);
  client.connect();
  client.send(R"({"id":2,"rpc":{"method":"m","data":[1]}})");
  world.run();
  ASSERT_EQ(world.access.given.back().data, "[1]");
  Verdict verdict = allowed();
  verdict.data = "{\"a\":\n1}";
  answer(world, verdict);
  EXPECT_EQ(client.replies.back()["rpc"]["data"], Json({{"a", 1}}));
  for (const auto& [denial, code] : {std::pair{denied(), 103U}, std::pair{denied(470, "no"), 470U},
                                     std::pair{Verdict::undecided("late"), 100U}}) {
    client.send(R"({"id":)" + std::to_string(code) + R"(,"rpc":{"method":"m"}})");
    world.run();
    answer(world, denial);
    EXPECT_EQ(error_of(client.replies.back()), code);
  }
}

TEST(Rpc, AnAnswerThatComesAfterTheClientHasGoneIsVoid) {
  World world(without_pings());
  world.access.slow = {Operation::rpc};
  WsClient client(world);
  client.connect();
  client.send(R"({"id":2,"rpc":{"method":"m"}})");
  world.run();
  client.cut();
  world.run();
  answer(world, allowed());
  EXPECT_EQ(world.loops[0]->counters.commands_under_way.load(), 0U);
}

TEST(Disconnect, ANoticeNamesWhoHasGoneAndWhy) {
  World world(without_pings());
  world.access.slow = {Operation::disconnect};
  std::vector<std::string> told;
  world.access.on_asked = [&told](const Question& notice) {
    told.push_back(std::string(notice.user) + " " + std::to_string(notice.code) + " " +
                   std::string(notice.reason));
  };
  WsClient ann(world);
  ann.connect("?user=ann");
  WsClient bob(world);
  bob.connect("?user=bob");
  WsClient nobody(world);
  nobody.open();
  nobody.cut();
  ann.send(R"({"id":2,"publish":{}})");
  bob.cut();
  world.run();
  ann.cut();
  world.run();
  EXPECT_EQ(told.size(), 2U) << "who was never let in has not gone";
  EXPECT_NE(std::find(told.begin(), told.end(), "ann 3501 bad request: channel: is missing in a command"),
            told.end());
  EXPECT_TRUE(
      std::any_of(told.begin(), told.end(), [](const auto& each) { return each.starts_with("bob 0 "); }));
}

TEST(Disconnect, ATakeoverIsNone) {
  World world(without_pings());
  world.access.slow = {Operation::disconnect};
  WsClient ann(world);
  ann.connect("?user=ann");
  ASSERT_TRUE(world.take_over());
  EXPECT_TRUE(world.access.asked.empty());
}

}  // namespace
}  // namespace carillon::testing
