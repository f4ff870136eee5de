#include "server/blocking_client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <utility>

#include "protocol/ws_frame.hpp"

namespace carillon {

BlockingClient::BlockingClient(std::uint16_t port)
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail("cannot connect");
}

BlockingClient::~BlockingClient() { ::close(socket_); }

void BlockingClient::fail(std::string problem) {
  if (problem_.empty()) problem_ = std::move(problem);
}

void BlockingClient::send(std::string_view bytes) {
  if (::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
    fail("cannot send");
  }
}

bool BlockingClient::receive() {
  pollfd wanted{socket_, POLLIN, 0};
  if (!problem_.empty() || ::poll(&wanted, 1, 50) <= 0) return false;
  std::array<char, 16'384> buffer;
  const ssize_t count = ::recv(socket_, buffer.data(), buffer.size(), 0);
  if (count <= 0) {
    fail("the server has closed the connection");
    return false;
  }
  input_.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

bool BlockingClient::receive_head() {
  for (int tries = 0; tries < 200 && problem_.empty(); ++tries) {
    if (const std::size_t end = input_.find("\r\n\r\n"); end != std::string::npos) {
      const std::string head = input_.substr(0, end);
      input_.erase(0, end + 4);
      if (!head.starts_with("HTTP/1.1 200") && !head.starts_with("HTTP/1.1 101")) fail(head);
      return problem_.empty();
    }
    receive();
  }
  fail("no answer");
  return false;
}

std::vector<std::uint64_t> BlockingClient::offsets_in(std::string_view text, std::string_view marker) {
  static constexpr std::string_view kField = "\"offset\":";
  std::vector<std::uint64_t> offsets;
  for (std::size_t at = text.find(marker); at != std::string_view::npos; at = text.find(marker, at + 1)) {
    const std::size_t field = text.find(kField, at);
    if (field == std::string_view::npos) break;
    offsets.push_back(std::strtoull(text.data() + field + kField.size(), nullptr, 10));
  }
  return offsets;
}

void BlockingClient::open_sse(std::string_view channel, std::string_view since) {
  send("GET /sse?channel=" + std::string(channel) + "&since=" + std::string(since) +
       " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  receive_head();
}

std::vector<std::uint64_t> BlockingClient::read_sse() {
  receive();
  const std::size_t end = input_.rfind("\n\n");
  if (end == std::string::npos) return {};
  const std::string whole = input_.substr(0, end + 2);
  input_.erase(0, end + 2);
  // A status event is the only one that says whether it recovered; publications have data instead.
  std::vector<std::uint64_t> offsets;
  for (std::size_t begin = 0; begin < whole.size();) {
    const std::size_t stop = whole.find("\n\n", begin);
    const std::string event = whole.substr(begin, stop - begin);
    begin = stop + 2;
    if (event.find("event: status") != std::string::npos) continue;
    for (const std::uint64_t offset : offsets_in(event, "data: {\"channel\"")) offsets.push_back(offset);
  }
  return offsets;
}

std::vector<std::uint64_t> BlockingClient::poll(std::string_view channel, std::string_view since) {
  send("GET /poll?channel=" + std::string(channel) + "&timeout=1&since=" + std::string(since) +
       " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string body = receive_body();
  const std::string publications = body.substr(0, body.find("],\"since\""));
  if (body.find("\"recovered\":false") != std::string::npos) fail("not recovered: " + body);
  return offsets_in(publications, "{\"channel\"");
}

std::string BlockingClient::call(std::string_view method, std::string_view body) {
  send("POST /api/" + std::string(method) + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
       std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
  return receive_body();
}

std::string BlockingClient::receive_body() {
  for (int tries = 0; tries < 200 && problem_.empty(); ++tries) {
    const std::size_t head = input_.find("\r\n\r\n");
    const std::size_t field = input_.find("Content-Length: ");
    if (head != std::string::npos && field < head) {
      const std::size_t length = std::strtoull(input_.c_str() + field + 16, nullptr, 10);
      if (input_.size() >= head + 4 + length) {
        std::string body = input_.substr(head + 4, length);
        input_.erase(0, head + 4 + length);
        return body;
      }
    }
    receive();
  }
  fail("no answer to a request");
  return {};
}

void BlockingClient::open_websocket(std::string_view channel, std::string_view epoch, std::uint64_t offset) {
  send(
      "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  if (!receive_head()) return;
  const std::string commands = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"" +
                               std::string(channel) + "\",\"recover\":true,\"epoch\":\"" +
                               std::string(epoch) + "\",\"offset\":" + std::to_string(offset) + "}}";
  std::string frame;
  append_ws_client_frame(frame, WsOpcode::text, true, 0x12345678, commands);
  send(frame);
}

std::vector<std::uint64_t> BlockingClient::read_websocket() {
  receive();
  std::vector<std::uint64_t> offsets;
  while (input_.size() >= 2) {
    std::size_t header = 2;
    std::size_t length = static_cast<unsigned char>(input_[1]);
    if (length == 126) {
      if (input_.size() < 4) break;
      header = 4;
      length = static_cast<std::size_t>(static_cast<unsigned char>(input_[2])) << 8U |
               static_cast<unsigned char>(input_[3]);
    } else if (length == 127) {
      if (input_.size() < 10) break;
      header = 10;
      length = 0;
      for (std::size_t i = 2; i < 10; ++i) length = length << 8U | static_cast<unsigned char>(input_[i]);
    }
    if (input_.size() < header + length) break;
    const std::string payload = input_.substr(header, length);
    input_.erase(0, header + length);
    if (payload.find("\"unsubscribe\"") != std::string::npos) fail("unsubscribed: " + payload);
    // Publications of the reply's page and pushes both begin with their data.
    for (const std::uint64_t offset : offsets_in(payload, "\"data\":")) offsets.push_back(offset);
  }
  return offsets;
}

}  // namespace carillon
