#include "transports/uni_websocket_link.hpp"

#include "client/centrifuge_client.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {

void add_uni_frame(std::string& push) { add_frame(push, Framing::websocket, Encoding::json); }

constexpr UniPushForm kUniWebSocketForm(add_uni_frame);
constexpr UniPushForm kUniWebSocketFullForm(add_uni_frame, DataForm::full);
constexpr UniDeltaPushForm kUniWebSocketDeltaForm(add_uni_frame);
constexpr ClientLayouts kUniWebSocketLayouts = client_layouts(Transport::uni_websocket, kUniWebSocketForm,
                                                              kUniWebSocketFullForm, kUniWebSocketDeltaForm);

}  // namespace

const ClientLayouts& UniWebSocketLink::layouts() const { return kUniWebSocketLayouts; }

void UniWebSocketLink::frame(std::string& message) const { add_uni_frame(message); }

void UniWebSocketLink::on_message(CentrifugeClient& client, std::string_view message) const {
  if (client.awaits_connect()) client.on_message(message);  // whatever else it says is not for us
}

bool UniWebSocketLink::send_ping(CentrifugeClient& client) {
  std::string ping;
  append_ws_frame(ping, WsOpcode::ping, "");
  client.write(ping);
  return false;
}

bool UniWebSocketLink::send_goodbye(CentrifugeClient& client, std::uint16_t code, std::string_view reason) {
  std::string message;
  codec().encode_push_disconnect(message, code, reason);
  frame(message);
  client.write(message);
  return WebSocketLink::send_goodbye(client, code, reason);
}

}  // namespace carillon
