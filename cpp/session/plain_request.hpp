#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hub/hub.hpp"
#include "protocol/query.hpp"
#include "session/session.hpp"

namespace carillon {

/// What `/sse` and `/poll` ask for (design.md section 5): the channels, and where to go on in each.
struct PlainRequest {
  struct Wanted {
    std::string channel;
    std::optional<Since> since;  ///< nothing: live from now
  };
  std::vector<Wanted> channels;
  Identity identity;         ///< by the answer to its connect
  std::string claimed_user;  ///< the query's `user`, until it is known who the client is
};

/// Why such a request is refused.
struct PlainRefusal {
  int status = 400;
  std::string reason;
};

/// Reads `user`, `channel` parameters and the position token (`position` empty: none). Nothing: see
/// `refusal`. Whether the client may is not asked here.
[[nodiscard]] std::optional<PlainRequest> read_plain_request(const HttpTarget& target,
                                                             std::string_view position,
                                                             const SessionContext& context,
                                                             PlainRefusal& refusal);

}  // namespace carillon
