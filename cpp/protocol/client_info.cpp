#include "protocol/client_info.hpp"

#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"

namespace carillon {

void append_client_info(std::string& out, const ClientInfoView& info) {
  JsonObjectWriter object(out);
  object.text("user", info.user);
  object.text("client", info.client);
  object.json_unless_empty("conn_info", info.conn_info);
  object.json_unless_empty("chan_info", info.chan_info);
  object.close();
}

std::optional<ClientInfoView> read_client_info(std::string_view json, std::string& scratch) {
  scratch.clear();
  scratch.reserve(json.size());  // views into it stay valid
  ClientInfoView info;
  JsonObjectReader reader(json);
  std::string_view key;
  std::string_view value;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    if (key == "conn_info" || key == "chan_info") {
      (key == "conn_info" ? info.conn_info : info.chan_info) = value;
      continue;
    }
    const std::optional<std::string_view> text = json_string(value, scratch);
    if (key == "user" && text) info.user = *text;
    if (key == "client" && text) info.client = *text;
  }
  if (step == JsonStep::malformed) return std::nullopt;
  return info;
}

}  // namespace carillon
