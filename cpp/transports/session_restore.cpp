#include <memory>
#include <string>
#include <variant>

#include "client/centrifuge_client.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "session/session.hpp"
#include "transports/http_session.hpp"
#include "transports/sse_session.hpp"
#include "transports/stream_link.hpp"
#include "transports/websocket_link.hpp"

namespace carillon {

namespace {

std::unique_ptr<ClientLink> restore_link(const SessionContext& context, const ClientState& state) {
  if (const auto* stream = std::get_if<StreamLinkState>(&state.link))
    return std::make_unique<StreamLink>(stream->framing, state.encoding, stream->session);
  return std::make_unique<WebSocketLink>(static_cast<std::size_t>(context.limits.message_bytes),
                                         state.encoding, context.deflation,
                                         std::get<WebSocketLinkState>(state.link));
}

std::unique_ptr<Session> restore_client(SessionContext& context, Outlet& outlet, const ClientState& state) {
  auto client = std::make_unique<CentrifugeClient>(context, outlet, restore_link(context, state),
                                                   codec_of(state.encoding), state);
  if (const auto* socket = std::get_if<WebSocketLinkState>(&state.link)) {
    std::string unfinished = socket->unfinished;
    client->on_bytes(unfinished);
  }
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
