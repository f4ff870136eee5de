#include "session/protobuf_messages.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <vector>

#include "protocol/protobuf.hpp"

namespace carillon::testing {

namespace {

using nlohmann::json;

enum class FieldType : std::uint8_t { number, flag, text, raw, message, list, map, text_map };

struct MessageField {
  std::uint32_t number;
  std::string name;
  FieldType type;
  std::string message = {};  ///< of message, list and map
};

using MessageSchema = std::vector<MessageField>;

const std::map<std::string, MessageSchema>& schemas() {
  using enum FieldType;
  static const std::map<std::string, MessageSchema> all{
      {"Command",
       {{1, "id", number},
        {4, "connect", message, "ConnectRequest"},
        {5, "subscribe", message, "SubscribeRequest"},
        {6, "unsubscribe", message, "ChannelRequest"},
        {7, "publish", message, "PublishRequest"},
        {8, "presence", message, "ChannelRequest"},
        {9, "presence_stats", message, "ChannelRequest"},
        {10, "history", message, "HistoryRequest"},
        {13, "rpc", message, "RpcRequest"},
        {14, "refresh", message, "RefreshRequest"},
        {15, "sub_refresh", message, "SubRefreshRequest"}}},
      {"ConnectRequest",
       {{1, "token", text}, {2, "data", raw}, {3, "subs", map, "SubscribeRequest"}, {4, "name", text}}},
      {"SubscribeRequest",
       {{1, "channel", text},
        {2, "token", text},
        {3, "recover", flag},
        {6, "epoch", text},
        {7, "offset", number},
        {8, "data", raw},
        {9, "positioned", flag},
        {10, "recoverable", flag},
        {11, "join_leave", flag},
        {12, "delta", text},
        {13, "tf", message, "FilterNode"},
        {14, "flag", number}}},
      {"FilterNode", {{1, "op", text}, {2, "key", text}, {3, "cmp", text}, {4, "val", text}}},
      {"ChannelRequest", {{1, "channel", text}}},
      {"PublishRequest", {{1, "channel", text}, {2, "data", raw}}},
      {"HistoryRequest",
       {{1, "channel", text}, {7, "limit", number}, {8, "since", message, "Position"}, {9, "reverse", flag}}},
      {"Position", {{1, "offset", number}, {2, "epoch", text}}},
      {"RpcRequest", {{1, "data", raw}, {2, "method", text}}},
      {"RefreshRequest", {{1, "token", text}}},
      {"SubRefreshRequest", {{1, "channel", text}, {2, "token", text}}},
      {"EmulationRequest", {{1, "node", text}, {2, "session", text}, {3, "data", text}}},
      {"Reply",
       {{1, "id", number},
        {2, "error", message, "Error"},
        {4, "push", message, "Push"},
        {5, "connect", message, "ConnectResult"},
        {6, "subscribe", message, "SubscribeResult"},
        {7, "unsubscribe", message, "Nothing"},
        {8, "publish", message, "Nothing"},
        {9, "presence", message, "PresenceResult"},
        {10, "presence_stats", message, "PresenceStats"},
        {11, "history", message, "HistoryResult"},
        {13, "rpc", message, "RpcResult"},
        {14, "refresh", message, "RefreshResult"},
        {15, "sub_refresh", message, "SubRefreshResult"}}},
      {"Error", {{1, "code", number}, {2, "message", text}, {3, "temporary", flag}}},
      {"Nothing", {}},
      {"Push",
       {{2, "channel", text},
        {4, "pub", message, "Publication"},
        {5, "join", message, "Notice"},
        {6, "leave", message, "Notice"},
        {7, "unsubscribe", message, "Unsubscribe"},
        {9, "subscribe", message, "PushedSubscribe"},
        {11, "disconnect", message, "Disconnect"},
        {12, "refresh", message, "PushedRefresh"}}},
      {"Publication",
       {{4, "data", raw},
        {5, "info", message, "ClientInfo"},
        {6, "offset", number},
        {7, "tags", text_map},
        {8, "delta", flag},
        {14, "epoch", text}}},
      {"ClientInfo", {{1, "user", text}, {2, "client", text}, {3, "conn_info", raw}, {4, "chan_info", raw}}},
      {"Notice", {{1, "info", message, "ClientInfo"}}},
      {"Unsubscribe", {{2, "code", number}, {3, "reason", text}}},
      {"PushedSubscribe",
       {{1, "recoverable", flag},
        {4, "epoch", text},
        {5, "offset", number},
        {6, "positioned", flag},
        {7, "data", raw}}},
      {"Disconnect", {{1, "code", number}, {2, "reason", text}}},
      {"PushedRefresh", {{1, "expires", flag}, {2, "ttl", number}}},
      {"ConnectResult",
       {{1, "client", text},
        {2, "version", text},
        {3, "expires", flag},
        {4, "ttl", number},
        {5, "data", raw},
        {6, "subs", map, "SubscribeResult"},
        {7, "ping", number},
        {8, "pong", flag},
        {9, "session", text},
        {10, "node", text}}},
      {"SubscribeResult",
       {{1, "expires", flag},
        {2, "ttl", number},
        {3, "recoverable", flag},
        {6, "epoch", text},
        {7, "publications", list, "Publication"},
        {8, "recovered", flag},
        {9, "offset", number},
        {10, "positioned", flag},
        {11, "data", raw},
        {12, "was_recovering", flag},
        {13, "delta", flag},
        {1'001, "conflated", flag}}},
      {"PresenceResult", {{1, "presence", map, "ClientInfo"}, {1'001, "has_more", flag}}},
      {"PresenceStats", {{1, "num_clients", number}, {2, "num_users", number}}},
      {"HistoryResult",
       {{1, "publications", list, "Publication"}, {2, "epoch", text}, {3, "offset", number}}},
      {"RpcResult", {{1, "data", raw}}},
      {"RefreshResult",
       {{1, "client", text}, {2, "version", text}, {3, "expires", flag}, {4, "ttl", number}}},
      {"SubRefreshResult", {{1, "expires", flag}, {2, "ttl", number}}},
  };
  return all;
}

void write_message(std::string& out, const std::string& message, const json& value);

void write_field(ProtobufWriter& writer, std::string& out, const MessageField& field, const json& value) {
  switch (field.type) {
    case FieldType::number:
      writer.number(field.number, static_cast<std::uint64_t>(value.get<std::int64_t>()));
      break;
    case FieldType::flag:
      writer.number(field.number, value.get<bool>() ? 1 : 0);
      break;
    case FieldType::text:
      writer.bytes(field.number, value.get<std::string>());
      break;
    case FieldType::raw:
      writer.bytes(field.number, value.dump());
      break;
    case FieldType::message: {
      const std::size_t begin = writer.open(field.number);
      write_message(out, field.message, value);
      writer.close(begin);
      break;
    }
    case FieldType::map:
      for (const auto& [key, each] : value.items()) {
        const std::size_t entry = writer.open(field.number);
        writer.bytes(1, key);
        const std::size_t begin = writer.open(2);
        write_message(out, field.message, each);
        writer.close(begin);
        writer.close(entry);
      }
      break;
    case FieldType::list:
    case FieldType::text_map:
      ADD_FAILURE() << "no request has one: " << field.name;
      break;
  }
}

void write_message(std::string& out, const std::string& message, const json& value) {
  ProtobufWriter writer(out);
  const MessageSchema& schema = schemas().at(message);
  for (const auto& [name, each] : value.items()) {
    const auto field = std::find_if(schema.begin(), schema.end(),
                                    [&](const MessageField& known) { return known.name == name; });
    if (field == schema.end()) {
      ADD_FAILURE() << message << " has no field " << name;
    } else {
      write_field(writer, out, *field, each);
    }
  }
}

json read_message(const std::string& message, std::string_view bytes);

/// The two fields of a map's entry.
std::pair<std::string, std::string_view> read_entry(std::string_view bytes) {
  std::pair<std::string, std::string_view> entry;
  ProtobufReader reader(bytes);
  ProtobufField field;
  while (reader.next(field)) {
    if (field.number == 1) entry.first = field.bytes;
    if (field.number == 2) entry.second = field.bytes;
  }
  EXPECT_FALSE(reader.is_malformed());
  return entry;
}

void read_field(const MessageField& known, const ProtobufField& field, json& into) {
  const bool is_bytes = known.type != FieldType::number && known.type != FieldType::flag;
  EXPECT_EQ(field.is_bytes, is_bytes) << known.name;
  json& value = into[known.name];
  switch (known.type) {
    case FieldType::number:
      value = field.value;
      break;
    case FieldType::flag:
      value = field.boolean();
      break;
    case FieldType::text:
    case FieldType::raw:
      value = std::string(field.bytes);
      break;
    case FieldType::message:
      value = read_message(known.message, field.bytes);
      break;
    case FieldType::list:
      value.push_back(read_message(known.message, field.bytes));
      break;
    case FieldType::map: {
      const auto [key, bytes] = read_entry(field.bytes);
      EXPECT_FALSE(value.contains(key)) << "twice: " << key;
      value[key] = read_message(known.message, bytes);
      break;
    }
    case FieldType::text_map: {
      const auto [key, bytes] = read_entry(field.bytes);
      value[key] = std::string(bytes);
      break;
    }
  }
}

json read_message(const std::string& message, std::string_view bytes) {
  const MessageSchema& schema = schemas().at(message);
  json value = json::object();
  ProtobufReader reader(bytes);
  ProtobufField field;
  while (reader.next(field)) {
    const auto known = std::find_if(schema.begin(), schema.end(),
                                    [&](const MessageField& each) { return each.number == field.number; });
    if (known == schema.end()) {
      ADD_FAILURE() << message << " has no field " << field.number;
      continue;
    }
    read_field(*known, field, value);
  }
  EXPECT_FALSE(reader.is_malformed()) << message;
  return value;
}

}  // namespace

std::string command_to_protobuf(const nlohmann::json& command) {
  std::string message;
  write_message(message, "Command", command);
  std::string framed;
  append_varint(framed, message.size());
  return framed + message;
}

std::string emulation_to_protobuf(const nlohmann::json& request) {
  std::string message;
  write_message(message, "EmulationRequest", request);
  return message;
}

nlohmann::json reply_from_protobuf(std::string_view message) { return read_message("Reply", message); }

}  // namespace carillon::testing
