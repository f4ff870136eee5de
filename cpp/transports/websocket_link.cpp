#include "transports/websocket_link.hpp"

#include "client/centrifuge_client.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {
constexpr std::string_view kSizeRemedy = "the limit is websocket.message_size_limit";
}  // namespace

WebSocketLink::WebSocketLink(std::size_t message_bytes_max, Encoding encoding,
                             const WebSocketLinkState& state)
    : WebSocketLink(message_bytes_max, encoding, state.has_own_pings) {
  if (state.pong) pong_ = std::make_unique<std::string>(*state.pong);
}

ClientState::Link WebSocketLink::save() const {
  WebSocketLinkState state;
  state.has_own_pings = has_own_pings_;
  if (pong_) state.pong = *pong_;
  state.unfinished = parser_.unfinished();
  return state;
}

const ClientLayouts& WebSocketLink::layouts() const {
  return encoding_ == Encoding::json ? kWsJson : kWsProtobuf;
}

void WebSocketLink::on_bytes(CentrifugeClient& client, std::span<char> bytes) {
  while (!client.is_closed()) {
    const WsEvent event = parser_.next(bytes);
    if (event.kind == WsEventKind::need_more) break;
    switch (event.kind) {
      case WsEventKind::message:
        client.on_message(event.payload);
        break;
      case WsEventKind::ping:
        pong_ = std::make_unique<std::string>(event.payload);  // only the newest is answered
        break;
      case WsEventKind::pong:
        client.on_pong();
        break;
      case WsEventKind::close:
        client.on_goodbye(event.close_code);
        break;
      case WsEventKind::error:
        client.on_unreadable_input(event.close_code, event.error,
                                   event.close_code == kWsMessageTooBig ? kSizeRemedy : std::string_view());
        break;
      case WsEventKind::need_more:
        break;
    }
  }
  send_pong(client);
}

void WebSocketLink::send_pong(CentrifugeClient& client) {
  if (!pong_ || client.is_clogged() || client.is_over()) return;
  std::string pong;
  append_ws_frame(pong, WsOpcode::pong, *pong_);
  pong_.reset();
  client.write(pong);
}

void WebSocketLink::frame(std::string& message) const { add_frame(message, Framing::websocket, encoding_); }

bool WebSocketLink::send_ping(CentrifugeClient& client) {
  if (!has_own_pings_) return false;
  std::string ping;
  append_ws_frame(ping, WsOpcode::ping, "");
  client.write(ping);
  return true;
}

bool WebSocketLink::send_goodbye(CentrifugeClient& client, std::uint16_t code, std::string_view reason) {
  std::string close;
  append_ws_close(close, code, reason);
  client.write(close);
  return true;
}

void WebSocketLink::answer_goodbye(CentrifugeClient& client, std::uint16_t code) {
  std::string close;
  append_ws_close(close, code, "");
  client.write(close);
}

}  // namespace carillon
