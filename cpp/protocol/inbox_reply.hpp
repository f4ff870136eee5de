#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/publication_view.hpp"

namespace carillon {

// The JSON of an inbox, shared by the server API and the client protocol's rpc.

/// Channels, and how many of their publications a user has not read.
using UnreadCounts = std::span<const std::pair<std::string, std::uint64_t>>;

/// `{"channel":…,"epoch":…,"offset":…,"data":… or "b64":"…","tags":{…}}`: as the plain transports write it,
/// and the epoch, so that a client can go on from there.
void append_inbox_publication(std::string& out, std::string_view channel, std::string_view epoch,
                              const PublicationView& publication);

/// `{"channel":…,"epoch":…,"gap":{"from":…,"to":…}}`: offsets whose publications have left the history.
void append_inbox_gap(std::string& out, std::string_view channel, std::string_view epoch, std::uint64_t from,
                      std::uint64_t to);

/// `{"items":[…],"unread":{"<channel>":…},"has_more":…,"is_incomplete":…}`; items are objects joined by ','.
void append_inbox_reply(std::string& out, std::string_view items_joined, UnreadCounts unread, bool has_more,
                        bool is_incomplete);

/// `{"unread":{"<channel>":…},"has_more":true}`; the latter only when counts of more channels were left out.
void append_unread_reply(std::string& out, UnreadCounts unread, bool has_more);

}  // namespace carillon
