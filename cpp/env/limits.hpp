#pragma once

#include <cstddef>
#include <cstdint>

namespace carillon {

/// Every limit of a server, with its default. Times in ms, sizes in bytes. Each room reads its own.
struct Limits {
  std::int64_t connections = 0;
  std::int64_t user_connections = 0;
  std::int64_t accepts_per_s = 20'000;
  std::int64_t accept_burst = 2'000;
  std::int64_t handshakes = 2'048;
  std::int64_t handshake_place_ms = 1'000;
  std::int64_t handshake_timeout_ms = 10'000;
  std::int64_t keepalive_timeout_ms = 60'000;
  std::int64_t expired_close_delay_ms = 25'000;
  std::int64_t expired_sub_close_delay_ms = 25'000;
  std::int64_t refresh_retry_ms = 60'000;
  std::int64_t token_bytes = 16'384;
  std::int64_t stall_timeout_ms = 30'000;
  std::int64_t close_timeout_ms = 5'000;
  std::int64_t header_bytes = 8'192;
  std::int64_t body_bytes = 1'048'576;
  std::int64_t body_bytes_total = 67'108'864;
  std::int64_t pipelined_bytes = 65'536;
  std::int64_t message_bytes = 65'536;
  std::int64_t inflate_ratio = 200;
  std::int64_t publication_bytes = 1'048'576;
  std::int64_t channel_name_bytes = 255;
  std::int64_t channels_per_connection = 128;
  std::int64_t concurrency = 0;
  std::int64_t commands_under_way = 64;
  std::int64_t commands_under_way_bytes = 262'144;
  std::int64_t backlog_bytes = 1'048'576;
  std::int64_t unsent_bytes_total = 268'435'456;
  std::int64_t history_publications = 300;
  std::int64_t recovery_bytes = 65'536;
  std::int64_t poll_publications = 1'000;
  std::int64_t poll_bytes = 131'072;
  std::int64_t poll_timeout_ms = 60'000;
  std::int64_t broadcast_channels = 10'000;
  std::int64_t batch_commands = 1'000;
  std::int64_t kernel_backlog_bytes = 131'072;
  std::int64_t deliveries_per_turn = 2'048;
  std::int64_t deliveries_per_visit = 256;
  std::int64_t read_ms_per_turn = 5;
  std::int64_t batch_bytes = 131'072;
  std::int64_t history_bytes_total = 1'073'741'824;
  std::int64_t early_entries = 4'096;
  std::int64_t catching_up_channels = 1'000;
  std::int64_t stored_pages = 256;
  std::int64_t log_records_per_s = 1'000;
  std::int64_t fleet_answer_timeout_ms = 1'000;
  std::int64_t fleet_questions = 1'000;
  std::int64_t forwarded_commands = 1'000;
  std::int64_t forwarded_bytes = 16'777'216;
  std::int64_t fleet_waiting_bytes = 16'777'216;
  std::int64_t dormant_channels = 1'000'000;
  std::int64_t channel_lifetime_ms = 720LL * 3'600 * 1'000;
  std::int64_t idempotency_keys = 100'000;
  std::int64_t idempotency_key_bytes = 255;
  std::int64_t idempotency_window_ms = 300'000;
  std::int64_t bridge_items = 65'536;
  std::int64_t hook_questions = 16'384;
  std::int64_t hook_question_bytes = 67'108'864;
  std::int64_t hooks_at_once = 2'048;
  std::int64_t proxy_requests = 256;
  std::int64_t proxy_waiting = 1'024;
  std::int64_t proxy_waiting_bytes = 16'777'216;
  std::int64_t proxy_reply_bytes = 1'048'576;
  std::int64_t proxy_idle_connections = 32;
  std::int64_t proxy_idle_timeout_ms = 30'000;
  std::int64_t inbox_entries = 1'000;
  std::int64_t inbox_bytes_total = 1'073'741'824;
  std::int64_t inbox_items = 1'000;
  std::int64_t inbox_members_per_turn = 1'024;
  std::int64_t inbox_wait_ms = 12'000;
  std::int64_t members_per_request = 100'000;
  std::int64_t fanout_overrides = 10'000;

  /// Maximum size of the list in one reply. It is below backlog_bytes, so that a reply never exceeds the
  /// backlog; the client asks again for the rest.
  [[nodiscard]] std::size_t reply_bytes() const { return static_cast<std::size_t>(backlog_bytes) / 2; }
};

}  // namespace carillon
