// Rules and limits that change while channels are in use.
#include <gtest/gtest.h>

#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

struct NewRules : HubFixture {
  static ChannelRules all(const std::function<void(ChannelOptions&)>& change) {
    ChannelOptions options;
    change(options);
    return ChannelRules({{"*", options}});
  }
};

TEST_F(NewRules, AChannelInUseKeepsWhatTheyAllowAndItsOffsetsContinue) {
  PlainReader reader(*shards[0]);
  const AppendResult first = publish("news", "1");
  subscribe(reader, "news");
  publish_numbers("news", 2, 20);
  settle();
  hub.set_rules(all([](ChannelOptions& options) {
    options.history_size = 3;
    options.live_window_entries = 1;
  }));
  EXPECT_EQ(data_of(history("news", -1)), numbers(18, 20));
  const AppendResult next = publish("news", "21");
  EXPECT_EQ(next.position.offset, 21U);
  EXPECT_EQ(next.position.epoch, first.position.epoch);
  settle();
  EXPECT_EQ(reader.taken, numbers(2, 21));
  EXPECT_TRUE(ledger().is_balanced());
}

TEST_F(NewRules, AHistoryThatIsSwitchedOnBeginsWithTheNextPublicationAndOneThatIsSwitchedOffIsGone) {
  publish("live", "1");
  EXPECT_EQ(history("live", -1).error, HistoryError::no_history);
  hub.set_rules(all([](ChannelOptions&) {}));
  EXPECT_EQ(publish("live", "2").position.offset, 1U);
  EXPECT_EQ(data_of(history("live", -1)), numbers(2, 2));
  hub.set_rules(all([](ChannelOptions& options) { options.history_size = 0; }));
  EXPECT_EQ(history("live", -1).error, HistoryError::no_history);
  hub.set_rules(all([](ChannelOptions&) {}));
  EXPECT_EQ(publish("live", "3").position.offset, 2U);
  EXPECT_EQ(data_of(history("live", 1, Since::from("", 1))), numbers(3, 3));
}

TEST_F(NewRules, AStrategyFollowsThemUnlessItWasSetAtRunTime) {
  publish("news", "1");
  publish("mine", "1");
  hub.set_fan_out("mine", FanOut::hybrid, 7);
  hub.set_rules(all([](ChannelOptions& options) {
    options.fan_out = FanOut::read;
    options.fan_out_threshold = 9;
  }));
  EXPECT_EQ(hub.fan_out("news").mode, FanOutMode::read);
  EXPECT_EQ(hub.fan_out("news").strategy, FanOut::read);
  EXPECT_EQ(hub.fan_out("mine").strategy, FanOut::hybrid);
  EXPECT_EQ(hub.fan_out("mine").threshold, 7U);
  hub.set_fan_out("mine", std::nullopt, std::nullopt);
  EXPECT_EQ(hub.fan_out("mine").strategy, FanOut::read);
  EXPECT_EQ(hub.fan_out("mine").threshold, 9U);
}

TEST_F(NewRules, ASubscriberInAChannelThatIsSweptFromNowOnMissesNothing) {
  PlainReader reader(*shards[0]);
  subscribe(reader, "news");
  publish("news", "1");
  hub.set_rules(all([](ChannelOptions& options) { options.fan_out = FanOut::read; }));
  publish("news", "2");
  settle();
  clock.advance(100);
  settle();
  hub.set_rules(all([](ChannelOptions&) {}));
  publish("news", "3");
  settle();
  EXPECT_EQ(reader.taken, numbers(1, 3));
}

TEST_F(NewRules, ALowerLimitOfMemoryIsKeptFromTheNextPublicationOn) {
  for (int i = 0; i < 200; ++i) publish("news", std::string(1'000, 'x'));
  ASSERT_GT(hub.history_bytes(), 200'000);
  hub.set_limits({.history_bytes_total = 100'000});
  for (int i = 0; i < 10; ++i) publish("news", "y");
  EXPECT_LE(hub.history_bytes(), 100'000);
}

TEST_F(NewRules, AShardWithOtherLimitsDeliversNoMoreInATurn) {
  std::vector<std::unique_ptr<PlainReader>> readers;
  for (int i = 0; i < 6; ++i) {
    readers.push_back(std::make_unique<PlainReader>(*shards[0]));
    subscribe(*readers.back(), "news");
  }
  settle();
  shards[0]->set_limits({.deliveries_per_turn = 2, .deliveries_per_visit = 2});
  publish("news", "1");
  EXPECT_TRUE(turn());
  std::size_t served = 0;
  for (const auto& reader : readers) served += reader->taken.size();
  EXPECT_EQ(served, 2U);
  settle();
  for (const auto& reader : readers) {
    EXPECT_EQ(reader->taken, numbers(1, 1));
  }
}

TEST_F(NewRules, FewerIdempotencyKeysAreRememberedAtOnce) {
  // A stripe remembers at least one key, and the keys of a channel are in one stripe.
  for (const char* key : {"a", "b", "c"}) publish("news", "x", {.idempotency_key = key});
  store.set_limits({.idempotency_keys = 1});
  publish("news", "x", {.idempotency_key = "d"});
  EXPECT_EQ(publish("news", "x", {.idempotency_key = "d"}).position.offset, 4U);
  EXPECT_EQ(publish("news", "x", {.idempotency_key = "a"}).position.offset, 5U);
}

}  // namespace
}  // namespace carillon
