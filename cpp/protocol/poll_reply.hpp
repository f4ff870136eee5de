#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/publication_view.hpp"

namespace carillon {

class JsonObjectWriter;

// The JSON of the plain transports (design.md section 5), shared by SSE and long-poll. Nothing here writes a
// newline.

/// `{"channel":…,"offset":…,"data":… or "b64":"…","tags":{…}}`; offset is absent when 0, tags when there are
/// none.
void append_publication_object(std::string& out, std::string_view channel,
                               const PublicationView& publication);

/// The fields of such an object from the offset on.
void append_publication_fields(JsonObjectWriter& object, const PublicationView& publication);

/// `{"channel":…,"recovered":…,"epoch":…,"offset":…,"conflated":true}`, all always present but the last one:
/// offsets may be left out on the way, since a newer publication stands for them. `recovered` is null if
/// there was nothing to recover.
void append_status_object(std::string& out, std::string_view channel, std::optional<bool> is_recovered,
                          std::string_view epoch, std::uint64_t offset, bool is_conflated);

/// The body of a poll's 200: `{"publications":[…],"since":"…","status":[…]}`. Both lists are objects joined
/// by ',' or empty; `since` is the text of the positions (position_token.hpp).
void append_poll_reply(std::string& out, std::string_view publications_joined, std::string_view since_token,
                       std::string_view statuses_joined);

}  // namespace carillon
