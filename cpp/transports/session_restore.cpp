#include <memory>
#include <string>
#include <variant>

#include "client/centrifuge_client.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "session/session.hpp"
#include "transports/http_session.hpp"
#include "transports/sse_session.hpp"
#include "transports/stream_link.hpp"
#include "transports/uni_http_stream_link.hpp"
#include "transports/uni_sse_link.hpp"
#include "transports/uni_websocket_link.hpp"
#include "transports/websocket_link.hpp"

namespace carillon {

namespace {

/// Makes the link that was saved.
struct LinkRestorer {
  using Made = std::unique_ptr<ClientLink>;
  const SessionContext& context;
  Encoding encoding;

  [[nodiscard]] std::size_t message_bytes() const {
    return static_cast<std::size_t>(context.limits.message_bytes);
  }
  Made operator()(const WebSocketLinkState& link) const {
    return std::make_unique<WebSocketLink>(message_bytes(), encoding, context.deflation, link);
  }
  Made operator()(const StreamLinkState& link) const {
    return std::make_unique<StreamLink>(link.framing, encoding, link.session);
  }
  Made operator()(const UniWebSocketLinkState& link) const {
    return std::make_unique<UniWebSocketLink>(message_bytes(), context.deflation, link);
  }
  Made operator()(const UniSseLinkState& link) const { return std::make_unique<UniSseLink>(link.session); }
  Made operator()(const UniHttpStreamLinkState& link) const {
    return std::make_unique<UniHttpStreamLink>(link.session);
  }
};

/// The bytes that its parser had.
std::string unfinished_of(const ClientState::Link& link) {
  if (const auto* socket = std::get_if<WebSocketLinkState>(&link)) return socket->unfinished;
  if (const auto* uni = std::get_if<UniWebSocketLinkState>(&link)) return uni->socket.unfinished;
  return {};
}

std::unique_ptr<Session> restore_client(SessionContext& context, Outlet& outlet, const ClientState& state) {
  auto client = std::make_unique<CentrifugeClient>(
      context, outlet, std::visit(LinkRestorer{context, state.encoding}, state.link), state);
  if (std::string unfinished = unfinished_of(state.link); !unfinished.empty()) client->on_bytes(unfinished);
  return client;
}

}  // namespace

std::unique_ptr<Session> restore_session(SessionContext& context, Outlet& outlet, const SessionState& state) {
  std::unique_ptr<Session> session;
  if (const auto* http = std::get_if<HttpState>(&state.kind)) {
    session = std::make_unique<HttpSession>(context, outlet, *http);
  } else if (const auto* sse = std::get_if<SseState>(&state.kind)) {
    session = std::make_unique<SseSession>(context, outlet, *sse);
  } else {
    session = restore_client(context, outlet, std::get<ClientState>(state.kind));
  }
  if (state.connected_age_ms) session->connected_ms_ = context.clock.now_ms() - *state.connected_age_ms;
  if (state.end_code) {
    session->end_ =
        std::make_unique<Session::End>(Session::End{*state.end_code, state.end_reason, state.is_end_goodbye});
  }
  return session;
}

}  // namespace carillon
