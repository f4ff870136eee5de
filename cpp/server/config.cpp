#include "server/config.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/config_options.hpp"
#include "server/duration.hpp"
#include "session/origin.hpp"

namespace carillon {

using nlohmann::json;

namespace {

constexpr std::string_view kNamespaces = "channel.namespaces";
constexpr std::string_view kWithoutNamespace = "channel.without_namespace";
constexpr std::string_view kPatterns = "channels";

[[noreturn]] void refuse(const std::string& path, const std::string& problem) {
  throw ConfigError(path + ": " + problem);
}

std::int64_t in_bounds(const std::string& path, const json& value, std::int64_t number, std::int64_t least,
                       std::int64_t most, bool is_duration) {
  const auto text = [&](std::int64_t bound) {
    return is_duration ? format_duration(bound) : std::to_string(bound);
  };
  if (number < least) refuse(path, value.dump() + " is too small; the minimum is " + text(least));
  if (number > most) refuse(path, value.dump() + " is too large; the maximum is " + text(most));
  return number;
}

std::int64_t read_number(const std::string& path, const json& value, std::int64_t least, std::int64_t most) {
  if (!value.is_number_integer()) refuse(path, value.dump() + " is not a whole number");
  const bool is_huge = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX;
  return in_bounds(path, value, is_huge ? INT64_MAX : value.get<std::int64_t>(), least, most, false);
}

std::int64_t read_duration(const std::string& path, const json& value, std::int64_t least,
                           std::int64_t most) {
  if (value.is_number())
    refuse(path, value.dump() + " has no unit; write it as \"25s\", \"100ms\" or \"2h\"");
  const auto duration = value.is_string() ? parse_duration_ms(value.get<std::string>()) : std::nullopt;
  if (!duration) refuse(path, value.dump() + " is not a duration; write it as \"25s\", \"100ms\" or \"2h\"");
  return in_bounds(path, value, *duration, least, most, true);
}

bool read_flag(const std::string& path, const json& value) {
  if (!value.is_boolean()) refuse(path, value.dump() + " is neither true nor false");
  return value.get<bool>();
}

std::string read_text(const std::string& path, const json& value) {
  if (!value.is_string()) refuse(path, value.dump() + " is not a string; put it in quotes");
  return value.get<std::string>();
}

std::vector<std::string> read_texts(const std::string& path, const json& value) {
  if (!value.is_array()) refuse(path, value.dump() + " is not a list of strings; write it as [\"…\", \"…\"]");
  std::vector<std::string> texts;
  for (const json& text : value) texts.push_back(read_text(path, text));
  return texts;
}

std::size_t read_choice(const std::string& path, const json& value, std::span<const std::string_view> words) {
  const std::string text = read_text(path, value);
  const auto found = std::find(words.begin(), words.end(), text);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  std::string choices;
  for (const std::string_view word : words) {
    if (!choices.empty()) choices += word == words.back() ? " or " : ", ";
    choices += "\"" + std::string(word) + "\"";
  }
  refuse(path, value.dump() + " is not known; use " + choices);
}

void check_table(const std::string& path, const json& value) {
  if (!value.is_object()) refuse(path, value.dump() + " is not a table; write it as [" + path + "]");
}

[[noreturn]] void refuse_unknown(const std::string& path, const std::vector<std::string_view>& siblings) {
  const std::string nearest = nearest_path(path, siblings);
  refuse(path, nearest.empty() ? "unknown option; 'carillon config schema' lists all options"
                               : "unknown option; did you mean '" + nearest + "'?");
}

class ConfigReader {
 public:
  ServerConfig read(const json& document) {
    if (!document.is_object()) throw ConfigError("configuration: the top level must be a table");
    read_table("", document);
    check_as_a_whole();
    return std::move(config_);
  }

 private:
  void read_table(const std::string& table, const json& value) {
    for (const auto& [name, inner] : value.items()) {
      const std::string path = table.empty() ? name : table + "." + name;
      if (name.find('.') != std::string::npos)
        refuse(path, "the name of an option cannot contain a dot; write '" + path + "' as nested tables");
      read_entry(path, inner);
    }
  }

  void read_entry(const std::string& path, const json& value) {
    if (path == kPatterns) return read_patterns(value);
    if (path == kNamespaces) return read_namespaces(value);
    if (path == kWithoutNamespace) {
      add_rule(path, "*", read_channel(path, value), ChannelRules::Scope::without_namespace);
      return;
    }
    for (const ConfigOption& option : config_options()) {
      if (option.path == path || option.alias == path) return read_option(option, path, value);
    }
    if (is_table(path)) {
      check_table(path, value);
      return read_table(path, value);
    }
    refuse_absent(path, path, value, absent_feature);
    refuse_unknown(path, names_in(path.substr(0, path.rfind('.') + 1)));
  }

  void read_option(const ConfigOption& option, const std::string& path, const json& value) {
    const bool is_duration = option.is_duration && path == option.path;
    visit_place(config_, option.place, [&]<typename T>(T& place) {
      T read{};
      if constexpr (std::is_same_v<T, std::string>)
        read = read_text(path, value);
      else if constexpr (std::is_same_v<T, bool>)
        read = read_flag(path, value);
      else if constexpr (std::is_same_v<T, std::int64_t>)
        read = is_duration ? read_duration(path, value, option.least, option.most)
                           : read_number(path, value, option.least, option.most);
      else
        read = read_texts(path, value);
      const auto [first, is_first] = given_.try_emplace(&option, path + " = " + value.dump());
      if (!is_first && read != place)
        refuse(path, value.dump() + " contradicts " + first->second +
                         ", which is the same option; give one of them");
      place = std::move(read);
    });
  }

  // A feature that is not there: names the option, not the table that holds it.
  static void refuse_absent(const std::string& path, const std::string& name, const json& value,
                            std::string_view (*absent)(std::string_view)) {
    const std::string_view what = absent(name);
    if (what.empty()) return;
    if (value.is_object() && !value.empty()) {
      const auto first = value.items().begin();
      refuse_absent(path + "." + first.key(), name + "." + first.key(), first.value(), absent);
    }
    refuse(path, std::string(what));
  }

  static bool is_table(const std::string& path) {
    const auto& options = config_options();
    return path == "limits" || std::any_of(options.begin(), options.end(), [&](const ConfigOption& option) {
             return option.path.starts_with(path + ".");
           });
  }

  // What may stand in a table, given as the beginning of a path: "" or "client.".
  static std::vector<std::string_view> names_in(const std::string& table) {
    std::vector<std::string_view> names;
    const auto add = [&](std::string_view path) {
      if (!path.starts_with(table) || path.size() == table.size()) return;
      const std::string_view rest = path.substr(table.size());
      names.push_back(rest.substr(0, rest.find('.')));
    };
    for (const ConfigOption& option : config_options()) {
      add(option.path);
      add(option.alias);
    }
    for (const std::string_view path : {kNamespaces, kWithoutNamespace, kPatterns}) add(path);
    return names;
  }

  static ChannelOptions read_channel(const std::string& path, const json& table, bool has_name = false) {
    check_table(path, table);
    ChannelOptions options;
    for (const auto& [name, value] : table.items()) {
      if (has_name && name == "name") continue;
      read_channel_option(options, path + "." + name, name, table, value);
    }
    return options;
  }

  static void read_channel_option(ChannelOptions& options, const std::string& path, const std::string& name,
                                  const json& table, const json& value) {
    for (const ChannelNumber& row : channel_numbers()) {
      if (row.name == name) {
        row.set(options, row.is_duration ? read_duration(path, value, row.least, row.most)
                                         : read_number(path, value, row.least, row.most));
        return;
      }
      if (row.is_duration && std::string(row.name) + "_ms" == name) {
        const std::int64_t duration_ms = read_number(path, value, row.least, row.most);
        row.set(options, duration_ms);
        const auto twin = table.find(row.name);
        if (twin != table.end() && read_duration(path, *twin, row.least, row.most) != duration_ms)
          refuse(path, value.dump() + " contradicts " + std::string(row.name) + " = " + twin->dump() +
                           ", which is the same option; give one of them");
        return;
      }
    }
    for (const ChannelFlag& row : channel_flags()) {
      if (row.name == name) {
        options.*(row.field) = read_flag(path, value);
        return;
      }
    }
    for (const ChannelChoice& row : channel_choices()) {
      if (row.name == name) {
        row.set(options, read_choice(path, value, row.words));
        return;
      }
    }
    refuse_absent(path, name, value, absent_channel_feature);
    const std::vector<std::string_view> names = channel_option_names();
    refuse_unknown(path, names);
  }

  void read_patterns(const json& value) {
    check_table(std::string(kPatterns), value);
    for (const auto& [pattern, table] : value.items()) {
      const std::string path = std::string(kPatterns) + ".\"" + pattern + "\"";
      if (pattern.empty()) refuse(path, "a pattern cannot be empty; \"*\" matches all channels");
      add_rule(path, pattern, read_channel(path, table), ChannelRules::Scope::pattern);
    }
  }

  void read_namespaces(const json& value) {
    const std::string list(kNamespaces);
    if (!value.is_array())
      refuse(list, value.dump() + " is not a list of tables; write each as [[" + list + "]]");
    for (const json& table : value) {
      const std::string index = list + "[" + std::to_string(&table - &value.front()) + "]";
      check_table(index, table);
      if (!table.contains("name")) refuse(index, "has no name; add name = \"…\"");
      const std::string name = read_text(index + ".name", table["name"]);
      if (name.size() < 2 || name.find_first_not_of("-_0123456789abcdefghijklmnopqrstuvwxyz"
                                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos)
        refuse(index + ".name",
               table["name"].dump() + " is not a name; use two or more letters, digits, - or _");
      const std::string path = list + "[" + name + "]";
      add_rule(path, name + ":*", read_channel(path, table, true), ChannelRules::Scope::by_namespace);
    }
  }

  void add_rule(const std::string& path, const std::string& pattern, const ChannelOptions& options,
                ChannelRules::Scope scope) {
    // Names without a namespace and the pattern "*" are two things, but "chat:*" is all of the namespace
    // "chat".
    const bool is_whole = scope == ChannelRules::Scope::without_namespace;
    if (!is_whole && !patterns_.emplace(pattern, path).second)
      refuse(path, "these channels are also set by " + patterns_[pattern] + "; set them in one place");
    config_.channels.push_back({pattern, options, scope});
  }

  void check_as_a_whole() const {
    const Heartbeat& heartbeat = config_.heartbeat;
    if (config_.host.empty())
      refuse("http_server.address",
             "is empty; give 127.0.0.1 for this machine only, 0.0.0.0 for every address");
    if (config_.flush != "auto" && config_.flush != "io_uring" && config_.flush != "send")
      refuse("flush",
             "'" + config_.flush + "' is not a flush method; use \"auto\", \"io_uring\" or \"send\"");
    if (config_.store != "memory")
      refuse("store", "'" + config_.store + "' is not available; this version has \"memory\"");
    for (const std::string& pattern : config_.allowed_origins)
      if (!can_match_origin(pattern))
        refuse("client.allowed_origins",
               "'" + pattern +
                   "' is not an origin; write it as https://host or https://host:port, without a path");
    if (heartbeat.ping_interval_ms > 0 && heartbeat.pong_timeout_ms >= heartbeat.ping_interval_ms)
      refuse("client.pong_timeout", format_duration(heartbeat.pong_timeout_ms) +
                                        " must be below client.ping_interval (" +
                                        format_duration(heartbeat.ping_interval_ms) + ")");
    if (config_.api_insecure && !config_.api_key.empty())
      refuse("http_api.insecure", "true contradicts http_api.key; give one of them");
    const std::string reach = "true is refused on http_server.address '" + config_.host +
                              "', which other machines can reach; set it to false and give an http_api.key";
    if (config_.insecure && !is_loopback_host(config_.host))
      refuse("client.insecure",
             reach + " and the channels' allow_…_for_client options, or listen on 127.0.0.1");
    if (config_.api_insecure && !is_loopback_host(config_.host))
      refuse("http_api.insecure", reach + ", or listen on 127.0.0.1");
  }

  ServerConfig config_;
  std::map<const ConfigOption*, std::string> given_;  // under which name, and what
  std::map<std::string, std::string> patterns_;       // and where they stand
};

json::json_pointer pointer_to(std::string path) {
  std::replace(path.begin(), path.end(), '.', '/');
  return json::json_pointer("/" + path);
}

json value_of(const ServerConfig& config, const ConfigOption& option) {
  json value;
  visit_place(config, option.place, [&]<typename T>(const T& place) {
    if constexpr (std::is_same_v<T, std::int64_t>)
      value = option.is_duration ? json(format_duration(place)) : json(place);
    else
      value = place;
  });
  return value;
}

json value_of(const ChannelOptions& options, const ChannelNumber& row) {
  return row.is_duration ? json(format_duration(row.get(options))) : json(row.get(options));
}

json channel_to_json(const ChannelOptions& options) {
  json table;
  for (const ChannelNumber& row : channel_numbers()) table[row.name] = value_of(options, row);
  for (const ChannelFlag& row : channel_flags()) table[row.name] = options.*(row.field);
  for (const ChannelChoice& row : channel_choices()) table[row.name] = row.words[row.get(options)];
  return table;
}

}  // namespace

ServerConfig parse_config(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (document.is_discarded()) throw ConfigError("configuration: not valid JSON");
  return ConfigReader().read(document);
}

std::string config_to_json(const ServerConfig& config) {
  json document;
  for (const ConfigOption& option : config_options())
    document[pointer_to(option.path)] = value_of(config, option);
  document["channel"]["namespaces"] = json::array();
  document[kPatterns] = json::object();
  for (const ChannelRules::Rule& rule : config.channels) {
    json table = channel_to_json(rule.options);
    switch (rule.scope) {
      case ChannelRules::Scope::pattern:
        document[kPatterns][rule.pattern] = std::move(table);
        break;
      case ChannelRules::Scope::by_namespace:
        table["name"] = rule.pattern.substr(0, rule.pattern.size() - 2);
        document["channel"]["namespaces"].push_back(std::move(table));
        break;
      case ChannelRules::Scope::without_namespace:
        document["channel"]["without_namespace"] = std::move(table);
        break;
    }
  }
  return document.dump();
}

std::string config_schema() {
  json list = json::array();
  const auto add = [&](const std::string& name, const std::string& alias, std::string_view type,
                       const json& value, std::string_view doc) {
    list.push_back({{"name", name}, {"alias", alias}, {"type", type}, {"default", value}, {"doc", doc}});
  };
  const ServerConfig defaults;
  for (const ConfigOption& option : config_options())
    add(option.path, option.alias, option.type(), value_of(defaults, option), option.doc);
  const ChannelOptions options;
  const std::string prefix = std::string(kWithoutNamespace) + ".";
  for (const ChannelNumber& row : channel_numbers()) {
    const std::string name = prefix + std::string(row.name);
    add(name, row.is_duration ? name + "_ms" : "", row.is_duration ? "duration" : "number",
        value_of(options, row), row.doc);
  }
  for (const ChannelFlag& row : channel_flags())
    add(prefix + std::string(row.name), "", "flag", options.*(row.field), row.doc);
  for (const ChannelChoice& row : channel_choices())
    add(prefix + std::string(row.name), "", "text", row.words[row.get(options)], row.doc);
  add(std::string(kNamespaces), "", "table", json::array(),
      "List of tables, each with a name and the options of without_namespace, for the channels 'name:…'. "
      "Once it is given, channels of other namespaces are unknown.");
  add(std::string(kPatterns) + ".\"<pattern>\"", "", "table", json::object(),
      "The same options for the channels that match; * stands for any text, and the longest pattern wins.");
  return list.dump();
}

}  // namespace carillon
