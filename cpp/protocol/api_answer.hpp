#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "protocol/client_info.hpp"
#include "protocol/publication_view.hpp"

namespace carillon {

// What the HTTP API answers (protocol.md section 21); each function appends one JSON object.

/// `{"error":{"code":…,"message":…}}`
void append_api_error(std::string& out, std::uint32_t code, std::string_view message);

/// `{"result":{"offset":…,"epoch":…}}`; both absent when the channel has no history (offset 0).
void append_api_publish_result(std::string& out, std::uint64_t offset, std::string_view epoch);
/// The version is not above the last one: nothing was published, and this is the channel's top (protocol.md
/// section 21).
void append_api_skipped_result(std::string& out, std::uint64_t offset, std::string_view epoch);
/// The channel's top is not the expected one, but this.
void append_api_conflict(std::string& out, std::uint64_t offset, std::string_view epoch);

/// `{"result":{"responses":[…]}}` of publish results and errors joined by ','.
void append_api_broadcast_result(std::string& out, std::string_view responses_joined);

/// `{"result":{"publications":[…],"offset":…,"epoch":…}}`; publications as encode_publication() of the JSON
/// codec writes them, joined by ','.
void append_api_history_result(std::string& out, std::string_view publications_joined, std::uint64_t offset,
                               std::string_view epoch);

/// `{"result":{"presence":{…},"has_more":true}}`; the latter only when it is so.
void append_api_presence_result(std::string& out, std::span<const ClientInfoView> clients, bool has_more);

/// `{"result":{"num_clients":…,"num_users":…}}`
void append_api_presence_stats_result(std::string& out, std::uint64_t clients, std::uint64_t users);

/// `{"result":{"channels":{"<name>":{"num_clients":…},…},"has_more":true}}`; the latter only when it is so.
void append_api_channels_result(std::string& out, const std::map<std::string, std::uint64_t>& channels,
                                bool has_more);

/// One node of `info`; `uptime_s` in seconds.
struct ApiNodeInfo {
  std::string_view uid = {};
  std::string_view name = {};
  std::string_view version = {};
  std::string_view address = {};
  std::uint64_t clients = 0;
  std::uint64_t users = 0;
  std::uint64_t subscriptions = 0;
  std::uint64_t channels = 0;
  std::uint64_t uptime_s = 0;
  bool is_draining = false;
};

/// `{"result":{"nodes":[{"uid":…,"name":…,"version":…,"address":…,"num_clients":…,…,"uptime":…}]}}`, and
/// `"draining":true` of those that drain.
void append_api_info_result(std::string& out, std::span<const ApiNodeInfo> nodes);

/// `{"result":{"connections":…}}`: the number of those that are asked to disconnect.
void append_api_connections_result(std::string& out, std::uint64_t connections);

/// `{"result":{"members":…}}`: so many the channel has.
void append_api_members_result(std::string& out, std::uint64_t members);
/// `{"result":{"users":[…],"members":…}}`
void append_api_member_list_result(std::string& out, std::span<const std::string> users,
                                   std::uint64_t members);

/// What a channel's fan-out is like.
struct ApiFanOut {
  std::string_view strategy = {};
  std::string_view mode = {};
  std::uint64_t threshold = 0;
  std::uint64_t members = 0;
  std::uint64_t subscribers = 0;
  std::uint64_t switches = 0;
};
/// `{"result":{"strategy":…,"mode":…,"threshold":…,"members":…,"subscribers":…,"switches":…}}`
void append_api_fanout_result(std::string& out, const ApiFanOut& fanout);

/// `{"result":{}}`
void append_api_empty_result(std::string& out);

/// `{"replies":[…]}` of `{"<method>":…}` and `{"error":…}` joined by ','.
void append_api_batch_replies(std::string& out, std::string_view replies_joined);

/// An answer of the functions here, taken apart: one of both is empty.
struct ApiAnswerParts {
  std::string_view result = {};
  std::string_view error = {};
  std::uint64_t code = 0;  ///< of the error
};
[[nodiscard]] ApiAnswerParts parts_of_api_answer(std::string_view answer);

/// `{"result":…}` of an object that is JSON already.
void append_api_result(std::string& out, std::string_view object);

}  // namespace carillon
