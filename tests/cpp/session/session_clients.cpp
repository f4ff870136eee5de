#include "session/session_clients.hpp"

#include <gtest/gtest.h>

#include "deflate/deflate.hpp"
#include "protocol/ws_frame.hpp"
#include "session/plain_http.hpp"

namespace carillon::testing {

Client::Client(World& its_world, std::size_t loop, bool is_over_limit) : world(its_world) {
  world.attach(*this, loop, is_over_limit);
}

Client::~Client() { cut(); }

void Client::write(std::string_view bytes, std::size_t piece) {
  if (socket != nullptr) world.deliver(*this, bytes, piece);
}

void Client::cut() {
  if (socket == nullptr) return;
  socket->is_reset = true;
  socket->client = nullptr;
  connection = nullptr;
  world.notice(*std::exchange(socket, nullptr));
}

std::optional<Response> take_head(std::string& bytes) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos) return std::nullopt;
  Response response;
  const std::size_t line = bytes.find("\r\n");
  EXPECT_EQ(bytes.substr(0, 9), "HTTP/1.1 ");
  response.status = std::stoi(bytes.substr(9, 3));
  if (line < end) {
    for (auto& [name, value] : read_headers(std::string_view(bytes).substr(line + 2, end - line - 2))) {
      EXPECT_TRUE(response.headers.emplace(name, value).second) << "twice: " << name;
    }
  }
  bytes.erase(0, end + 4);
  return response;
}

void HttpClient::request(std::string_view method, std::string_view target, std::string_view headers) {
  is_head_.push_back(method == "HEAD");
  std::string text;
  text.append(method)
      .append(" ")
      .append(target)
      .append(" HTTP/1.1\r\nHost: localhost:8000\r\n")
      .append(headers)
      .append("\r\n");
  write(text);
}

Response HttpClient::exchange(std::string_view method, std::string_view target, std::string_view headers) {
  request(method, target, headers);
  world.run();
  return responses.empty() ? Response{} : responses.back();
}

Response HttpClient::get(std::string_view target, std::string_view headers) {
  return exchange("GET", target, headers);
}

void HttpClient::on_bytes(std::string_view bytes) {
  pending_.append(bytes);
  while (true) {
    std::string rest = pending_;
    std::optional<Response> response = take_head(rest);
    if (!response) return;
    const bool is_head = !is_head_.empty() && is_head_.front();
    const std::string length = response->header("content-length");
    const std::size_t body = is_head || length.empty() ? 0 : std::stoul(length);
    if (rest.size() < body) return;
    response->body = rest.substr(0, body);
    pending_ = rest.substr(body);
    if (!is_head_.empty()) is_head_.pop_front();
    responses.push_back(std::move(*response));
  }
}

void SseClient::open(std::string_view query, std::string_view headers) {
  std::string text = "GET /sse?";
  text.append(query).append(" HTTP/1.1\r\nHost: localhost:8000\r\n").append(headers).append("\r\n");
  write(text);
}

void SseClient::on_bytes(std::string_view bytes) {
  pending_.append(bytes);
  if (!head) head = take_head(pending_);
  if (!head) return;
  for (std::size_t end = 0; (end = pending_.find("\n\n")) != std::string::npos;) {
    const std::string text = pending_.substr(0, end + 1);
    pending_.erase(0, end + 2);
    take_block(text);
  }
}

void SseClient::take_block(std::string_view text) {
  SseBlock block;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    const std::size_t colon = line.find(':');
    const std::string_view field = line.substr(0, colon);
    std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (colon == 0) {
      block.is_comment = true;
    } else if (field == "event") {
      block.event = value;
    } else if (field == "id") {
      block.id = value;
    } else if (field == "retry") {
      block.retry = std::stoull(std::string(value));
    } else if (field == "data") {
      EXPECT_FALSE(block.data.has_value()) << "two data lines";
      block.data = Json::parse(value);
    } else {
      ADD_FAILURE() << "unknown line: " << line;
    }
  }
  if (block.id) last_id = *block.id;
  blocks.push_back(block);
  if (on_block) on_block(block);
}

std::vector<SseBlock> SseClient::events(std::string_view event) const {
  std::vector<SseBlock> found;
  for (const SseBlock& block : blocks) {
    if (block.data && block.event == event) found.push_back(block);
  }
  return found;
}

void WsClient::open(std::string_view query) {
  std::string text = "GET /connection/websocket";
  text.append(query).append(
      " HTTP/1.1\r\nHost: localhost:8000\r\nConnection: Upgrade\r\nUpgrade: "
      "websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
  if (!extensions.empty()) text.append("Sec-WebSocket-Extensions: ").append(extensions).append("\r\n");
  write(text.append("\r\n"));
}

void WsClient::connect(std::string_view query) {
  open(query);
  command("connect", Json::object());
}

void WsClient::send(std::string_view text) {
  std::string compressed;
  if (sends_deflated && deflate(text, 6, compressed)) return send_compressed(compressed);
  send_frame(1, text);
}

void WsClient::send_compressed(std::string_view payload) {
  std::string frame;
  append_ws_client_frame(frame, WsOpcode::text, true, 0x12345678, payload, true);
  write(frame);
}

void WsClient::send_frame(std::uint8_t opcode, std::string_view payload) {
  std::string frame;
  append_ws_client_frame(frame, WsOpcode{opcode}, true, 0x12345678, payload);
  write(frame);
}

void WsClient::post(std::string_view text) {
  append_ws_client_frame(socket->inbox, WsOpcode::text, true, 7, text);
  socket->has_news = true;
}

Json WsClient::command(std::string_view name, Json body) {
  const std::uint32_t id = next_id++;
  send(Json{{"id", id}, {name, std::move(body)}}.dump());
  world.run();
  for (const Json& reply : replies) {
    if (reply["id"] == id) return reply;
  }
  return nullptr;
}

Json WsClient::subscribe(const std::string& channel, Json body) {
  body["channel"] = channel;
  return command("subscribe", std::move(body));
}

void WsClient::on_bytes(std::string_view bytes) {
  pending_.append(bytes);
  if (!head) head = take_head(pending_);
  if (!head || head->status != 101) return;
  while (pending_.size() >= 2) {
    const auto first = static_cast<std::uint8_t>(pending_[0]);
    std::size_t length = static_cast<std::uint8_t>(pending_[1]);
    std::size_t header = 2;
    EXPECT_EQ(length & 0x80U, 0U) << "masked by the server";
    if (length >= 126) {
      const std::size_t width = length == 126 ? 2 : 8;
      header += width;
      if (pending_.size() < header) return;
      length = 0;
      for (std::size_t i = 2; i < header; ++i) length = length << 8U | static_cast<std::uint8_t>(pending_[i]);
    }
    if (pending_.size() < header + length) return;
    std::string payload = pending_.substr(header, length);
    pending_.erase(0, header + length);
    EXPECT_FALSE(close_code.has_value()) << "a frame behind the close";
    if ((first & 0x0FU) <= 2) received_bytes += length;
    if ((first & 0x40U) != 0) {
      EXPECT_NE(head->header("sec-websocket-extensions"), "") << "compressed, though not negotiated";
      ++deflated;
      const std::string compressed = payload;
      EXPECT_EQ(inflate(compressed, 1U << 24, payload), InflateResult::whole);
    }
    EXPECT_EQ(first & 0xB0U, 0x80U) << "not final, or reserved bits";
    switch (first & 0x0FU) {
      case 1: {
        const Json reply = Json::parse(payload);
        if (reply.empty()) {
          ++heartbeats;
          EXPECT_EQ(payload, "{}");
          if (answers_heartbeats && socket != nullptr) post("{}");
        } else if (reply.contains("push")) {
          pushes.push_back(reply["push"]);
        } else {
          replies.push_back(reply);
        }
        if (on_reply) on_reply(reply);
        break;
      }
      case 2:
        binaries.push_back(payload);
        break;
      case 8:
        close_code = 0;
        if (payload.size() >= 2) {
          close_code = static_cast<std::uint16_t>(static_cast<std::uint8_t>(payload[0]) << 8 |
                                                  static_cast<std::uint8_t>(payload[1]));
          close_reason = payload.substr(2);
        }
        break;
      case 9:
        pings.push_back(payload);
        break;
      case 10:
        pongs.push_back(payload);
        break;
      default:
        ADD_FAILURE() << "opcode " << (first & 0x0FU);
    }
  }
}

std::vector<Json> WsClient::pushes_of(std::string_view channel, std::string_view kind) const {
  std::vector<Json> found;
  for (const Json& push : pushes) {
    if (push.value("channel", "") == channel && push.contains(kind)) found.push_back(push[std::string(kind)]);
  }
  return found;
}

}  // namespace carillon::testing
