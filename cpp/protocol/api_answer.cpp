#include "protocol/api_answer.hpp"

#include "protocol/centrifuge_json.hpp"
#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"

namespace carillon {
namespace {

// `{"result":{` … `}}`
class ResultWriter {
 public:
  explicit ResultWriter(std::string& out) : answer_(out), result_(answer_.open("result")) {}
  JsonObjectWriter* operator->() { return &result_; }
  void close() {
    result_.close();
    answer_.close();
  }

 private:
  JsonObjectWriter answer_;
  JsonObjectWriter result_;
};

}  // namespace

void append_api_error(std::string& out, std::uint32_t code, std::string_view message) {
  JsonObjectWriter answer(out);
  JsonObjectWriter error(answer.open("error"));
  error.number("code", code);
  error.text("message", message);
  error.close();
  answer.close();
}

void append_api_publish_result(std::string& out, std::uint64_t offset, std::string_view epoch) {
  if (offset == 0) return append_api_empty_result(out);
  static constexpr std::size_t kUsualBytes = 64;
  out.reserve(out.size() + kUsualBytes);
  ResultWriter result(out);
  result->number("offset", offset);
  result->text("epoch", epoch);
  result.close();
}

void append_api_skipped_result(std::string& out, std::uint64_t offset, std::string_view epoch) {
  ResultWriter result(out);
  result->number("offset", offset);
  result->text("epoch", epoch);
  result->boolean("skipped", true);
  result.close();
}

void append_api_conflict(std::string& out, std::uint64_t offset, std::string_view epoch) {
  JsonObjectWriter answer(out);
  JsonObjectWriter error(answer.open("error"));
  error.number("code", kErrorConflict.code);
  error.text("message", "conflict: expected_offset: the newest publication of the channel has offset " +
                            std::to_string(offset) + "; read what is new, and publish again behind that");
  error.number("offset", offset);
  error.text("epoch", epoch);
  error.close();
  answer.close();
}

void append_api_broadcast_result(std::string& out, std::string_view responses_joined) {
  ResultWriter result(out);
  result->list("responses", responses_joined);
  result.close();
}

void append_api_history_result(std::string& out, std::string_view publications_joined, std::uint64_t offset,
                               std::string_view epoch) {
  ResultWriter result(out);
  result->list("publications", publications_joined);
  result->text("epoch", epoch);
  result->number("offset", offset);
  result.close();
}

void append_api_presence_result(std::string& out, std::span<const ClientInfoView> clients, bool has_more) {
  ResultWriter result(out);
  append_presence_map(result->open("presence"), clients);
  result->boolean_if_true("has_more", has_more);
  result.close();
}

void append_api_presence_stats_result(std::string& out, std::uint64_t clients, std::uint64_t users) {
  ResultWriter result(out);
  result->number("num_clients", clients);
  result->number("num_users", users);
  result.close();
}

void append_api_channels_result(std::string& out, const std::map<std::string, std::uint64_t>& channels,
                                bool has_more) {
  ResultWriter result(out);
  char before = '{';
  std::string& map = result->open("channels");
  if (channels.empty()) map.push_back('{');
  for (const auto& [name, clients] : channels) {
    map.push_back(before);
    append_json_string(map, name);
    map.append(":{\"num_clients\":");
    append_uint(map, clients);
    map.push_back('}');
    before = ',';
  }
  map.push_back('}');
  result->boolean_if_true("has_more", has_more);
  result.close();
}

void append_api_info_result(std::string& out, std::span<const ApiNodeInfo> nodes) {
  ResultWriter result(out);
  std::string& list = result->open("nodes");
  char before = '[';
  if (nodes.empty()) list.push_back('[');
  for (const ApiNodeInfo& node : nodes) {
    list.push_back(before);
    before = ',';
    JsonObjectWriter object(list);
    object.text("uid", node.uid);
    object.text("name", node.name);
    object.text("version", node.version);
    object.text("address", node.address);
    object.number("num_clients", node.clients);
    object.number("num_users", node.users);
    object.number("num_subs", node.subscriptions);
    object.number("num_channels", node.channels);
    object.number("uptime", node.uptime_s);
    object.boolean_if_true("draining", node.is_draining);
    object.close();
  }
  list.push_back(']');
  result.close();
}

void append_api_connections_result(std::string& out, std::uint64_t connections) {
  ResultWriter result(out);
  result->number("connections", connections);
  result.close();
}

void append_api_members_result(std::string& out, std::uint64_t members) {
  ResultWriter result(out);
  result->number("members", members);
  result.close();
}

void append_api_member_list_result(std::string& out, std::span<const std::string> users,
                                   std::uint64_t members) {
  std::string list;
  std::string text;
  for (const std::string& user : users) {
    text.clear();
    append_json_string(text, user);
    append_list_item(list, text);
  }
  ResultWriter result(out);
  result->list("users", list);
  result->number("members", members);
  result.close();
}

void append_api_fanout_result(std::string& out, const ApiFanOut& fanout) {
  ResultWriter result(out);
  result->text("strategy", fanout.strategy);
  result->text("mode", fanout.mode);
  result->number("threshold", fanout.threshold);
  result->number("members", fanout.members);
  result->number("subscribers", fanout.subscribers);
  result->number("switches", fanout.switches);
  result.close();
}

void append_api_empty_result(std::string& out) { append_api_result(out, "{}"); }

void append_api_batch_replies(std::string& out, std::string_view replies_joined) {
  JsonObjectWriter answer(out);
  answer.list("replies", replies_joined);
  answer.close();
}

ApiAnswerParts parts_of_api_answer(std::string_view answer) {
  ApiAnswerParts parts;
  JsonObjectReader reader(answer);
  std::string_view key;
  std::string_view value;
  while (reader.next(key, value) == JsonStep::field) {
    if (key == "result") parts.result = value;
    if (key == "error") parts.error = value;
  }
  if (parts.error.empty()) return parts;
  JsonObjectReader error(parts.error);
  while (error.next(key, value) == JsonStep::field) {
    if (key == "code") parts.code = json_uint64(value).value_or(0);
  }
  return parts;
}

void append_api_result(std::string& out, std::string_view object) {
  out.append("{\"result\":").append(object).append("}");
}

}  // namespace carillon
