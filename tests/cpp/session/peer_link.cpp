#include "session/peer_link.hpp"

#include <utility>

#include "protocol/protobuf.hpp"
#include "protocol/ws_frame.hpp"
#include "session/protobuf_messages.hpp"

namespace carillon::testing {

namespace {

std::string request_of(std::string_view target, std::string_view body, bool is_protobuf) {
  return "POST " + std::string(target) + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " +
         (is_protobuf ? "application/octet-stream" : "application/json") +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

}  // namespace

PeerLink::PeerLink(World& its_world, Wire its_wire, std::size_t loop)
    : WsClient(its_world, loop), wire(its_wire) {
  answers_heartbeats = false;
  on_reply = [this](const Json& message) { take(message); };
}

std::string PeerLink::encoded(const std::vector<Json>& commands) const {
  std::string message;
  for (const Json& command : commands) {
    if (has_protobuf(wire)) {
      message += command_to_protobuf(command);
    } else {
      message += (message.empty() ? "" : "\n") + command.dump();
    }
  }
  return message;
}

void PeerLink::open(const Json& connect, const std::vector<Json>& behind) {
  std::vector<Json> commands{{{"id", next_id++}, {"connect", connect}}};
  commands.insert(commands.end(), behind.begin(), behind.end());
  const std::string message = is_unidirectional(wire) ? connect.dump() : encoded(commands);
  switch (wire) {
    case Wire::websocket:
      WsClient::open();
      return send(message);
    case Wire::websocket_protobuf:
      WsClient::open("?format=protobuf");
      return send_frame(2, message);
    case Wire::uni_websocket:
      write(
          "GET /connection/uni_websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: "
          "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
      return send(message);
    case Wire::http_stream:
    case Wire::http_stream_protobuf:
      return write(request_of("/connection/http_stream", message, has_protobuf(wire)));
    case Wire::emulated_sse:
      return write(request_of("/connection/sse", message, false));
    case Wire::uni_sse:
      return write(request_of("/connection/uni_sse", message, false));
    case Wire::uni_http_stream:
      return write(request_of("/connection/uni_http_stream", message, false));
  }
}

void PeerLink::say(const std::vector<Json>& commands, Pace pace) {
  if (!is_over()) send_message(encoded(commands), pace);
}

void PeerLink::answer_ping() {
  if (is_over()) return;
  send_rest();
  if (is_unidirectional(wire)) {
    for (const std::string& payload : std::exchange(pings, {})) {
      append_ws_client_frame(socket->inbox, WsOpcode::pong, true, 7, payload);
      socket->has_news = true;
    }
  } else {
    send_message(has_protobuf(wire) ? std::string(1, '\0') : "{}", Pace::next_turn);
  }
}

void PeerLink::send_message(const std::string& message, Pace pace) {
  if (!is_websocket()) {
    if (session_.empty()) return early_.push_back(message);
    return post_request(message, pace);
  }
  std::string frame;
  append_ws_client_frame(frame, has_protobuf(wire) ? WsOpcode::binary : WsOpcode::text, true, 0x12345678,
                         message);
  put(*this, std::move(frame), pace);
}

void PeerLink::put(Client& client, std::string bytes, Pace pace) {
  bytes.insert(0, std::exchange(held_, {}));
  if (pace == Pace::in_parts) {
    held_ = bytes.substr(bytes.size() / 2);
    bytes.resize(bytes.size() / 2);
  }
  if (pace == Pace::at_once && client.socket->inbox.empty()) {
    client.write(bytes, 1 + bytes.size() / 3);
  } else {
    client.socket->inbox += bytes;
    client.socket->has_news = true;
  }
}

void PeerLink::post_request(const std::string& message, Pace pace) {
  if (requests_ && !requests_->is_open()) {
    requests_.reset();
    held_.clear();
  }
  if (!requests_) {
    requests_ = std::make_unique<HttpClient>(world, (socket->loop + 1) % world.loops.size());
    requests_answered_ = 0;
  }
  const Json body{{"session", session_}, {"node", node_}, {"data", message}};
  put(*requests_,
      has_protobuf(wire) ? request_of("/emulation", emulation_to_protobuf(body), true)
                         : request_of("/emulation", body.dump(), false),
      pace);
  for (; requests_answered_ < requests_->responses.size(); ++requests_answered_) {
    const int status = requests_->responses[requests_answered_].status;
    if (status != 204) faults.push_back("/emulation: " + std::to_string(status));
  }
}

void PeerLink::send_rest() {
  if (is_over()) return;
  Client* const to = is_websocket() ? static_cast<Client*>(this) : requests_.get();
  if (!held_.empty() && to != nullptr && to->is_open()) put(*to, {}, Pace::next_turn);
  if (session_.empty()) return;
  for (const std::string& early : std::exchange(early_, {})) send_message(early, Pace::next_turn);
}

void PeerLink::hang_up() {
  if (requests_) requests_->cut();
  cut();
}

void PeerLink::on_bytes(std::string_view bytes) {
  if (!is_websocket()) {
    pending_.append(bytes);
    return take_stream();
  }
  WsClient::on_bytes(bytes);
  if (head && head->status != 101) faults.push_back("the handshake: " + std::to_string(head->status));
  pings_seen += std::exchange(heartbeats, 0);
  for (const std::string& message : std::exchange(binaries, {})) {
    std::string_view rest = message;
    while (!rest.empty()) {
      const auto reply = take_delimited(rest);
      if (!reply) return faults.push_back("a cut reply in a frame");
      reply->empty() ? void(++pings_seen) : take(reply_from_protobuf(*reply));
    }
  }
}

void PeerLink::take_stream() {
  if (!head) head = take_head(pending_);
  if (!head) return;
  if (head->status != 200) return faults.push_back("the stream: " + std::to_string(head->status));
  if (has_protobuf(wire)) {
    while (!pending_.empty()) {
      std::string_view rest = pending_;
      const auto reply = take_delimited(rest);
      if (!reply) return;
      reply->empty() ? void(++pings_seen) : take(reply_from_protobuf(*reply));
      pending_.erase(0, pending_.size() - rest.size());
    }
    return;
  }
  const bool is_event_stream = wire == Wire::emulated_sse || wire == Wire::uni_sse;
  if (is_event_stream && !is_begun_) {
    if (pending_.empty()) return;
    if (!pending_.starts_with("\n")) faults.push_back("the event stream begins with something else");
    pending_.erase(0, 1);
    is_begun_ = true;
  }
  const std::string_view begin = is_event_stream ? "data: " : "";
  const std::string_view end = is_event_stream ? "\n\n" : "\n";
  for (std::size_t at = 0; (at = pending_.find(end)) != std::string::npos;) {
    std::string text = pending_.substr(0, at);
    pending_.erase(0, at + end.size());
    if (wire == Wire::uni_sse && text.starts_with("retry: ")) text.erase(0, text.find('\n') + 1);
    if (!text.starts_with(begin)) return faults.push_back("no event: " + text);
    const Json message = Json::parse(text.substr(begin.size()));
    message.empty() ? void(++pings_seen) : take(message);
  }
}

void PeerLink::take(const Json& message) {
  if (message.empty()) return;  // a ping, which is counted elsewhere
  const bool is_uni = is_unidirectional(wire);
  if (is_uni && message.contains("push")) faults.push_back("an envelope: " + message.dump());
  const Json wrapped = is_uni ? Json{{"push", message}} : message;
  if (wrapped.contains("push") && wrapped["push"].contains("disconnect"))
    told_code_ = wrapped["push"]["disconnect"].value("code", 0);
  if (message.contains("connect") && !is_uni) {
    session_ = message["connect"].value("session", "");
    node_ = message["connect"].value("node", "");
  }
  if (on_message) on_message(wrapped);
}

}  // namespace carillon::testing
