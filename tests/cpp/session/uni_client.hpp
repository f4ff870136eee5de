#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {

/// How a unidirectional client asks to connect.
enum class UniKind { websocket, websocket_by_url, sse, sse_by_post, http_stream };
inline constexpr UniKind kUniKinds[] = {UniKind::websocket, UniKind::websocket_by_url, UniKind::sse,
                                        UniKind::sse_by_post, UniKind::http_stream};

[[nodiscard]] inline std::string name_of(UniKind kind) {
  switch (kind) {
    case UniKind::websocket:
      return "WebSocket";
    case UniKind::websocket_by_url:
      return "WebSocketByUrl";
    case UniKind::sse:
      return "Sse";
    case UniKind::sse_by_post:
      return "SseByPost";
    case UniKind::http_stream:
      return "HttpStream";
  }
  return "";
}

/// A client that says nothing but its connect. All that it gets stands in `replies`, but for the empty
/// pushes, which are `heartbeats`.
class UniClient : public WsClient {
 public:
  explicit UniClient(World& its_world, UniKind its_kind, std::size_t loop = 0)
      : WsClient(its_world, loop), kind(its_kind) {
    answers_heartbeats = false;
  }

  [[nodiscard]] bool is_websocket() const {
    return kind == UniKind::websocket || kind == UniKind::websocket_by_url;
  }
  /// Asks to connect, without a turn. `query`: with its `?`.
  void ask(std::string_view request = "{}", std::string query = {}) {
    if (kind == UniKind::websocket_by_url || kind == UniKind::sse)
      query.append(query.empty() ? "?" : "&").append("cf_connect=").append(in_query(request));
    switch (kind) {
      case UniKind::websocket:
      case UniKind::websocket_by_url:
        write("GET /connection/uni_websocket" + query +
              " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        if (kind == UniKind::websocket) send(request);
        break;
      case UniKind::sse:
        write("GET /connection/uni_sse" + query + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
        break;
      case UniKind::sse_by_post:
      case UniKind::http_stream:
        write(std::string("POST /connection/") +
              (kind == UniKind::http_stream ? "uni_http_stream" : "uni_sse") + query +
              " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(request.size()) +
              "\r\n\r\n" + std::string(request));
        break;
    }
  }
  /// The same, then turns; the connect push, or null.
  Json open(const Json& request = Json::object(), std::string query = {}) {
    ask(request.dump(), std::move(query));
    world.run();
    return replies.empty() ? Json() : replies.front().value("connect", Json());
  }

  void on_bytes(std::string_view bytes) override {
    if (is_websocket()) return WsClient::on_bytes(bytes);
    pending_.append(bytes);
    if (!head) head = take_head(pending_);
    if (!head || head->status != 200) return;
    if (!std::exchange(is_begun_, true) && kind != UniKind::http_stream) {
      EXPECT_TRUE(pending_.starts_with("\n")) << "EventSource is to be open at once";
      pending_.erase(0, 1);
    }
    const std::string_view begin = kind == UniKind::http_stream ? "" : "data: ";
    const std::string_view end = kind == UniKind::http_stream ? "\n" : "\n\n";
    for (std::size_t at = 0; (at = pending_.find(end)) != std::string::npos;) {
      // In the event itself: some readers take a block without data for an event.
      if (pending_.starts_with("retry: ")) {
        retry_ms = std::stoull(pending_.substr(7));
        const std::size_t line = pending_.find('\n') + 1;
        pending_.erase(0, line);
        at -= line;
      }
      EXPECT_TRUE(pending_.starts_with(begin)) << pending_;
      take(Json::parse(pending_.substr(begin.size(), at - begin.size())));
      pending_.erase(0, at + end.size());
    }
  }

  [[nodiscard]] std::vector<Json> pubs_of(std::string_view channel) const {
    std::vector<Json> found;
    for (const Json& push : replies) {
      if (push.value("channel", "") == channel && push.contains("pub")) found.push_back(push["pub"]["data"]);
    }
    return found;
  }
  /// The code of the disconnect push; 0: it is none.
  [[nodiscard]] int disconnect_code() const {
    return replies.empty() ? 0 : replies.back().value("disconnect", Json::object()).value("code", 0);
  }

  /// The server has said goodbye in the way of the transport.
  [[nodiscard]] bool has_ended() const { return is_websocket() ? close_code.has_value() : is_ended; }

  const UniKind kind;
  std::uint64_t retry_ms = 0;  ///< the reconnection delay that an EventSource was sent

 private:
  static std::string in_query(std::string_view text) {
    static constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string coded;
    for (const char c : text) {
      const auto byte = static_cast<std::uint8_t>(c);
      coded.append("%").append(1, kDigits[byte >> 4U]).append(1, kDigits[byte & 0xFU]);
    }
    return coded;
  }
  void take(const Json& push) {
    if (push.empty()) {
      ++heartbeats;
    } else {
      replies.push_back(push);
      if (on_reply) on_reply(push);
    }
  }

  bool is_begun_ = false;
  std::string pending_;
};

}  // namespace carillon::testing
