#pragma once

#include <cstdint>
#include <string>

#include "protocol/centrifuge_codec.hpp"

namespace carillon {

/// How the messages of a Centrifuge client stand in the bytes of its transport (protocol.md sections 12 and
/// 16).
enum class Framing : std::uint8_t {
  websocket,  ///< a text frame with JSON, a binary one with Protobuf
  stream,     ///< JSON: a line; Protobuf: as it is, because each message has its length
  event       ///< an event of an event stream; JSON only
};

/// Frames one message, in place.
void add_frame(std::string& message, Framing framing, Encoding encoding);

}  // namespace carillon
