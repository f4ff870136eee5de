#include "server/reload.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "protocol/api_answer.hpp"
#include "protocol/centrifuge_codes.hpp"
#include "server/config_options.hpp"
#include "store/redis/redis_url.hpp"

namespace carillon {

using nlohmann::json;

namespace {

/// Why options are read only at the start, by the beginning of their path. Limits that are not listed here,
/// and everything that is_reloaded() names, can be changed by a reload.
struct FixedOptions {
  std::string_view path;
  std::string_view why;
  bool moves_on_takeover = true;  ///< a process that takes over may have another value
};
constexpr std::array kFixedOptions{
    FixedOptions{"http_server.internal_address", "the socket listens already"},
    FixedOptions{"http_server.internal_port", "the socket listens already"},
    FixedOptions{"prometheus.", "the address for operators is opened, or not, at the start"},
    FixedOptions{"objectives.", "events are counted by them since the start"},
    FixedOptions{"http_server.", "the socket listens already", false},
    FixedOptions{"threads", "connections belong to the threads that there are"},
    FixedOptions{"flush", "each thread has its way of sending"},
    FixedOptions{"store.", "the logs are in the store"},
    FixedOptions{"client.ping_interval", "clients were told it when they connected"},
    FixedOptions{"client.pong_timeout", "clients were told it when they connected"},
    FixedOptions{"heartbeat.", "open streams have their timers by it"},
    FixedOptions{"takeover.socket", "the process waits for its successor there already", false},
    FixedOptions{"takeover.", "the process waits for its successor already"},
    FixedOptions{"client.proxy.", "each thread has its connections to the backends already"},
    FixedOptions{"channel.proxy.", "each thread has its connections to the backends already"},
    FixedOptions{"rpc.", "each thread has its connections to the backends already"},
    FixedOptions{"limits.proxy_requests", "each thread has set up its requests to backends already"},
    FixedOptions{"limits.proxy_waiting", "each thread has set up its requests to backends already"},
    FixedOptions{"limits.proxy_waiting_bytes", "each thread has set up its requests to backends already"},
    FixedOptions{"limits.proxy_reply_bytes", "each thread has set up its requests to backends already"},
    FixedOptions{"limits.proxy_idle_connections", "each thread has set up its requests to backends already"},
    FixedOptions{"limits.proxy_idle_timeout_ms", "each thread has set up its requests to backends already"},
    FixedOptions{"limits.fleet_answer_timeout_ms", "it is read once, at the start"},
    FixedOptions{"limits.fleet_questions", "it is read once, at the start"},
    FixedOptions{"limits.fleet_waiting_bytes", "it is read once, at the start"},
    FixedOptions{"limits.kernel_backlog_bytes", "it is set on the listening sockets"},
    FixedOptions{"limits.stall_timeout_ms", "it is set on the listening sockets"},
};
constexpr std::array kReloadedTables{std::string_view("client.token."),
                                     std::string_view("client.subscription_token."),
                                     std::string_view("client.subscribe_to_user_personal_channel."),
                                     std::string_view("shutdown."), std::string_view("http_api.")};
constexpr std::array kReloadedOptions{std::string_view("client.insecure"),
                                      std::string_view("client.allowed_origins"),
                                      std::string_view("client.allow_anonymous_connect_without_token"),
                                      std::string_view("client.disallow_anonymous_connection_tokens")};

const FixedOptions* find_fixed(const ConfigOption& option) {
  const auto found = std::find_if(kFixedOptions.begin(), kFixedOptions.end(), [&](const FixedOptions& row) {
    return row.path.ends_with('.') ? option.path.starts_with(row.path) : option.path == row.path;
  });
  return found == kFixedOptions.end() ? nullptr : &*found;
}

bool is_limit(const ConfigOption& option) {
  return std::holds_alternative<std::int64_t Limits::*>(option.place);
}

/// Public keys are hidden like secrets: they are long, and of no use to the reader.
bool is_hidden(const ConfigOption& option) {
  return option.is_secret() || option.path.ends_with("_public_key") || option.path == "store.url";
}

json shown(const ConfigOption& option, const json& value, bool is_after, const json& other) {
  if (option.path == "store.url" &&
      without_password(value.get<std::string>()) != without_password(other.get<std::string>()))
    return without_password(value.get<std::string>());
  if (!is_hidden(option)) return value;
  if (value == "" || (value.is_object() && value.empty())) return value;
  const bool was_set = other != "" && !(other.is_object() && other.empty());
  return is_after && was_set ? "(changed)" : "(set)";
}

json at(const json& document, std::string path) {
  std::replace(path.begin(), path.end(), '.', '/');
  return document.at(json::json_pointer("/" + path));
}

/// `change`: of a secret it says "(set)" at most.
std::string refusal_of(const ConfigChange& change, std::string_view why, bool moves_on_takeover = true) {
  return change.option + ": is " + change.before + " and cannot become " + change.after +
         " while this process runs, because " + std::string(why) +
         "; nothing was reloaded. Set it back to reload the rest, or start " +
         (moves_on_takeover
              ? "a new process with it that takes over: carillon serve --takeover, in Python "
                "Server.take_over()"
              : "the server anew: a new process cannot take over with another value of this option");
}

/// The tables of channels by the path that messages have for them.
std::map<std::string, json> channel_tables(const json& document) {
  std::map<std::string, json> tables;
  const json& channel = document.at("channel");
  if (channel.contains("without_namespace"))
    tables.emplace("channel.without_namespace", channel.at("without_namespace"));
  for (json table : channel.at("namespaces")) {
    const std::string name = table.at("name").get<std::string>();
    table.erase("name");
    tables.emplace("channel.namespaces[" + name + "]", std::move(table));
  }
  for (const auto& [pattern, table] : document.at("channels").items())
    tables.emplace("channels.\"" + pattern + "\"", table);
  return tables;
}

/// What is not as by default.
json chosen_of(const json& table) {
  static const json defaults = [] {
    ServerConfig config;
    config.channels.push_back({"*", {}, ChannelRules::Scope::pattern});
    return json::parse(config_to_json(config)).at("channels").at("*");
  }();
  json chosen = json::object();
  for (const auto& [name, value] : table.items())
    if (!defaults.contains(name) || defaults.at(name) != value) chosen[name] = value;
  return chosen;
}

void compare_channels(const json& before, const json& after, std::vector<ConfigChange>& changes) {
  const std::map<std::string, json> old_tables = channel_tables(before);
  const std::map<std::string, json> new_tables = channel_tables(after);
  for (const auto& [path, old_table] : old_tables) {
    const auto found = new_tables.find(path);
    if (found == new_tables.end()) {
      changes.push_back({path, chosen_of(old_table).dump(), "null"});
      continue;
    }
    for (const auto& [name, value] : old_table.items()) {
      const json& other = found->second.at(name);
      if (value != other) changes.push_back({path + "." + name, value.dump(), other.dump()});
    }
  }
  for (const auto& [path, table] : new_tables)
    if (!old_tables.contains(path)) changes.push_back({path, "null", chosen_of(table).dump()});
}

std::string lines_of(const std::vector<std::string>& reasons) {
  std::string text;
  for (const std::string& reason : reasons) {
    if (!text.empty()) text += '\n';
    text += reason;
  }
  return text;
}

HttpResponse failure_of(int status, const std::vector<std::string>& reasons) {
  const std::uint32_t code = status == 400   ? kErrorBadRequest.code
                             : status == 409 ? kErrorNotAvailable.code
                                             : kErrorInternal.code;
  HttpResponse response;
  response.status = status;
  response.reason = "the configuration was not reloaded";  // the log has the reasons in a record of their own
  response.body =
      json{{"error", {{"code", code}, {"message", lines_of(reasons)}, {"mistakes", reasons}}}}.dump();
  return response;
}

}  // namespace

bool is_reloaded(const ConfigOption& option) {
  if (find_fixed(option) != nullptr) return false;
  if (is_limit(option)) return true;
  const std::string_view path = option.path;
  return std::find(kReloadedOptions.begin(), kReloadedOptions.end(), path) != kReloadedOptions.end() ||
         std::any_of(kReloadedTables.begin(), kReloadedTables.end(),
                     [path](std::string_view table) { return path.starts_with(table); });
}

ConfigDifference difference_of(const ServerConfig& before, const ServerConfig& after) {
  const json old_document = json::parse(config_to_json(before));
  const json new_document = json::parse(config_to_json(after));
  ConfigDifference difference;
  for (const ConfigOption& option : config_options()) {
    const json old_value = at(old_document, option.path);
    const json new_value = at(new_document, option.path);
    if (old_value == new_value) continue;
    difference.options.push_back(&option);
    const ConfigChange change{option.path, shown(option, old_value, false, new_value).dump(),
                              shown(option, new_value, true, old_value).dump()};
    difference.changes.push_back(change);
    if (!is_reloaded(option)) {
      const FixedOptions* const row = find_fixed(option);
      difference.refusals.push_back(row != nullptr ? refusal_of(change, row->why, row->moves_on_takeover)
                                                   : refusal_of(change, "it is read only at the start"));
    } else if (option.path.ends_with(".insecure") && new_value == true) {
      difference.refusals.push_back(
          refusal_of(change, "clients that are connected, and the other listeners, were accepted by rules"));
    }
  }
  const std::size_t options = difference.changes.size();
  compare_channels(old_document, new_document, difference.changes);
  difference.has_other_channels = difference.changes.size() > options;
  return difference;
}

std::string to_json(const std::vector<ConfigChange>& changes) {
  json list = json::array();
  for (const ConfigChange& change : changes)
    list.push_back(
        {{"option", change.option}, {"old", json::parse(change.before)}, {"new", json::parse(change.after)}});
  return list.dump();
}

ReloadRefused::ReloadRefused(const std::vector<std::string>& reasons)
    : std::runtime_error(lines_of(reasons)) {}

// ---- requests of the HTTP API

void ReloadRequests::begin(Respond respond) {
  std::uint64_t request = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!respond_) {
      request = ++last_;
      respond_ = respond;
    }
  }
  if (request == 0)
    return respond(failure_of(409, {"another reload is under way, and the configuration was not read; try "
                                    "again when that one is answered"}));
  if (!queue_ || !queue_->push_reload(request))
    fail(request, 503, {"no application reads the configuration of this server; start it by carillon serve"});
}

ReloadRequests::Respond ReloadRequests::take(std::uint64_t request) {
  const std::lock_guard lock(mutex_);
  return request == last_ ? std::exchange(respond_, nullptr) : nullptr;
}

bool ReloadRequests::succeed(std::uint64_t request, std::string_view changes_json) {
  const Respond respond = take(request);
  if (!respond) return false;
  HttpResponse response;
  append_api_result(response.body, "{\"changes\":" + std::string(changes_json) + "}");
  respond(std::move(response));
  return true;
}

bool ReloadRequests::fail(std::uint64_t request, int status, const std::vector<std::string>& reasons) {
  const Respond respond = take(request);
  if (!respond) return false;
  respond(failure_of(status, reasons));
  return true;
}

void ReloadRequests::clear() {
  Respond forgotten;  // destroyed without the lock: it may own anything
  const std::lock_guard lock(mutex_);
  forgotten.swap(respond_);
}

}  // namespace carillon
