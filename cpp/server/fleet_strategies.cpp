#include "server/fleet_strategies.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace carillon {

using nlohmann::json;

FleetStrategies::FleetStrategies(Hub& hub, const Limits& limits, Fleet& fleet)
    : here_(hub, limits), fleet_(fleet) {
  fleet_.set_order("strategy", [this](std::string_view question, const Fleet::Answer& answer) {
    const json value = json::parse(question, nullptr, false);
    const auto field = [&](const char* name) {
      return value.is_object() && value.contains(name) ? value[name] : json();
    };
    const json channel = field("channel");
    const json strategy = field("strategy");
    const json threshold = field("threshold");
    // Whoever told it has checked it, by rules that may be others than those here.
    if (channel.is_string() && strategy.is_string()) {
      static_cast<void>(here_.set_fan_out(
          channel.get_ref<const std::string&>(), strategy.get_ref<const std::string&>(),
          threshold.is_number_integer() ? std::optional(threshold.get<std::int64_t>()) : std::nullopt));
    }
    answer("");
  });
}

Refusal FleetStrategies::set_fan_out(std::string_view channel, std::string_view strategy,
                                     std::optional<std::int64_t> threshold) {
  Refusal refusal = here_.set_fan_out(channel, strategy, threshold);
  if (refusal.is_refused() || !fleet_.is_shared()) return refusal;
  json question{{"channel", channel}, {"strategy", strategy}};
  if (threshold) question["threshold"] = *threshold;
  fleet_.order("strategy", question.dump(-1, ' ', false, json::error_handler_t::replace),
               [](const std::vector<std::string>&) {});
  return refusal;
}

}  // namespace carillon
