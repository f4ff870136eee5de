#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/entries.hpp"
#include "hub/hub.hpp"
#include "hub/late_store.hpp"

namespace carillon {

/// A hub on a store that answers when the test says so, with one shard.
struct LateHubTest : testing::Test {
  explicit LateHubTest(HubLimits limits = {}, ChannelRules rules = {}, TurnLimits turn_limits = {})
      : hub(clock, random, store, std::move(rules), limits), shard(0, turn_limits, clock, [] {}) {
    hub.set_shards({&shard});
  }

  void announce(Offset offset, const std::string& data) {
    auto entry = make_entry(offset, data);
    hub.on_announced({"a", epoch, entry});
  }
  /// Until nothing waits. The answer is nothing when none came.
  std::optional<SubscribeOutcome> subscribe(PlainReader& reader, std::optional<Since> since = std::nullopt) {
    auto answer = std::make_shared<std::optional<SubscribeOutcome>>();
    start_subscribe(reader, since, answer);
    settle();
    return *answer;
  }
  void start_subscribe(PlainReader& reader, std::optional<Since> since,
                       const std::shared_ptr<std::optional<SubscribeOutcome>>& answer) {
    shard.bind_to_this_thread();
    hub.subscribe(shard, reader.cursor, "a", since,
                  [answer](const SubscribeOutcome& outcome) { *answer = outcome; });
    Shard::unbind_this_thread();
  }
  void turn() {
    shard.bind_to_this_thread();
    while (shard.turn()) {
    }
    Shard::unbind_this_thread();
  }
  void settle() {
    do {
      while (store.run_one()) {
      }
      turn();
    } while (store.waiting() > 0);
  }
  void publish(const std::string& data) {
    hub.publish("a", publication_of(data), {}, [](const AppendResult&) {});
  }
  /// Entries that only the store has: as after a restart.
  void fill_store(int count) {
    HubWithoutEars ears;
    store.set_listener(&ears);
    for (int i = 1; i <= count; ++i) {
      store.append("a", make_entry(0, std::to_string(i)), {}, [](const AppendResult&) {});
      while (store.run_one()) {
      }
    }
    store.set_listener(&hub);
    epoch = store.top("a").epoch;
  }
  struct HubWithoutEars final : StoreListener {
    void on_announced(const Announcement& /*announcement*/) override {}
  };

  VirtualClock clock;
  SeededRandom random{1};
  LateStore store{random, {}};
  Hub hub;
  Shard shard;
  Epoch epoch;
};

}  // namespace carillon
