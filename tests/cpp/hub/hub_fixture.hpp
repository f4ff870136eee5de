#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/entries.hpp"
#include "hub/hub.hpp"
#include "store/memory_store.hpp"

namespace carillon {

/// A hub on a memory store, with shards that turn when the test says so.
struct HubFixture : testing::Test {
  explicit HubFixture(std::size_t shard_count = 2, TurnLimits turn_limits = {}, HubLimits hub_limits = {},
                      StoreLimits store_limits = {})
      : store(clock, random, store_limits),
        hub(clock, random, store, rules(), hub_limits),
        wakes(shard_count) {
    std::vector<Shard*> hub_shards;
    for (std::size_t i = 0; i < shard_count; ++i) {
      shards.push_back(std::make_unique<Shard>(static_cast<std::uint32_t>(i), turn_limits, clock,
                                               [this, i] { ++wakes[i]; }));
      hub_shards.push_back(shards.back().get());
    }
    hub.set_shards(hub_shards);
  }

  static ChannelRules rules() {
    ChannelOptions live, tiny, brief, skip, disconnect;
    live.history_size = 0;
    live.live_window_entries = 4;
    tiny.history_size = 3;
    tiny.live_window_entries = 0;
    brief.history_ttl_ms = 1'000;
    skip.slow_consumer = SlowConsumer::skip;
    disconnect.slow_consumer = SlowConsumer::disconnect;
    skip.slow_consumer_entries = disconnect.slow_consumer_entries = 10;
    ChannelOptions read, hybrid, batch, ticker;
    read.fan_out = FanOut::read;
    hybrid.fan_out = FanOut::hybrid;
    hybrid.fan_out_threshold = 10;
    batch.batch_interval_ms = ticker.batch_interval_ms = 50;
    ticker.conflate = true;
    return ChannelRules({{"live*", live},
                         {"tiny*", tiny},
                         {"brief*", brief},
                         {"skip*", skip},
                         {"disconnect*", disconnect},
                         {"read*", read},
                         {"hybrid*", hybrid},
                         {"batch*", batch},
                         {"ticker*", ticker}});
  }

  AppendResult publish(const std::string& channel, const std::string& data,
                       const PublishOptions& options = {}) {
    AppendResult answer;
    hub.publish(channel, publication_of(data), options, [&](const AppendResult& result) { answer = result; });
    return answer;
  }
  void publish_numbers(const std::string& channel, int first, int last) {
    for (int i = first; i <= last; ++i) publish(channel, std::to_string(i));
  }
  SubscribeOutcome subscribe(PlainReader& reader, const std::string& channel,
                             const std::optional<Since>& since = std::nullopt) {
    reader.shard.bind_to_this_thread();
    std::optional<SubscribeOutcome> answer;
    hub.subscribe(reader.shard, reader.cursor, channel, since,
                  [&](const SubscribeOutcome& outcome) { answer = outcome; });
    Shard::unbind_this_thread();
    EXPECT_TRUE(answer) << "memory answers at once";
    return answer.value_or(SubscribeOutcome{});
  }
  static void unsubscribe(PlainReader& reader) {
    reader.shard.bind_to_this_thread();
    reader.shard.unsubscribe(reader.cursor);
    Shard::unbind_this_thread();
  }
  bool turn(std::size_t shard = 0) {
    shards[shard]->bind_to_this_thread();
    const bool has_more = shards[shard]->turn();
    Shard::unbind_this_thread();
    return has_more;
  }
  /// Turns until nothing waits.
  void settle() {
    for (std::size_t i = 0; i < shards.size(); ++i) {
      int turns = 0;
      while (turn(i)) ASSERT_LT(++turns, 10'000);
    }
  }
  /// Lets every unused channel go dormant.
  void sleep(Millis by_ms = 400'000) {
    settle();
    clock.advance(by_ms);
    hub.keep_house();
  }
  Ledger ledger(LedgerFilter filter = {}) {
    std::optional<Ledger> answer;
    hub.ledger([&](Ledger found) { answer = std::move(found); }, Ledger::kAllRows, std::move(filter));
    settle();
    EXPECT_TRUE(answer);
    return answer.value_or(Ledger{});
  }
  HistoryResult history(const std::string& channel, std::int64_t limit,
                        std::optional<Since> since = std::nullopt, bool is_reverse = false) {
    HistoryResult answer;
    hub.history(channel, {limit, since, is_reverse}, [&](const HistoryResult& result) { answer = result; });
    return answer;
  }
  static Taken data_of(const HistoryResult& result) {
    Taken data;
    for (const EntryRef& entry : result.entries) data.push_back(entry->publication.data);
    return data;
  }

  VirtualClock clock;
  SeededRandom random{1};
  MemoryStore store;
  Hub hub;
  std::vector<int> wakes;
  std::vector<std::unique_ptr<Shard>> shards;
};

inline Taken numbers(int first, int last) {
  Taken data;
  for (int i = first; i <= last; ++i) data.push_back(std::to_string(i));
  return data;
}

}  // namespace carillon
