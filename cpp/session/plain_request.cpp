#include "session/plain_request.hpp"

#include <algorithm>

#include "protocol/position_token.hpp"
#include "requests/checks.hpp"

namespace carillon {

namespace {
/// A position in an epoch that is not ours: nothing can be recovered from it.
const Since kForeign = Since::from("foreign", 0);
}  // namespace

std::optional<PlainRequest> read_plain_request(const HttpTarget& target, std::string_view last_event_id,
                                               const SessionContext& context, std::string& refusal) {
  const auto refuse = [&](std::string reason) {
    refusal = std::move(reason);
    return std::nullopt;
  };
  const std::vector<std::string_view> names = target.find_all("channel");
  if (names.empty()) return refuse("channel: name at least one, as in ?channel=news");
  if (names.size() > static_cast<std::size_t>(context.limits.channels_per_connection)) {
    return refuse("channel: more than limits.channels_per_connection (" +
                  std::to_string(context.limits.channels_per_connection) + ")");
  }
  std::vector<TokenPart> parts;
  bool is_foreign = false;
  if (!last_event_id.empty()) {
    is_foreign = !parse_position_token(last_event_id, parts) || parts.size() != names.size();
  } else if (const std::string_view since = target.find("since").value_or(""); !since.empty()) {
    if (!parse_position_token(since, parts)) {
      return refuse("since: not a position token; it is <epoch>:<offset> for each channel, joined by ','");
    }
    if (parts.size() != names.size()) {
      return refuse("since: " + std::to_string(parts.size()) + " positions for " +
                    std::to_string(names.size()) +
                    " channels; give one for each, in their order ('-' for none)");
    }
  }
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
    PlainRequest::Wanted wanted{std::string(names[i]), std::nullopt};
    if (is_foreign) {
      wanted.since = kForeign;
    } else if (!parts.empty() && parts[i].has_position()) {
      wanted.since = Since::from(parts[i].epoch, parts[i].offset);
    }
    request.channels.push_back(std::move(wanted));
  }
  return request;
}

}  // namespace carillon
