#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/publication_view.hpp"

namespace carillon {

// Pieces of a text/event-stream (WHATWG HTML section 9.2; design.md section 5). An event is [id line] + one
// of the blocks below; a block ends with the empty line. Write an event in one piece, never split into two.

/// `retry: <ms>` as a block of its own, without event.
void append_sse_retry(std::string& out, std::uint64_t retry_ms);
/// The same as the first line of the event that follows.
void append_sse_retry_line(std::string& out, std::uint64_t retry_ms);

/// Block `event: status` with the status object of poll_reply.hpp. Preceded by an id line it gives a client
/// that has received nothing yet a position to come back with.
void append_sse_status(std::string& out, std::string_view channel, std::optional<bool> is_recovered,
                       std::string_view epoch, std::uint64_t offset, bool is_conflated);

/// Block `event: status` with `{"code":…,"reason":…}`: why the stream ends.
void append_sse_end(std::string& out, std::uint32_t code, std::string_view reason);

/// Block `data: {…}` with the publication object of poll_reply.hpp; the same bytes for all streams.
void append_sse_data(std::string& out, std::string_view channel, const PublicationView& publication);

/// Block `event: join` or `event: leave` (`kind`) with `{"channel":…,"info":…}`; `info_json` as
/// append_client_info() writes it.
void append_sse_notice(std::string& out, std::string_view kind, std::string_view channel,
                       std::string_view info_json);

/// `id: <token>` and one LF: the first line of an event, to be followed by a block. `token` is a position
/// token.
void append_sse_id(std::string& out, std::string_view token);

/// An empty comment, the heartbeat.
void append_sse_comment(std::string& out);

}  // namespace carillon
