#include "transports/plain_request.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "protocol/json_span.hpp"
#include "protocol/names.hpp"
#include "requests/checks.hpp"
#include "requests/since.hpp"

namespace carillon {

namespace {

/// A position in an epoch that is not ours: nothing can be recovered from it.
Since foreign_position() { return since_of(TokenPart{"foreign", 0}).value(); }

/// Where the query's channels start.
struct QueryStart {
  std::optional<Since> of_all;
  std::vector<TokenPart> parts;  ///< else: one for each channel, or none

  [[nodiscard]] std::optional<Since> of(std::size_t channel) const {
    return parts.empty() ? of_all : since_of(parts[channel]);
  }
};

/// Why it is refused; empty: it is not.
std::string read_start(const HttpTarget& target, std::size_t channels, QueryStart& start) {
  const std::string_view since = target.find("since").value_or("");
  const std::optional<std::string_view> last = target.find("last");
  if (last && !since.empty()) return "since and last: both are given; give one of them";
  if (last) {
    start.of_all = parse_last(*last);
    if (!start.of_all) return "last: not a whole number; give the number of publications, as in last=20";
    return {};
  }
  if (since.empty()) return {};
  if (!parse_position_token(since, start.parts)) {
    return "since: not a position; give epoch:offset or oldest for each channel, joined by ','";
  }
  if (start.parts.size() == 1 && start.parts.front().is_oldest) {
    start.of_all = Since::oldest();
    start.parts.clear();
  } else if (start.parts.size() != channels) {
    return "since: " + std::to_string(start.parts.size()) + " positions for " + std::to_string(channels) +
           " channels; give one for each, in their order ('-' for none)";
  }
  return {};
}

/// Message about a parameter that is not known; empty: all are. SDKs begin theirs with `cf_`, libraries that
/// keep answers out of caches with `_`.
std::string unknown_parameter(Transport transport, const HttpTarget& target) {
  static constexpr std::array<std::string_view, 8> kKnown{"channel", "since", "last",    "user",
                                                          "token",   "data",  "timeout", "lastEventId"};
  // A poll has its position in `since` alone.
  const auto known = std::span(kKnown).first(transport == Transport::sse ? 8 : 7);
  for (const auto& [name, value] : target.parameters) {
    if (name.starts_with("cf_") || name.starts_with('_')) continue;
    if (std::find(known.begin(), known.end(), name) == known.end())
      return unknown_name("parameter", name, known);
  }
  return {};
}

}  // namespace

std::optional<PlainRequest> read_plain_request(Transport transport, const HttpTarget& target,
                                               std::string_view last_event_id, const SessionContext& context,
                                               std::string& refusal) {
  const auto refuse = [&](std::string reason) {
    refusal = std::move(reason);
    return std::nullopt;
  };
  if (std::string reason = unknown_parameter(transport, target); !reason.empty())
    return refuse(std::move(reason));
  if (const auto data = target.find("data"); data && !data->empty() && !is_json(*data))
    return refuse(std::string(kDataIsNotJson));
  const std::vector<std::string_view> names = target.find_all("channel");
  if (names.empty()) return refuse("channel: name at least one, as in ?channel=news");
  if (names.size() > static_cast<std::size_t>(context.limits.channels_per_connection)) {
    return refuse("channel: more than limits.channels_per_connection (" +
                  std::to_string(context.limits.channels_per_connection) + ")");
  }
  QueryStart start;
  if (std::string reason = read_start(target, names.size(), start); !reason.empty())
    return refuse(std::move(reason));
  std::vector<TokenPart> received;  // the client has everything up to there
  const bool is_foreign = !last_event_id.empty() &&
                          (!parse_position_token(last_event_id, received) || received.size() != names.size());
  PlainRequest request;
  request.claimed_user = target.find("user").value_or("");
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!is_channel_name(names[i], context.limits)) {
      return refuse("channel: a name is 1 to " + std::to_string(context.limits.channel_name_bytes) +
                    " bytes of UTF-8 without control characters");
    }
    const bool is_repeated =
        std::any_of(request.channels.begin(), request.channels.end(),
                    [&](const PlainRequest::Wanted& known) { return known.channel == names[i]; });
    if (is_repeated) return refuse("channel: '" + std::string(names[i]) + "' is named twice");
    if (!context.hub.is_known(names[i])) {
      return refuse("channel: '" + std::string(names[i]) + "' belongs to no configured namespace");
    }
    if (!context.hub.options_for(names[i]).is_stream()) {
      return refuse("channel: '" + std::string(names[i]) + "' has a subscription_type that is not available");
    }
    std::optional<Since> since;
    if (is_foreign) {
      since = foreign_position();
    } else if (!received.empty()) {
      since = since_of(received[i]);
    }
    if (!since) since = start.of(i);
    request.channels.push_back({std::string(names[i]), since, {}});
  }
  return request;
}

SubscriptionTerms plain_terms(const SessionContext& context, const Question& asked,
                              const SubscriptionOverrides& overrides) {
  return terms_of(context.access, asked, context.hub.options_for(asked.channel), {true, true, true},
                  overrides);
}

}  // namespace carillon
