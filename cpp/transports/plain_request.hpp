#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hub/hub.hpp"
#include "protocol/query.hpp"
#include "session/access.hpp"
#include "session/session.hpp"
#include "session/subscription_terms.hpp"

namespace carillon {

/// A request to `/sse` or `/poll` (docs/plain-http.md): the channels, and the start in each.
struct PlainRequest {
  struct Wanted {
    std::string channel;
    std::optional<Since> since;  ///< nothing: live from now
    SubscriptionTerms terms;     ///< once it is allowed
  };
  std::vector<Wanted> channels;
  Identity identity;         ///< by the answer to its connect
  std::string claimed_user;  ///< the query's `user`, until the client is identified
};

/// Reads the query's parameters, and where each channel starts: at the position in `last_event_id`; if that
/// has none, where `since` or `last` say. A last event id may come from another server at this address: what
/// is not a position of ours counts as one that cannot be recovered. Nothing: see `refusal`, the reason for
/// status 400. Permissions are not checked here.
[[nodiscard]] std::optional<PlainRequest> read_plain_request(Transport transport, const HttpTarget& target,
                                                             std::string_view last_event_id,
                                                             const SessionContext& context,
                                                             std::string& refusal);

/// What a subscription of a plain transport is like: it asks for all that there is.
[[nodiscard]] SubscriptionTerms plain_terms(const SessionContext& context, const Question& asked,
                                            const SubscriptionOverrides& overrides = {});

/// A `data` parameter must be JSON text, as hooks are given it.
inline constexpr std::string_view kDataIsNotJson =
    "data: not JSON; give any JSON value, percent-encoded, as data=%7B%22room%22%3A7%7D";

}  // namespace carillon
