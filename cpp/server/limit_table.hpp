#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "env/limits.hpp"

namespace carillon {

/// A row of the table of limits.
struct LimitRow {
  std::string_view name;  ///< in the table `limits` of the configuration
  std::int64_t Limits::* field;
  std::string_view unit;
  std::int64_t least;    ///< smallest value that is accepted
  std::string_view doc;  ///< what it bounds, and what a client or publisher sees beyond it
};

inline constexpr std::array kLimitRows{
    LimitRow{"connections", &Limits::connections, "connections", 0,
             "Maximum number of connections; 0: as many as the file descriptors allow. Beyond it /sse "
             "answers 200 with retry: and ends, everything else 503 with Retry-After. /health and the HTTP "
             "API are still answered."},
    LimitRow{"user_connections", &Limits::user_connections, "connections", 0,
             "Maximum number of connections of one user, from SDKs and unidirectional clients; 0: unlimited. "
             "Further ones are closed with 3504. Anonymous clients, /sse and /poll are not counted."},
    LimitRow{"accepts_per_s", &Limits::accepts_per_s, "connections", 0,
             "Maximum rate of accepting connections, per second; 0: unlimited. Faster ones wait in the "
             "kernel's accept queue."},
    LimitRow{
        "accept_burst", &Limits::accept_burst, "connections", 1,
        "Connections accepted at once after a quiet period, regardless of client.connection_rate_limit."},
    LimitRow{"handshakes", &Limits::handshakes, "connections", 0,
             "Maximum number of handshakes under way; 0: unlimited. Further connections wait in the kernel's "
             "accept queue. A handshake ends with the connect command of a WebSocket, or with the first "
             "request of any other connection."},
    LimitRow{"handshake_place_ms", &Limits::handshake_place_ms, "ms", 1,
             "Time after which a handshake no longer counts towards limits.handshakes, ms, so that silent "
             "connections cannot block new ones."},
    LimitRow{"handshake_timeout_ms", &Limits::handshake_timeout_ms, "ms", 10,
             "Maximum duration of a handshake. An incomplete request is answered with 408; a WebSocket "
             "without a connect command is closed with 3502."},
    LimitRow{"keepalive_timeout_ms", &Limits::keepalive_timeout_ms, "ms", 10,
             "Time after which an idle HTTP connection is closed, ms."},
    LimitRow{"expired_close_delay_ms", &Limits::expired_close_delay_ms, "ms", 0,
             "Time that a client has to send a new token after its token has expired, ms; then it is closed "
             "with 3005. Event streams end when the token expires."},
    LimitRow{"expired_sub_close_delay_ms", &Limits::expired_sub_close_delay_ms, "ms", 0,
             "The same for the token of a subscription, which then ends with code 2501."},
    LimitRow{"refresh_retry_ms", &Limits::refresh_retry_ms, "ms", 1'000,
             "Time for which a connection or a subscription goes on if its hook (on_refresh, on_sub_refresh) "
             "gives no answer, ms. Then the hook is asked again."},
    LimitRow{"token_bytes", &Limits::token_bytes, "bytes", 64,
             "Maximum size of a token, bytes. A longer one is refused as invalid."},
    LimitRow{"stall_timeout_ms", &Limits::stall_timeout_ms, "ms", 10,
             "Time after which a connection is dropped if its peer accepts none of the bytes that wait for "
             "it, or has vanished, ms."},
    LimitRow{"close_timeout_ms", &Limits::close_timeout_ms, "ms", 10,
             "Maximum time to wait for the peer's part of a closing handshake, ms. The connection is then "
             "dropped."},
    LimitRow{"header_bytes", &Limits::header_bytes, "bytes", 256,
             "Maximum size of a request head, bytes. A longer one is answered with 431."},
    LimitRow{"body_bytes", &Limits::body_bytes, "bytes", 1,
             "Maximum size of a request body, bytes. A longer one is answered with 413."},
    LimitRow{"body_bytes_total", &Limits::body_bytes_total, "bytes", 1,
             "Maximum size of all request bodies that are being read or carried out, by their announced "
             "lengths, bytes. One more request is answered with 503 and Retry-After."},
    LimitRow{"pipelined_bytes", &Limits::pipelined_bytes, "bytes", 256,
             "Maximum input read ahead of a connection, bytes, while a request is unanswered or the commands "
             "of a WebSocket are not read. The rest waits in the network."},
    LimitRow{"message_bytes", &Limits::message_bytes, "bytes", 64,
             "Maximum size of a WebSocket message, bytes; of a compressed one also inflated. A longer one "
             "closes the connection with 1009: as soon as its header is read, or inflating has come so far."},
    LimitRow{"inflate_ratio", &Limits::inflate_ratio, "times", 1,
             "Maximum size of a compressed WebSocket message as a multiple of what came on the wire; up to "
             "16 KiB are allowed in any case. Beyond it the connection is closed with 1009."},
    LimitRow{"publication_bytes", &Limits::publication_bytes, "bytes", 1,
             "Maximum size of a payload, bytes. A longer one is refused: error 107 in the client protocol "
             "and the HTTP API, PayloadTooLarge in Python."},
    LimitRow{"channel_name_bytes", &Limits::channel_name_bytes, "bytes", 1,
             "Maximum length of a channel name, bytes. A longer one is refused: error 107, HTTP 400, "
             "ValueError in Python."},
    LimitRow{"channels_per_connection", &Limits::channels_per_connection, "channels", 1,
             "Maximum number of subscriptions of a connection. One more is refused: error 106, HTTP 400."},
    LimitRow{"concurrency", &Limits::concurrency, "channels", 0,
             "Maximum number of channels of a connection whose commands may wait for answers at the same "
             "time; 0: unlimited; 1: all commands run one after another. Commands for one channel always run "
             "in order of arrival."},
    LimitRow{"commands_under_way", &Limits::commands_under_way, "commands", 1,
             "Maximum number of a connection's commands that wait for a hook or the store. Beyond it no "
             "further command is read until one is answered."},
    LimitRow{"commands_under_way_bytes", &Limits::commands_under_way_bytes, "bytes", 1,
             "Maximum size of a connection's commands that wait for a hook or the store, bytes. Beyond it no "
             "further command is read until one is answered."},
    LimitRow{"backlog_bytes", &Limits::backlog_bytes, "bytes", 1'024,
             "Maximum size of the replies that a connection has not read, bytes. Beyond it no further "
             "command of the connection is read. Publications never queue: they wait in the log."},
    LimitRow{"unsent_bytes_total", &Limits::unsent_bytes_total, "bytes", 65'536,
             "Maximum memory of unread replies, all connections together, bytes. Beyond it the commands of "
             "those clients are not read, and connections are closed (3008 in the access log), first those "
             "that have held the most for the longest without reading."},
    LimitRow{"history_publications", &Limits::history_publications, "publications", 1,
             "Maximum number of publications in one history reply to a client, and of recovered publications "
             "in one subscribe reply. Further recovered ones follow as pushes."},
    LimitRow{"recovery_bytes", &Limits::recovery_bytes, "bytes", 1,
             "Maximum size of the recovered publications in one subscribe reply, bytes. Further ones follow "
             "as pushes."},
    LimitRow{"poll_publications", &Limits::poll_publications, "publications", 1,
             "Maximum number of publications in the answer to a poll. The next poll gets the rest."},
    LimitRow{"poll_bytes", &Limits::poll_bytes, "bytes", 1,
             "Size beyond which the answer to a poll takes no further publication, bytes. The next poll gets "
             "the rest. This is also the most memory that one stalled poller can occupy."},
    LimitRow{"poll_timeout_ms", &Limits::poll_timeout_ms, "ms", 1,
             "Maximum time that a poll waits, ms. A longer timeout= is reduced to it."},
    LimitRow{"broadcast_channels", &Limits::broadcast_channels, "channels", 1,
             "Maximum number of channels in one broadcast. One more is refused: API error 107."},
    LimitRow{"batch_commands", &Limits::batch_commands, "commands", 1,
             "Maximum number of commands in one batch of the HTTP API. One more is refused: API error 107."},
    LimitRow{"kernel_backlog_bytes", &Limits::kernel_backlog_bytes, "bytes", 4'096,
             "Maximum number of unsent bytes that the kernel holds for a connection. Beyond it the "
             "subscriber lags, and its publications wait in the log."},
    LimitRow{"deliveries_per_turn", &Limits::deliveries_per_turn, "deliveries", 1,
             "Maximum number of deliveries in one turn of a thread. The rest follows in the next turn."},
    LimitRow{"deliveries_per_visit", &Limits::deliveries_per_visit, "deliveries", 1,
             "Maximum number of deliveries to one channel in one turn. A larger fan-out continues in the "
             "next turn, so that other channels are served in between."},
    LimitRow{"read_ms_per_turn", &Limits::read_ms_per_turn, "ms", 1,
             "Maximum time that one turn spends reading, ms. The remaining connections are read in the next "
             "turn, after deliveries."},
    LimitRow{"batch_bytes", &Limits::batch_bytes, "bytes", 1'024,
             "Maximum size of the publications that are sent in one piece, bytes."},
    LimitRow{"history_bytes_total", &Limits::history_bytes_total, "bytes", 65'536,
             "Maximum memory of all histories, bytes. Beyond it every channel drops the older half of its "
             "history. A resume from there reads from the store; with memory it gets recovered: false."},
    LimitRow{"early_entries", &Limits::early_entries, "publications", 1,
             "Maximum number of publications that wait for a missing one before them in the store's order. "
             "Beyond it the missing ones are reported as a gap."},
    LimitRow{"catching_up_channels", &Limits::catching_up_channels, "channels", 1,
             "Maximum number of channels that are compared with the store, or filled from it, at one time. "
             "After a lost link the others wait for their turn."},
    LimitRow{"stored_pages", &Limits::stored_pages, "pages", 1,
             "Maximum number of pages in memory at one time that clients read from the store because this "
             "process has no more of the history. A page has 256 publications or 1 MiB. Beyond it clients "
             "wait for their turn."},
    LimitRow{"log_records_per_s", &Limits::log_records_per_s, "records", 0,
             "Maximum number of log records of one event (connect, close, refuse, gap, …) per second; 0: "
             "unlimited. Further ones are counted, and a record records_suppressed has their number, at most "
             "every 10 s."},
    LimitRow{"fleet_answer_timeout_ms", &Limits::fleet_answer_timeout_ms, "ms", 1,
             "Maximum time for which the HTTP API waits for the answers of the other gateways that share the "
             "store, ms; the result then has the answers that were received."},
    LimitRow{
        "fleet_questions", &Limits::fleet_questions, "questions", 1,
        "Maximum number of questions to the other gateways under way. Beyond it only this gateway answers a "
        "question. Commands such as disconnect still go to all. The same number of questions of other "
        "gateways "
        "may wait here; further ones are refused."},
    LimitRow{
        "forwarded_commands", &Limits::forwarded_commands, "requests", 1,
        "Maximum number of requests to /emulation under way to other gateways that share the store. Beyond "
        "it: 503. One that gets no answer within limits.fleet_answer_timeout_ms: 504."},
    LimitRow{
        "forwarded_bytes", &Limits::forwarded_bytes, "bytes", 1,
        "Maximum size of the commands of these requests, bytes. Beyond it: 503. It is a memory limit of its "
        "own: publications that wait for the store (store.waiting_bytes) keep theirs."},
    LimitRow{"fleet_waiting_bytes", &Limits::fleet_waiting_bytes, "bytes", 1,
             "Maximum size of the questions of other gateways, and of commands that they forward, that wait "
             "here, bytes. Further ones are refused; the client with such a command gets 503."},
    LimitRow{"dormant_channels", &Limits::dormant_channels, "channels", 16,
             "Maximum number of dormant channels (neither in use nor with a history) whose epoch and offset "
             "are remembered. Beyond it the oldest is forgotten: clients see a new epoch."},
    LimitRow{"channel_lifetime_ms", &Limits::channel_lifetime_ms, "ms", 1'000,
             "Time without use after which a dormant channel is forgotten: clients see a new epoch."},
    LimitRow{"idempotency_keys", &Limits::idempotency_keys, "keys", 16,
             "Maximum number of idempotency keys that are remembered. Beyond it the oldest is forgotten. "
             "Each takes at most limits.idempotency_key_bytes and channel.max_length."},
    LimitRow{"idempotency_key_bytes", &Limits::idempotency_key_bytes, "bytes", 1,
             "Maximum length of an idempotency key, bytes. A longer one is refused: API error 107, "
             "ValueError in Python."},
    LimitRow{"idempotency_window_ms", &Limits::idempotency_window_ms, "ms", 1,
             "Time for which an idempotency key is remembered, ms. A publish repeated later is a new "
             "publication."},
    LimitRow{"bridge_items", &Limits::bridge_items, "items", 16,
             "Maximum number of publications that wait for a Python event loop. Beyond it the subscription "
             "lags, and its publications wait in the log."},
    LimitRow{"hook_questions", &Limits::hook_questions, "questions", 16,
             "Maximum number of connects that wait for a hook, and, counted separately, of all other "
             "questions. Beyond it clients are asked to retry: disconnect 3004, error 100, /poll 503 with "
             "Retry-After, /sse 200 with retry: and an end. Also of notices for on_disconnect; those beyond "
             "it are dropped."},
    LimitRow{"hook_question_bytes", &Limits::hook_question_bytes, "bytes", 65'536,
             "Maximum size of the questions that wait for hooks, bytes, counted separately as for "
             "limits.hook_questions."},
    LimitRow{
        "hooks_at_once", &Limits::hooks_at_once, "questions", 1,
        "Maximum number of hooks that run at the same time for connects, and, counted separately, for "
        "disconnects and for everything else. Further questions wait for one of them to end, or for their "
        "deadline. "
        "A connection starts another hook only while it has fewer than are free, so it has at most half."},
    LimitRow{"proxy_requests", &Limits::proxy_requests, "requests", 1,
             "Maximum number of requests under way to one backend (client.proxy.*, channel.proxy.*, "
             "rpc.proxy), per thread. Further ones wait. One client has at most half of the requests under "
             "way."},
    LimitRow{"proxy_waiting", &Limits::proxy_waiting, "requests", 0,
             "Maximum number of requests that wait because limits.proxy_requests are under way, per backend "
             "and thread. Beyond it clients are asked to try again: error 100, /poll 503, /sse retry:."},
    LimitRow{"proxy_waiting_bytes", &Limits::proxy_waiting_bytes, "bytes", 0,
             "Maximum size of the requests under way to a backend and of those that wait, per thread, bytes. "
             "Beyond it no further request waits: clients are asked to try again."},
    LimitRow{"proxy_reply_bytes", &Limits::proxy_reply_bytes, "bytes", 256,
             "Maximum size of the body of a backend's reply, bytes. A longer one is not an answer: the "
             "client is asked to try again."},
    LimitRow{"proxy_idle_connections", &Limits::proxy_idle_connections, "connections", 0,
             "Maximum number of idle connections that are kept open to a backend, per thread."},
    LimitRow{"proxy_idle_timeout_ms", &Limits::proxy_idle_timeout_ms, "ms", 1,
             "Time after which an idle connection to a backend is closed, ms."},
    LimitRow{"inbox_entries", &Limits::inbox_entries, "publications", 1,
             "Maximum number of publications in a user's inbox. Older unread ones are merged from the logs "
             "when the inbox is read."},
    LimitRow{"inbox_bytes_total", &Limits::inbox_bytes_total, "bytes", 65'536,
             "Maximum memory of all inboxes, bytes. Beyond it a new member is refused (API error 106, "
             "ValueError in Python), publications are merged from the logs when an inbox is read, and the "
             "unread publications of removed members are forgotten."},
    LimitRow{"inbox_items", &Limits::inbox_items, "items", 1,
             "Maximum number of items in one read of an inbox. A request for more is refused: error 107, API "
             "error 107, ValueError in Python."},
    LimitRow{"inbox_members_per_turn", &Limits::inbox_members_per_turn, "members", 1,
             "Maximum number of inboxes that one turn writes a publication to. Later turns write the rest, "
             "with deliveries in between."},
    LimitRow{
        "inbox_wait_ms", &Limits::inbox_wait_ms, "ms", 1,
        "Time that a publisher waits until its publication is in all inboxes, while nothing is written to "
        "them, ms. Then its outcome is unknown (error 100, StoreOutcomeUnknown in Python): it is stored, and "
        "some inboxes may not have it yet."},
    LimitRow{"members_per_request", &Limits::members_per_request, "members", 1,
             "Maximum number of members in one request or answer. A request for more is refused: API error "
             "107, ValueError in Python."},
    LimitRow{"fanout_overrides", &Limits::fanout_overrides, "channels", 0,
             "Maximum number of channels whose strategy was set at run time. One more is refused: API error "
             "106, ValueError in Python."},
};

}  // namespace carillon
