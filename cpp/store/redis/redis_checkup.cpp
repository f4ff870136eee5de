#include "store/redis/redis_checkup.hpp"

#include <algorithm>
#include <charconv>
#include <span>
#include <utility>

#include "store/owned_store.hpp"
#include "store/redis/redis_errors.hpp"
#include "store/redis/redis_layout.hpp"
#include "store/redis/redis_needed_commands.hpp"
#include "store/redis/redis_unfinished_copy.hpp"

namespace carillon {

namespace {

constexpr int kOldestRedis = 7;

RedisCommand trial_of(std::string_view trial, const std::string& key, const std::string& channel) {
  RedisCommand command;
  while (!trial.empty()) {
    const std::string_view word = trial.substr(0, trial.find(' '));
    trial.remove_prefix(std::min(word.size() + 1, trial.size()));
    command.add(word == "K" ? std::string_view(key) : word == "C" ? std::string_view(channel) : word);
  }
  return command;
}

void note_missing(std::vector<std::string>& missing, std::string right) {
  if (!right.empty() && std::find(missing.begin(), missing.end(), right) == missing.end())
    missing.push_back(std::move(right));
}

}  // namespace

RedisCheckup::RedisCheckup(const RedisOptions& options, RandomSource& random)
    : options_(options),
      keys_(options.prefix),
      redis_(options.endpoint, random,
             options.endpoint.connect_timeout_ms + options.endpoint.command_timeout_ms) {
  redis_.end_after(kCheckupMs);
}

std::vector<RedisFinding> RedisCheckup::run() {
  try {
    redis_.connect();
    look_at_server();
    look_at_rights();
    look_at_settings();
    look_at_contents();
  } catch (const StoreRefused& error) {
    mend("link", error.what());
  }
  return std::move(findings_);
}

void RedisCheckup::note(std::string_view name, std::string text) {
  findings_.push_back({std::string(name), std::move(text), false});
}
void RedisCheckup::mend(std::string_view name, std::string text) {
  findings_.push_back({std::string(name), std::move(text), true});
}

void RedisCheckup::look_at_server() {
  const RedisReply reply = redis_.ask(RedisCommand{"INFO"});
  if (reply.is_error()) return;  // look_at_rights() names it
  settings_.take_info(reply);
  const std::string_view version = settings_.info("redis_version");
  int major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  if (major < kOldestRedis) {
    mend("server", "Redis " + std::string(version) + ": Redis 7 or newer is needed");
  } else {
    note("server", "Redis " + std::string(version));
  }
  if (settings_.info("role") == "master") {
    note("role", "primary with " + std::string(settings_.replicas()) + " connected replicas");
  } else if (is_cluster()) {
    note("role", "replica");
  } else {
    mend("role",
         "this server is a replica, and a gateway writes to the primary only: give the address of the "
         "primary, "
         "or those of the Sentinels");
  }
}

void RedisCheckup::look_at_rights() {
  const std::string key = keys_.of_all("doctor");
  std::vector<RedisCommand> trials;
  const auto add_trials = [&](std::span<const RedisNeededCommand> commands) {
    for (const RedisNeededCommand& each : commands) {
      if (!each.trial.empty()) trials.push_back(trial_of(each.trial, key, keys_.told("doctor")));
    }
  };
  add_trials(kRedisNeededCommands);
  if (is_cluster()) add_trials(kRedisClusterCommands);
  // Where publications are announced; no channel has this name, so nobody hears it.
  trials.push_back(RedisCommand{is_cluster() ? "SPUBLISH" : "PUBLISH", keys_.announcements(""), ""});
  std::vector<std::string> missing;
  for (const RedisReply& reply : redis_.ask(std::move(trials))) {
    if (reply.is_error()) note_missing(missing, missing_redis_right(reply.text));
  }
  try_pushes(missing);
  if (missing.empty()) return note("rights", "the user may run all commands that a gateway uses");
  std::string words;
  for (const std::string& each : missing) {
    const std::string word = each == "~" || each == "&" ? each + options_.prefix + ":*" : each;
    mend("rights",
         each == "~" ? "the user may not use the keys that begin with store.prefix: " + word + " is missing"
         : each == "&"
             ? "the user may not use the channels that begin with store.prefix: " + word + " is missing"
             : "the user may not run the command " + word.substr(1) + ": " + word + " is missing");
    words += ' ' + word;
  }
  mend("rights", "to be added to the ACL of the user:" + words);
}

void RedisCheckup::try_pushes(std::vector<std::string>& missing) {
  // A refused one ends the link: the next one is tried with another.
  std::vector<std::string_view> words{"SUBSCRIBE", "UNSUBSCRIBE"};
  if (is_cluster()) words.insert(words.end(), {"SSUBSCRIBE", "SUNSUBSCRIBE"});
  for (const std::string_view word : words) {
    const std::string refusal = redis_.confirm(RedisCommand{word, keys_.told("doctor")});
    if (refusal.empty()) continue;
    const std::size_t reply = std::min(refusal.find("NOPERM"), refusal.size());
    const std::string right = missing_redis_right(std::string_view(refusal).substr(reply));
    // A node of a cluster that does not have the slot: it would be permitted.
    if (right.empty() && !(is_cluster() && refusal.find("MOVED") != std::string::npos))
      throw StoreRefused(refusal);
    note_missing(missing, right);
    redis_.connect();
  }
}

void RedisCheckup::look_at_settings() {
  settings_.take_settings(redis_.ask(RedisSettings::question()));
  const bool is_asked = settings_.has_settings();
  if (!is_asked)
    note("settings",
         "CONFIG GET is not permitted or not known, as in a managed Redis: appendfsync, save and "
         "repl-backlog-ttl are "
         "not known here; look at them at the provider");
  if (!is_asked && !settings_.has_info()) return;

  const std::string policy(settings_.policy());
  const std::string_view bound = is_asked ? settings_.setting("maxmemory") : settings_.info("maxmemory");
  if (policy == "noeviction") {
    note("maxmemory-policy", "noeviction" + (bound == "0" ? std::string(", without maxmemory")
                                                          : ", maxmemory " + std::string(bound)));
  } else if (!policy.empty()) {
    mend("maxmemory-policy", redis_eviction(policy));
  }

  const bool has_aof = settings_.has_aof();
  const std::string fsync(settings_.setting("appendfsync"));
  const std::string save(settings_.setting("save"));
  const bool is_on_disk = settings_.is_on_disk();
  std::string promise;
  if (has_aof && !is_asked) {
    promise = "appendonly yes";
  } else if (is_on_disk) {
    promise = "appendonly yes, appendfsync always: nothing is lost when the process or its machine ends";
  } else if (has_aof && fsync == "everysec") {
    promise =
        "appendonly yes, appendfsync everysec: nothing is lost when the process ends, and up to 2 s when its "
        "machine ends";
  } else if (has_aof) {
    promise =
        "appendonly yes, appendfsync " + fsync +
        ": nothing is lost when the process ends; what the system had not written yet when its machine ends";
  } else if (is_asked && save.empty()) {
    promise = "appendonly no, no save: all is lost when the process ends";
  } else {
    promise = "appendonly no" + (is_asked ? ", save \"" + save + '"' : std::string()) +
              ": what came after the last snapshot is lost when the process ends";
  }
  if (options_.loss == RedisLoss::possible && (is_asked || !has_aof))
    promise += "; clients are told of it by new epochs";
  note("persistence", promise);

  const std::string replicas(settings_.replicas());
  if (options_.loss == RedisLoss::never) {
    if (const std::string why = settings_.why_loss_is_possible(); !why.empty()) {
      mend("store.loss", redis_never_is_untrue(why));
    } else if (is_on_disk) {
      note("store.loss", "never: this is one server with appendfsync always, and no replica is connected");
    } else {
      note("store.loss", "never: nobody could check that appendfsync is always");
    }
  }
  if (const std::string ttl(settings_.setting("repl-backlog-ttl")); !ttl.empty())
    note("repl-backlog-ttl", ttl == "0" ? "0: a replica that comes back makes no new epochs"
                                        : ttl +
                                              " s: a replica that comes when there was none for that time "
                                              "makes new epochs; 0 avoids that");
  if (const std::string least(settings_.setting("min-replicas-to-write")); !least.empty() && least != "0")
    note("min-replicas",
         "writes need " + least + " replicas; " + (replicas.empty() ? "?" : replicas) + " are connected");
}

void RedisCheckup::look_at_contents() {
  const std::string trouble = redis_layout_trouble(options_, redis_.ask(RedisCommand{"GET", keys_.layout()}));
  if (!trouble.empty()) mend("layout", trouble);
  const RedisReply reply = redis_.ask(RedisCommand{"EXISTS", keys_.copying()});
  if (!reply.is_error() && reply.number() == 1) mend("copy", redis_unfinished_copy(options_));
}

std::vector<RedisFinding> check_redis(const RedisOptions& options, RandomSource& random) {
  std::vector<RedisFinding> findings{{"store", options.url, false}};
  const auto add = [&](const RedisOptions& of_server) {
    for (RedisFinding& each : RedisCheckup(of_server, random).run()) findings.push_back(std::move(each));
  };
  if (options.endpoint.cluster_nodes.empty()) add(options);
  for (const RedisAddress& node : options.endpoint.cluster_nodes) {
    findings.push_back({"node", node.host + ':' + std::to_string(node.port), false});
    RedisOptions there = options;
    there.endpoint.server = node;
    add(there);
  }
  return findings;
}

}  // namespace carillon
