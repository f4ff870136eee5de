// A hub written down and made again.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "hub/hub_fixture.hpp"

namespace carillon {
namespace {

/// Two hubs: one that is saved, and one that goes on from there.
struct HubSave : HubFixture {
  void restore() {
    StoreState store_state;
    {
      const auto still = store.hold_still();
      store_state = store.save();
    }
    next.store.restore(store_state);
    next.hub.restore(hub.save());
  }
  static void restore(HubFixture& fixture, PlainReader& reader, const std::string& channel,
                      const CursorState& state) {
    reader.shard.bind_to_this_thread();
    fixture.hub.restore(reader.shard, reader.cursor, channel, state);
    Shard::unbind_this_thread();
  }

  struct Next : HubFixture {
    void TestBody() override {}
  } next;
};

TEST_F(HubSave, AGroupThatHasNotSeenWhatIsNewSeesItBeforeItIsTrimmed) {
  PlainReader before(*shards[0]);
  subscribe(before, "live");  // keeps four entries for live cursors
  publish_numbers("live", 1, 3);
  settle();
  publish_numbers("live", 4, 20);  // and nobody turns
  restore();
  PlainReader after(*next.shards[1]);
  restore(next, after, "live", Shard::save(before.cursor));
  EXPECT_TRUE(after.cursor.is_live());
  next.publish_numbers("live", 21, 40);
  next.settle();
  EXPECT_EQ(after.taken, numbers(4, 40));
  EXPECT_TRUE(next.ledger().is_balanced());
}

TEST_F(HubSave, AStrategyChosenAtRunTimeStaysAndSoDoesTheModeOfTheMoment) {
  hub.set_fan_out("a", FanOut::read, std::nullopt);
  hub.set_fan_out("b", FanOut::hybrid, 10);
  const std::vector<std::string> ten{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"};
  const auto ignore = [](FanOutError /*error*/, const MembersResult& /*result*/) {};
  hub.add_members("b", ten, ignore);
  EXPECT_EQ(hub.fan_out("b").mode, FanOutMode::read);
  hub.remove_members("b", std::vector<std::string>{"0", "1"}, ignore);  // nine: within the hysteresis
  EXPECT_EQ(hub.fan_out("b").mode, FanOutMode::read);
  restore();
  EXPECT_EQ(next.hub.fan_out("a").strategy, FanOut::read);
  const FanOutState b = next.hub.fan_out("b");
  EXPECT_EQ(b.strategy, FanOut::hybrid);
  EXPECT_EQ(b.threshold, 10U);
  EXPECT_EQ(b.members, 9U);
  EXPECT_EQ(b.mode, FanOutMode::read) << "a new channel of nine would write";
  EXPECT_EQ(b.switches, 1U);
  EXPECT_EQ(next.hub.fan_out("c").strategy, FanOut::write);
}

TEST_F(HubSave, CursorsOfSeveralGroupsMeetInOne) {
  std::vector<std::unique_ptr<PlainReader>> before;
  std::vector<std::unique_ptr<PlainReader>> after;
  for (std::size_t i = 0; i < 6; ++i) {
    before.push_back(std::make_unique<PlainReader>(*shards[i % 2]));
    subscribe(*before.back(), "a");
  }
  publish_numbers("a", 1, 5);
  turn(0);
  turn(0);  // one group has seen them, the other has not
  restore();
  for (const auto& each : before) {
    after.push_back(std::make_unique<PlainReader>(*next.shards[0]));
    restore(next, *after.back(), "a", Shard::save(each->cursor));
  }
  next.publish_numbers("a", 6, 9);
  next.settle();
  for (std::size_t i = 0; i < 6; ++i) {
    Taken all = before[i]->taken;
    all.insert(all.end(), after[i]->taken.begin(), after[i]->taken.end());
    EXPECT_EQ(all, numbers(1, 9)) << i;
    EXPECT_TRUE(after[i]->cursor.is_live());
  }
  EXPECT_TRUE(next.ledger().is_balanced());
}

TEST_F(HubSave, ACursorThatIsFullStaysWhereItIsUntilItIsResumed) {
  PlainReader before(*shards[0]);
  subscribe(before, "a");
  before.is_full = true;
  publish_numbers("a", 1, 3);
  settle();
  restore();
  PlainReader after(*next.shards[0]);
  restore(next, after, "a", Shard::save(before.cursor));
  next.settle();
  EXPECT_EQ(after.stages, 0U) << "its sink has not asked";
  next.shards[0]->bind_to_this_thread();
  next.shards[0]->resume(after.cursor);
  Shard::unbind_this_thread();
  next.settle();
  EXPECT_EQ(after.taken, numbers(1, 3));
}

TEST_F(HubSave, ANewEpochThatACursorHasNotHeardOfIsToldByTheNextHub) {
  PlainReader before(*shards[0]);
  subscribe(before, "a");
  publish_numbers("a", 1, 3);
  settle();
  HubState state = hub.save();
  ChannelState& renewed = state.channels.at(0);
  renewed.epoch = Epoch::from_bits(99);
  renewed.epoch_resets = ++renewed.resets;
  renewed.log = LogState{.end_seq = renewed.log.end_seq, .top = 1, .history_from = 2};
  next.hub.restore(state);
  PlainReader after(*next.shards[0]);
  restore(next, after, "a", Shard::save(before.cursor));
  next.settle();
  ASSERT_EQ(after.gaps.size(), 1U);
  EXPECT_EQ(after.gaps[0].position.epoch, Epoch::from_bits(99));
}

TEST_F(HubSave, ABatchOnItsWayIsNoTimeToSave) {
  struct Narrow : HubFixture {
    Narrow() : HubFixture(1, {.deliveries_per_turn = 2}) {}
    void TestBody() override {}
  } narrow;
  std::vector<std::unique_ptr<PlainReader>> readers;
  for (int i = 0; i < 5; ++i) {
    readers.push_back(std::make_unique<PlainReader>(*narrow.shards[0]));
    narrow.subscribe(*readers.back(), "a");
  }
  narrow.settle();
  EXPECT_FALSE(narrow.shards[0]->is_under_way());
  narrow.publish("a", "1");
  narrow.turn();
  EXPECT_TRUE(narrow.shards[0]->is_under_way()) << "two of five have it";
  narrow.settle();
  EXPECT_FALSE(narrow.shards[0]->is_under_way());
}

TEST_F(HubSave, WhatChannelsThatWentDormantHadStaysInTheLedger) {
  {
    PlainReader reader(*shards[0]);
    subscribe(reader, "a");
    publish_numbers("a", 1, 3);
    settle();
  }
  sleep();
  ASSERT_EQ(hub.channels_in_use(), 0U);
  restore();
  const Ledger ledger = next.ledger();
  ASSERT_EQ(ledger.rows.size(), 1U);
  EXPECT_EQ(ledger.rows[0].account.delivered, 3);
  EXPECT_EQ(next.hub.published(), 3U);
}

TEST_F(HubSave, AnAccountThatDoesNotBalanceIsTakenOverAlsoOfADormantChannel) {
  {
    PlainReader reader(*shards[0]);
    subscribe(reader, "a");
    reader.cursor.count_delivered(1);  // what nobody published
  }
  sleep();
  ASSERT_EQ(hub.channels_in_use(), 0U);
  restore();
  const Ledger ledger = next.ledger();
  ASSERT_EQ(ledger.rows.size(), 1U);
  EXPECT_EQ(ledger.rows[0].unbalanced, 1U);
}

TEST_F(HubSave, BytesAreCountedByTheHubThatHasThem) {
  publish("a", std::string(10'000, 'x'));
  const std::int64_t bytes = hub.history_bytes();
  restore();
  EXPECT_EQ(next.hub.history_bytes(), bytes);
}

TEST_F(HubSave, WhatAReaderWasSparedStaysInItsAccount) {
  PlainReader before(*shards[0]);
  subscribe(before, "ticker");
  settle();
  clock.advance(100);
  for (int i = 0; i < 3; ++i) {
    Publication publication = publication_of(std::to_string(i));
    publication.key = "k";
    hub.publish("ticker", std::move(publication), {}, [](const AppendResult&) {});
  }
  settle();
  ASSERT_EQ(ledger().rows[0].account.conflated, 2);
  restore();
  PlainReader after(*next.shards[0]);
  restore(next, after, "ticker", Shard::save(before.cursor));
  const Ledger ledger = next.ledger();
  EXPECT_EQ(ledger.rows[0].account.conflated, 2);
  EXPECT_TRUE(ledger.is_balanced());
}

TEST_F(HubSave, WhoIsAheadOfASweptGroupGoesOn) {
  PlainReader group(*shards[0]), ahead(*shards[0]);
  subscribe(group, "read");
  publish_numbers("read", 1, 3);
  settle();
  subscribe(ahead, "read", Since{history("read", 0).top.epoch, false, 0});
  settle();
  ASSERT_EQ(ahead.taken, numbers(1, 3));
  restore();
  PlainReader group_after(*next.shards[0]), ahead_after(*next.shards[0]);
  restore(next, group_after, "read", Shard::save(group.cursor));
  restore(next, ahead_after, "read", Shard::save(ahead.cursor));
  next.publish("read", "4");
  for (int i = 0; i < 3; ++i) {
    next.settle();
    next.clock.advance(100);
  }
  EXPECT_EQ(group_after.taken, numbers(1, 4));
  EXPECT_EQ(ahead_after.taken, numbers(4, 4));
}

TEST_F(HubSave, TheAdaptiveThresholdGoesOnFromWhereItWas) {
  HubState state = hub.save();
  state.adaptive_permille = 250;
  next.hub.restore(state);
  EXPECT_DOUBLE_EQ(next.hub.adaptive_threshold().factor(), 0.25);
  EXPECT_EQ(next.hub.save().adaptive_permille, 250U);
}

TEST_F(HubSave, WhatAWalkHadStillToEnterIsMergedAndOnce) {
  const std::vector<std::string> users{"ann", "bob", "cid"};
  const auto say = [](Hub& to) { to.publish("a", publication_of("x"), {}, [](const AppendResult&) {}); };
  hub.add_members("a", users, [](FanOutError, const MembersResult&) {});
  say(hub);
  settle();
  say(hub);
  store.enter("a", 1, [](const EnterResult& result) { EXPECT_EQ(result.step.entered, 1U); });
  restore();  // one has it, two are to come
  for (const std::string& user : users) {
    next.hub.inbox(user, 100, [&](const Inbox& inbox) {
      ASSERT_EQ(inbox.items.size(), 2U) << user;
      EXPECT_EQ(inbox.items[1].first, 2U);
      EXPECT_EQ(inbox.unread[0].second, 2U);
    });
  }
  say(next.hub);
  next.settle();
  next.hub.inbox("cid", 100, [&](const Inbox& inbox) { EXPECT_EQ(inbox.items.size(), 3U); });
}

TEST(ChannelLogSave, ALogThatWasSavedGoesOnAsTheOther) {
  std::mt19937 random(7);
  const auto below = [&](std::uint32_t bound) { return random() % bound; };
  for (int round = 0; round < 200; ++round) {
    ChannelOptions options;
    options.history_size = 1 + below(8);
    options.history_ttl_ms = 500;
    options.live_window_entries = 1 + below(6);
    ChannelLog log;
    Millis now = 1'000;
    const auto step = [&](ChannelLog& one, Millis at, std::uint32_t kind, std::uint32_t bytes, Seq taken) {
      if (kind < 5) one.append(make_entry(one.top() + 1, std::string(bytes, 'x')), at, options, taken);
      if (kind >= 5 && kind < 8) one.append(make_entry(0, std::string(bytes, 'n')), at, options, taken);
      if (kind == 8) one.remove_history(one.top());
      one.trim(at, options, taken);
    };
    const auto grow = [&](ChannelLog& one, ChannelLog* other, Millis shift) {
      for (std::uint32_t steps = below(40); steps > 0; --steps) {
        const std::uint32_t kind = below(12);
        const std::uint32_t bytes = below(50);
        const Seq taken = one.end_seq() - below(5);
        now += below(120);
        step(one, now, kind, bytes, taken);
        if (other != nullptr) step(*other, now + shift, kind, bytes, taken);
      }
    };
    grow(log, nullptr, 0);
    const Millis shift = 5'000;
    ChannelLog copy;
    copy.restore(log.save(now), now + shift);
    grow(log, &copy, shift);
    ASSERT_EQ(copy.size(), log.size()) << round;
    ASSERT_EQ(copy.bytes(), log.bytes()) << round;
    ASSERT_EQ(copy.top(), log.top()) << round;
    ASSERT_EQ(copy.history_from(), log.history_from()) << round;
    ASSERT_EQ(copy.end_seq(), log.end_seq()) << round;
    for (Seq seq = log.begin_seq(); seq < log.end_seq(); seq = log.next_seq(seq + 1)) {
      ASSERT_EQ(copy.next_seq(seq), seq) << round;
      ASSERT_EQ(copy.at(seq)->offset, log.at(seq)->offset) << round;
      ASSERT_EQ(copy.offset_before(seq), log.offset_before(seq)) << round;
    }
    for (Offset offset = 0; offset <= log.top(); ++offset)
      ASSERT_EQ(copy.seq_after(offset), log.seq_after(offset)) << round << " " << offset;
  }
}

}  // namespace
}  // namespace carillon
