#include "protocol/emulation_request.hpp"

#include "protocol/json_span.hpp"
#include "protocol/protobuf.hpp"

namespace carillon {

namespace {

std::optional<EmulationRequest> read_json(std::string_view body) {
  EmulationRequest request;
  JsonObjectReader reader(body);
  std::string_view key;
  std::string_view value;
  std::string scratch;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    std::string* const target = key == "session" ? &request.session
                                : key == "node"  ? &request.node
                                : key == "data"  ? &request.data
                                                 : nullptr;
    if (target == nullptr) continue;
    scratch.clear();
    const std::optional<std::string_view> text = json_string(value, scratch);
    if (!text) return std::nullopt;
    *target = *text;
  }
  if (step == JsonStep::malformed) return std::nullopt;
  return request;
}

std::optional<EmulationRequest> read_protobuf(std::string_view body) {
  EmulationRequest request;
  ProtobufReader reader(body);
  ProtobufField field;
  while (reader.next(field)) {
    if (field.number > 3) continue;
    if (!field.is_bytes) return std::nullopt;
    (field.number == 1 ? request.node : field.number == 2 ? request.session : request.data) = field.bytes;
  }
  if (reader.is_malformed()) return std::nullopt;
  return request;
}

}  // namespace

std::optional<EmulationRequest> read_emulation_request(std::string_view body, Encoding encoding) {
  return encoding == Encoding::json ? read_json(body) : read_protobuf(body);
}

}  // namespace carillon
