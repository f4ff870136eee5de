#include "session/framing.hpp"

#include "protocol/ws_frame.hpp"

namespace carillon {

void add_frame(std::string& message, Framing framing, Encoding encoding) {
  const bool is_json = encoding == Encoding::json;
  switch (framing) {
    case Framing::websocket: {
      std::string header;
      append_ws_header(header, is_json ? WsOpcode::text : WsOpcode::binary, message.size());
      message.insert(0, header);
      break;
    }
    case Framing::stream:
      if (is_json) message.push_back('\n');
      break;
    case Framing::event:
      message.insert(0, "data: ");
      message.append("\n\n");
      break;
  }
}

}  // namespace carillon
