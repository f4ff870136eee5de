#include "lab/sink_run.hpp"

#include <time.h>

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <utility>
#include <vector>

#include "hub/cursor.hpp"
#include "hub/hub.hpp"
#include "hub/shard.hpp"
#include "session/forms.hpp"
#include "store/memory_store.hpp"

namespace carillon::lab {

namespace {

constexpr std::uint64_t kNsPerS = 1'000'000'000;
constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::size_t kHistory = 1'000;
constexpr Millis kHistoryMs = 3'600'000;
constexpr std::size_t kPayloadBytesMin = 2;

std::uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNsPerS + static_cast<std::uint64_t>(now.tv_nsec);
}

void require(bool is_right, const std::string& complaint) {
  if (!is_right) throw std::invalid_argument(complaint);
}

ChannelRules rules_of(const SinkSettings& settings) {
  ChannelOptions options;
  options.history_size = kHistory;
  options.history_ttl_ms = kHistoryMs;
  options.fan_out = settings.strategy;
  options.fan_out_threshold = settings.threshold;
  options.sweep_interval_ms = settings.sweep_interval_ms;
  return ChannelRules({{"*", options}});
}

std::string channel_name(std::uint64_t channel) { return "lab-" + std::to_string(channel); }

class SinkRun;

/// Takes what a connection would send, and looks at the frames as a session does: they are encoded once.
class MemorySink final : public Sink {
 public:
  MemorySink(SinkRun& run, std::uint64_t channel) : cursor(*this), run_(run), channel_(channel) {}

  bool stage(Cursor& staged, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override;

  Cursor cursor;

 private:
  SinkRun& run_;
  const std::uint64_t channel_;
  Offset last_ = 0;
};

class SinkRun {
 public:
  explicit SinkRun(const SinkSettings& settings)
      : settings_(settings),
        store_(clock_, random_, {}),
        hub_(clock_, random_, store_, rules_of(settings), {}),
        shard_(0, {}, clock_, [] {}),
        due_ns_(settings.warmup + settings.messages),
        arrivals_(due_ns_.size()),
        data_('"' + std::string(settings.payload_bytes - kPayloadBytesMin, 'x') + '"') {
    hub_.set_shards({&shard_});
  }
  ~SinkRun() {
    shard_.bind_to_this_thread();
    for (MemorySink& sink : sinks_) shard_.unsubscribe(sink.cursor);
    Shard::unbind_this_thread();
  }
  SinkRun(const SinkRun&) = delete;
  SinkRun& operator=(const SinkRun&) = delete;

  SinkReport run() {
    join();
    publish(0, settings_.warmup);
    const std::uint64_t cpu_before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    publish(settings_.warmup, due_ns_.size());
    report_.cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_before;
    report_.inbox_entries = hub_.inbox_entries();
    for (const std::uint64_t arrivals : arrivals_) report_.faults += arrivals == settings_.online ? 0 : 1;
    read_inboxes();
    return std::move(report_);
  }

  // What sinks tell.

  void on_delivered(std::uint64_t channel, Offset offset) {
    const std::uint64_t message = (offset - 1) * settings_.channels + channel;
    const std::uint64_t arrivals = ++arrivals_[message];
    if (arrivals == settings_.online) ++completed_;
    if (message < settings_.warmup) return;
    const std::uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    const std::uint64_t time_ns = now_ns - std::min(now_ns, due_ns_[message]);
    ++report_.deliveries;
    report_.latency.record(time_ns);
    if (arrivals == settings_.online) report_.last_subscriber.record(time_ns);
  }
  void on_bytes(std::size_t bytes) { report_.delivered_bytes += is_measuring_ ? bytes : 0; }
  void on_fault() { ++report_.faults; }

 private:
  void join() {
    std::vector<std::string> users;
    users.reserve(settings_.members);
    for (std::uint64_t i = 0; i < settings_.members; ++i) {
      users.push_back(settings_.member + std::to_string(i));
    }
    for (std::uint64_t channel = 0; channel < settings_.channels; ++channel) {
      hub_.add_members(channel_name(channel), users, [](FanOutError, const MembersResult&) {});
      for (std::uint64_t i = 0; i < settings_.online; ++i) {
        shard_.bind_to_this_thread();
        hub_.subscribe(shard_, sinks_.emplace_back(*this, channel).cursor, channel_name(channel), {},
                       [](const SubscribeOutcome&) {});
        Shard::unbind_this_thread();
      }
    }
    turn_until_idle();
  }

  /// The messages [first, last), each when it is due, and all that they bring about.
  void publish(std::uint64_t first, std::uint64_t last) {
    const std::uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    is_measuring_ = first == settings_.warmup;
    for (std::uint64_t next = first; next < last || replied_ < last || completed_ < last;) {
      const std::uint64_t due_ns = start_ns + static_cast<std::uint64_t>(static_cast<double>(next - first) /
                                                                         settings_.rate_per_s * 1e9);
      if (next < last && clock_ns(CLOCK_MONOTONIC) >= due_ns) {
        due_ns_[next] = due_ns;
        publish_one(next++);
      }
      if (!turn()) sleep_until(next < last ? due_ns : ~0ULL);
    }
  }

  void publish_one(std::uint64_t message) {
    Publication publication;
    publication.data = data_;
    if (settings_.online == 0) ++completed_;
    hub_.publish(channel_name(message % settings_.channels), std::move(publication), {},
                 [this, message](const AppendResult& result) {
                   ++replied_;
                   report_.faults += result.error == StoreError::none ? 0 : 1;
                   if (message >= settings_.warmup)
                     report_.publish.record(clock_ns(CLOCK_MONOTONIC) - due_ns_[message]);
                 });
  }

  bool turn() {
    shard_.bind_to_this_thread();
    const bool has_more = shard_.turn();
    Shard::unbind_this_thread();
    return has_more || shard_.has_work();
  }
  void turn_until_idle() {
    while (turn()) {
    }
  }

  /// Until a message, or a sweep, is due.
  void sleep_until(std::uint64_t due_ns) {
    if (const auto sweep_ms = shard_.due_ms()) {
      due_ns = std::min(due_ns, static_cast<std::uint64_t>(*sweep_ms) * kNsPerMs);
    }
    if (due_ns == ~0ULL) return;
    const timespec until{static_cast<time_t>(due_ns / kNsPerS), static_cast<long>(due_ns % kNsPerS)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
  }

  void read_inboxes() {
    const std::uint64_t offline = settings_.members - settings_.online;
    const std::uint64_t readers = std::min(offline, settings_.readers);
    for (std::uint64_t i = 0; i < readers; ++i) {
      const std::string user = settings_.member + std::to_string(settings_.online + i * (offline / readers));
      const std::uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
      hub_.inbox(user, settings_.inbox_limit, [&](const Inbox& inbox) {
        report_.inbox_read.record(clock_ns(CLOCK_MONOTONIC) - start_ns);
        const std::uint64_t expected = std::min<std::uint64_t>(due_ns_.size(), settings_.inbox_limit);
        report_.faults += inbox.items.size() == expected ? 0 : 1;
      });
      turn_until_idle();
    }
  }

  const SinkSettings& settings_;
  SystemClock clock_;
  SystemRandom random_;
  MemoryStore store_;
  Hub hub_;
  Shard shard_;
  std::deque<MemorySink> sinks_;
  std::vector<std::uint64_t> due_ns_;    // by message
  std::vector<std::uint64_t> arrivals_;  // by message: sinks that have it
  const std::string data_;
  std::uint64_t replied_ = 0;
  std::uint64_t completed_ = 0;  // messages that every sink has
  bool is_measuring_ = false;
  SinkReport report_;
};

bool MemorySink::stage(Cursor& staged, const Batch& batch) {
  const EncodedBatch* frames = batch.encoded(kWsJson[0]);
  if (frames == nullptr) frames = &batch.lay_out(kWsJson[0]);
  run_.on_bytes(frames->bytes.size());
  for (const EntryRef& entry : batch.entries()) {
    if (entry->offset != last_ + 1) run_.on_fault();
    last_ = entry->offset;
    run_.on_delivered(channel_, entry->offset);
  }
  staged.count_delivered(frames->frames);
  return true;
}

void MemorySink::on_gap(Cursor& /*cursor*/, const Gap& /*gap*/) { run_.on_fault(); }

}  // namespace

void check(const SinkSettings& settings) {
  require(settings.channels > 0 && settings.members > 0 && settings.messages > 0,
          "channels, members, messages: 0; give at least 1 of each");
  require(settings.online <= settings.members, "online: " + std::to_string(settings.online) +
                                                   "; give at most the members (" +
                                                   std::to_string(settings.members) + ")");
  require(settings.rate_per_s > 0, "rate_per_s: must be above 0");
  require(settings.sweep_interval_ms > 0, "sweep_interval_ms: must be above 0");
  require(settings.payload_bytes >= kPayloadBytesMin,
          "payload_bytes: " + std::to_string(settings.payload_bytes) + "; give at least 2: quotes");
}

SinkReport run_sinks(const SinkSettings& settings) {
  check(settings);
  return SinkRun(settings).run();
}

}  // namespace carillon::lab
