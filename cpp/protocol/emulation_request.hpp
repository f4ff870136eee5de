#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "protocol/centrifuge_codec.hpp"

namespace carillon {

/// Commands of a client that come by a request of their own (protocol.md section 16).
struct EmulationRequest {
  std::string session;
  std::string node;
  std::string data;  ///< a message with commands
};

/// Reads `{"session":…,"node":…,"data":"…"}`, or the same in Protobuf. Nothing: it is malformed.
[[nodiscard]] std::optional<EmulationRequest> read_emulation_request(std::string_view body,
                                                                     Encoding encoding);

}  // namespace carillon
