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

// The server API, `POST /api/<method>` (protocol.md section 21): bodies read by spans, results written.

enum class ApiMethod : std::uint8_t {
  publish,
  broadcast,
  history,
  presence,
  presence_stats,
  channels,
  info,
  stats,   ///< ours: the counters of this server
  ledger,  ///< ours: what became of all publications, in sums and by channel
  drain    ///< ours: clients are asked to leave
};

/// The method of that name, nullopt if there is none (HTTP 404).
std::optional<ApiMethod> find_api_method(std::string_view name);

/// One decoded body. Views point into the body or into the scratch of the decode call. Fields that the method
/// does not have are zero.
struct ApiRequest {
  std::string_view channel = {};                ///< publish, history, presence, presence_stats
  std::vector<std::string_view> channels = {};  ///< broadcast

  // publish, broadcast
  std::string_view data = {};       ///< raw JSON as it came, or the bytes of `b64data`
  bool is_json = true;              ///< false: it came as `b64data`
  bool is_history_skipped = false;  ///< `skip_history`
  std::vector<Tag> tags = {};
  std::string_view idempotency_key = {};
  std::string_view key = {};  ///< ours: conflation key (design.md section 5, Payloads)
  std::uint64_t version = 0;
  std::string_view version_epoch = {};

  // history
  std::int64_t limit = 0;  ///< 0 only the position, negative all
  bool has_since = false;
  std::uint64_t offset = 0;     ///< of `since`
  std::string_view epoch = {};  ///< of `since`
  bool is_reverse = false;

  std::string_view pattern = {};  ///< channels: glob, empty all

  std::uint64_t rows = 100;  ///< ledger: `limit`, of channels

  // drain
  std::optional<std::uint64_t> deadline_ms = {};  ///< nothing: as configured
  std::optional<std::uint64_t> pace_ms = {};      ///< the same
  std::optional<std::uint64_t> port = {};         ///< only of the listener there
};

/// malformed: not JSON, not an object or a field of the wrong type, HTTP 400. bad_request: a required field
/// is missing or empty, or `b64data` is not base64, API error 107.
enum class ApiDecode : std::uint8_t { ok, malformed, bad_request };

/// Reads the body for `method`. Unknown fields are ignored, null counts as absent, of duplicate keys the last
/// one wins (tags keep duplicates), `b64data` wins over `data`. An empty body counts as `{}`. Replaces `out`,
/// clears `scratch`.
ApiDecode decode_api_request(ApiMethod method, std::string_view body, ApiRequest& out, std::string& scratch);

// Answers; each appends one JSON object.

/// `{"error":{"code":…,"message":…}}`
void append_api_error(std::string& out, std::uint32_t code, std::string_view message);

/// `{"result":{"offset":…,"epoch":…}}`; both absent when the channel has no history (offset 0).
void append_api_publish_result(std::string& out, std::uint64_t offset, std::string_view epoch);

/// `{"result":{"responses":[…]}}` of publish results and errors joined by ','.
void append_api_broadcast_result(std::string& out, std::string_view responses_joined);

/// `{"result":{"publications":[…],"offset":…,"epoch":…}}`; publications as encode_publication() of the JSON
/// codec writes them, joined by ','.
void append_api_history_result(std::string& out, std::string_view publications_joined, std::uint64_t offset,
                               std::string_view epoch);

/// `{"result":{"presence":{…}}}`
void append_api_presence_result(std::string& out, std::span<const ClientInfoView> clients);

/// `{"result":{"num_clients":…,"num_users":…}}`
void append_api_presence_stats_result(std::string& out, std::uint64_t clients, std::uint64_t users);

/// `{"result":{"channels":{"<name>":{"num_clients":…},…}}}`
void append_api_channels_result(std::string& out,
                                std::span<const std::pair<std::string_view, std::uint64_t>> channels);

/// One node of `info`; `uptime_s` in seconds.
struct ApiNodeInfo {
  std::string_view uid = {};
  std::string_view name = {};
  std::string_view version = {};
  std::uint64_t clients = 0;
  std::uint64_t users = 0;
  std::uint64_t subscriptions = 0;
  std::uint64_t channels = 0;
  std::uint64_t uptime_s = 0;
};

/// `{"result":{"nodes":[{"uid":…,"name":…,"version":…,"num_clients":…,…,"uptime":…}]}}`
void append_api_info_result(std::string& out, std::span<const ApiNodeInfo> nodes);

/// `{"result":{"connections":…}}`: so many are asked to leave.
void append_api_drain_result(std::string& out, std::uint64_t connections);

/// `{"result":…}` of an object that is JSON already.
void append_api_result(std::string& out, std::string_view object);

}  // namespace carillon
