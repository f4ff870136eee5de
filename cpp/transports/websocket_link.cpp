#include "transports/websocket_link.hpp"

#include "client/centrifuge_client.hpp"
#include "protocol/utf8.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {
constexpr std::string_view kSizeRemedy = "the limit is websocket.message_size_limit";
constexpr std::string_view kInflateRemedy =
    "inflated it is beyond websocket.message_size_limit or limits.inflate_ratio";
constexpr std::uint16_t kInvalidPayload = 1007;
static_assert(sizeof(void*) != 8 || sizeof(WebSocketLink) <= 40, "each idle connection has one");
}  // namespace

WebSocketLink::WebSocketLink(std::size_t message_bytes_max, Encoding encoding, const Deflation& deflation,
                             const WebSocketLinkState& state)
    : WebSocketLink(message_bytes_max, encoding, state.has_own_pings,
                    state.is_deflated ? &deflation : nullptr) {
  if (state.pong) pong_ = std::make_unique<std::string>(*state.pong);
}

WebSocketLinkState WebSocketLink::save_socket() const {
  WebSocketLinkState state;
  state.has_own_pings = has_own_pings_;
  if (pong_) state.pong = *pong_;
  state.unfinished = parser_.unfinished();
  state.is_deflated = deflation_ != nullptr;
  return state;
}

const ClientLayouts& WebSocketLink::layouts() const {
  if (deflation_ != nullptr) return deflation_->layouts(encoding_);
  return encoding_ == Encoding::json ? kWsJson : kWsProtobuf;
}

void WebSocketLink::on_bytes(CentrifugeClient& client, std::span<char> bytes) {
  while (!client.is_closed()) {
    const WsEvent event = parser_.next(bytes);
    if (event.kind == WsEventKind::need_more) break;
    switch (event.kind) {
      case WsEventKind::message:
        if (event.is_compressed) {
          read_compressed(client, event);
        } else {
          on_message(client, event.payload);
        }
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

void WebSocketLink::on_message(CentrifugeClient& client, std::string_view message) const {
  client.on_message(message);
}

void WebSocketLink::read_compressed(CentrifugeClient& client, const WsEvent& event) {
  if (client.is_over()) return;
  std::string message;
  switch (deflation_->inflate(event.payload, message)) {
    case InflateResult::whole:
      if (event.opcode == WsOpcode::text && !is_utf8(message))
        return client.on_unreadable_input(kInvalidPayload, "text is not UTF-8", {});
      return on_message(client, message);
    case InflateResult::too_long:
      return client.on_unreadable_input(kWsMessageTooBig, "message too big", kInflateRemedy);
    case InflateResult::broken:
      return client.on_unreadable_input(kInvalidPayload, "message cannot be inflated", {});
  }
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
