#include "load/web_dialects.hpp"

#include <algorithm>
#include <charconv>

#include "load/http_head.hpp"
#include "load/inflate.hpp"
#include "load/web_frame.hpp"

namespace carillon::load {

namespace {

constexpr std::string_view kKey = "dGhlIHNhbXBsZSBub25jZQ==";  // the example of RFC 6455, section 1.3,
constexpr std::string_view kAcceptValue = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";  // and its answer
constexpr std::uint64_t kFirstPublishId = 2;                               // 1 is that of connect

/// The text between `before` and the next quote; empty if there is none.
std::string_view quoted_behind(std::string_view text, std::string_view before) {
  const std::size_t at = text.find(before);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + before.size());
  return text.substr(0, text.find('"'));
}

/// The number behind `before`; 0 if there is none.
std::uint64_t number_behind(std::string_view text, std::string_view before) {
  const std::size_t at = text.find(before);
  std::uint64_t number = 0;
  if (at != std::string_view::npos) {
    std::from_chars(text.data() + at + before.size(), text.data() + text.size(), number);
  }
  return number;
}

/// The greatest offset in the text, or `least`.
std::uint64_t greatest_offset(std::string_view text, std::uint64_t least) {
  constexpr std::string_view kOffset = "\"offset\":";
  for (std::size_t at = text.find(kOffset); at != std::string_view::npos; at = text.find(kOffset)) {
    text.remove_prefix(at + kOffset.size());
    std::uint64_t offset = 0;
    std::from_chars(text.data(), text.data() + text.size(), offset);
    least = std::max(least, offset);
  }
  return least;
}

}  // namespace

// ---- every WebSocket

void WebDialect::open(Line& line) {
  line.stage = Line::Stage::opening;
  std::string request = "GET " + target(line) + " HTTP/1.1\r\n" + host_header();
  request += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ";
  request.append(kKey).append("\r\n");
  if (settings_.is_deflated && !line.is_publisher)
    request +=
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
        "client_no_context_takeover\r\n";
  request.append("\r\n");
  events_.send(line, request);
}

std::size_t WebDialect::hear(Line& line, char* bytes, std::size_t size) {
  if (line.stage == Line::Stage::opening) return hear_upgrade(line, {bytes, size});
  const auto frame = read_frame(bytes, size);
  if (!frame) return 0;
  if (frame->head == kTextFrame) {
    on_text(line, frame->payload);
  } else if (frame->head == kDeflatedTextFrame && settings_.is_deflated) {
    if (const auto text = inflate_message(frame->payload)) {
      on_text(line, *text);
    } else {
      events_.on_malformed(line, "what cannot be inflated");
    }
  } else if (frame->head == kPingFrame) {
    std::string pong;
    append_frame(pong, kPongFrame, frame->payload, next_mask());
    events_.send(line, pong);
    events_.on_ping(line);
  } else if (frame->head == kCloseFrame) {
    events_.on_lost(line, frame->payload.size() > 2 ? frame->payload.substr(2) : "close frame");
  } else if (frame->head != kPongFrame) {
    events_.on_malformed(line, frame->payload);
  }
  return frame->wire_bytes;
}

std::size_t WebDialect::hear_upgrade(Line& line, std::string_view bytes) {
  const auto head = read_http_head(bytes);
  if (!head) return 0;
  if (head->status != 101 || head->value("sec-websocket-accept") != kAcceptValue) {
    events_.on_refused(line, bytes.substr(0, bytes.find('\r')));
    return bytes.size();
  }
  if (settings_.is_deflated && !line.is_publisher && head->value("sec-websocket-extensions").empty()) {
    events_.on_refused(line, "the server does not compress");
    return bytes.size();
  }
  line.stage = Line::Stage::joining;
  on_upgraded(line);
  return head->bytes;
}

void WebDialect::append_text(std::string& out, std::string_view text) {
  append_frame(out, kTextFrame, text, next_mask());
}

void WebDialect::send_text(Line& line, std::string_view text) {
  std::string frame;
  append_text(frame, text);
  events_.send(line, frame);
}

// ---- Centrifuge

std::string CentrifugeDialect::target(const Line& line) const {
  return "/connection/websocket" + user_of(line, "?");
}

void CentrifugeDialect::on_upgraded(Line& line) {
  std::string commands = R"({"id":1,"connect":{}})";
  std::uint32_t id = 1;
  if (!line.is_publisher) {
    for (const std::string& channel : channels_of(line)) {
      commands.append("\n{\"id\":").append(std::to_string(++id));
      commands.append(",\"subscribe\":{\"channel\":\"").append(channel).append("\"");
      if (!line.position.empty()) {
        commands.append(",\"recover\":true,\"epoch\":\"").append(line.position);
        commands.append("\",\"offset\":").append(std::to_string(line.offset));
      }
      commands.append("}}");
    }
  }
  line.awaited = id;
  send_text(line, commands);
}

void CentrifugeDialect::on_text(Line& line, std::string_view text) {
  for (std::size_t end = 0; end != std::string_view::npos;) {  // a frame may hold several replies, one a line
    end = text.find('\n');
    on_reply(line, text.substr(0, end));
    if (end != std::string_view::npos) text.remove_prefix(end + 1);
  }
}

void CentrifugeDialect::on_reply(Line& line, std::string_view reply) {
  if (reply.starts_with("{\"push\":{")) {
    if (events_.on_messages(line, reply) == 0) events_.on_malformed(line, reply);
    if (keeps_positions()) line.offset = greatest_offset(reply, line.offset);
  } else if (reply == "{}") {
    send_text(line, "{}");
    events_.on_ping(line);
  } else if (reply.find("\"error\":") != std::string_view::npos) {
    events_.on_refused(line, reply);
  } else if (line.stage == Line::Stage::joining) {
    if (keeps_positions() && reply.find("\"subscribe\":") != std::string_view::npos)
      on_subscribed(line, reply);
    if (--line.awaited == 0) events_.on_live(line);
  } else if (line.is_publisher) {
    events_.on_published(line, number_behind(reply, "\"id\":") - kFirstPublishId);
  }
}

void CentrifugeDialect::on_subscribed(Line& line, std::string_view reply) {
  const bool is_resumed = !line.position.empty();
  if (is_resumed && reply.find("\"recovered\":true") == std::string_view::npos) {
    events_.on_not_recovered(line);
    line.offset = 0;
  }
  line.position = quoted_behind(reply, "\"epoch\":\"");
  line.offset = greatest_offset(reply, line.offset);
  events_.on_messages(line, reply);
}

void CentrifugeDialect::append_publish(std::string& out, std::string_view channel, std::string_view data,
                                       std::uint64_t number) {
  std::string command =
      "{\"id\":" + std::to_string(number + kFirstPublishId) + ",\"publish\":{\"channel\":\"";
  command.append(channel).append("\",\"data\":").append(data).append("}}");
  append_text(out, command);
}

// ---- raw

std::string RawWebDialect::target(const Line& /*line*/) const { return "/"; }

void RawWebDialect::on_upgraded(Line& line) {
  if (line.is_publisher) return events_.on_live(line);
  send_text(line, "s" + list_channels(line, " ", ""));
}

void RawWebDialect::on_text(Line& line, std::string_view text) {
  if (text == "ok") {
    if (line.stage == Line::Stage::joining) events_.on_live(line);
  } else if (events_.on_messages(line, text) == 0) {
    events_.on_malformed(line, text);
  }
}

void RawWebDialect::append_publish(std::string& out, std::string_view channel, std::string_view data,
                                   std::uint64_t /*number*/) {
  append_text(out, std::string("p ").append(channel).append(" ").append(data));
}

// ---- nchan

std::string NchanWebDialect::target(const Line& line) const {
  return "/sub/" + list_channels(line, ",", "").substr(1);
}

void NchanWebDialect::on_upgraded(Line& line) { events_.on_live(line); }

void NchanWebDialect::on_text(Line& line, std::string_view text) {
  if (events_.on_messages(line, text) == 0) events_.on_malformed(line, text);
}

// ---- Socket.IO

std::string SocketIoDialect::target(const Line& /*line*/) const {
  return "/socket.io/?EIO=4&transport=websocket";
}

void SocketIoDialect::on_upgraded(Line& line) { line.awaited = line.is_publisher ? 1 : 2; }

void SocketIoDialect::on_text(Line& line, std::string_view text) {
  if (text.starts_with("42[\"m\"")) {
    if (events_.on_messages(line, text) == 0) events_.on_malformed(line, text);
    if (keeps_positions()) keep_position(line, text);
  } else if (text == "2") {
    send_text(line, "3");
  } else if (text.starts_with("0{")) {
    open_session(line);
  } else if (text.starts_with("40{")) {
    if (--line.awaited == 0) return events_.on_live(line);
    if (keeps_positions() && is_same_session(line, text)) return events_.on_live(line);
    send_text(line, "420[\"s\"" + list_channels(line, ",\"", "\"") + "]");
  } else if (text.starts_with("430")) {
    if (line.stage == Line::Stage::joining) events_.on_live(line);
  } else {
    events_.on_refused(line, text);
  }
}

void SocketIoDialect::open_session(Line& line) {
  const std::string_view position = line.position;
  const std::size_t space = position.find(' ');
  if (space == std::string_view::npos) return send_text(line, "40");
  std::string text = "40{\"pid\":\"";
  text.append(position.substr(0, space)).append("\",\"offset\":\"").append(position.substr(space + 1));
  send_text(line, text.append("\"}"));
}

bool SocketIoDialect::is_same_session(Line& line, std::string_view text) {
  const std::string_view session = quoted_behind(text, "\"pid\":\"");
  const std::string before = line.position.substr(0, line.position.find(' '));
  if (!before.empty() && before == session) return true;
  if (!before.empty()) events_.on_not_recovered(line);
  line.position = session;  // empty: this server does not recover
  return false;
}

void SocketIoDialect::keep_position(Line& line, std::string_view text) {
  if (line.position.empty()) return;
  const std::size_t end = text.rfind('"');
  const std::size_t begin = text.rfind('"', end - 1) + 1;  // the last argument
  line.position.resize(std::min(line.position.size(), line.position.find(' ')));
  line.position.append(" ").append(text.substr(begin, end - begin));
}

void SocketIoDialect::append_publish(std::string& out, std::string_view channel, std::string_view data,
                                     std::uint64_t /*number*/) {
  append_text(out, std::string("420[\"p\",\"").append(channel).append("\",").append(data).append("]"));
}

}  // namespace carillon::load
