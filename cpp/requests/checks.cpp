#include "requests/checks.hpp"

#include <algorithm>
#include <cstddef>
#include <string>

#include "protocol/utf8.hpp"

namespace carillon {

bool is_channel_name(std::string_view name, const Limits& limits) {
  if (name.empty() || name.size() > static_cast<std::size_t>(limits.channel_name_bytes)) return false;
  const bool has_control = std::any_of(
      name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  return !has_control && is_utf8(name);
}

std::string channel_name_error(std::string_view name, const Limits& limits) {
  return "channel: " + in_quotes(name) + " is not a channel name; give 1 to " +
         std::to_string(limits.channel_name_bytes) + " bytes of UTF-8 without control characters";
}

namespace {
std::string size_error(std::string_view field, std::string_view value, const Limits& limits) {
  if (value.size() <= static_cast<std::size_t>(limits.idempotency_key_bytes)) return {};
  return std::string(field) + ": " + std::to_string(value.size()) +
         " bytes are more than limits.idempotency_key_bytes (" +
         std::to_string(limits.idempotency_key_bytes) + "); give a shorter one, a UUID or a hash";
}
}  // namespace

std::string idempotency_key_error(std::string_view key, const Limits& limits) {
  return size_error("idempotency_key", key, limits);
}

std::string version_epoch_error(std::string_view epoch, const Limits& limits) {
  return size_error("version_epoch", epoch, limits);
}

std::string_view format_error(PublicationFormat format, std::string_view data, ContentType content) {
  switch (format) {
    case PublicationFormat::json:
      return content == ContentType::json
                 ? ""
                 : "data: is binary, and the channel's publication_data_format is \"json\"";
    case PublicationFormat::json_object: {
      const std::size_t first = data.find_first_not_of(" \t\r\n");
      const bool is_object = first != std::string_view::npos && data[first] == '{';
      return content == ContentType::json && is_object
                 ? ""
                 : "data: is no JSON object, and the channel's publication_data_format is \"json_object\"";
    }
    case PublicationFormat::any:
    case PublicationFormat::binary:
      break;
  }
  return "";
}

}  // namespace carillon
