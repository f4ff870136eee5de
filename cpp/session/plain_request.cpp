#include "session/plain_request.hpp"

#include <algorithm>

#include "protocol/position_token.hpp"

namespace carillon {

std::optional<PlainRequest> read_plain_request(const HttpTarget& target, std::string_view position,
                                               const SessionContext& context, PlainRefusal& refusal) {
  const auto refuse = [&](int status, std::string reason) {
    refusal = {status, std::move(reason)};
    return std::nullopt;
  };
  const std::vector<std::string_view> names = target.find_all("channel");
  if (names.empty()) return refuse(400, "channel: name at least one, as in ?channel=news");
  if (names.size() > static_cast<std::size_t>(context.limits.channels_per_connection)) {
    return refuse(400, "channel: more than limits.channels_per_connection (" +
                           std::to_string(context.limits.channels_per_connection) + ")");
  }
  std::vector<TokenPart> parts;
  if (!position.empty()) {
    if (!parse_position_token(position, parts)) {
      return refuse(400,
                    "since: not a position token; it is <epoch>:<offset> for each channel, joined by ','");
    }
    if (parts.size() != names.size()) {
      return refuse(400, "since: " + std::to_string(parts.size()) + " positions for " +
                             std::to_string(names.size()) +
                             " channels; give one for each, in their order ('-' for none)");
    }
  }
  PlainRequest request;
  request.claimed_user = target.find("user").value_or("");
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!is_channel_name(names[i], context.limits)) {
      return refuse(400, "channel: a name is 1 to " + std::to_string(context.limits.channel_name_bytes) +
                             " bytes of UTF-8 without control characters");
    }
    const bool is_repeated =
        std::any_of(request.channels.begin(), request.channels.end(),
                    [&](const PlainRequest::Wanted& known) { return known.channel == names[i]; });
    if (is_repeated) return refuse(400, "channel: '" + std::string(names[i]) + "' is named twice");
    if (!context.hub.is_known(names[i])) {
      return refuse(400, "channel: '" + std::string(names[i]) + "' belongs to no configured namespace");
    }
    PlainRequest::Wanted wanted{std::string(names[i]), std::nullopt};
    if (!parts.empty() && parts[i].has_position())
      wanted.since = Since::from(parts[i].epoch, parts[i].offset);
    request.channels.push_back(std::move(wanted));
  }
  return request;
}

}  // namespace carillon
