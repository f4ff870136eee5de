#include "server/config.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "metrics/histogram.hpp"
#include "proxy/backend_request.hpp"
#include "proxy/endpoint_url.hpp"
#include "server/config_options.hpp"
#include "server/duration.hpp"
#include "server/objectives.hpp"
#include "session/origin.hpp"
#include "store/redis/redis_url.hpp"
#include "store/sqlite/sqlite_options.hpp"
#include "token/token_verifier.hpp"

namespace carillon {

using nlohmann::json;

namespace {

constexpr std::string_view kNamespaces = "channel.namespaces";
constexpr std::string_view kWithoutNamespace = "channel.without_namespace";
constexpr std::string_view kPatterns = "channels";
constexpr std::string_view kRpcNamespaces = "rpc.namespaces";
constexpr std::array<std::string_view, 8> kLogLevels{"trace",   "debug", "info",  "warn",
                                                     "warning", "error", "fatal", "none"};

bool is_log_level(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::find(kLogLevels.begin(), kLogLevels.end(), text) != kLogLevels.end();
}

// Is it a table of channels with subscriptions that are not available?
bool has_other_subscriptions(const json& table) {
  if (!table.is_object() || !table.contains("subscription_type")) return false;
  const json& type = table["subscription_type"];
  return type.is_string() && type != "stream" &&
         std::find(kSubscriptionTypeNames.begin(), kSubscriptionTypeNames.end(),
                   type.get_ref<const std::string&>()) != kSubscriptionTypeNames.end();
}

bool names_other_subscriptions(const json& document) {
  const json channel = document.is_object() ? document.value("channel", json()) : json();
  if (!channel.is_object()) return false;
  const json namespaces = channel.value("namespaces", json());
  return has_other_subscriptions(channel.value("without_namespace", json())) ||
         (namespaces.is_array() &&
          std::any_of(namespaces.begin(), namespaces.end(), has_other_subscriptions));
}

/// Where a value stands in the document.
struct At {
  std::string path;               // as messages have it
  std::vector<std::string> keys;  // as ConfigMistake has them

  [[nodiscard]] At in(const std::string& name) const {
    return as(path.empty() ? name : path + "." + name, name);
  }
  [[nodiscard]] At as(std::string shown, const std::string& key) const {
    At inner{std::move(shown), keys};
    inner.keys.push_back(key);
    return inner;
  }
};

At at_path(std::string_view path) {
  At at;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('.'), path.size());
    at = at.in(std::string(path.substr(0, end)));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return at;
}

/// Ends the reading of a value that is wrong. Caught where the next one is read.
[[noreturn]] void refuse(const At& at, const std::string& problem) {
  throw ConfigError(std::vector<ConfigMistake>{{at.path + ": " + problem, at.keys}});
}

/// A wrong value as messages show it, with a space behind it; nothing where it may hold a secret.
std::string shown(std::string_view path, std::string text) {
  return may_hide_a_secret(path) ? std::string() : std::move(text) + " ";
}

/// The same as refuse(), with the value that is wrong. No other function here puts a value into a message.
[[noreturn]] void refuse_value(const At& at, const json& value, const std::string& problem) {
  refuse(at, shown(at.path, value.dump()) + problem);
}

std::int64_t in_bounds(const At& at, const json& value, std::int64_t number, std::int64_t least,
                       std::int64_t most, bool is_duration) {
  const auto text = [&](std::int64_t bound) {
    return is_duration ? format_duration(bound) : std::to_string(bound);
  };
  if (number < least) refuse_value(at, value, "is too small; the minimum is " + text(least));
  if (number > most) refuse_value(at, value, "is too large; the maximum is " + text(most));
  return number;
}

std::int64_t read_number(const At& at, const json& value, std::int64_t least, std::int64_t most) {
  if (!value.is_number_integer()) refuse_value(at, value, "is not a whole number");
  const bool is_huge = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX;
  return in_bounds(at, value, is_huge ? INT64_MAX : value.get<std::int64_t>(), least, most, false);
}

std::int64_t read_duration(const At& at, const json& value, std::int64_t least, std::int64_t most) {
  if (value.is_number()) refuse_value(at, value, "has no unit; write it as \"25s\", \"100ms\" or \"2h\"");
  const auto duration = value.is_string() ? parse_duration_ms(value.get<std::string>()) : std::nullopt;
  if (!duration) refuse_value(at, value, "is not a duration; write it as \"25s\", \"100ms\" or \"2h\"");
  return in_bounds(at, value, *duration, least, most, true);
}

bool read_flag(const At& at, const json& value) {
  if (!value.is_boolean()) refuse_value(at, value, "is neither true nor false");
  return value.get<bool>();
}

std::string read_text(const At& at, const json& value) {
  if (!value.is_string()) refuse_value(at, value, "is not a string; put it in quotes");
  return value.get<std::string>();
}

std::vector<std::string> read_texts(const At& at, const json& value) {
  if (!value.is_array()) refuse_value(at, value, "is not a list of strings; write it as [\"…\", \"…\"]");
  std::vector<std::string> texts;
  for (const json& text : value) texts.push_back(read_text(at, text));
  return texts;
}

std::map<std::string, std::string> read_headers(const At& at, const json& value) {
  if (!value.is_object())
    refuse_value(at, value,
                 "is not a table of strings; write it as [" + at.path + "], in JSON and in Python as {…}");
  const auto is_text = [](const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c != '\x7f'; });
  };
  std::map<std::string, std::string> headers;
  for (const auto& item : value.items()) {
    const At here = at.in(item.key());
    if (item.key().empty() || item.key().find_first_of(" :\r\n\t") != std::string::npos ||
        !is_text(item.key()))  // which may be a whole header, and is not shown
      refuse(at, "a name in it is not that of a header; write it as Name = \"text\"");
    std::string text = read_text(here, item.value());
    if (!is_text(text)) refuse(here, "is not the text of a header; give one of a single line");
    if (!is_free_header(item.key())) refuse(here, "frames the request, and cannot be set");
    headers[item.key()] = std::move(text);
  }
  return headers;
}

std::size_t read_choice(const At& at, const json& value, std::span<const std::string_view> words) {
  const std::string text = read_text(at, value);
  const auto found = std::find(words.begin(), words.end(), text);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  std::string choices;
  for (const std::string_view word : words) {
    if (!choices.empty()) choices += word == words.back() ? " or " : ", ";
    choices += "\"" + std::string(word) + "\"";
  }
  refuse_value(at, value, "is not known; use " + choices);
}

std::uint32_t read_words(const At& at, const json& value, std::span<const std::string_view> words) {
  if (!value.is_array()) refuse_value(at, value, "is not a list of strings; write it as [\"…\", \"…\"]");
  std::uint32_t bits = 0;
  for (const json& word : value) bits |= 1U << read_choice(at, word, words);
  return bits;
}

void check_table(const At& at, const json& value) {
  if (!value.is_object())
    refuse_value(at, value, "is not a table; write it as [" + at.path + "], in JSON and in Python as {…}");
}

[[noreturn]] void refuse_unknown(const At& at, const std::vector<std::string_view>& siblings) {
  const std::string nearest = nearest_path(at.path, siblings);
  refuse(at, nearest.empty() ? "unknown option; 'carillon config schema' lists all options"
                             : "unknown option; did you mean '" + nearest + "'?");
}

/// Reads a document to its end, whatever is wrong with it.
class ConfigReader {
 public:
  ServerConfig read(const json& document, ConfigText kind) {
    attempt([&] {
      if (!document.is_object()) refuse({"configuration", {}}, "the top level must be a table");
      has_durability_ =
          kind == ConfigText::as_written && document.contains(json::json_pointer("/store/durability"));
      has_other_subscriptions_ = names_other_subscriptions(document);
      read_table({}, document);
    });
    check_as_a_whole();
    if (!mistakes_.empty()) throw ConfigError(std::move(mistakes_));
    return std::move(config_);
  }

 private:
  // Notes what is wrong, and goes on.
  template <typename Reading>
  void attempt(Reading&& reading) {
    try {
      std::forward<Reading>(reading)();
    } catch (const ConfigError& error) {
      mistakes_.insert(mistakes_.end(), error.mistakes().begin(), error.mistakes().end());
    }
  }

  [[nodiscard]] bool is_refused(std::string_view path) const {
    const std::vector<std::string> keys = at_path(path).keys;
    return std::any_of(mistakes_.begin(), mistakes_.end(),
                       [&](const ConfigMistake& mistake) { return mistake.keys == keys; });
  }

  void read_table(const At& table, const json& value) {
    for (const auto& item : value.items())
      attempt([&] { read_entry(table.in(item.key()), item.key(), item.value()); });
  }

  void read_entry(const At& at, const std::string& name, const json& value) {
    const std::string& path = at.path;
    if (name.find('.') != std::string::npos)
      refuse(at, "the name of an option cannot contain a dot; write '" + path + "' as nested tables");
    if (path == kPatterns) return read_patterns(at, value);
    if (path == kNamespaces) return read_namespaces(at, value);
    if (path == kRpcNamespaces) return read_rpc_namespaces(at, value);
    if (path == kWithoutNamespace)
      return add_rule(at, "*", read_channel(at, value, of_the_family()),
                      ChannelRules::Scope::without_namespace);
    for (const ConfigOption& option : config_options()) {
      if (option.path == path || option.alias == path) return read_option(option, at, value);
    }
    if (is_table(path)) {
      check_table(at, value);
      return read_table(at, value);
    }
    // A channel that names one of the `proxies` as its backend is refused, but for a shared poll.
    if (has_other_subscriptions_ && (is_of_other_subscriptions(path) || path == "proxies")) return;
    if (read_absent(at, path, value, absent_options())) return;
    refuse_unknown(at, names_in(path.substr(0, path.rfind('.') + 1)));
  }

  void read_option(const ConfigOption& option, const At& at, const json& value) {
    const bool is_duration = option.is_duration && at.path == option.path;
    visit_place(config_, option.place, [&]<typename T>(T& place) {
      T read{};
      if constexpr (std::is_same_v<T, std::string>)
        read = read_text(at, value);
      else if constexpr (std::is_same_v<T, bool>)
        read = read_flag(at, value);
      else if constexpr (std::is_same_v<T, std::int64_t>)
        read = is_duration ? read_duration(at, value, option.least, option.most)
                           : read_number(at, value, option.least, option.most);
      else if constexpr (std::is_same_v<T, std::map<std::string, std::string>>)
        read = read_headers(at, value);
      else
        read = read_texts(at, value);
      const std::string given = at.path + (option.may_hide_a_secret() ? "" : " = " + value.dump());
      const auto [first, is_first] = given_.try_emplace(&option, given);
      if (!is_first && read != place)
        refuse_value(at, value,
                     "contradicts " + first->second + ", which is the same option; give one of them");
      place = std::move(read);
    });
  }

  // A feature that is not there: names the options, not the table that holds them. False: it is none of them.
  bool read_absent(const At& at, const std::string& name, const json& value,
                   std::span<const AbsentOption> options) {
    const AbsentOption* const row = find_absent(options, name);
    if (row == nullptr) return false;
    if (value.is_object() && !value.empty()) {
      for (const auto& item : value.items())
        attempt([&] { read_absent(at.in(item.key()), name + "." + item.key(), item.value(), options); });
      return true;
    }
    const std::string only = !row->only.empty() ? std::string(row->only) : is_switch(name) ? "false" : "";
    if (!only.empty() && value.dump() == only) return true;
    refuse(at, std::string(row->what));
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
    for (const std::string_view path : {kNamespaces, kWithoutNamespace, kPatterns, kRpcNamespaces}) add(path);
    return names;
  }

  // What holds in the tables of the family where nothing is given: who is there is told where that is wanted.
  static ChannelOptions of_the_family() {
    ChannelOptions options;
    options.presence = false;
    return options;
  }

  ChannelOptions read_channel(const At& at, const json& table, ChannelOptions options,
                              bool has_name = false) {
    check_table(at, table);
    for (const auto& item : table.items()) {
      if (has_name && item.key() == "name") continue;
      attempt([&] { read_channel_option(options, at.in(item.key()), item.key(), table, item.value()); });
    }
    attempt([&] {
      if (options.auto_cache_recover && options.recovery_mode != RecoveryMode::cache)
        refuse(at.in("auto_cache_recover"), "true needs force_recovery_mode = \"cache\"; set it, too");
    });
    return options;
  }

  void read_channel_option(ChannelOptions& options, const At& at, const std::string& name, const json& table,
                           const json& value) {
    for (const ChannelNumber& row : channel_numbers()) {
      if (row.name == name) {
        row.set(options, row.is_duration ? read_duration(at, value, row.least, row.most)
                                         : read_number(at, value, row.least, row.most));
        return;
      }
      if (row.is_duration && std::string(row.name) + "_ms" == name) {
        const std::int64_t duration_ms = read_number(at, value, row.least, row.most);
        row.set(options, duration_ms);
        const auto twin = table.find(row.name);
        if (twin != table.end() && read_duration(at, *twin, row.least, row.most) != duration_ms)
          refuse_value(at, value,
                       "contradicts " + std::string(row.name) + " = " + twin->dump() +
                           ", which is the same option; give one of them");
        return;
      }
    }
    for (const ChannelFlag& row : channel_flags()) {
      if (row.name == name) {
        options.*(row.field) = read_flag(at, value);
        return;
      }
    }
    for (const ChannelChoice& row : channel_choices()) {
      if (row.name == name) {
        row.set(options, read_choice(at, value, row.words));
        return;
      }
    }
    for (const ChannelWords& row : channel_words()) {
      if (row.name == name) {
        options.*(row.field) = read_words(at, value, row.words);
        return;
      }
    }
    if (has_other_subscriptions(table) && is_of_other_subscriptions(name)) return;
    if (read_absent(at, name, value, absent_channel_options())) return;
    const std::vector<std::string_view> names = channel_option_names();
    refuse_unknown(at, names);
  }

  void read_patterns(const At& at, const json& value) {
    check_table(at, value);
    for (const auto& item : value.items()) {
      attempt([&] {
        const std::string& pattern = item.key();
        const At here = at.as(at.path + ".\"" + pattern + "\"", pattern);
        if (pattern.empty()) refuse(here, "a pattern cannot be empty; \"*\" matches all channels");
        add_rule(here, pattern, read_channel(here, item.value(), {}), ChannelRules::Scope::pattern);
      });
    }
  }

  void read_namespaces(const At& at, const json& value) {
    if (!value.is_array())
      refuse_value(
          at, value,
          "is not a list of tables; write each as [[" + at.path + "]], in JSON and in Python as [{…}]");
    for (std::size_t i = 0; i < value.size(); ++i)
      attempt([&] { read_namespace(at, std::to_string(i), value[i]); });
  }

  void read_namespace(const At& list, const std::string& index, const json& table) {
    const At numbered = list.as(list.path + "[" + index + "]", index);
    check_table(numbered, table);
    std::string name;
    attempt([&] {
      if (!table.contains("name")) refuse(numbered, "has no name; add name = \"…\"");
      const At at = numbered.in("name");
      const std::string text = read_text(at, table["name"]);
      if (text.size() < 2 || text.find_first_not_of("-_0123456789abcdefghijklmnopqrstuvwxyz"
                                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos)
        refuse_value(at, table["name"], "is not a name; use two or more letters, digits, - or _");
      name = text;
    });
    const At named = name.empty() ? numbered : list.as(list.path + "[" + name + "]", index);
    const ChannelOptions options = read_channel(named, table, of_the_family(), true);
    if (!name.empty()) add_rule(named, name + ":*", options, ChannelRules::Scope::by_namespace);
  }

  void read_rpc_namespaces(const At& at, const json& value) {
    if (!value.is_array())
      refuse_value(
          at, value,
          "is not a list of tables; write each as [[" + at.path + "]], in JSON and in Python as [{…}]");
    for (std::size_t i = 0; i < value.size(); ++i)
      attempt([&] { read_rpc_namespace(at, std::to_string(i), value[i]); });
  }

  void read_rpc_namespace(const At& list, const std::string& index, const json& table) {
    const At at = list.as(list.path + "[" + index + "]", index);
    check_table(at, table);
    std::string name;
    bool is_enabled = false;
    for (const auto& item : table.items()) {
      attempt([&] {
        const At here = at.in(item.key());
        if (item.key() == "name") {
          name = read_text(here, item.value());
        } else if (item.key() == "proxy_enabled") {
          is_enabled = read_flag(here, item.value());
        } else if (!read_absent(here, "rpc.without_namespace." + item.key(), item.value(),
                                absent_options())) {
          static constexpr std::array<std::string_view, 2> kNames{"name", "proxy_enabled"};
          refuse_unknown(here, {kNames.begin(), kNames.end()});
        }
      });
    }
    if (name.empty()) refuse(at, "has no name; add name = \"…\"");
    if (!config_.proxies.rpc_namespaces.emplace(name, is_enabled).second)
      refuse(at, "'" + name + "' is named twice; set it in one place");
  }

  void add_rule(const At& at, const std::string& pattern, const ChannelOptions& options,
                ChannelRules::Scope scope) {
    // Names without a namespace and the pattern "*" are two things, but "chat:*" is all of the namespace
    // "chat".
    const bool is_whole = scope == ChannelRules::Scope::without_namespace;
    if (!is_whole && !patterns_.emplace(pattern, at.path).second)
      refuse(at, "these channels are also set by " + patterns_[pattern] + "; set them in one place");
    config_.channels.push_back({pattern, options, scope});
  }

  // Notes a problem of an option whose value is right by itself.
  void note(bool is_wrong, std::string_view path, const std::string& problem) {
    if (is_wrong && !is_refused(path)) attempt([&] { refuse(at_path(path), problem); });
  }

  // The same for one that is a text, which is shown.
  void note_text(bool is_wrong, std::string_view path, const std::string& value, const std::string& problem) {
    note(is_wrong, path, shown(path, "'" + value + "'") + problem);
  }

  // The same for one of a few words.
  void note_word(std::string_view path, const std::string& value,
                 std::initializer_list<std::string_view> words, const std::string& problem) {
    note_text(std::find(words.begin(), words.end(), value) == words.end(), path, value, problem);
  }

  void check_store() {
    std::string& url = config_.store_url;
    if (const std::string lower = with_lower_scheme(url); is_redis_url(url) || lower.starts_with("sqlite:"))
      url = lower;
    note_text(!durability_named(config_.store_durability), "store.durability", config_.store_durability,
              "is not a durability; use \"full\", \"normal\" or \"async\"");
    note_word("store.unavailable", config_.store_unavailable, {"wait", "fail"},
              "is not known; use \"wait\" or \"fail\"");
    note_word("store.loss", config_.store_loss, {"possible", "never"},
              "is not known; use \"possible\" or \"never\"");
    note_text(!is_store_prefix(config_.store_prefix), "store.prefix", config_.store_prefix,
              "is not a prefix; use 1 to 64 letters, digits, -, _ or .");
    note(has_durability_ && !url.starts_with("sqlite:"), "store.durability",
         "is of SQLite, and store.url names another store, which decides that itself; leave this out");
    if (is_redis_url(url)) return check_redis(url);
    check_without_redis();
    const bool is_known = url == "memory" || url.starts_with("sqlite:");
    // What looks like a URL may have a password in it.
    const bool is_shown = url.find_first_of("@/:") == std::string::npos;
    note(!is_known, "store.url",
         (is_shown ? "'" + url + "' " : "") +
             "is not a store; use \"memory\", \"sqlite:PATH\" or \"redis://host\"");
    note(url == "sqlite:", "store.url", "has no path; write it as \"sqlite:carillon.db\"");
    note(
        url.starts_with("sqlite://"), "store.url",
        "has // behind sqlite:, which could be meant in two ways; write \"sqlite:carillon.db\" for a file in "
        "the working directory, or \"sqlite:/path/carillon.db\"");
  }

  // A password or a prefix that nobody uses would only seem to protect.
  void check_without_redis() {
    static const std::string why =
        "is of Redis, and store.url names another store; leave this out, or set store.url = \"redis://host\"";
    for (const auto& [path, value] :
         {std::pair("store.user", &config_.store_user), std::pair("store.password", &config_.store_password),
          std::pair("store.password_file", &config_.store_password_file),
          std::pair("store.sentinel_user", &config_.store_sentinel_user),
          std::pair("store.sentinel_password", &config_.store_sentinel_password),
          std::pair("store.sentinel_password_file", &config_.store_sentinel_password_file),
          std::pair("store.ca_file", &config_.store_ca_file),
          std::pair("store.certificate_file", &config_.store_certificate_file),
          std::pair("store.key_file", &config_.store_key_file)})
      note(!value->empty(), path, why);
    const ServerConfig defaults;
    note(config_.store_prefix != defaults.store_prefix, "store.prefix", why);
    note(config_.store_loss != defaults.store_loss, "store.loss", why);
  }

  static bool is_store_prefix(std::string_view prefix) {
    return !prefix.empty() && prefix.size() <= 64 &&
           prefix.find_first_not_of(
               "-_.0123456789abcdefghijklmnopqrstuvwxyz"
               "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == std::string_view::npos;
  }

  void check_redis(const std::string& url) {
    std::string problem;
    const std::optional<RedisEndpoint> endpoint = parse_redis_url(url, problem);
    note(!endpoint, "store.url", problem);
    if (!endpoint) return;
    note(!endpoint->login.user.empty() && endpoint->login.password.empty() &&
             config_.store_password.empty() && config_.store_password_file.empty(),
         "store.url",
         "has a user without a password; write redis://:PASSWORD@host if it is the password, else give the "
         "password as well, best in store.password_file");
    note(!endpoint->login.user.empty() && !config_.store_user.empty(), "store.user",
         "store.url has a user as well; give one of them");
    note(!endpoint->login.password.empty() && !config_.store_password.empty(), "store.password",
         "store.url has a password as well; give one of them");
    note(!config_.store_password_file.empty() &&
             (!endpoint->login.password.empty() || !config_.store_password.empty()),
         "store.password_file", "the password is given in another place as well; give one of them");
    note(!config_.store_sentinel_password_file.empty() && !config_.store_sentinel_password.empty(),
         "store.sentinel_password_file", "contradicts store.sentinel_password; give one of them");
    for (const auto& [path, value] :
         {std::pair("store.sentinel_user", &config_.store_sentinel_user),
          std::pair("store.sentinel_password", &config_.store_sentinel_password),
          std::pair("store.sentinel_password_file", &config_.store_sentinel_password_file)})
      note(!value->empty() && endpoint->sentinels.empty(), path,
           "store.url has no Sentinel; write it as redis+sentinel://…, or leave this out");
    for (const auto& [path, value] : {std::pair("store.ca_file", &config_.store_ca_file),
                                      std::pair("store.certificate_file", &config_.store_certificate_file),
                                      std::pair("store.key_file", &config_.store_key_file)})
      note(!value->empty() && !endpoint->uses_tls, path,
           "store.url is without TLS; begin it with rediss, or leave this out");
    note(!config_.store_key_file.empty() && config_.store_certificate_file.empty(), "store.key_file",
         "there is no store.certificate_file that it belongs to; give that, too");
    note(config_.store_loss == "never" && !(endpoint->sentinels.empty() && endpoint->cluster_nodes.empty()),
         "store.loss",
         "\"never\" cannot be true with Sentinel or a cluster: a replica takes over without what it has not "
         "received; use \"possible\"");
    const std::int64_t pause_ms = config_.store_retry_pause_ms + config_.store_retry_pause_ms / 2;
    note(config_.store_unavailable == "wait" && config_.store_wait_ms < pause_ms, "store.wait_ms",
         std::to_string(config_.store_wait_ms) +
             " ms are over before a lost link is made again, which takes up to one and a half times "
             "store.retry_pause_ms: nothing would wait for it; give at least " +
             std::to_string(pause_ms) +
             ", or a smaller store.retry_pause_ms, or store.unavailable = \"fail\"");
  }

  void check_as_a_whole() {
    const Heartbeat& heartbeat = config_.heartbeat;
    note(config_.host.empty(), "http_server.address",
         "is empty; give 127.0.0.1 for this machine only, 0.0.0.0 for every address");
    note_text(config_.flush != "auto" && config_.flush != "io_uring" && config_.flush != "send", "flush",
              config_.flush, "is not a flush method; use \"auto\", \"io_uring\" or \"send\"");
    check_store();
    check_operators();
    for (const std::string& pattern : config_.allowed_origins)
      note_text(!can_match_origin(pattern), "client.allowed_origins", pattern,
                "is not an origin; write it as https://host or https://host:port, without a path");
    check_proxies();
    check_tokens("client.token.", config_.token);
    check_tokens("client.subscription_token.", config_.subscription_token);
    note(config_.has_subscription_token && !config_.token.has_keys(), "client.subscription_token.enabled",
         "true, but client.token has no key; who a client is must be proved as well, so give one");
    note(!config_.has_subscription_token && config_.subscription_token.has_keys(),
         "client.subscription_token.enabled",
         "false, but client.subscription_token has a key; set it to true");
    note(config_.has_subscription_token && !config_.subscription_token.has_keys(),
         "client.subscription_token.enabled", "true, but client.subscription_token has no key; give one");
    note(heartbeat.ping_interval_ms > 0 && heartbeat.pong_timeout_ms >= heartbeat.ping_interval_ms &&
             !is_refused("client.ping_interval"),
         "client.pong_timeout",
         format_duration(heartbeat.pong_timeout_ms) + " must be below client.ping_interval (" +
             format_duration(heartbeat.ping_interval_ms) + ")");
    note_text(!is_log_level(config_.log_level), "log.level", config_.log_level,
              "is not a level; use trace, debug, info, warn, error, fatal or none");
    note_text(!config_.api_error_mode.empty() && config_.api_error_mode != "transport", "http_api.error_mode",
              config_.api_error_mode, "is not a mode; use \"transport\" or \"\"");
    const std::string personal = "client.subscribe_to_user_personal_channel.";
    const std::string& name_space = config_.personal_channel_namespace;
    const auto is_it = [&](const ChannelRules::Rule& rule) {
      return rule.scope == ChannelRules::Scope::by_namespace && rule.pattern == name_space + ":*";
    };
    note_text(!name_space.empty() && std::none_of(config_.channels.begin(), config_.channels.end(), is_it),
              personal + "personal_channel_namespace", name_space,
              "is not in channel.namespaces; add it there");
    note(config_.has_single_connection && !config_.has_personal_channel, personal + "single_connection",
         "true needs " + personal + "enabled; set it to true");
    note(config_.api_insecure && !config_.api_key.empty(), "http_api.insecure",
         "true contradicts http_api.key; give one of them");
    const bool is_reachable = !config_.host.empty() && !is_loopback_host(config_.host);
    const std::string reach = "true is refused on http_server.address '" + config_.host +
                              "', which other machines can reach; set it to false and give an http_api.key";
    note(config_.insecure && is_reachable, "client.insecure",
         reach + " and the channels' allow_…_for_client options, or listen on 127.0.0.1");
    note(config_.api_insecure && is_reachable, "http_api.insecure", reach + ", or listen on 127.0.0.1");
  }

  void check_operators() {
    note(config_.internal_port != 0 && config_.internal_port == config_.port, "http_server.internal_port",
         std::to_string(config_.internal_port) + " is http_server.port as well; give another one");
    note(config_.internal_host.empty(), "http_server.internal_address",
         "is empty; give 127.0.0.1 for this machine only, 0.0.0.0 for every address");
    note((config_.insecure || config_.api_insecure) && config_.internal_port != 0 &&
             !config_.internal_host.empty() && !is_loopback_host(config_.internal_host),
         "http_server.internal_address",
         "'" + config_.internal_host +
             "' can be reached by other machines, which insecure mode refuses; give 127.0.0.1");
    const auto check_share = [&](std::string_view path, const std::string& text) {
      note_text(!parse_share(text), path, text,
                "is not a share above 0% and below 100%; write it as \"99.95%\"");
    };
    check_share("objectives.availability", config_.availability_objective);
    check_share("objectives.latency_share", config_.latency_share_objective);
    const auto bound = static_cast<std::uint64_t>(config_.latency_objective_ms) * 1'000'000;
    note(std::find(kDurationBounds.begin(), kDurationBounds.end(), bound) == kDurationBounds.end(),
         "objectives.latency",
         format_duration(config_.latency_objective_ms) +
             " is not a bound of the latency histogram; use 1ms, 5ms, 10ms, 25ms, 50ms, 100ms, 250ms, "
             "500ms, 1s, 5s or 10s");
  }

  void check_proxies() {
    const ProxyOptions& proxies = config_.proxies;
    const auto is_in_channels = [&](bool ChannelOptions::* member) {
      return std::any_of(config_.channels.begin(), config_.channels.end(),
                         [&](const ChannelRules::Rule& rule) { return rule.options.*member; });
    };
    const bool has_rpc = proxies.has_rpc_without_namespace ||
                         std::any_of(proxies.rpc_namespaces.begin(), proxies.rpc_namespaces.end(),
                                     [](const auto& name_space) { return name_space.second; });
    check_proxy(Operation::connect, proxies.connect, proxies.has_connect);
    check_proxy(Operation::refresh, proxies.refresh, proxies.has_refresh);
    check_proxy(Operation::subscribe, proxies.subscribe,
                is_in_channels(&ChannelOptions::subscribe_proxy_enabled));
    check_proxy(Operation::publish, proxies.publish, is_in_channels(&ChannelOptions::publish_proxy_enabled));
    check_proxy(Operation::sub_refresh, proxies.sub_refresh,
                is_in_channels(&ChannelOptions::sub_refresh_proxy_enabled));
    check_proxy(Operation::rpc, proxies.rpc, has_rpc);
  }

  void check_proxy(Operation operation, const ProxyEndpoint& endpoint, bool is_enabled) {
    const std::string path = std::string(ProxyOptions::table_of(operation)) + ".endpoint";
    if (endpoint.endpoint.empty())
      return note(is_enabled, path, "is empty, but this backend is enabled; give the URL of the backend");
    std::string problem;
    const bool is_url = parse_endpoint_url(endpoint.endpoint, problem).has_value();
    note_text(!is_url, path, endpoint.endpoint, problem);
  }

  void check_tokens(const std::string& table, const TokenOptions& options) {
    for (const KeyMistake& mistake : key_mistakes(options))
      note(true, table + std::string(mistake.option), mistake.problem);
    note(!options.hmac_previous_secret_key.empty() && options.hmac_secret_key.empty(),
         table + "hmac_previous_secret_key", "there is no hmac_secret_key that follows it; give that one");
    const std::string& url = options.jwks_public_endpoint;
    note_text(!url.empty() && !url.starts_with("https://") && !url.starts_with("http://"),
              table + "jwks_public_endpoint", url, "is not a URL; write https://…");
  }

  ServerConfig config_;
  bool has_other_subscriptions_ = false;  // somewhere in the document
  bool has_durability_ = false;           // somebody wrote store.durability
  std::vector<ConfigMistake> mistakes_;
  std::map<const ConfigOption*, std::string> given_;  // under which name, and what
  std::map<std::string, std::string> patterns_;       // and where they stand
};

std::string lines_of(const std::vector<ConfigMistake>& mistakes) {
  std::string text;
  for (const ConfigMistake& mistake : mistakes) {
    if (!text.empty()) text += '\n';
    text += mistake.text;
  }
  return text;
}

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

json value_of(const ChannelOptions& options, const ChannelWords& row) {
  json words = json::array();
  for (std::size_t i = 0; i < row.words.size(); ++i)
    if ((options.*(row.field) >> i & 1U) != 0) words.push_back(row.words[i]);
  return words;
}

json channel_to_json(const ChannelOptions& options) {
  json table;
  for (const ChannelNumber& row : channel_numbers()) table[row.name] = value_of(options, row);
  for (const ChannelFlag& row : channel_flags()) table[row.name] = options.*(row.field);
  for (const ChannelChoice& row : channel_choices()) table[row.name] = row.words[row.get(options)];
  for (const ChannelWords& row : channel_words()) table[row.name] = value_of(options, row);
  return table;
}

}  // namespace

ConfigError::ConfigError(std::vector<ConfigMistake> mistakes)
    : std::runtime_error(lines_of(mistakes)), mistakes_(std::move(mistakes)) {}

ServerConfig parse_config(std::string_view text, ConfigText kind) {
  const json document = json::parse(text, nullptr, false);
  if (document.is_discarded()) throw ConfigError("configuration: not valid JSON");
  return ConfigReader().read(document, kind);
}

std::string config_to_json(const ServerConfig& config) {
  json document;
  for (const ConfigOption& option : config_options())
    document[pointer_to(option.path)] = value_of(config, option);
  document["channel"]["namespaces"] = json::array();
  document["rpc"]["namespaces"] = json::array();
  for (const auto& [name, is_enabled] : config.proxies.rpc_namespaces)
    document["rpc"]["namespaces"].push_back({{"name", name}, {"proxy_enabled", is_enabled}});
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
    list.push_back({{"name", name},
                    {"alias", alias},
                    {"type", type},
                    {"default", value},
                    {"doc", doc},
                    {"secret", false}});
  };
  const ServerConfig defaults;
  for (const ConfigOption& option : config_options()) {
    add(option.path, option.alias, option.type(), value_of(defaults, option), option.doc);
    list.back()["secret"] = option.is_secret();
  }
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
  for (const ChannelWords& row : channel_words())
    add(prefix + std::string(row.name), "", "list", value_of(options, row), row.doc);
  add(std::string(kNamespaces), "", "table", json::array(),
      "List of tables, each with a name and the options of without_namespace, for the channels 'name:…'. "
      "Once it or without_namespace is given, channels of other namespaces are unknown.");
  add(std::string(kRpcNamespaces), "", "table", json::array(),
      "List of tables, each with a name and proxy_enabled, for the methods 'name:…' of rpc.");
  add(std::string(kPatterns) + ".\"<pattern>\"", "", "table", json::object(),
      "The same options for the channels that match; * stands for any text, and the longest pattern wins.");
  return list.dump();
}

std::string config_absent() {
  json list = json::array();
  const auto add = [&](const std::string& prefix, const AbsentOption& row) {
    const bool has_switch = row.only.empty() && is_switch(row.pattern);
    list.push_back({{"name", prefix + std::string(row.pattern)},
                    {"what", row.what},
                    {"only", has_switch ? "false" : row.only}});
  };
  for (const AbsentOption& row : absent_options()) add("", row);
  for (const AbsentOption& row : absent_channel_options()) add(std::string(kWithoutNamespace) + ".", row);
  return list.dump();
}

}  // namespace carillon
