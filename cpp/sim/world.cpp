#include "sim/world.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <utility>

#include "sim/gateway.hpp"
#include "sim/judge.hpp"
#include "sim/members.hpp"
#include "sim/planted_bugs.hpp"
#include "sim/redis/redis_server.hpp"
#include "sim/subscriber.hpp"
#include "store/entry_codec.hpp"
#include "store/redis/redis_keys.hpp"

namespace carillon::sim {

namespace {

constexpr Micros kCalmUs = 20'000'000;      // after the acts: so long everything may take to be calm again
constexpr Micros kCheckedUs = 60'000'000;   // the same, where only a comparison of positions finds it (40 s)
constexpr Micros kPatienceUs = 3'000'000;   // of a publisher that gets no answer
constexpr std::size_t kLargeBytes = 900;    // a few of them fill the kernel's share of a slow client
constexpr Micros kLookUs = 100'000;         // between two looks whether it is
constexpr Micros kRestUs = 1'500'000;       // that it has to stay calm
constexpr std::size_t kMembersPerStep = 2;  // so that a walk takes some steps

void check(const WorldOptions& options) {
  const auto refuse = [](const char* what) { throw std::invalid_argument(what); };
  if (options.gateways < 1 || options.gateways > 100) refuse("gateways: 1 to 100 are possible");
  if (options.clients > 100'000) refuse("clients: at most 100,000 are possible");
  if (options.channels < 1 || options.channels > 1'000) refuse("channels: 1 to 1,000 are possible");
  if (options.members > 10'000) refuse("members: at most 10,000 are possible");
  if (options.publications > 1'000'000) refuse("publications: at most 1,000,000 are possible");
  if (options.faults > 10'000) refuse("faults: at most 10,000 are possible");
  if (options.history_size < 1) refuse("history_size: at least 1 is needed, for positions to exist");
  if (options.duration_ms < 1 || options.duration_ms > 3'600'000)
    refuse("duration_ms: 1 to 3,600,000 are possible");
  if (!options.sqlite.empty() && !durability_named(options.sqlite))
    refuse("sqlite: a durability is needed: full, normal or async");
  if (!options.sqlite.empty() && (options.has_redis || !options.may_lose || options.members > 0))
    refuse("sqlite: such a world has no Redis, no members, and loses what its durability allows");
  if (!options.has_redis && options.gateways > 1)
    refuse("gateways: without Redis there is one, whose log is in memory");
  if (!options.bug.empty() && planted_bug(options.bug) == nullptr)
    throw std::invalid_argument("bug: there is none with the name '" + options.bug +
                                "'; planted_bugs() lists them");
}

class World {
 public:
  explicit World(const WorldOptions& options)
      : options_(options),
        trace_(time_, options.keeps_trace),
        judge_(
            trace_, options.history_size,
            [this](const std::string& channel, const std::string& epoch) { return top_of(channel, epoch); }),
        network_(time_, options.seed),
        redis_(time_, trace_, judge_, options.seed),
        disk_(time_, trace_, options.seed),
        around_{.time = time_,
                .trace = trace_,
                .network = network_,
                .redis = options.has_redis ? &redis_ : nullptr,
                .disk = options.sqlite.empty() ? nullptr : &disk_,
                .durability = durability_named(options.sqlite).value_or(Durability::full),
                .seed = options.seed,
                .rules = rules(options),
                .heartbeat = {.ping_interval_ms = 2'000,
                              .pong_timeout_ms = 1'500,
                              .comment_interval_ms = 2'000,
                              .sse_retry_ms = 100},
                .hub_limits = {.inbox_members_per_turn = kMembersPerStep}},
        chance_(options.seed, "world"),
        presence_chance_(options.seed, "presence") {
    around_.log_in_memory_ends = [this] {
      judge_.on_loss_possible();
      judge_.on_all_lost({});
      if (members_) members_->on_store_ended();
    };
    around_.log_may_lose = [this] {
      judge_.on_loss_possible();
      judge_.on_all_lost({});
    };
    if (const PlantedBug* bug = planted_bug(options.bug)) {
      disk_.plant(bug->of_disk);
      redis_.rewrite_script = [bug](std::string script) { return with_bug(*bug, std::move(script)); };
      if (bug->loses_message_of > 0) {
        redis_.passes_message = [this, bug](std::string_view, std::string_view) {
          return chance_.below(bug->loses_message_of) != 0;
        };
      }
    }
    for (std::size_t i = 0; i < options.channels; ++i) channels_.push_back(name_of_channel(i));
    for (std::size_t i = 0; i < options.gateways; ++i)
      gateways_.push_back(std::make_unique<Gateway>(around_, i));
    for (std::size_t i = 0; i < options.clients; ++i) subscribers_.push_back(make_subscriber(i));
    if (options.members == 0) return;
    members_ = std::make_unique<Members>(around_, judge_, options_, channels_, gateways_, subscribers_);
    redis_.on_lost = [this](const RedisCommand& command) { members_->on_change_lost(command); };
  }

  Report run() {
    for (const auto& gateway : gateways_) time_.after(0, [&gateway] { gateway->start(); });
    time_.run_until(100'000);
    for (const auto& subscriber : subscribers_) subscriber->begin();
    if (members_) members_->begin();
    const std::vector<Act> acts = plan_of(options_);
    for (const Act& act : acts) time_.after(act.at_us, [this, act] { carry_out(act); });
    if (lists_presence()) list_presence();
    time_.run_until(time_.now_us() + options_.duration_ms * 1'000);
    calm_down();
    judge();

    Report report;
    report.seed = options_.seed;
    report.complaints = judge_.complaints();
    report.trace_hash = trace_.hash();
    report.trace_lines = trace_.count();
    report.trace = std::move(trace_.lines());
    for (const Act& act : acts) report.acts.push_back(text_of(act));
    report.acknowledged = judge_.acknowledged();
    report.delivered = judge_.delivered();
    report.recoveries = judge_.recoveries();
    report.gaps = judge_.gaps();
    report.lost = judge_.lost();
    report.events = time_.events();
    report.simulated_ms = time_.now_us() / 1'000;
    return report;
  }

 private:
  static std::string name_of_channel(std::size_t index) { return "c" + std::to_string(index); }
  static std::vector<ChannelRules::Rule> rules(const WorldOptions& options) {
    ChannelOptions channel;
    channel.history_size = options.history_size;
    // SQLite asks the time of day, which jumps by up to an hour at a time.
    channel.history_ttl_ms = options.sqlite.empty() ? 3'600'000 : 30LL * 24 * 3'600'000;
    std::vector<ChannelRules::Rule> rules{{"*", channel}};
    for (std::size_t i = 0; options.members > 0 && i < options.channels; ++i)
      rules.push_back({name_of_channel(i), Members::options_of(options, i, channel)});
    return rules;
  }

  std::unique_ptr<Subscriber> make_subscriber(std::size_t index) {
    std::vector<std::string> mine;
    for (std::size_t i = 0; i < channels_.size(); ++i) {
      if (i == index % channels_.size() || chance_.percent(50)) mine.push_back(channels_[i]);
    }
    std::string name = "client" + std::to_string(index);
    constexpr std::size_t kTransports = 3;
    switch (index % kTransports) {
      case 0:
        return make_websocket_subscriber(
            around_, judge_, gateways_, std::move(name), std::move(mine),
            options_.members > 0 ? Members::name_of_user(index % options_.members) : std::string());
      case 1:
        return make_sse_subscriber(around_, judge_, gateways_, std::move(name), std::move(mine));
      default:
        return make_poll_subscriber(around_, judge_, gateways_, std::move(name), std::move(mine));
    }
  }

  // ---- publishers

  /// A publication and its attempts: with a key at one gateway after another, until it is acknowledged.
  struct Attempt {
    std::string channel;
    std::string data;
    std::string key;           // empty: it is tried once, because a second try might publish it twice
    std::uint64_t number = 0;  // of the attempt
    std::uint64_t losses = 0;  // that were possible before
    bool is_done = false;
  };

  void publish(const std::string& channel, bool has_key, bool is_large) {
    auto attempt = std::make_shared<Attempt>();
    attempt->channel = channel;
    attempt->data = std::to_string(++published_);
    if (is_large) attempt->data = '"' + attempt->data + std::string(kLargeBytes, ' ') + '"';
    if (has_key) attempt->key = "key" + brief(attempt->data);
    attempt->losses = judge_.losses_possible();
    judge_.on_published(channel, attempt->data);
    if (members_) members_->on_published(channel, attempt->data);
    if (has_key) ++missing_;
    try_to_publish(attempt);
  }
  void try_to_publish(const std::shared_ptr<Attempt>& attempt) {
    if (attempt->is_done) return;
    const std::uint64_t number = ++attempt->number;
    const auto again = [this, attempt, number](Micros delay_us) {
      if (attempt->key.empty()) return;
      time_.after(delay_us, [this, attempt, number] {
        if (attempt->number == number) try_to_publish(attempt);
      });
    };
    Gateway& gateway = *gateways_[chance_.below(gateways_.size())];
    trace_.add("publishes ", brief(attempt->data), " to ", attempt->channel, " at ", gateway.name());
    const bool is_asked = gateway.publish(
        attempt->channel, attempt->data, attempt->key, [this, attempt, again](const AppendResult& result) {
          if (attempt->is_done) return;
          if (result.error != StoreError::none) {
            trace_.add("not acknowledged: ", brief(attempt->data), ", error ",
                       static_cast<int>(result.error));
            if (attempt->key.empty() && result.error != StoreError::outcome_unknown)
              judge_.on_refused(attempt->channel, attempt->data);
            return again(chance_.between(20'000, 300'000));
          }
          attempt->is_done = true;
          if (!attempt->key.empty()) --missing_;
          judge_.on_acknowledged(attempt->channel, attempt->data, std::string(result.position.epoch.text()),
                                 result.position.offset);
          if (members_)
            members_->on_acknowledged(attempt->channel, attempt->data, result.position.offset,
                                      attempt->losses);
        });
    again(is_asked ? kPatienceUs : chance_.between(50'000, 500'000));
  }

  /// In the other worlds nobody clears up by reading, and gateways hear less of Redis.
  [[nodiscard]] bool lists_presence() const { return options_.has_redis && options_.seed % 2 == 1; }
  /// Applications ask who is there, at any gateway.
  void list_presence() {
    time_.after(static_cast<Micros>(presence_chance_.between(50'000, 350'000)), [this] {
      Gateway& gateway = *gateways_[presence_chance_.below(gateways_.size())];
      gateway.list_presence(channels_[presence_chance_.below(channels_.size())], [](std::uint64_t) {});
      if (time_.now_us() < options_.duration_ms * 1'000) list_presence();
    });
  }

  // ---- acts

  void carry_out(const Act& act) {
    trace_.add(text_of(act));
    const auto gateway = [&]() -> Gateway& { return *gateways_[act.target % gateways_.size()]; };
    const auto subscriber = [&]() -> Subscriber& { return *subscribers_[act.target % subscribers_.size()]; };
    if (subscribers_.empty() && act.what >= Happening::client_leaves &&
        act.what <= Happening::client_vanishes)
      return;
    switch (act.what) {
      case Happening::publish:
        return publish(channels_[act.target], act.count > 0, act.count == 2);
      case Happening::client_leaves:
        return subscriber().leave_for(act.us);
      case Happening::client_is_cut:
        return subscriber().cut();
      case Happening::client_is_cut_off:
        return subscriber().cut_off(act.us);
      case Happening::client_is_slow:
        return subscriber().stop_reading_for(act.us);
      case Happening::client_vanishes:
        return subscriber().vanish();
      case Happening::gateway_crashes:
        return crash(gateway(), act.us);
      case Happening::gateway_is_replaced:
        return gateway().replace(100, 3'000'000);
      case Happening::gateway_is_taken_over:
        gateway().take_over();
        return;
      case Happening::gateway_is_stopped:
        return gateway().stop_for(act.us);
      case Happening::clock_jumps:
        return gateway().jump_wall(act.us / 1'000);
      case Happening::redis_link_is_cut:
        return redis_.cut_links(gateway().name());
      case Happening::redis_links_are_cut:
        return redis_.cut_links();
      case Happening::redis_is_cut_off:
        return redis_.cut_off(gateway().name(), act.us);
      case Happening::redis_is_slow:
        return redis_.stall(act.us);
      case Happening::redis_fails_over:
        return redis_.fail_over(act.count, act.us);
      case Happening::redis_restarts:
        return redis_.restart(act.count);
      case Happening::redis_disk_is_full:
        return redis_.fill_disk(act.us);
      case Happening::redis_forgets:
        return forget(channels_[act.target]);
      case Happening::member_joins:
      case Happening::member_leaves:
      case Happening::inbox_is_read:
        return members_->carry_out(act);
      case Happening::power_is_cut:
        return gateways_.front()->cut_power(act.us);
      case Happening::disk_is_full:
        return disk_.be_full_for(act.us);
      case Happening::disk_fails:
        return disk_.fail_for(act.us);
      case Happening::disk_is_slow:
        return disk_.be_slow_for(act.us);
      case Happening::gateway_crashes_at_disk:
        return gateways_.front()->crash_at_disk(act.count, act.us);
      case Happening::count:
        break;
    }
  }

  void crash(Gateway& gateway, Micros us) {
    gateway.crash();
    time_.after(us, [&gateway] { gateway.start(); });
  }

  void forget(const std::string& channel) {
    judge_.on_all_lost(channel);
    if (members_) members_->on_channel_deleted(channel);
    redis_.forget(keys_.channel(channel));
    has_forgotten_ = true;  // and nobody is told
  }

  // ---- the end

  /// What the store says now, read past all gateways.
  Judge::Log log_of(const std::string& channel) {
    Judge::Log log;
    if (!options_.has_redis) return gateways_.front()->log_of(channel);
    const RedisReply known = redis_.ask(RedisCommand{"HMGET", keys_.channel(channel), "e", "o"});
    log.epoch = known[0].text;
    log.top = static_cast<std::uint64_t>(known[1].number());
    const RedisReply entries = redis_.ask(RedisCommand{"XRANGE", keys_.stream(channel), "-", "+"});
    for (const RedisReply& each : entries.items) {
      const std::uint64_t offset = std::stoull(each[0].text);
      if (offset > log.top) continue;
      const auto entry = decode_entry(each[1][1].text, offset);
      if (entry) log.kept.emplace_back(offset, entry->publication.data);
    }
    return log;
  }
  /// Of whichever server knows the epoch.
  std::optional<std::uint64_t> top_of(const std::string& channel, const std::string& epoch) {
    std::optional<std::uint64_t> top;
    if (!options_.sqlite.empty()) return judge_.newest_of(channel, epoch);
    if (!options_.has_redis) {
      const Judge::Log log = log_of(channel);
      if (log.epoch == epoch) top = log.top;
      return top;
    }
    const RedisCommand question{"HMGET", keys_.channel(channel), "e", "o"};
    for (const RedisReply& known : {redis_.ask(question), redis_.ask_other(question)}) {
      if (known[0].text == epoch)
        top = std::max(top.value_or(0), static_cast<std::uint64_t>(known[1].number()));
    }
    return top;
  }

  /// Every gateway is up, every publication acknowledged, every client where the log ends: and stays there.
  [[nodiscard]] std::string unrest() {
    for (const auto& gateway : gateways_) {
      if (!gateway->is_up()) time_.after(0, [&gateway] { gateway->start(); });
      if (!gateway->is_serving()) return gateway->name() + " does not serve";
    }
    if (redis_.is_split()) return "two servers take themselves for the primary of Redis";
    if (missing_ > 0) return std::to_string(missing_) + " publications are not acknowledged";
    std::map<std::string, Judge::Log> logs;
    for (const std::string& channel : channels_) logs.emplace(channel, log_of(channel));
    for (const auto& subscriber : subscribers_) {
      for (const std::string& channel : subscriber->channels()) {
        std::string why = judge_.unrest_of(subscriber->name(), channel, logs.at(channel));
        if (!why.empty()) return why;
      }
    }
    const std::string of_members = members_ ? members_->unrest() : std::string();
    return of_members.empty() ? unrest_of_presence() : of_members;
  }

  /// Clients over WebSocket and event streams are present, and nobody else: none of a gateway that has died.
  [[nodiscard]] std::string unrest_of_presence() {
    std::map<std::string, std::uint64_t> expected;
    for (const auto& subscriber : subscribers_) {
      if (!subscriber->has_presence()) continue;
      for (const std::string& channel : subscriber->channels()) ++expected[channel];
    }
    for (const std::string& channel : channels_) {
      gateways_.front()->count_presence(
          channel, [this, channel](std::uint64_t clients) { present_[channel] = clients; });
      gateways_.back()->list_presence(channel,
                                      [this, channel](std::uint64_t clients) { listed_[channel] = clients; });
    }
    for (const std::string& channel : channels_) {
      for (const std::uint64_t found :
           {present_[channel], lists_presence() ? listed_[channel] : expected[channel]}) {
        if (found != expected[channel])
          return "the presence of " + channel + " has " + std::to_string(found) + " clients, and " +
                 std::to_string(expected[channel]) + " are there";
      }
    }
    return {};
  }

  void calm_down() {
    const Micros end_us = time_.now_us() + (has_forgotten_ ? kCheckedUs : kCalmUs);
    const Micros began_us = time_.now_us();
    Micros calm_since_us = -1;
    for (;;) {
      std::string why = unrest();
      if (!why.empty()) {
        calm_since_us = -1;
      } else if (calm_since_us < 0) {
        calm_since_us = time_.now_us();
      }
      if (calm_since_us >= 0 && time_.now_us() - calm_since_us >= kRestUs) return;
      if (time_.now_us() >= end_us || time_.events() > events_max_)
        return judge_.complain("no rest after " + std::to_string((time_.now_us() - began_us) / 1'000'000) +
                               " s: " + why);
      time_.run_until(time_.now_us() + kLookUs);
    }
  }

  void judge() {
    std::map<std::string, Judge::Log> logs;
    for (const std::string& channel : channels_) {
      judge_.judge_log(channel, logs[channel] = log_of(channel));
    }
    if (members_) members_->judge(logs);
    for (const auto& gateway : gateways_) {
      const std::string trouble = gateway->trouble_of_ledger();
      if (!trouble.empty()) judge_.complain("ledger of " + gateway->name() + ": " + trouble);
    }
  }

  const WorldOptions options_;
  VirtualTime time_;
  Trace trace_;
  Judge judge_;
  Network network_;
  RedisServer redis_;
  SimulatedDisk disk_;
  Surroundings around_;
  Chance chance_;
  Chance presence_chance_;
  const RedisKeys keys_{"carillon"};
  std::vector<std::string> channels_;
  std::vector<std::unique_ptr<Gateway>> gateways_;
  std::vector<std::unique_ptr<Subscriber>> subscribers_;
  std::unique_ptr<Members> members_;  // none: channels have no members
  bool has_forgotten_ = false;
  std::uint64_t published_ = 0;
  std::uint64_t missing_ = 0;                     // publications that are not acknowledged
  std::map<std::string, std::uint64_t> present_;  // what the store said last
  std::map<std::string, std::uint64_t> listed_;   // the same, of what was read in pages
  // What needs more never rests.
  const std::uint64_t events_max_ =
      1'000'000 + 40 * options_.clients * options_.channels * options_.publications;
};

}  // namespace

Report run_world(const WorldOptions& options) {
  check(options);
  return World(options).run();
}

WorldOptions shrink_world(const WorldOptions& options, std::size_t runs_max) {
  WorldOptions smallest = options;
  std::vector<std::size_t> numbers;
  for (const Act& act : plan_of(options)) numbers.push_back(act.number);
  // The same promise: otherwise it may slide into another failure, which has nothing to do with the first.
  const Report whole = run_world(options);
  if (whole.complaints.empty()) return options;
  const std::string_view kind = kind_of(whole.complaints.front());
  const auto fails = [&](const std::vector<std::size_t>& only) {
    WorldOptions tried = options;
    tried.only = only;
    const Report report = run_world(tried);
    return !report.complaints.empty() && kind_of(report.complaints.front()) == kind;
  };
  // Half of them at a time, then a quarter, and so on down to single ones.
  for (std::size_t share = std::max<std::size_t>(1, numbers.size() / 2); runs_max > 0;) {
    bool is_smaller = false;
    for (std::size_t begin = 0; begin < numbers.size() && runs_max > 0;) {
      std::vector<std::size_t> rest(numbers);
      const auto first = rest.begin() + static_cast<std::ptrdiff_t>(begin);
      rest.erase(first, first + static_cast<std::ptrdiff_t>(std::min(share, rest.size() - begin)));
      --runs_max;
      if (!rest.empty() && fails(rest)) {
        numbers = std::move(rest);
        is_smaller = true;
      } else {
        begin += share;
      }
    }
    if (share == 1 && !is_smaller) break;
    if (share > 1) share /= 2;
  }
  smallest.only = numbers;
  return smallest;
}

std::string_view kind_of(std::string_view complaint) { return complaint.substr(0, complaint.find(':')); }

std::string replay_command(const WorldOptions& options) {
  const WorldOptions defaults;
  std::string command = "python -m carillon.sim --seed " + std::to_string(options.seed);
  const auto add = [&](std::string_view name, auto value, auto by_default) {
    if (value != by_default) command.append(" --").append(name).append(" ").append(std::to_string(value));
  };
  add("gateways", options.gateways, defaults.gateways);
  add("clients", options.clients, defaults.clients);
  add("channels", options.channels, defaults.channels);
  add("members", options.members, defaults.members);
  add("publications", options.publications, defaults.publications);
  add("faults", options.faults, defaults.faults);
  add("history-size", options.history_size, defaults.history_size);
  add("duration-ms", options.duration_ms, defaults.duration_ms);
  if (!options.sqlite.empty()) {
    command += " --sqlite " + options.sqlite;
  } else if (!options.has_redis) {
    command += " --no-redis";
  }
  if (!options.may_lose) command += " --no-losses";
  if (!options.bug.empty()) command += " --bug " + options.bug;
  if (options.only.empty()) return command;
  command += " --only ";
  for (const std::size_t number : options.only) command += std::to_string(number) + ",";
  command.pop_back();
  return command;
}

WorldOptions world_of(std::string_view name) {
  WorldOptions options;
  options.bug = name;
  const PlantedBug* const bug = planted_bug(name);
  if (bug == nullptr) return options;  // run_world refuses it
  if (bug->needs_members) options.members = 6;
  if (bug->needs_short_history) options.history_size = 6;
  if (bug->sqlite.empty()) return options;
  options.has_redis = false;
  options.gateways = 1;
  options.sqlite = bug->sqlite;
  return options;
}

}  // namespace carillon::sim
