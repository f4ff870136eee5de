#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/publication_view.hpp"

namespace carillon {

// The HTTP API, `POST /api/<method>` (protocol.md section 21): bodies read by spans.

enum class ApiMethod : std::uint8_t {
  publish,
  broadcast,
  history,
  presence,
  presence_stats,
  channels,
  history_remove,
  subscribe,
  unsubscribe,
  disconnect,
  refresh,
  batch,
  rpc,
  info,
  stats,   ///< ours: the counters of this server
  ledger,  ///< ours: what became of all publications, in sums and by channel
  drain,   ///< ours: all clients are asked to disconnect
  reload,  ///< ours: the configuration is read again
  // ours: members of channels, their inboxes, and strategies
  add_members,
  remove_members,
  members,
  inbox,
  unread,
  mark_read,
  set_fanout,
  fanout
};

/// How the value of a field is written.
enum class ApiFieldType : std::uint8_t {
  text,
  texts,
  flag,
  integer,
  natural,
  payload,    ///< any JSON value
  base64,     ///< text
  tags,       ///< object of texts
  position,   ///< text, or object of offset and epoch
  close,      ///< object of code and reason
  overrides,  ///< object of `{"value": flag}`
  commands,   ///< list of `{"<method>": {…}}`
};

/// A method, and one of the fields of its request.
struct ApiMethodName {
  std::string_view name;
  ApiMethod method;
};
struct ApiField {
  std::string_view name;
  ApiFieldType type;
  bool is_required;
};
[[nodiscard]] std::span<const ApiMethodName> api_methods();
[[nodiscard]] std::vector<ApiField> api_fields(ApiMethod method);

/// The method of that name, nullopt if there is none (HTTP 404).
std::optional<ApiMethod> find_api_method(std::string_view name);
/// Message about a name that find_api_method() does not know.
std::string unknown_api_method(std::string_view name);

/// One decoded body. Views point into the body or into the scratch of the decode call. Fields that the method
/// does not have are zero.
struct ApiRequest {
  std::string_view channel = {};
  std::vector<std::string_view> channels = {};  ///< broadcast

  // publish, broadcast
  std::string_view data = {};       ///< raw JSON as it came, or the bytes of `b64data`
  bool is_json = true;              ///< false: it came as `b64data`
  bool is_history_skipped = false;  ///< `skip_history`
  bool has_delta = false;           ///< `delta`
  std::vector<Tag> tags = {};
  std::string_view idempotency_key = {};
  std::string_view key = {};  ///< ours: conflation key (design.md section 5, Payloads)
  std::uint64_t version = 0;  ///< 0: none
  std::string_view version_epoch = {};
  std::optional<std::uint64_t> expected_offset = {};  ///< ours: compare and append

  // history
  std::optional<std::int64_t> limit = {};  ///< 0 only the position, negative all
  std::optional<std::uint64_t> last = {};  ///< ours: the newest ones, oldest of them first
  bool has_since = false;
  std::uint64_t offset = 0;     ///< of `since`; mark_read: up to here
  std::string_view epoch = {};  ///< of `since`
  std::string_view since = {};  ///< `since` as text, ours
  bool is_reverse = false;

  std::string_view pattern = {};  ///< channels: glob, empty all

  std::uint64_t rows = 100;  ///< ledger: `limit`, of channels

  std::vector<std::string_view> users = {};    ///< add_members, remove_members
  std::string_view user = {};                  ///< inboxes, and what acts on connections
  std::string_view after = {};                 ///< members, presence, channels: the last of the page before
  std::optional<std::int64_t> items_max = {};  ///< `limit` of members and inbox; nothing: as usual

  // set_fanout
  std::string_view strategy = {};
  std::optional<std::int64_t> threshold = {};  ///< nothing: as configured

  // subscribe, unsubscribe, disconnect: which connections of the user
  std::string_view client = {};
  std::string_view session = {};
  std::vector<std::string_view> whitelist = {};  ///< disconnect: but not these clients

  // subscribe; `data` is the client's
  std::string_view info = {};  ///< raw JSON, or the bytes of `b64info`
  std::optional<std::int64_t> expire_at = {};
  std::optional<bool> presence = {};  ///< this and the next four: `override`
  std::optional<bool> join_leave = {};
  std::optional<bool> force_push_join_leave = {};
  std::optional<bool> force_recovery = {};
  std::optional<bool> force_positioning = {};

  std::vector<std::string_view> commands = {};  ///< batch: raw objects
  bool is_parallel = false;                     ///< batch
  std::string_view method = {};                 ///< rpc

  bool is_expired = false;  ///< refresh: the connections are to end now
  // disconnect
  std::uint64_t code = 3'503;
  std::string_view reason = "force disconnect";

  // drain
  std::optional<std::uint64_t> deadline_ms = {};  ///< nothing: as configured
  std::optional<std::uint64_t> pace_ms = {};      ///< the same
  std::optional<std::uint64_t> port = {};         ///< only of the listener there

  std::string problem = {};  ///< malformed, bad_request: the field, what is wrong with it, and the remedy
};

/// malformed: not JSON, not an object or a field of the wrong type, HTTP 400. bad_request: a field is not one
/// of the method's, or a required one is missing or empty, or `b64data` is not base64, API error 107.
/// too_deep: a value is nested deeper than kJsonDepthMax, API error 107.
enum class ApiDecode : std::uint8_t { ok, malformed, bad_request, too_deep };

/// Reads the body for `method`. null counts as absent (but `data` may be null), of duplicate keys the last
/// one counts (tags keep duplicates), `b64data` counts before `data` unless it is empty. An empty body counts
/// as `{}`. `out` is as it was made; clears `scratch`.
ApiDecode decode_api_request(ApiMethod method, std::string_view body, ApiRequest& out, std::string& scratch);

}  // namespace carillon
