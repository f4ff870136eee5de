#include "hub/hub_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <utility>

#include "store/forwarding_store.hpp"

namespace carillon {

/// Between store and hub: lets the world hear every announcement first.
class HubWorld::Tap final : public ForwardingStore<> {
 public:
  Tap(HubWorld& world, Store& store) : ForwardingStore(store), world_(world) { store.set_listener(&world_); }
  void set_listener(StoreListener* listener) override { world_.listener_ = listener; }

 private:
  HubWorld& world_;
};

namespace {

ChannelOptions some_options(SeededRandom& random) {
  static constexpr std::array<std::size_t, 6> kSizes{0, 1, 3, 10, 1'000, 1'000};
  static constexpr std::array<std::size_t, 3> kBytes{900, 5'000, 4'000'000};
  static constexpr std::array<Millis, 4> kTtls{40, 400, 60'000, 300'000};
  static constexpr std::array<std::size_t, 4> kWindows{0, 2, 8, 64};
  ChannelOptions options;
  options.history_size = kSizes[random.below(kSizes.size())];
  options.history_bytes = kBytes[random.below(kBytes.size())];
  options.history_ttl_ms = kTtls[random.below(kTtls.size())];
  options.live_window_entries = kWindows[random.below(kWindows.size())];
  options.live_window_bytes = random.chance(30) ? 1'000 : 262'144;
  options.slow_consumer = static_cast<SlowConsumer>(random.below(kSlowConsumerNames.size()));
  options.slow_consumer_entries = 1 + random.below(12);
  options.fan_out = static_cast<FanOut>(random.below(kFanOutNames.size()));
  options.fan_out_threshold = random.below(6);
  options.sweep_interval_ms = static_cast<Millis>(1 + random.below(150));
  if (random.chance(20)) options.batch_interval_ms = static_cast<Millis>(1 + random.below(80));
  return options;
}

TurnLimits some_turn_limits(SeededRandom& random) {
  static constexpr std::array<std::size_t, 4> kDeliveries{1, 3, 10, 2'048};
  static constexpr std::array<std::size_t, 4> kEntries{1, 2, 7, 256};
  TurnLimits limits;
  limits.deliveries_per_turn = kDeliveries[random.below(kDeliveries.size())];
  limits.deliveries_per_visit = kDeliveries[random.below(kDeliveries.size())];
  limits.batch_entries = kEntries[random.below(kEntries.size())];
  limits.batch_bytes = random.chance(30) ? 100 : 128 * 1024;
  limits.lagging_bytes_per_turn = random.chance(30) ? 200 : 8 * 1024 * 1024;
  return limits;
}

}  // namespace

HubWorld::HubWorld(std::uint64_t seed, Kind kind) : random_(seed), kind_(kind) {
  const bool is_crowded =
      random_.chance(40);  // all on one channel and one shard, where they get in each other's way
  const std::size_t channels = is_crowded ? 1 : 1 + random_.below(5);
  HubLimits limits;
  if (random_.chance(10)) limits.history_bytes_total = 20'000;
  if (random_.chance(30)) limits.early_entries = 3;
  static constexpr std::array<std::size_t, 4> kPageEntries{1, 3, 16, 256};
  limits.page_entries = kPageEntries[random_.below(kPageEntries.size())];
  if (random_.chance(30)) limits.page_bytes = 100;
  if (random_.chance(30)) limits.stored_pages = 1 + random_.below(3);
  std::vector<ChannelRules::Rule> rules;
  for (std::size_t i = 0; i < channels; ++i) {
    auto truth = std::make_unique<Truth>();
    truth->name = "c" + std::to_string(i);
    truth->options = some_options(random_);
    truth->is_exact = kind == Kind::memory;
    truth->may_be_relieved = limits.history_bytes_total < 1'000'000;
    rules.push_back({truth->name, truth->options});
    truths_.push_back(std::move(truth));
  }
  if (kind == Kind::memory) {
    StoreLimits store_limits;
    key_window_ms_ = store_limits.idempotency_window_ms = random_.chance(50) ? 200 : 300'000;
    if (random_.chance(40)) store_limits.dormant_channels = 16;
    if (random_.chance(30)) store_limits.channel_lifetime_ms = 1'000;
    memory_ = std::make_unique<MemoryStore>(clock_, random_, store_limits);
    tap_ = std::make_unique<Tap>(*this, *memory_);
  } else {
    StoreFaults faults;
    is_faultless_ = random_.chance(40);
    const bool has_members = random_.chance(50);
    if (has_members) users_ = {"ann", "bob", "cem"};
    // What is lost is told to readers; no inbox hears of it.
    for (const auto& truth : truths_)
      truth->may_lose = !is_faultless_ || limits.early_entries == 3 || !truth->options.has_history();
    if (!is_faultless_) faults = {10, 10, 15, 10, has_members ? 0U : 5U, 10, 20};
    late_ = std::make_unique<LateStore>(random_, faults);
    tap_ = std::make_unique<Tap>(*this, *late_);
  }
  hub_ = std::make_unique<Hub>(clock_, random_, *tap_, ChannelRules(std::move(rules)), limits);
  const std::size_t shards = is_crowded ? 1 : 1 + random_.below(3);
  wants_turn_.resize(shards);
  std::vector<Shard*> hub_shards;
  for (std::size_t i = 0; i < shards; ++i) {
    shards_.push_back(std::make_unique<Shard>(static_cast<std::uint32_t>(i), some_turn_limits(random_),
                                              clock_, [this, i] { wants_turn_[i] = 1; }));
    hub_shards.push_back(shards_.back().get());
  }
  hub_->set_shards(hub_shards);
  const std::size_t readers = (is_crowded ? 4 : 1) + random_.below(12);
  for (std::size_t i = 0; i < readers; ++i) {
    readers_.push_back(
        std::make_unique<WhimsicalReader>(*this, random_.below(shards), random_.below(channels)));
  }
  if (!users_.empty()) add_members();
}

void HubWorld::add_members() {
  for (const auto& truth : truths_) {
    if (!truth->options.has_history()) continue;
    hub_->add_members(truth->name, users_,
                      [](FanOutError error, const MembersResult&) { EXPECT_EQ(error, FanOutError::none); });
  }
  while (late_->run_one()) {
  }
  for (const auto& truth : truths_) {
    if (truth->options.has_history()) epochs_of_members_[truth->name] = late_->top(truth->name).epoch;
  }
}

HubWorld::~HubWorld() {
  for (const auto& reader : readers_) on_shard(reader->shard(), [&] { reader->close(); });
}

template <typename Act>
void HubWorld::on_shard(std::size_t shard, Act&& act) {
  shards_[shard]->bind_to_this_thread();
  act();
  Shard::unbind_this_thread();
  wants_turn_[shard] = 1;  // whatever a shard's thread does ends with a turn
}

void HubWorld::on_announced(const Announcement& announcement) {
  for (const auto& truth : truths_) {
    if (truth->name == announcement.channel) {
      truth->on_announced(announcement.epoch, *announcement.entry, clock_.now_ms());
    }
  }
  listener_->on_announced(announcement);
}

bool HubWorld::must_recover(const Truth& truth, const Since& since) {
  if (!late_) return false;  // an exact truth knows better
  const Position top = late_->top(truth.name);
  // The store keeps everything, however little the ring has.
  return is_faultless_ && truth.options.has_history() && !truth.was_removed && since.epoch == top.epoch &&
         since.offset <= top.offset;
}

/// What its publisher was told of as published is in every member's inbox by then, and once.
void HubWorld::expect_entered(const Truth& truth, const Position& position) {
  const auto found = epochs_of_members_.find(truth.name);
  if (found == epochs_of_members_.end() || found->second != position.epoch) return;
  if (late_->top(truth.name).epoch != position.epoch) return;
  if (late_->mode(truth.name, position.offset) != FanOutMode::write) return;
  // Who enters it is told of the append; a hub that follows the channel hears of it all the same.
  if (late_->is_unheard(truth.name, position.offset)) return;
  for (const std::string& user : users_) {
    ++counts.entered;
    EXPECT_EQ(late_->entered(user, truth.name, position.offset), 1U) << user << ' ' << position.offset;
  }
}

/// As another gateway of the same store does.
void HubWorld::publish_remotely() {
  Truth& truth = *truths_[random_.below(truths_.size())];
  Publication publication;
  publication.data = truth.name + ':' + std::to_string(++published_) + " remote";
  AppendOptions options;
  options.is_ephemeral = !truth.options.has_history();
  ++counts.remote;
  late_->append(truth.name,
                std::make_shared<Entry>(EntryKind::publication, std::move(publication), clock_.wall_ms()),
                options, [this, name = truth.name](const AppendResult& result) {
                  late_->note_unheard(name, result.position.offset);
                });
}

// ---- steps

void HubWorld::run(std::size_t steps) {
  for (std::size_t i = 0; i < steps && !testing::Test::HasFailure(); ++i) step();
}

void HubWorld::step() {
  const std::uint64_t dice = random_.below(100);
  if (dice < 30) return publish();
  if (dice < 40) return subscribe_somebody();
  if (dice < 46) {
    WhimsicalReader& reader = anybody();
    return on_shard(reader.shard(), [&] { reader.close(); });
  }
  if (dice < 54) {
    WhimsicalReader& reader = anybody();
    return on_shard(reader.shard(), [&] { reader.unclog(); });
  }
  if (dice < 58) return clock_.advance(static_cast<Millis>(random_.below(random_.chance(5) ? 400'000 : 60)));
  if (dice < 61) return hub_->keep_house();
  if (dice < 64) return check_history();
  if (dice < 65) return check_ledger();
  if (dice < 66 && random_.chance(60)) {
    ++counts.switched;
    hub_->set_fan_out(truths_[random_.below(truths_.size())]->name,
                      static_cast<FanOut>(random_.below(kFanOutNames.size())), random_.below(6));
    return;
  }
  if (dice < 66) {
    Truth& truth = *truths_[random_.below(truths_.size())];
    hub_->remove_history(truth.name, [](StoreError) {});
    truth.removed_to = truth.top;
    truth.was_removed = true;
    return;
  }
  if (late_ && dice < 67 && random_.chance(20)) {
    ++counts.renewed;
    const std::string& name = truths_[random_.below(truths_.size())]->name;
    return random_.chance(50) ? late_->renew(name) : late_->forget(name);
  }
  if (late_ && dice < 70) return publish_remotely();
  if (late_ && dice < 85) {
    for (std::uint64_t i = random_.below(6); i > 0; --i) late_->run_one();
    return;
  }
  const std::size_t shard = random_.below(shards_.size());
  if (wants_turn_[shard] != 0 || is_due(shard)) turn(shard);
}

bool HubWorld::is_due(std::size_t shard) const {
  const std::optional<Millis> due_ms = shards_[shard]->due_ms();
  return due_ms && *due_ms <= clock_.now_ms();
}

void HubWorld::turn(std::size_t shard) {
  wants_turn_[shard] = 0;
  shards_[shard]->bind_to_this_thread();
  const bool has_more = shards_[shard]->turn();
  for (const auto& reader : readers_) {
    if (reader->shard() == shard) reader->flush();
  }
  if (has_more || shards_[shard]->has_work()) wants_turn_[shard] = 1;
  Shard::unbind_this_thread();
}

void HubWorld::publish() {
  Truth& truth = *truths_[random_.below(truths_.size())];
  const std::uint64_t burst = random_.chance(10) ? random_.below(40) : 1;
  const auto all = [&] {
    for (std::uint64_t i = 0; i < burst; ++i) publish_to(truth, true);
  };
  if (random_.chance(20)) return on_shard(random_.below(shards_.size()), all);
  all();
}

void HubWorld::publish_to(Truth& truth, bool is_whimsical) {
  std::string data = truth.name + ':' + std::to_string(++published_) + ' ';
  if (is_whimsical && random_.chance(15)) {
    return hub_->announce(truth.name, random_.chance(50) ? EntryKind::join : EntryKind::leave,
                          std::move(data));
  }
  data.append(random_.chance(5) ? random_.below(3'000) : random_.below(20), 'x');
  PublishOptions options;
  std::string key;
  if (is_whimsical) {
    options.skip_history = random_.chance(20);
    if (random_.chance(20)) key = "key" + std::to_string(random_.below(4));
    options.idempotency_key = key;
  }
  Publication publication;
  publication.data = data;
  ++answers_missing_;
  const bool is_stored = !options.skip_history && truth.options.has_history();
  hub_->publish(truth.name, std::move(publication), options,
                [this, &truth, data, key, is_stored](const AppendResult& result) {
                  --answers_missing_;
                  expect_published(truth, data, result, key, is_stored);
                });
}

void HubWorld::expect_published(Truth& truth, const std::string& data, const AppendResult& result,
                                const std::string& key, bool is_stored) {
  if (result.error != StoreError::none) {
    EXPECT_EQ(kind_, Kind::late);
    return;
  }
  EXPECT_TRUE(result.position.epoch.is_set());
  if (result.is_duplicate) {
    ++counts.duplicates;
  } else {
    EXPECT_EQ(result.position.offset != 0, is_stored);
    if (is_stored) {
      Publication publication;
      publication.data = data;
      Entry entry(EntryKind::publication, std::move(publication), 0);
      entry.offset = result.position.offset;
      truth.expect_same(result.position.epoch, entry);
      if (late_) expect_entered(truth, result.position);
    }
  }
  if (key.empty() || kind_ == Kind::late) return;
  auto& [position, until_ms] = keys_[truth.name + ' ' + key];
  EXPECT_EQ(result.is_duplicate, until_ms > clock_.now_ms()) << "idempotency key " << key;
  if (result.is_duplicate) {
    EXPECT_EQ(result.position, position);
  } else {
    position = result.position;
    until_ms = clock_.now_ms() + key_window_ms_;
  }
}

std::optional<Since> HubWorld::some_since(const WhimsicalReader& reader) {
  const Truth& truth = *truths_[reader.channel()];
  const Position seen = reader.journal().position();
  Since elsewhere = Since::from("notOurs!", seen.offset);
  switch (random_.below(15)) {
    case 0:
      return std::nullopt;
    case 6:
    case 7:
      return Since::oldest();
    case 8:
      return Since::last(random_.below(12));
    case 9:
      elsewhere.takes_what_is_kept = true;
      return elsewhere;
    case 10: {
      Since old{truth.epoch, false, random_.below(truth.top + 3)};
      old.takes_what_is_kept = true;
      return old;
    }
    case 1:
      return Since{truth.epoch, false, 0};
    case 2:
      return elsewhere;
    case 3:
      return Since::from("foreign", seen.offset);
    case 4:
      return Since::from("", random_.below(truth.top + 3));
    case 5:
      return Since{truth.epoch, false, random_.below(truth.top + 3)};
    default:
      if (!reader.journal().has_position()) return std::nullopt;
      return Since{seen.epoch, false, seen.offset};
  }
}

void HubWorld::subscribe_somebody() {
  WhimsicalReader& reader = anybody();
  if (reader.is_open() || (reader.is_waiting() && random_.chance(90))) return;
  const auto since = some_since(reader);
  on_shard(reader.shard(), [&] { reader.subscribe(since); });
}

void HubWorld::check_history() {
  Truth& truth = *truths_[random_.below(truths_.size())];
  HistoryQuery query;
  query.limit = static_cast<std::int64_t>(random_.below(6)) - 1;
  query.is_reverse = random_.chance(40);
  if (random_.chance(50)) query.since = Since{truth.epoch, random_.chance(20), random_.below(truth.top + 2)};
  if (random_.chance(20)) {
    query.since = random_.chance(50) ? Since::oldest() : Since::last(random_.below(6));
    query.is_reverse = false;
  }
  ++answers_missing_;
  hub_->history(truth.name, query, [this, &truth, query](const HistoryResult& result) {
    --answers_missing_;
    expect_history(truth, query, result);
  });
}

void HubWorld::expect_history(Truth& truth, const HistoryQuery& query, const HistoryResult& result) {
  if (result.error == HistoryError::unavailable) {
    EXPECT_EQ(kind_, Kind::late);
    return;
  }
  for (std::size_t i = 0; i < result.entries.size(); ++i) {
    truth.expect_same(result.top.epoch, *result.entries[i]);
    if (i == 0) continue;
    const Offset step = query.is_reverse ? result.entries[i - 1]->offset - result.entries[i]->offset
                                         : result.entries[i]->offset - result.entries[i - 1]->offset;
    EXPECT_EQ(step, 1U) << "a list with a hole";
  }
  if (!truth.is_exact || truth.may_be_relieved) return;
  const bool is_new_life = result.top.epoch != truth.epoch;
  EXPECT_EQ(result.top.offset, is_new_life ? 0 : truth.top);
  if (!truth.options.has_history()) {
    EXPECT_EQ(result.error, HistoryError::no_history);
    return;
  }
  if (query.since && !query.since->accepts(result.top.epoch)) {
    EXPECT_EQ(result.error, HistoryError::epoch_differs);
    return;
  }
  EXPECT_EQ(result.error, HistoryError::none);
  std::vector<std::string> expected;
  const Offset from = truth.history_from(clock_.now_ms());
  for (const Truth::Line& line : truth.lines) {
    if (is_new_life || line.offset == 0 || line.offset < from) continue;
    if (query.since &&
        (query.is_reverse ? line.offset >= query.since->offset : line.offset <= query.since->offset)) {
      continue;
    }
    expected.push_back(line.data);
  }
  if (query.is_reverse) std::reverse(expected.begin(), expected.end());
  if (query.is_last()) {
    expected.erase(expected.begin(), expected.end() - static_cast<std::ptrdiff_t>(std::min<std::size_t>(
                                                          expected.size(), query.since->count)));
  } else if (query.limit >= 0 && expected.size() > static_cast<std::size_t>(query.limit)) {
    expected.resize(static_cast<std::size_t>(query.limit));
  }
  std::vector<std::string> found;
  for (const EntryRef& entry : result.entries) found.push_back(entry->publication.data);
  EXPECT_EQ(found, expected) << truth.name << " from " << from;
}

void HubWorld::check_ledger() {
  ++answers_missing_;
  hub_->ledger([this](const Ledger& ledger) {
    --answers_missing_;
    EXPECT_TRUE(ledger.is_balanced());
  });
}

// ---- the end

void HubWorld::settle() {
  for (int round = 0; round < 50'000; ++round) {
    bool is_quiet = true;
    while (late_ && late_->run_one()) is_quiet = false;
    for (const auto& reader : readers_) {
      if (!reader->is_clogged()) continue;
      is_quiet = false;
      on_shard(reader->shard(), [&] { reader->unclog(); });
    }
    for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
      if (wants_turn_[shard] == 0 && !is_due(shard)) continue;
      is_quiet = false;
      turn(shard);
    }
    if (!is_quiet) continue;
    for (const auto& shard : shards_) {  // the next that is to be swept
      if (!shard->due_ms()) continue;
      is_quiet = false;
      clock_.advance(std::max<Millis>(0, *shard->due_ms() - clock_.now_ms()));
    }
    if (!is_quiet) continue;
    hub_->keep_house();
    if (!late_ || late_->waiting() == 0) return;
  }
  ADD_FAILURE() << "never becomes idle";
}

void HubWorld::finish() {
  if (testing::Test::HasFailure()) return;
  is_calm_ = true;
  if (late_) late_->set_faults({});
  settle();
  if (late_) clock_.advance(10'000);  // walks that have failed are tried again
  settle();
  for (const auto& truth : truths_) publish_to(*truth, false);  // shows a hole whose announcement was lost
  settle();
  EXPECT_EQ(answers_missing_, 0) << "a continuation was not called, or called twice";

  for (const auto& truth : truths_) {
    if (!late_ || !truth->options.has_history()) continue;
    const Position top = late_->top(truth->name);
    for (Offset offset = 1; offset <= top.offset; ++offset) expect_entered(*truth, {top.epoch, offset});
  }
  std::uint64_t open = 0;
  std::uint64_t published = counts.published;
  for (const auto& reader : readers_) {
    EXPECT_FALSE(reader->is_waiting()) << "a subscribe was never answered";
    if (!reader->is_open()) continue;
    ++open;
    published += reader->journal().published();
    reader->expect_complete();
  }
  bool is_told = false;
  hub_->ledger([&](const Ledger& ledger) {
    is_told = true;
    EXPECT_TRUE(ledger.is_balanced());
    Account sum;
    std::uint64_t subscriptions = 0;
    for (const LedgerRow& row : ledger.rows) {
      sum += row.account;
      subscriptions += row.subscriptions;
    }
    EXPECT_EQ(subscriptions, open);
    EXPECT_EQ(hub_->subscriptions(), open);
    EXPECT_EQ(hub_->channels_followed(), hub_->channels("*").size());
    EXPECT_EQ(static_cast<std::uint64_t>(sum.delivered), counts.delivered);
    EXPECT_EQ(static_cast<std::uint64_t>(sum.dropped[static_cast<std::size_t>(DropReason::filtered)]),
              counts.filtered);
    EXPECT_EQ(sum.pending, 0);
    if (kind_ == Kind::memory) {
      EXPECT_EQ(static_cast<std::uint64_t>(sum.published), published);
    }
  });
  settle();
  EXPECT_TRUE(is_told);

  for (const auto& reader : readers_) on_shard(reader->shard(), [&] { reader->close(); });
  for (const auto& truth : truths_) hub_->set_fan_out(truth->name, std::nullopt, std::nullopt);
  for (int i = 0; i < 3; ++i) {
    clock_.advance(400'000);
    settle();
  }
  EXPECT_EQ(hub_->channels_in_use(), 0U) << "a channel that nobody uses does not go dormant";
  for (const auto& truth : truths_) {
    if (late_) late_->renew(truth->name);  // it keeps entries of its own
  }
  EXPECT_EQ(hub_->history_bytes(), 0);
  if (late_) {
    EXPECT_EQ(late_->followed_channels(), 0);
  }
}

}  // namespace carillon
