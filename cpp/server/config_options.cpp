#include "server/config_options.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <type_traits>
#include <utility>

#include "server/limit_table.hpp"

namespace carillon {

namespace {

constexpr std::int64_t kDayMs = 86'400'000;

struct FamilyLimit {
  std::string_view row;
  std::string_view path;
};
// Rows of the table of limits that the family has a name for. The family's durations are texts.
constexpr std::array kFamilyLimits{
    FamilyLimit{"connections", "client.connection_limit"},
    FamilyLimit{"accepts_per_s", "client.connection_rate_limit"},
    FamilyLimit{"handshake_timeout_ms", "client.stale_close_delay"},
    FamilyLimit{"channels_per_connection", "client.channel_limit"},
    FamilyLimit{"concurrency", "client.concurrency"},
    FamilyLimit{"backlog_bytes", "client.queue_max_size"},
    FamilyLimit{"history_publications", "client.history_max_publication_limit"},
    FamilyLimit{"message_bytes", "websocket.message_size_limit"},
    FamilyLimit{"channel_name_bytes", "channel.max_length"},
    FamilyLimit{"channel_lifetime_ms", "channel.history_meta_ttl"},
};

ConfigOption option_of_limit(const LimitRow& row) {
  ConfigOption option{"limits." + std::string(row.name), "", row.field, row.effect, row.least};
  const auto family = std::find_if(kFamilyLimits.begin(), kFamilyLimits.end(),
                                   [&](const FamilyLimit& each) { return each.row == row.name; });
  if (family != kFamilyLimits.end()) {
    option.alias = std::exchange(option.path, std::string(family->path));
    option.is_duration = row.unit == "ms";
  }
  return option;
}

std::vector<ConfigOption> make_options() {
  std::vector<ConfigOption> options{
      {"http_server.address", "", &ServerConfig::host, "address to listen on"},
      {"http_server.port", "", &ServerConfig::port, "port to listen on; 0: the system picks one", 0, 65'535},
      {"threads", "", &ServerConfig::threads, "shard threads; 0: one per core, at most 4", 0, 64},
      {"flush", "", &ServerConfig::flush,
       "how bytes leave: io_uring (a batch per turn), send (a call per connection), or auto: the first that "
       "works"},
      {"store", "", &ServerConfig::store, "where epochs and offsets live: memory"},
      {"demo", "", &ServerConfig::demo, "serve the demo page at /"},
      {"client.insecure", "", &ServerConfig::insecure,
       "everybody may do everything; refused on addresses that others can reach"},
      {"client.allowed_origins", "", &ServerConfig::allowed_origins,
       "web origins that may connect, besides the server's own; * in a pattern stands for any text"},
      {"client.ping_interval", "", &Heartbeat::ping_interval_ms, "WebSocket: a ping so often; 0s: never", 0,
       kDayMs, true},
      {"client.pong_timeout", "", &Heartbeat::pong_timeout_ms,
       "a ping unanswered for so long closes with 3012; 0s: never", 0, kDayMs, true},
      {"http_api.key", "", &ServerConfig::api_key,
       "key of the server API (X-API-Key); without one the API is closed, in insecure mode open"},
      {"http_api.insecure", "", &ServerConfig::api_insecure,
       "the server API needs no key; refused on addresses that others can reach"},
      {"shutdown.timeout", "", &ServerConfig::shutdown_timeout_ms,
       "what clients are given to leave when 'carillon serve' ends", 0, kDayMs, true},
      {"shutdown.pace", "", &ServerConfig::shutdown_pace_ms,
       "clients are asked to leave one by one, at random moments within this time; 0s: 1 ms per client, half "
       "of shutdown.timeout at most",
       0, kDayMs, true},
      {"takeover.socket", "", &ServerConfig::takeover_socket,
       "Unix socket at which 'carillon serve --takeover' finds this server; empty: "
       "carillon-<uid>-<port>.sock in $XDG_RUNTIME_DIR, else in /tmp"},
      {"takeover.timeout_ms", "", &ServerConfig::takeover_timeout_ms,
       "a takeover that is not through by then has failed, and the running server goes on; half of it is "
       "given to hooks that are to answer",
       100, kDayMs},
      {"heartbeat.comment_interval_ms", "", &Heartbeat::comment_interval_ms,
       "SSE: a comment when nothing else was written for so long, less up to a quarter of it, which is "
       "random; 0: never",
       0, kDayMs},
      {"heartbeat.sse_retry_ms", "", &Heartbeat::sse_retry_ms, "reconnection time that EventSource is told",
       0, kDayMs},
  };
  std::transform(kLimitRows.begin(), kLimitRows.end(), std::back_inserter(options), option_of_limit);
  return options;
}

template <auto Member>
constexpr ChannelNumber number(std::string_view name, std::int64_t least, std::string_view doc,
                               bool is_duration = false, std::int64_t most = kMostNumber) {
  return {name,
          least,
          doc,
          [](const ChannelOptions& options) { return static_cast<std::int64_t>(options.*Member); },
          [](ChannelOptions& options, std::int64_t value) {
            options.*Member = static_cast<std::remove_reference_t<decltype(options.*Member)>>(value);
          },
          is_duration,
          most};
}

constexpr std::array kChannelNumbers{
    number<&ChannelOptions::history_size>("history_size", 0,
                                          "publications that can be read again; 0: no history, no offsets"),
    number<&ChannelOptions::history_ttl_ms>(
        "history_ttl", 0, "age at which a publication leaves the history; 0s: no history", true),
    number<&ChannelOptions::history_bytes>(
        "history_bytes", 0, "memory of the publications kept: some 320 bytes for each, and its payload"),
    number<&ChannelOptions::live_window_entries>("live_window_entries", 1,
                                                 "entries kept for live subscribers even without history"),
    number<&ChannelOptions::live_window_bytes>("live_window_bytes", 1'024, "bytes of them"),
    number<&ChannelOptions::slow_consumer_entries>(
        "slow_consumer_entries", 1,
        "a live subscriber that is further behind when it can take again is a slow consumer"),
    number<&ChannelOptions::fan_out_threshold>(
        "fanout_threshold", 1,
        "members, or subscribers if there are more, above which a hybrid channel is in read mode; where an "
        "adaptive one begins"),
    number<&ChannelOptions::fan_out_hysteresis>(
        "fanout_hysteresis", 0, "so many percent below the threshold it is in write mode again", false, 100),
    number<&ChannelOptions::sweep_interval_ms>(
        "sweep_interval", 1,
        "in read mode subscribers are served at the multiples of this, with all that is new in one write",
        true, kDayMs),
    number<&ChannelOptions::batch_interval_ms>(
        "batch_interval", 0,
        "in write mode a subscriber gets one write per interval at most, the first after a pause at once; "
        "0s: none",
        true, kDayMs),
};

constexpr std::array kChannelChoices{
    ChannelChoice{
        "slow_consumer", kSlowConsumerNames,
        "what becomes of a slow consumer: \"wait\" (it catches up from the log), \"skip\" (it is told a gap "
        "and goes on at the newest offset) or \"disconnect\" (3008: SDKs come back and resume)",
        [](const ChannelOptions& options) { return static_cast<std::size_t>(options.slow_consumer); },
        [](ChannelOptions& options, std::size_t word) {
          options.slow_consumer = static_cast<SlowConsumer>(word);
        }},
    ChannelChoice{
        "fanout", kFanOutNames,
        "who does the work of a publication, and when: \"write\" (at publish, into every member's inbox and "
        "to subscribers at once), \"read\" (whoever reads; subscribers by a sweep), \"hybrid\" (write "
        "up to fanout_threshold, read above it) or \"adaptive\" (the same, with a threshold that is moved by "
        "what both have cost)",
        [](const ChannelOptions& options) { return static_cast<std::size_t>(options.fan_out); },
        [](ChannelOptions& options, std::size_t word) { options.fan_out = static_cast<FanOut>(word); }},
};

constexpr std::array kChannelFlags{
    ChannelFlag{"conflate", &ChannelOptions::conflate,
                "of publications with the same key in one write only the newest is delivered"},
    ChannelFlag{"presence", &ChannelOptions::presence, "who is subscribed can be asked"},
    ChannelFlag{"join_leave", &ChannelOptions::join_leave, "subscribers are told who comes and goes"},
    ChannelFlag{"allow_subscribe_for_client", &ChannelOptions::allow_subscribe, "clients may subscribe"},
    ChannelFlag{"allow_publish_for_client", &ChannelOptions::allow_publish, "clients may publish"},
    ChannelFlag{"allow_presence_for_client", &ChannelOptions::allow_presence,
                "clients may ask who is subscribed"},
    ChannelFlag{"allow_history_for_client", &ChannelOptions::allow_history, "clients may read the history"},
};

// Edits that make one text of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string_view leaf_of(std::string_view path) { return path.substr(path.rfind('.') + 1); }

// Is `part` the beginning or the end of `name`, by whole words? "api_key" is that of "http_api.key".
bool is_part(std::string_view part, std::string_view name) {
  std::string words(name);
  std::replace(words.begin(), words.end(), '.', '_');
  return words.starts_with(std::string(part) + "_") || words.ends_with("_" + std::string(part));
}

}  // namespace

std::string_view ConfigOption::type() const {
  if (is_duration) return "duration";
  if (std::holds_alternative<std::string ServerConfig::*>(place)) return "text";
  if (std::holds_alternative<bool ServerConfig::*>(place)) return "flag";
  return std::holds_alternative<std::vector<std::string> ServerConfig::*>(place) ? "list" : "number";
}

const std::vector<ConfigOption>& config_options() {
  static const std::vector<ConfigOption> options = make_options();
  return options;
}

std::span<const ChannelNumber> channel_numbers() { return kChannelNumbers; }
std::span<const ChannelFlag> channel_flags() { return kChannelFlags; }
std::span<const ChannelChoice> channel_choices() { return kChannelChoices; }

std::vector<std::string_view> channel_option_names() {
  std::vector<std::string_view> names;
  for (const auto& row : kChannelNumbers) names.push_back(row.name);
  for (const auto& row : kChannelFlags) names.push_back(row.name);
  for (const auto& row : kChannelChoices) names.push_back(row.name);
  static const std::vector<std::string> in_ms = [] {
    std::vector<std::string> list;
    for (const auto& row : kChannelNumbers)
      if (row.is_duration) list.push_back(std::string(row.name) + "_ms");
    return list;
  }();
  names.insert(names.end(), in_ms.begin(), in_ms.end());
  return names;
}

std::string nearest_path(std::string_view path, std::span<const std::string_view> siblings) {
  const std::string_view name = leaf_of(path);
  const std::string table(path.substr(0, path.size() - name.size()));
  const std::size_t near = std::max<std::size_t>(2, name.size() / 3);
  const auto nearest = std::min_element(siblings.begin(), siblings.end(), [&](auto a, auto b) {
    return distance(name, a) < distance(name, b);
  });
  if (nearest != siblings.end() && distance(name, *nearest) <= near) return table + std::string(*nearest);
  for (const std::string_view sibling : siblings)
    if (is_part(name, sibling)) return table + std::string(sibling);
  if (name == "host") return "http_server.address";
  // The right name at a wrong place, or a part of a longer one.
  for (const ConfigOption& option : config_options()) {
    if (leaf_of(option.path) == name) return option.path;
    if (!option.alias.empty() && leaf_of(option.alias) == name) return option.path;
  }
  for (const ConfigOption& option : config_options())
    if (is_part(name, option.path) || distance(name, leaf_of(option.path)) <= name.size() / 4)
      return option.path;
  return "";
}

}  // namespace carillon
