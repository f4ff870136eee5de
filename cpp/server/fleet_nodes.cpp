#include "server/fleet_nodes.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

namespace carillon {

namespace {

using nlohmann::json;

std::string written(const NodeInfo& node) {
  return json{{"uid", node.uid},
              {"name", node.name},
              {"version", node.version},
              {"address", node.address},
              {"clients", node.clients},
              {"users", node.users},
              {"subscriptions", node.subscriptions},
              {"channels", node.channels},
              {"uptime_s", node.uptime_s},
              {"is_draining", node.is_draining}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

/// Nothing: it is of a version that has no such answer. What another version leaves out is 0 or "".
std::optional<NodeInfo> read(const std::string& text) {
  const json value = json::parse(text, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  const auto text_of = [&](const char* name) {
    const auto found = value.find(name);
    return found != value.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto number_of = [&](const char* name) {
    const auto found = value.find(name);
    return found != value.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  };
  const auto draining = value.find("is_draining");
  return NodeInfo{.uid = text_of("uid"),
                  .name = text_of("name"),
                  .version = text_of("version"),
                  .address = text_of("address"),
                  .clients = number_of("clients"),
                  .users = number_of("users"),
                  .subscriptions = number_of("subscriptions"),
                  .channels = number_of("channels"),
                  .uptime_s = number_of("uptime_s"),
                  .is_draining = draining != value.end() && draining->is_boolean() && draining->get<bool>()};
}

}  // namespace

FleetNodes::FleetNodes(Fleet& fleet, Describe here) : fleet_(fleet), here_(std::move(here)) {
  fleet_.set_topic("node", [this](std::string_view, Fleet::Answer answer) {
    here_([answer = std::move(answer)](const NodeInfo& node) { answer(written(node)); });
  });
}

void FleetNodes::list(std::function<void(std::vector<NodeInfo>)> done) {
  here_([this, done = std::move(done)](const NodeInfo& here) {
    fleet_.ask("node", "", [here, done](const std::vector<std::string>& answers) {
      std::vector<NodeInfo> nodes{here};
      for (const std::string& answer : answers)
        if (auto node = read(answer)) nodes.push_back(std::move(*node));
      std::sort(nodes.begin(), nodes.end(), [](const NodeInfo& a, const NodeInfo& b) {
        return std::tie(a.address, a.uid) < std::tie(b.address, b.uid);
      });
      done(std::move(nodes));
    });
  });
}

}  // namespace carillon
