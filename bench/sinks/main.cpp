// What a publish costs in the hub alone: cursors on one channel, with other cursors on other channels beside
// them, over sinks in memory instead of sockets, through the same store, log, mailbox, shard and pump. One
// thread plays publisher and shard in turn, so that its CPU time is the cost. Prints one JSON object.
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <string>
#include <vector>

#include "../bare_loop/options.hpp"
#include "hub/hub.hpp"
#include "memory_sink.hpp"
#include "store/memory_store.hpp"

namespace carillon::bench {
namespace {

constexpr const char* kUsage =
    "usage: sinks [--cursors 1000] [--others 0] [--messages 1000] [--rounds 5] [--mixed]\n"
    "  --cursors   of the channel that is published to\n"
    "  --others    cursors on other channels, ten on each\n"
    "  --messages  of a round\n"
    "  --mixed     at each message 1 % of the sinks are slow, 1 % gone (and come back); 1 % are full for a "
    "round\n";

constexpr std::size_t kCursorsOfOthers = 10;
constexpr std::size_t kPayloadBytes = 128;
constexpr std::size_t kPercent = 100;

double cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double bytes_in_use() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

/// CPU time of a round, in two parts.
struct Cost {
  double publish_ns = 0;  ///< appended, and the shard woken
  double pump_ns = 0;     ///< until every sink has it that can take it
};

class World {
 public:
  World()
      : store_(clock_, random_, {}),
        hub_(clock_, random_, store_, {}, {}),
        shard_(0, {}, clock_, [this] { ++wakes_; }) {
    hub_.set_shards({&shard_});
  }
  ~World() {
    shard_.bind_to_this_thread();
    for (MemorySink& sink : sinks_) shard_.unsubscribe(sink.cursor);
    for (MemorySink& sink : others_) shard_.unsubscribe(sink.cursor);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void subscribe_others(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      subscribe(others_.emplace_back(shard_, others_taken_), "other-" + std::to_string(i / kCursorsOfOthers));
    }
    turn_until_idle();
  }
  void subscribe_all(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) subscribe(sinks_.emplace_back(shard_, taken_), kChannel);
    turn_until_idle();
  }

  Cost run_round(std::size_t messages, bool is_mixed) {
    Cost cost;
    if (is_mixed) set_full(MemorySink::State::full);
    for (std::size_t message = 0; message < messages; ++message) {
      if (is_mixed) disturb(message);
      const double start = cpu_ns();
      publish();
      const double published = cpu_ns();
      turn_until_idle();
      if (is_mixed) recover(message);
      cost.publish_ns += published - start;
      cost.pump_ns += cpu_ns() - published;
    }
    const double start = cpu_ns();
    if (is_mixed) drain_full();
    cost.pump_ns += cpu_ns() - start;
    return cost;
  }

  [[nodiscard]] const Taken& taken() const { return taken_; }
  [[nodiscard]] std::uint64_t published() const { return published_; }
  [[nodiscard]] std::uint64_t turns() const { return turns_; }
  [[nodiscard]] std::uint64_t wakes() const { return wakes_; }
  /// Messages that a sink does not have, or has from elsewhere.
  [[nodiscard]] std::uint64_t faults() {
    std::uint64_t faults = taken_.faults + others_taken_.entries + (is_balanced() ? 0 : 1);
    for (const MemorySink& sink : sinks_) faults += sink.last == published_ ? 0 : 1;
    return faults;
  }

 private:
  static constexpr const char* kChannel = "measured";

  void subscribe(MemorySink& sink, const std::string& channel, const std::optional<Since>& since = {}) {
    shard_.bind_to_this_thread();
    hub_.subscribe(shard_, sink.cursor, channel, since, [](const SubscribeOutcome&) {});
    Shard::unbind_this_thread();
  }

  /// The hub's ledger: published is delivered or returned.
  bool is_balanced() {
    bool is_right = false;
    hub_.ledger([&](const Ledger& ledger) { is_right = ledger.is_balanced(); });
    turn_until_idle();
    return is_right;
  }

  void publish() {
    Publication publication;
    publication.data = data_;
    hub_.publish(kChannel, std::move(publication), {},
                 [this](const AppendResult& result) { epoch_ = result.position.epoch; });
    ++published_;
  }

  void turn_until_idle() {
    shard_.bind_to_this_thread();
    do {
      ++turns_;
    } while (shard_.turn());
    Shard::unbind_this_thread();
  }

  // ---- sinks that do not take everything

  template <typename Act>
  void each_of(std::size_t kind, Act act) {
    for (std::size_t i = kind % kPercent; i < sinks_.size(); i += kPercent) act(sinks_[i]);
  }
  void set_full(MemorySink::State state) {
    each_of(0, [state](MemorySink& sink) { sink.state = state; });
  }
  static std::size_t slow_of(std::size_t message) { return 1 + message % 49; }
  static std::size_t gone_of(std::size_t message) { return 50 + message % 50; }

  void disturb(std::size_t message) {
    each_of(slow_of(message), [](MemorySink& sink) { sink.state = MemorySink::State::slow; });
    each_of(gone_of(message), [](MemorySink& sink) { sink.state = MemorySink::State::gone; });
  }

  /// The slow ones can take again, those that are gone come back with their position.
  void recover(std::size_t message) {
    each_of(slow_of(message), [this](MemorySink& sink) { resume(sink); });
    each_of(gone_of(message), [this](MemorySink& sink) {
      sink.state = MemorySink::State::fast;
      subscribe(sink, kChannel, Since{epoch_, false, sink.last});
    });
    turn_until_idle();
  }
  void drain_full() {
    each_of(0, [this](MemorySink& sink) { resume(sink); });
    turn_until_idle();
  }
  void resume(MemorySink& sink) {
    sink.state = MemorySink::State::fast;
    shard_.resume(sink.cursor);
  }

  SystemClock clock_;
  SystemRandom random_;
  MemoryStore store_;
  Hub hub_;
  std::uint64_t wakes_ = 0;
  Shard shard_;
  Taken taken_;
  Taken others_taken_;
  std::deque<MemorySink> sinks_;
  std::deque<MemorySink> others_;
  const std::string data_ = '"' + std::string(kPayloadBytes - 2, 'x') + '"';
  Epoch epoch_;
  std::uint64_t published_ = 0;
  std::uint64_t turns_ = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(const Options& options) {
  const auto cursors = options.number<std::size_t>("cursors", 1'000);
  const auto others = options.number<std::size_t>("others", 0);
  const auto messages = options.number<std::size_t>("messages", 1'000);
  const auto rounds = options.number<std::size_t>("rounds", 5);
  if (cursors == 0 || messages == 0 || rounds == 0) options.fail("a number that is 0");
  World world;
  world.subscribe_others(others);
  const double before_bytes = bytes_in_use();
  const double before_ns = cpu_ns();
  world.subscribe_all(cursors);
  const double subscribe_ns = cpu_ns() - before_ns;
  const double bytes = bytes_in_use() - before_bytes;

  world.run_round(std::min<std::size_t>(messages, 100), false);  // warm-up
  std::vector<double> publish_ns;
  std::vector<double> total_ns;
  for (std::size_t i = 0; i < rounds; ++i) {
    const Cost cost = world.run_round(messages, options.has("mixed"));
    publish_ns.push_back(cost.publish_ns / static_cast<double>(messages));
    total_ns.push_back((cost.publish_ns + cost.pump_ns) / static_cast<double>(messages));
  }
  const double per_publish_ns = median(total_ns);
  const std::uint64_t faults = world.faults();
  std::printf(
      "{\"cursors\": %zu, \"others\": %zu, \"messages\": %zu, \"rounds\": %zu, \"mixed\": %s, "
      "\"publish_call_ns\": %.1f, \"publish_ns\": %.1f, \"delivery_ns\": %.3f, \"publish_min_ns\": %.1f, "
      "\"subscribe_ns\": %.1f, \"bytes_per_cursor\": %.1f, \"cursor_object_bytes\": %zu, \"entries\": %llu, "
      "\"refused\": %llu, \"turns\": %llu, \"wakes\": %llu, \"faults\": %llu}\n",
      cursors, others, messages, rounds, options.has("mixed") ? "true" : "false", median(publish_ns),
      per_publish_ns, per_publish_ns / static_cast<double>(cursors),
      *std::min_element(total_ns.begin(), total_ns.end()), subscribe_ns / static_cast<double>(cursors),
      bytes / static_cast<double>(cursors), sizeof(Cursor),
      static_cast<unsigned long long>(world.taken().entries),
      static_cast<unsigned long long>(world.taken().refused), static_cast<unsigned long long>(world.turns()),
      static_cast<unsigned long long>(world.wakes()), static_cast<unsigned long long>(faults));
  return faults == 0 ? 0 : 1;
}

}  // namespace
}  // namespace carillon::bench

int main(int argc, char** argv) {
  using carillon::bench::Options;
  return carillon::bench::run(
      Options(argc, argv, {"cursors", "others", "messages", "rounds"}, {"mixed"}, carillon::bench::kUsage));
}
