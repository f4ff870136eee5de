#include "server/openapi.hpp"

#include <array>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "protocol/api_request.hpp"

namespace carillon {

namespace {

using Json = nlohmann::ordered_json;

struct ResultField {
  std::string_view name;
  std::string_view schema;  ///< a JSON type, or the name of a schema of the document
  bool is_always_there = true;
};

struct MethodText {
  std::string_view summary;
  std::span<const ResultField> result;
  bool is_open = false;  ///< the result has other fields as well
};

constexpr std::array kPublished{ResultField{"offset", "integer", false},
                                ResultField{"epoch", "string", false},
                                ResultField{"skipped", "boolean", false}};
constexpr std::array kResponses{ResultField{"responses", "PublishResponses"}};
constexpr std::array kHistory{ResultField{"publications", "Publications"}, ResultField{"offset", "integer"},
                              ResultField{"epoch", "string"}};
constexpr std::array kPresence{ResultField{"presence", "Presence"},
                               ResultField{"has_more", "boolean", false}};
constexpr std::array kPresenceStats{ResultField{"num_clients", "integer"},
                                    ResultField{"num_users", "integer"}};
constexpr std::array kChannels{ResultField{"channels", "Channels"},
                               ResultField{"has_more", "boolean", false}};
constexpr std::array kConnections{ResultField{"connections", "integer"}};
constexpr std::array kNodes{ResultField{"nodes", "Nodes"}};
constexpr std::array kChanges{ResultField{"changes", "Changes"}};
constexpr std::array kMembers{ResultField{"members", "integer"}};
constexpr std::array kMemberList{ResultField{"users", "Texts"}, ResultField{"members", "integer"}};
constexpr std::array kInbox{ResultField{"items", "Objects"}, ResultField{"unread", "Counts"},
                            ResultField{"has_more", "boolean"},
                            ResultField{"is_incomplete", "boolean", false}};
constexpr std::array kUnread{ResultField{"unread", "Counts"}};
constexpr std::array kFanOut{ResultField{"strategy", "string"},     ResultField{"mode", "string"},
                             ResultField{"threshold", "integer"},   ResultField{"members", "integer"},
                             ResultField{"subscribers", "integer"}, ResultField{"switches", "integer"}};

MethodText text_of(ApiMethod method) {
  using enum ApiMethod;
  switch (method) {
    case publish:
      return {"Publishes to a channel. The position is missing if the publication was not stored.",
              kPublished};
    case broadcast:
      return {"Publishes the same to several channels.", kResponses};
    case history:
      return {"Reads publications of a channel that are still kept.", kHistory};
    case presence:
      return {"Lists the clients that are subscribed to a channel.", kPresence};
    case presence_stats:
      return {"Counts the clients of a channel.", kPresenceStats};
    case channels:
      return {"Lists the channels that have subscribers.", kChannels};
    case history_remove:
      return {"Empties the history of a channel. Its offsets continue.", {}};
    case subscribe:
      return {"Subscribes the live connections of a user to a channel.", kConnections};
    case unsubscribe:
      return {"Ends the subscription of the live connections of a user.", kConnections};
    case disconnect:
      return {"Closes the connections of a user, or one connection.", kConnections};
    case refresh:
      return {"Moves the end of the connections of a user, or of one connection.", kConnections};
    case batch:
      return {"Carries out several commands. The answer has no result: replies stand at the top.", {}};
    case rpc:
      return {"Calls a method of the server. There is none yet: error 104.", {}};
    case info:
      return {"Describes the server.", kNodes};
    case stats:
      return {"Returns the counters of the server.", {}, true};
    case ledger:
      return {"Returns the accounts of all publications.", {}, true};
    case drain:
      return {"Asks all clients to disconnect, as before a restart.", kConnections};
    case reload:
      return {"Reads the configuration again, and returns what differs.", kChanges};
    case add_members:
      return {"Adds users to the members of a channel.", kMembers};
    case remove_members:
      return {"Removes users from the members of a channel.", kMembers};
    case members:
      return {"Lists the members of a channel.", kMemberList};
    case inbox:
      return {"Reads the unread publications of a user.", kInbox};
    case unread:
      return {"Counts the unread publications of a user, per channel.", kUnread};
    case mark_read:
      return {"Marks a channel's publications as read by a user, up to an offset.", {}};
    case set_fanout:
      return {"Sets the fan-out strategy of a channel.", kFanOut};
    case fanout:
      return {"Returns the fan-out strategy of a channel.", kFanOut};
  }
  return {"", {}};
}

Json reference(std::string_view schema) { return {{"$ref", "#/components/schemas/" + std::string(schema)}}; }

Json of_type(std::string_view type) { return {{"type", std::string(type)}}; }
Json list_of(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }
Json map_of(Json values) { return {{"type", "object"}, {"additionalProperties", std::move(values)}}; }

Json object_of(std::initializer_list<std::pair<const char*, Json>> fields,
               std::initializer_list<const char*> required = {}) {
  Json object{{"type", "object"}, {"properties", Json::object()}, {"additionalProperties", false}};
  for (const auto& [name, schema] : fields) object["properties"][name] = schema;
  if (required.size() > 0) object["required"] = Json(required);
  return object;
}

Json natural() { return {{"type", "integer"}, {"minimum", 0}}; }

Json schema_of(ApiFieldType type) {
  switch (type) {
    case ApiFieldType::text:
      return of_type("string");
    case ApiFieldType::texts:
      return list_of(of_type("string"));
    case ApiFieldType::flag:
      return of_type("boolean");
    case ApiFieldType::integer:
      return of_type("integer");
    case ApiFieldType::natural:
      return natural();
    case ApiFieldType::payload:
      return Json::object();
    case ApiFieldType::base64:
      return {{"type", "string"}, {"contentEncoding", "base64"}};
    case ApiFieldType::tags:
      return map_of(of_type("string"));
    case ApiFieldType::position:
      return reference("Position");
    case ApiFieldType::close:
      return reference("Close");
    case ApiFieldType::overrides:
      return reference("Overrides");
    case ApiFieldType::commands:
      return reference("Commands");
  }
  return Json::object();
}

Json request_of(ApiMethod method) {
  Json request{{"type", "object"}, {"properties", Json::object()}, {"additionalProperties", false}};
  Json required = Json::array();
  for (const ApiField& field : api_fields(method)) {
    request["properties"][std::string(field.name)] = schema_of(field.type);
    if (field.is_required) required.push_back(std::string(field.name));
  }
  if (!required.empty()) request["required"] = std::move(required);
  return request;
}

bool is_json_type(std::string_view schema) {
  return schema == "integer" || schema == "string" || schema == "boolean";
}

Json result_of(const MethodText& text) {
  Json result{{"type", "object"}, {"properties", Json::object()}, {"additionalProperties", text.is_open}};
  Json required = Json::array();
  for (const ResultField& field : text.result) {
    result["properties"][std::string(field.name)] =
        is_json_type(field.schema) ? of_type(field.schema) : reference(field.schema);
    if (field.is_always_there) required.push_back(std::string(field.name));
  }
  if (!required.empty()) result["required"] = std::move(required);
  return result;
}

Json answer_of(ApiMethod method, const MethodText& text) {
  Json given = method == ApiMethod::batch ? reference("Replies")
                                          : object_of({{"result", result_of(text)}}, {"result"});
  return {{"oneOf", Json::array({std::move(given), reference("Failure")})}};
}

Json with_schema(Json schema) { return {{"application/json", {{"schema", std::move(schema)}}}}; }

Json operation_of(const ApiMethodName& method) {
  const MethodText text = text_of(method.method);
  Json operation{
      {"operationId", std::string(method.name)},
      {"summary", std::string(text.summary)},
      {"requestBody", {{"content", with_schema(request_of(method.method))}}},
      {"responses",
       {{"200",
         {{"description", "The result, or an error of the API."},
          {"content", with_schema(answer_of(method.method, text))}}},
        {"400",
         {{"description",
           "The body is not a JSON object, or a field has the wrong type. Of reload: the configuration "
           "has mistakes, which are listed."},
          {"content", with_schema(reference("Failure"))}}},
        {"401",
         {{"description", "The key is missing or wrong."},
          {"content", with_schema(reference("Failure"))}}}}}};
  if (method.method == ApiMethod::reload)
    operation["responses"]["409"] = {
        {"description",
         "An option differs that only a new process can change, or a drain or a takeover is under way."},
        {"content", with_schema(reference("Failure"))}};
  return operation;
}

Json schemas() {
  const Json text = of_type("string");
  const Json flag_value = object_of({{"value", of_type("boolean")}});
  const Json client = object_of(
      {{"user", text}, {"client", text}, {"conn_info", Json::object()}, {"chan_info", Json::object()}},
      {"user", "client"});
  const Json node = object_of({{"uid", text},
                               {"name", text},
                               {"version", text},
                               {"address", text},
                               {"draining", of_type("boolean")},
                               {"num_clients", natural()},
                               {"num_users", natural()},
                               {"num_subs", natural()},
                               {"num_channels", natural()},
                               {"uptime", natural()}},
                              {"uid", "name", "num_clients", "num_users", "num_subs", "num_channels"});
  const Json publication = object_of({{"data", Json::object()},
                                      {"binary", of_type("boolean")},
                                      {"offset", natural()},
                                      {"epoch", text},
                                      {"tags", map_of(text)},
                                      {"info", reference("ClientInfo")}},
                                     {"data"});
  Json schemas{
      {"Error", object_of({{"code", of_type("integer")},
                           {"message", text},
                           {"mistakes", list_of(text)},
                           {"offset", natural()},
                           {"epoch", text}},
                          {"code", "message"})},
      {"Failure", object_of({{"error", reference("Error")}}, {"error"})},
      {"ClientInfo", client},
      {"Publication", publication},
      {"Publications", list_of(reference("Publication"))},
      {"PublishResponses",
       list_of({{"oneOf",
                 Json::array({object_of({{"result", result_of(text_of(ApiMethod::publish))}}, {"result"}),
                              reference("Failure")})}})},
      {"Presence", map_of(reference("ClientInfo"))},
      {"Channels", map_of(object_of({{"num_clients", natural()}}, {"num_clients"}))},
      {"Nodes", list_of(node)},
      {"Texts", list_of(text)},
      {"Objects", list_of(of_type("object"))},
      {"Changes", list_of(object_of({{"option", text}, {"old", Json::object()}, {"new", Json::object()}},
                                    {"option", "old", "new"}))},
      {"Counts", map_of(natural())},
      {"Position", {{"oneOf", Json::array({text, object_of({{"offset", natural()}, {"epoch", text}})})}}},
      {"Close", object_of({{"code", {{"type", "integer"}, {"minimum", 3000}, {"maximum", 4999}}},
                           {"reason", {{"type", "string"}, {"maxLength", 123}}}})},
      {"Overrides", object_of({{"presence", flag_value},
                               {"join_leave", flag_value},
                               {"force_push_join_leave", flag_value},
                               {"force_recovery", flag_value},
                               {"force_positioning", flag_value}})}};
  Json command{{"type", "object"},
               {"properties", Json::object()},
               {"additionalProperties", false},
               {"maxProperties", 1}};
  Json reply = command;
  reply["minProperties"] = 1;
  reply["properties"]["error"] = reference("Error");
  for (const ApiMethodName& method : api_methods()) {
    if (method.method == ApiMethod::batch) continue;
    const std::string name(method.name);
    command["properties"][name] = request_of(method.method);
    reply["properties"][name] = result_of(text_of(method.method));
  }
  schemas["Commands"] = list_of(std::move(command));
  schemas["Replies"] = object_of({{"replies", list_of(std::move(reply))}}, {"replies"});
  return schemas;
}

}  // namespace

std::string openapi(std::string_view version) {
  Json paths = Json::object();
  for (const ApiMethodName& method : api_methods())
    paths["/api/" + std::string(method.name)] = {{"post", operation_of(method)}};
  const auto key_in = [](const char* place, const char* name) {
    return Json{{"type", "apiKey"}, {"in", place}, {"name", name}};
  };
  const Json document{
      {"openapi", "3.1.0"},
      {"info", {{"title", "Carillon HTTP API"}, {"version", std::string(version)}}},
      {"paths", std::move(paths)},
      {"components",
       {{"schemas", schemas()},
        {"securitySchemes",
         {{"header", key_in("header", "X-API-Key")},
          {"authorization", key_in("header", "Authorization")},
          {"query", key_in("query", "api_key")}}}}},
      {"security", Json::array({Json{{"header", Json::array()}}, Json{{"authorization", Json::array()}},
                                Json{{"query", Json::array()}}})}};
  return document.dump();
}

}  // namespace carillon
