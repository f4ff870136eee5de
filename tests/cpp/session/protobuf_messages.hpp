#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace carillon::testing {

// The Protobuf encoding of the client protocol as a client has it: by the field numbers of protocol.md
// section 2 alone, without the server's codec. JSON objects stand for messages, with the names of their
// fields.

/// Commands, one after another, each behind its length.
[[nodiscard]] std::string command_to_protobuf(const nlohmann::json& command);
/// The body of a request to /emulation.
[[nodiscard]] std::string emulation_to_protobuf(const nlohmann::json& request);
/// One reply, without its length. Fields that hold JSON text (`data`, `conn_info`, …) become texts.
[[nodiscard]] nlohmann::json reply_from_protobuf(std::string_view message);

}  // namespace carillon::testing
