#include <memory>
#include <variant>

#include "protocol/centrifuge_json.hpp"
#include "session/http_session.hpp"
#include "session/session.hpp"
#include "session/sse_session.hpp"
#include "session/websocket_session.hpp"

namespace carillon {

std::unique_ptr<Session> restore_session(SessionContext& context, Outlet& outlet, const SessionState& state) {
  std::unique_ptr<Session> session;
  if (const auto* http = std::get_if<HttpState>(&state.kind)) {
    session = std::make_unique<HttpSession>(context, outlet, *http);
  } else if (const auto* sse = std::get_if<SseState>(&state.kind)) {
    session = std::make_unique<SseSession>(context, outlet, *sse);
  } else {
    session = std::make_unique<WebSocketSession>(context, outlet, centrifuge_json_codec(),
                                                 std::get<WebSocketState>(state.kind));
  }
  if (state.connected_age_ms) session->connected_ms_ = context.clock.now_ms() - *state.connected_age_ms;
  if (state.end_code) {
    session->end_ =
        std::make_unique<Session::End>(Session::End{*state.end_code, state.end_reason, state.is_end_goodbye});
  }
  return session;
}

}  // namespace carillon
