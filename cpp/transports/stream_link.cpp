#include "transports/stream_link.hpp"

#include "client/centrifuge_client.hpp"
#include "session/forms.hpp"

namespace carillon {

const ClientLayouts& StreamLink::layouts() const {
  if (framing_ == Framing::event) return kEventJson;
  return encoding_ == Encoding::json ? kStreamJson : kStreamProtobuf;
}

bool StreamLink::send_goodbye(CentrifugeClient& client, std::uint16_t code, std::string_view reason) {
  std::string message;
  codec_of(encoding_).encode_push_disconnect(message, code, reason);
  frame(message);
  client.write(message);
  return false;
}

}  // namespace carillon
