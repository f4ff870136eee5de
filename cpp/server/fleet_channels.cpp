#include "server/fleet_channels.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace carillon {

namespace {

using nlohmann::json;

/// Names are UTF-8: all that lets them in sees to it. Whatever else there is, it throws nothing.
std::string dumped(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string dumped(const ChannelsPage& page) {
  return dumped(json{{"channels", page.subscribers}, {"has_more", page.has_more}});
}

ChannelsPage page_of(const std::string& text) {
  ChannelsPage page;
  const json value = json::parse(text, nullptr, false);
  if (!value.is_object()) return page;
  const auto has_more = value.find("has_more");
  page.has_more = has_more != value.end() && has_more->is_boolean() && has_more->get<bool>();
  const auto channels = value.find("channels");
  if (channels == value.end() || !channels->is_object()) return page;
  for (const auto& [name, count] : channels->items()) {
    if (count.is_number_unsigned()) page.subscribers[name] = count.get<std::uint64_t>();
  }
  return page;
}

/// One page of several. What lies behind the end of one that has more is not complete yet.
ChannelsPage sum_of(const std::vector<ChannelsPage>& pages) {
  ChannelsPage sum;
  std::optional<std::string> end;
  for (const ChannelsPage& page : pages) {
    for (const auto& [name, count] : page.subscribers) sum.subscribers[name] += count;
    if (!page.has_more || page.subscribers.empty()) continue;
    const std::string& last = page.subscribers.rbegin()->first;
    end = end ? std::min(*end, last) : last;
    sum.has_more = true;
  }
  if (end) sum.subscribers.erase(sum.subscribers.upper_bound(*end), sum.subscribers.end());
  return sum;
}

}  // namespace

FleetChannels::FleetChannels(Hub& hub, Fleet& fleet) : hub_(hub), fleet_(fleet) {
  fleet_.set_topic("channels", [this](std::string_view question, Fleet::Answer answer) {
    const json value = json::parse(question, nullptr, false);
    if (!value.is_object()) return answer("");
    ChannelsQuery query;
    try {
      query.pattern = value.value("pattern", "*");
      query.after = value.value("after", "");
      query.bytes_max = value.value("bytes_max", std::size_t{1'000'000});
    } catch (const json::exception&) {
      return answer("");  // of a version that writes it otherwise
    }
    hub_.list_channels(std::move(query),
                       [answer = std::move(answer)](const ChannelsPage& page) { answer(dumped(page)); });
  });
}

void FleetChannels::list(ChannelsQuery query, std::function<void(ChannelsPage)> done) {
  if (!fleet_.is_shared()) return hub_.list_channels(std::move(query), std::move(done));
  json question{{"pattern", query.pattern}, {"after", query.after}, {"bytes_max", query.bytes_max}};
  hub_.list_channels(std::move(query), [this, question = dumped(question),
                                        done = std::move(done)](const ChannelsPage& here) {
    fleet_.ask("channels", question, [here, done](const std::vector<std::string>& answers) {
      std::vector<ChannelsPage> pages{here};
      for (const std::string& answer : answers) pages.push_back(page_of(answer));
      done(sum_of(pages));
    });
  });
}

}  // namespace carillon
