#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "env/limits.hpp"

namespace carillon {

/// A row of the table of limits: what it is called in the config, and what happens at it.
struct LimitRow {
  std::string_view name;
  std::int64_t Limits::* field;
  std::string_view unit;
  std::int64_t least;       ///< smallest value that makes sense
  std::string_view effect;  ///< what the client (or the publisher) sees
};

inline constexpr std::array kLimitRows{
    LimitRow{"connections", &Limits::connections, "connections", 0,
             "one more is refused: /sse 200 with a retry and an end, everything else 503 with Retry-After, "
             "but /health and the API are answered; 0: as many as the descriptors allow"},
    LimitRow{"accepts_per_s", &Limits::accepts_per_s, "connections", 0,
             "connections that come faster wait in the kernel's backlog; 0: none waits"},
    LimitRow{"accept_burst", &Limits::accept_burst, "connections", 1,
             "so many at once are accepted after a quiet time, whatever accepts_per_s"},
    LimitRow{"handshakes", &Limits::handshakes, "connections", 0,
             "while so many are accepted and not yet clients (a WebSocket by its connect command, others by "
             "their first request), the next ones wait in the kernel's backlog; 0: none waits"},
    LimitRow{"handshake_place_ms", &Limits::handshake_place_ms, "ms", 1,
             "a handshake that takes longer no longer counts among them, so that who says nothing keeps "
             "nobody out"},
    LimitRow{"handshake_timeout_ms", &Limits::handshake_timeout_ms, "ms", 10,
             "a request that is not complete by then is closed with 408; a WebSocket without a connect "
             "command with 3502"},
    LimitRow{"keepalive_timeout_ms", &Limits::keepalive_timeout_ms, "ms", 10,
             "an HTTP connection that is idle for so long is closed"},
    LimitRow{"stall_timeout_ms", &Limits::stall_timeout_ms, "ms", 10,
             "a connection that takes no byte of what waits for it, or whose peer vanished, is dropped"},
    LimitRow{"close_timeout_ms", &Limits::close_timeout_ms, "ms", 10,
             "the peer's end of a closing handshake is awaited for so long, then the connection is dropped"},
    LimitRow{"header_bytes", &Limits::header_bytes, "bytes", 256,
             "a longer request head is answered with 431"},
    LimitRow{"body_bytes", &Limits::body_bytes, "bytes", 1, "a longer request body is answered with 413"},
    LimitRow{
        "body_bytes_total", &Limits::body_bytes_total, "bytes", 1,
        "announced by the request bodies that are being read, of all connections; a request with one more "
        "is answered with 503 and Retry-After"},
    LimitRow{
        "pipelined_bytes", &Limits::pipelined_bytes, "bytes", 256,
        "while a request is unanswered, or a WebSocket's commands are not read, no more than this is read "
        "ahead: the rest waits in the network"},
    LimitRow{"message_bytes", &Limits::message_bytes, "bytes", 64,
             "a longer WebSocket message is closed with 1009 at its header"},
    LimitRow{"publication_bytes", &Limits::publication_bytes, "bytes", 1,
             "a longer payload is refused: error 107, API error 107, PayloadTooLarge in Python"},
    LimitRow{"channel_name_bytes", &Limits::channel_name_bytes, "bytes", 1,
             "a longer name is refused: error 107, HTTP 400, ValueError in Python"},
    LimitRow{"channels_per_connection", &Limits::channels_per_connection, "channels", 1,
             "one more is refused: error 106, HTTP 400"},
    LimitRow{
        "concurrency", &Limits::concurrency, "channels", 0,
        "of one connection whose commands may wait for answers at once; in a channel they are carried out "
        "in order of arrival. 1: as if all were of one channel; 0: no limit"},
    LimitRow{
        "commands_under_way", &Limits::commands_under_way, "commands", 1,
        "of one connection that wait for a hook or the store; beyond it no further command is read until "
        "one is answered"},
    LimitRow{"commands_under_way_bytes", &Limits::commands_under_way_bytes, "bytes", 1,
             "of the commands of one connection that wait for a hook or the store; beyond it no further "
             "command is read until one is answered"},
    LimitRow{"backlog_bytes", &Limits::backlog_bytes, "bytes", 1'024,
             "while more replies wait for a client that does not read them, no further command of it is read "
             "(publications never queue: they wait in the log)"},
    LimitRow{"unsent_bytes_total", &Limits::unsent_bytes_total, "bytes", 65'536,
             "memory of the replies that clients do not read, of all connections; beyond it no further "
             "command of those clients is read, and connections are closed, first those that have held most "
             "for longest without reading: a WebSocket reconnects, the access log has 3008"},
    LimitRow{
        "history_publications", &Limits::history_publications, "publications", 1,
        "a client's history call, and the recovered publications inside one subscribe reply, hold no more; "
        "further recovered ones follow as pushes"},
    LimitRow{"recovery_bytes", &Limits::recovery_bytes, "bytes", 1,
             "recovered publications inside one subscribe reply hold no more; further ones follow as pushes"},
    LimitRow{"poll_publications", &Limits::poll_publications, "publications", 1,
             "a poll's answer holds no more; the next poll gets the rest"},
    LimitRow{"poll_bytes", &Limits::poll_bytes, "bytes", 1,
             "a poll's answer takes no further publication beyond this; the next poll gets the rest. "
             "It is what a client that stalls makes the process hold"},
    LimitRow{"poll_timeout_ms", &Limits::poll_timeout_ms, "ms", 1, "a longer timeout= is cut to this"},
    LimitRow{"broadcast_channels", &Limits::broadcast_channels, "channels", 1,
             "a broadcast to more is refused: API error 107"},
    LimitRow{"kernel_backlog_bytes", &Limits::kernel_backlog_bytes, "bytes", 4'096,
             "that the kernel takes for one connection before it sends them; beyond it a subscriber lags in "
             "the log"},
    LimitRow{"deliveries_per_turn", &Limits::deliveries_per_turn, "deliveries", 1,
             "work of one turn; what is beyond waits for the next one"},
    LimitRow{"deliveries_per_visit", &Limits::deliveries_per_visit, "deliveries", 1,
             "of one turn to one channel; a larger fan-out goes on in the next one, others come in between"},
    LimitRow{"read_ms_per_turn", &Limits::read_ms_per_turn, "ms", 1,
             "reading of one turn; who else has sent something is read in the next one, deliveries come in "
             "between"},
    LimitRow{"batch_bytes", &Limits::batch_bytes, "bytes", 1'024, "publications that leave in one piece"},
    LimitRow{"history_bytes_total", &Limits::history_bytes_total, "bytes", 65'536,
             "beyond it every channel gives up the older half of its history: a resume from there is told "
             "recovered: false"},
    LimitRow{"early_entries", &Limits::early_entries, "publications", 1,
             "announced beyond a hole in the store's order; past it the hole is told as a gap"},
    LimitRow{"dormant_channels", &Limits::dormant_channels, "channels", 16,
             "past it the oldest dormant channel is forgotten: clients see a new epoch"},
    LimitRow{"channel_lifetime_ms", &Limits::channel_lifetime_ms, "ms", 1'000,
             "a dormant channel untouched for so long is forgotten: clients see a new epoch"},
    LimitRow{"idempotency_keys", &Limits::idempotency_keys, "keys", 16,
             "past it the oldest key is forgotten: keys take this times idempotency_key_bytes and "
             "channel_name_bytes at most"},
    LimitRow{"idempotency_key_bytes", &Limits::idempotency_key_bytes, "bytes", 1,
             "a longer key is refused: API error 107, ValueError in Python"},
    LimitRow{"idempotency_window_ms", &Limits::idempotency_window_ms, "ms", 1,
             "a publish retried later than this is a new publication"},
    LimitRow{"bridge_items", &Limits::bridge_items, "items", 16,
             "publications that wait for a Python event loop; beyond it the subscription lags in the log"},
    LimitRow{
        "hook_questions", &Limits::hook_questions, "questions", 16,
        "connects that wait for a hook, and as many subscribes and publishes; the next client is told to "
        "ask again: disconnect 3004, error 100, /poll 503 with Retry-After, /sse 200 with a retry and an "
        "end"},
    LimitRow{"hook_question_bytes", &Limits::hook_question_bytes, "bytes", 65'536,
             "what the questions of hook_questions hold together, counted in the same two parts"},
    LimitRow{"hooks_at_once", &Limits::hooks_at_once, "questions", 1,
             "hooks that run side by side for connects, and as many for subscribes and publishes; further "
             "questions wait for one of them to end, or for their deadline"},
    LimitRow{"inbox_entries", &Limits::inbox_entries, "publications", 1,
             "a user's inbox holds no more; older ones that are not read are merged from the logs when it is "
             "read"},
    LimitRow{
        "inbox_bytes_total", &Limits::inbox_bytes_total, "bytes", 65'536,
        "beyond it a new member is refused (API error 106, ValueError in Python), publications are merged "
        "from the logs when an inbox is read, and what a removed member has not read is forgotten"},
    LimitRow{"inbox_items", &Limits::inbox_items, "items", 1,
             "a read of an inbox that asks for more is refused: error 107, API error 107, ValueError in "
             "Python"},
    LimitRow{"inbox_members_per_turn", &Limits::inbox_members_per_turn, "members", 1,
             "into whose inboxes one turn enters a publication; the others follow in the next ones, "
             "deliveries come in between"},
    LimitRow{"members_per_request", &Limits::members_per_request, "members", 1,
             "more in one request, or asked for in one, are refused: API error 107, ValueError in Python"},
    LimitRow{"fanout_overrides", &Limits::fanout_overrides, "channels", 0,
             "a strategy set by hand for one more channel is refused: API error 106, ValueError in Python"},
};

}  // namespace carillon
