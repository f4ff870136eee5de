// The same promises with real threads, for CARILLON_STRESS_SECONDS (60 unless told otherwise). Meant for
// -fsanitize=thread: the checks of the readers share nothing that would hide a race.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "hub/entries.hpp"
#include "hub/hub.hpp"
#include "hub/late_store.hpp"
#include "hub/stress_reader.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

constexpr std::size_t kShards = 4;
constexpr std::size_t kPublishers = 4;
constexpr std::size_t kReadersPerShard = 24;

std::chrono::milliseconds stress_time() {
  const char* seconds = std::getenv("CARILLON_STRESS_SECONDS");
  return std::chrono::seconds(seconds == nullptr ? 60 : std::strtol(seconds, nullptr, 10));
}

/// A shard on its own thread: turns when it is woken, and once a millisecond for the whims of its readers.
class StressShard {
 public:
  StressShard(std::uint32_t index, const Clock& clock)
      : shard(index, {.deliveries_per_turn = 50, .deliveries_per_visit = 20, .batch_entries = 32}, clock,
              [this] { wake(); }),
        random_(index + 1) {}
  ~StressShard() { stop(); }

  void start() {
    thread_ = std::thread([this] { run(); });
  }
  void add_reader(Hub& hub, SharedTruth& truth, StressFailures& failures, bool is_publisher_order_known) {
    readers.push_back(
        std::make_unique<StressReader>(hub, shard, truth, random_, failures, is_publisher_order_known));
  }
  /// From now on only a wake-up leads to a turn: one that is lost shows.
  void calm_down() {
    shard.post([this] {
      is_calm_ = true;
      for (const auto& reader : readers) reader->calm_down();
    });
  }
  void expect(const std::vector<std::pair<const SharedTruth*, Offset>>& tops) {
    const std::lock_guard lock(mutex_);
    tops_ = tops;
  }
  bool wait_until_settled(std::chrono::seconds limit) {
    std::unique_lock lock(mutex_);
    return settled_.wait_for(lock, limit, [this] { return is_settled_; });
  }
  void stop() {
    if (!thread_.joinable()) return;
    shard.post([this] {
      for (const auto& reader : readers) reader->close();
      is_stopping_ = true;
    });
    thread_.join();
  }

  Shard shard;
  std::vector<std::unique_ptr<StressReader>> readers;

 private:
  void wake() {
    const std::lock_guard lock(mutex_);
    is_woken_ = true;
    woken_.notify_one();
  }

  void run() {
    shard.bind_to_this_thread();
    bool has_more = false;
    while (!is_stopping_) {
      {
        std::unique_lock lock(mutex_);
        const auto is_due = [this] { return is_woken_; };
        if (!has_more && is_calm_) woken_.wait(lock, is_due);
        if (!has_more && !is_calm_) woken_.wait_for(lock, std::chrono::milliseconds(1), is_due);
        is_woken_ = false;
      }
      has_more = shard.turn();
      for (const auto& reader : readers) reader->flush();
      for (const auto& reader : readers) reader->live();
      has_more = has_more || shard.has_work();
      report();
    }
    while (shard.turn()) {
    }
    Shard::unbind_this_thread();
  }

  void report() {
    const std::lock_guard lock(mutex_);
    if (tops_.empty()) return;
    is_settled_ = true;
    for (const auto& reader : readers) {
      for (const auto& [truth, top] : tops_) {
        if (&reader->truth() == truth && !reader->has_reached(top)) is_settled_ = false;
      }
    }
    if (is_settled_) settled_.notify_all();
  }

  SeededRandom random_;
  bool is_calm_ = false;      // of the shard's thread
  bool is_stopping_ = false;  // likewise
  std::mutex mutex_;          // guards all below
  std::condition_variable woken_;
  std::condition_variable settled_;
  bool is_woken_ = false;
  bool is_settled_ = false;
  std::vector<std::pair<const SharedTruth*, Offset>> tops_;
  std::thread thread_;
};

ChannelRules stress_rules() {
  ChannelOptions tiny, live, brief;
  tiny.history_size = 20;
  tiny.live_window_entries = 4;
  live.history_size = 0;
  brief.history_ttl_ms = 20;
  brief.live_window_entries = 0;
  return ChannelRules({{"tiny", tiny}, {"live", live}, {"brief", brief}});
}

/// How the test handles the store beside its interface.
struct StoreHands {
  std::function<bool()> is_behind = [] { return false; };  ///< publishers shall wait for it
  std::function<void()> calm_down = [] {};                 ///< from now on it does not misbehave
  std::function<void()> stop = [] {};                      ///< until everything that waits in it has happened
};

void run_stress(Store& store, const Clock& clock, std::chrono::milliseconds duration, bool is_order_known,
                const StoreHands& hands) {
  StressFailures failures;
  std::vector<std::unique_ptr<SharedTruth>> truths;
  for (const char* name : {"plain", "tiny", "live", "brief"})
    truths.push_back(std::make_unique<SharedTruth>(name));
  SeededRandom keys(1);
  Hub hub(clock, keys, store, stress_rules(), {});
  std::vector<std::unique_ptr<StressShard>> shards;
  std::vector<Shard*> hub_shards;
  for (std::uint32_t i = 0; i < kShards; ++i) {
    shards.push_back(std::make_unique<StressShard>(i, clock));
    hub_shards.push_back(&shards.back()->shard);
    for (std::size_t r = 0; r < kReadersPerShard; ++r) {
      shards.back()->add_reader(hub, *truths[r % truths.size()], failures, is_order_known);
    }
  }
  hub.set_shards(hub_shards);
  for (const auto& shard : shards) shard->start();

  std::atomic<bool> is_over{false};
  const auto publish = [&](SharedTruth& truth, std::uint64_t id, const PublishOptions& options) {
    hub.publish(truth.name, publication_of(std::to_string(id)), options,
                [&truth, &failures, id](const AppendResult& result) {
                  if (result.error == StoreError::none && result.position.offset != 0 &&
                      !truth.agrees(result.position.offset, id)) {
                    ++failures.disagreement;
                  }
                });
  };
  std::vector<std::thread> publishers;
  for (std::uint64_t p = 1; p <= kPublishers; ++p) {
    publishers.emplace_back([&, p] {
      SeededRandom random(100 + p);
      for (std::uint64_t number = 1; !is_over.load(std::memory_order_relaxed); ++number) {
        // The last channel has long pauses, in which it goes dormant.
        const std::size_t channel = random.chance(99) ? random.below(3) : 3;
        publish(*truths[channel], stress_id(p, number), {{}, random.chance(10)});
        if (random.chance(2)) std::this_thread::sleep_for(std::chrono::microseconds(random.below(2'000)));
        while (hands.is_behind()) std::this_thread::yield();
      }
    });
  }
  std::atomic<std::uint64_t> ledgers{0};
  std::thread house([&] {
    SeededRandom random(99);
    while (!is_over.load(std::memory_order_relaxed)) {
      hub.keep_house();
      hub.ledger([&](const Ledger& ledger) {
        ++ledgers;
        if (!ledger.is_balanced()) ++failures.ledger;
      });
      hub.history("tiny", {-1, std::nullopt, random.chance(50)}, [](const HistoryResult&) {});
      static_cast<void>(hub.channels("*"));
      if (random.chance(5)) hub.remove_history("plain", [](StoreError) {});
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });

  std::this_thread::sleep_for(duration);
  is_over = true;
  for (std::thread& publisher : publishers) publisher.join();
  house.join();
  hands.calm_down();
  for (const auto& shard : shards) shard->calm_down();

  // One more on every channel, with an offset where there are any: everybody must get as far.
  std::vector<std::pair<const SharedTruth*, Offset>> tops;
  std::mutex tops_mutex;
  std::condition_variable has_top;
  for (const auto& truth : truths) {
    hub.publish(truth->name, publication_of(std::to_string(stress_id(7, 1))), {},
                [&](const AppendResult& result) {
                  const std::lock_guard lock(tops_mutex);
                  tops.emplace_back(truth.get(), result.position.offset);
                  has_top.notify_one();
                });
  }
  {
    std::unique_lock lock(tops_mutex);
    EXPECT_TRUE(has_top.wait_for(lock, std::chrono::seconds(30), [&] {
      return tops.size() == truths.size();
    })) << "a publish was never answered";
  }
  for (const auto& shard : shards) shard->expect(tops);
  // A publication that nobody waits for, so that every shard looks once more at what it expects.
  for (const auto& truth : truths) publish(*truth, stress_id(7, 2), {{}, true});
  for (const auto& shard : shards) {
    EXPECT_TRUE(shard->wait_until_settled(std::chrono::seconds(30))) << "a subscriber never reached the top";
  }
  for (const auto& shard : shards) shard->stop();
  hands.stop();

  EXPECT_EQ(failures.order, 0U);
  EXPECT_EQ(failures.disagreement, 0U);
  EXPECT_EQ(failures.publisher_order, 0U);
  EXPECT_EQ(failures.wrong_gap, 0U);
  EXPECT_EQ(failures.ledger, 0U);
  std::uint64_t delivered = 0, recovered = 0, gaps = 0;
  for (const auto& shard : shards) {
    for (const auto& reader : shard->readers) {
      delivered += reader->delivered;
      recovered += reader->recovered;
      gaps += reader->gaps;
    }
  }
  EXPECT_GT(recovered, 0U);
  EXPECT_GT(ledgers, 0U);
  hub.set_shards({});
  hub.ledger([&](const Ledger& ledger) {
    EXPECT_TRUE(ledger.is_balanced());
    Account sum;
    for (const LedgerRow& row : ledger.rows) sum += row.account;
    EXPECT_EQ(static_cast<std::uint64_t>(sum.delivered), delivered);
  });
  testing::Test::RecordProperty("published", std::to_string(hub.published()));
  testing::Test::RecordProperty("delivered", std::to_string(delivered));
  testing::Test::RecordProperty("recovered", std::to_string(recovered));
  testing::Test::RecordProperty("gaps", std::to_string(gaps));
}

TEST(HubStress, FourPublishersAndFourShardsWithChurn) {
  const SystemClock clock;
  SeededRandom random(1);
  MemoryStore store(clock, random, {});
  run_stress(store, clock, stress_time(), true, {});
}

TEST(HubStress, TheSameOverALateStoreWithAThreadOfItsOwn) {
  const SystemClock clock;
  SeededRandom random(1);
  LateStore store(random, {.append_fails = 1,
                           .follow_fails = 5,
                           .read_fails = 5,
                           .range_is_gone = 5,
                           .announcement_is_lost = 2,
                           .announcement_repeats = 2});
  std::atomic<bool> is_over{false};
  std::thread worker([&] {
    while (!is_over.load(std::memory_order_relaxed)) {
      if (!store.run_one()) std::this_thread::yield();
    }
  });
  StoreHands hands;
  hands.is_behind = [&] { return store.waiting() > 2'000; };
  hands.calm_down = [&] { store.set_faults({}); };
  hands.stop = [&] {
    is_over = true;
    worker.join();
    while (store.run_one()) {
    }
  };
  run_stress(store, clock, stress_time() / 4, false, hands);
}

}  // namespace
}  // namespace carillon
