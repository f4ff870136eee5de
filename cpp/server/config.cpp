#include "server/config.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "session/origin.hpp"

namespace carillon {

using nlohmann::json;

namespace {

struct ChannelField {
  std::string_view name;
  std::int64_t least;
  std::string_view doc;
  std::int64_t (*get)(const ChannelOptions&);
  void (*set)(ChannelOptions&, std::int64_t);
};

template <auto Member>
constexpr ChannelField number(std::string_view name, std::int64_t least, std::string_view doc) {
  return {name, least, doc,
          [](const ChannelOptions& options) { return static_cast<std::int64_t>(options.*Member); },
          [](ChannelOptions& options, std::int64_t value) {
            options.*Member = static_cast<std::remove_reference_t<decltype(options.*Member)>>(value);
          }};
}

constexpr std::array kChannelNumbers{
    number<&ChannelOptions::history_size>("history_size", 0,
                                          "publications that can be read again; 0: no history, no offsets"),
    number<&ChannelOptions::history_ttl_ms>("history_ttl_ms", 0,
                                            "age at which a publication leaves the history; 0: no history"),
    number<&ChannelOptions::history_bytes>("history_bytes", 0, "bytes of the publications kept"),
    number<&ChannelOptions::live_window_entries>("live_window_entries", 1,
                                                 "entries kept for live subscribers even without history"),
    number<&ChannelOptions::live_window_bytes>("live_window_bytes", 1'024, "bytes of them"),
};

struct ChannelFlag {
  std::string_view name;
  bool ChannelOptions::* field;
  std::string_view doc;
};
constexpr std::array kChannelFlags{
    ChannelFlag{"presence", &ChannelOptions::presence, "who is subscribed can be asked"},
    ChannelFlag{"join_leave", &ChannelOptions::join_leave, "subscribers are told who comes and goes"},
    ChannelFlag{"allow_subscribe", &ChannelOptions::allow_subscribe, "clients may subscribe"},
    ChannelFlag{"allow_publish", &ChannelOptions::allow_publish, "clients may publish"},
    ChannelFlag{"allow_presence", &ChannelOptions::allow_presence, "clients may ask who is subscribed"},
    ChannelFlag{"allow_history", &ChannelOptions::allow_history, "clients may read the history"},
};

struct HeartbeatField {
  std::string_view name;
  std::int64_t Heartbeat::* field;
  std::string_view doc;
};
constexpr std::array kHeartbeatFields{
    HeartbeatField{"ping_interval_ms", &Heartbeat::ping_interval_ms, "WebSocket: a ping so often; 0: never"},
    HeartbeatField{"pong_timeout_ms", &Heartbeat::pong_timeout_ms,
                   "a ping unanswered for so long closes with 3012; 0: never"},
    HeartbeatField{"comment_interval_ms", &Heartbeat::comment_interval_ms,
                   "SSE: a comment when nothing else was written; 0: never"},
    HeartbeatField{"sse_retry_ms", &Heartbeat::sse_retry_ms, "reconnection time that EventSource is told"},
};

constexpr std::array<std::string_view, 11> kTopFields{"host",      "port",   "threads", "store",
                                                      "insecure",  "demo",   "api_key", "allowed_origins",
                                                      "heartbeat", "limits", "channels"};

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

[[noreturn]] void refuse(const std::string& field, const std::string& problem) {
  throw ConfigError(field + ": " + problem);
}

template <typename Names>
[[noreturn]] void unknown(const std::string& prefix, std::string_view name, const Names& names) {
  std::string_view nearest;
  std::size_t best = std::numeric_limits<std::size_t>::max();
  for (const std::string_view known : names) {
    if (const std::size_t d = distance(name, known); d < best) {
      best = d;
      nearest = known;
    }
  }
  std::string text = "unknown option";
  if (best <= std::max<std::size_t>(2, name.size() / 3))
    text += "; did you mean '" + std::string(nearest) + "'?";
  else
    text += "; 'carillon config schema' lists them all";
  refuse(prefix + std::string(name), text);
}

std::int64_t read_number(const std::string& field, const json& value, std::int64_t least, std::int64_t most) {
  if (!value.is_number_integer()) refuse(field, value.dump() + " is no whole number");
  const std::int64_t number = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX
                                  ? INT64_MAX
                                  : value.get<std::int64_t>();
  if (number < least) refuse(field, value.dump() + " is too small; the least is " + std::to_string(least));
  if (number > most) refuse(field, value.dump() + " is too large; the most is " + std::to_string(most));
  return number;
}

bool read_flag(const std::string& field, const json& value) {
  if (!value.is_boolean()) refuse(field, value.dump() + " is neither true nor false");
  return value.get<bool>();
}

std::string read_text(const std::string& field, const json& value) {
  if (!value.is_string()) refuse(field, value.dump() + " is no text; put it in quotes");
  return value.get<std::string>();
}

void check_table(const std::string& field, const json& value) {
  if (!value.is_object()) refuse(field, value.dump() + " is no table; write it as [" + field + "]");
}

template <typename Rows>
std::vector<std::string_view> names_of(const Rows& rows) {
  std::vector<std::string_view> names;
  for (const auto& row : rows) names.push_back(row.name);
  return names;
}

ChannelOptions read_channel(const std::string& field, const json& table) {
  ChannelOptions options;
  check_table(field, table);
  for (const auto& [name, value] : table.items()) {
    const std::string where = field + "." + name;
    const auto number = std::find_if(kChannelNumbers.begin(), kChannelNumbers.end(),
                                     [&](const auto& row) { return row.name == name; });
    const auto flag = std::find_if(kChannelFlags.begin(), kChannelFlags.end(),
                                   [&](const auto& row) { return row.name == name; });
    if (number != kChannelNumbers.end()) {
      number->set(options, read_number(where, value, number->least, INT64_MAX));
    } else if (flag != kChannelFlags.end()) {
      options.*(flag->field) = read_flag(where, value);
    } else {
      std::vector<std::string_view> names = names_of(kChannelNumbers);
      for (const auto& row : kChannelFlags) names.push_back(row.name);
      unknown(field + ".", name, names);
    }
  }
  return options;
}

}  // namespace

ServerConfig parse_config(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (document.is_discarded()) throw ConfigError("configuration: not valid JSON");
  if (!document.is_object()) throw ConfigError("configuration: a table is wanted at the top");
  ServerConfig config;
  for (const auto& [name, value] : document.items()) {
    if (name == "host") {
      config.host = read_text(name, value);
      if (config.host.empty())
        refuse(name, "is empty; 127.0.0.1 is this machine only, 0.0.0.0 every address");
    } else if (name == "port") {
      config.port = read_number(name, value, 0, 65'535);
    } else if (name == "threads") {
      config.threads = read_number(name, value, 0, 64);
    } else if (name == "store") {
      config.store = read_text(name, value);
      if (config.store != "memory") {
        refuse(name, "'" + config.store + "' is not available; this version has \"memory\"");
      }
    } else if (name == "insecure") {
      config.insecure = read_flag(name, value);
    } else if (name == "demo") {
      config.demo = read_flag(name, value);
    } else if (name == "api_key") {
      config.api_key = read_text(name, value);
    } else if (name == "allowed_origins") {
      if (!value.is_array()) refuse(name, value.dump() + " is no list of texts");
      for (const json& origin : value) config.allowed_origins.push_back(read_text(name, origin));
    } else if (name == "heartbeat") {
      check_table(name, value);
      for (const auto& [key, number] : value.items()) {
        const auto row = std::find_if(kHeartbeatFields.begin(), kHeartbeatFields.end(),
                                      [&](const auto& each) { return each.name == key; });
        if (row == kHeartbeatFields.end()) unknown("heartbeat.", key, names_of(kHeartbeatFields));
        config.heartbeat.*(row->field) = read_number("heartbeat." + key, number, 0, 86'400'000);
      }
    } else if (name == "limits") {
      check_table(name, value);
      for (const auto& [key, number] : value.items()) {
        const auto row = std::find_if(kLimitRows.begin(), kLimitRows.end(),
                                      [&](const auto& each) { return each.name == key; });
        if (row == kLimitRows.end()) unknown("limits.", key, names_of(kLimitRows));
        config.limits.*(row->field) = read_number("limits." + key, number, row->least, INT64_MAX / 4);
      }
    } else if (name == "channels") {
      check_table(name, value);
      for (const auto& [pattern, table] : value.items()) {
        const std::string field = "channels.\"" + pattern + "\"";
        if (pattern.empty()) refuse(field, "a pattern cannot be empty; \"*\" stands for all channels");
        config.channels.push_back({pattern, read_channel(field, table)});
      }
    } else {
      unknown("", name, kTopFields);
    }
  }
  const Heartbeat& heartbeat = config.heartbeat;
  if (heartbeat.ping_interval_ms > 0 && heartbeat.pong_timeout_ms >= heartbeat.ping_interval_ms) {
    refuse("heartbeat.pong_timeout_ms", std::to_string(heartbeat.pong_timeout_ms) +
                                            " must be below ping_interval_ms (" +
                                            std::to_string(heartbeat.ping_interval_ms) + ")");
  }
  if (config.insecure && !is_loopback_host(config.host)) {
    refuse("insecure",
           "true is refused on host '" + config.host +
               "', which other machines can reach; set insecure = false, an api_key and the channels' "
               "allow_… options, or listen on 127.0.0.1");
  }
  return config;
}

std::string config_to_json(const ServerConfig& config) {
  json document = {{"host", config.host},         {"port", config.port},
                   {"threads", config.threads},   {"store", config.store},
                   {"insecure", config.insecure}, {"demo", config.demo},
                   {"api_key", config.api_key},   {"allowed_origins", config.allowed_origins}};
  for (const auto& row : kHeartbeatFields) document["heartbeat"][row.name] = config.heartbeat.*(row.field);
  for (const auto& row : kLimitRows) document["limits"][row.name] = config.limits.*(row.field);
  document["channels"] = json::object();
  for (const auto& rule : config.channels) {
    json& table = document["channels"][rule.pattern];
    for (const auto& row : kChannelNumbers) table[row.name] = row.get(rule.options);
    for (const auto& row : kChannelFlags) table[row.name] = rule.options.*(row.field);
  }
  return document.dump();
}

std::string config_schema() {
  const ServerConfig defaults;
  json list = json::array();
  const auto add = [&](const std::string& name, std::string_view type, const json& value,
                       std::string_view doc) {
    list.push_back({{"name", name}, {"type", type}, {"default", value}, {"doc", doc}});
  };
  add("host", "text", defaults.host, "address to listen on");
  add("port", "number", defaults.port, "port to listen on; 0: the system picks one");
  add("threads", "number", defaults.threads, "shard threads; 0: one per core, at most 4");
  add("store", "text", defaults.store, "where epochs and offsets live: memory");
  add("insecure", "flag", defaults.insecure,
      "everybody may do everything; refused on addresses that others can reach");
  add("demo", "flag", defaults.demo, "serve the demo page at /");
  add("api_key", "text", defaults.api_key,
      "key of the server API (X-API-Key); without one the API is closed, in insecure mode open");
  add("allowed_origins", "list", json::array(),
      "web origins that may connect, besides the server's own; * in a pattern stands for any text");
  const Heartbeat heartbeat;
  for (const auto& row : kHeartbeatFields)
    add("heartbeat." + std::string(row.name), "number", heartbeat.*(row.field), row.doc);
  const Limits limits;
  for (const auto& row : kLimitRows)
    add("limits." + std::string(row.name), "number", limits.*(row.field), row.effect);
  const ChannelOptions options;
  const std::string prefix = "channels.\"<pattern>\".";
  for (const auto& row : kChannelNumbers)
    add(prefix + std::string(row.name), "number", row.get(options), row.doc);
  for (const auto& row : kChannelFlags)
    add(prefix + std::string(row.name), "flag", options.*(row.field), row.doc);
  return list.dump();
}

}  // namespace carillon
