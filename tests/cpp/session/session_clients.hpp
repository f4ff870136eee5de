#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "session/session_world.hpp"

namespace carillon::testing {

using Json = nlohmann::json;

/// The far end of a connection.
class Client {
 public:
  explicit Client(World& world, std::size_t loop = 0, bool is_over_limit = false);
  virtual ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Sends, without a turn.
  void write(std::string_view bytes, std::size_t piece = Kernel::kAll);
  /// Breaks the connection.
  void cut();
  [[nodiscard]] bool is_open() const { return connection != nullptr; }
  [[nodiscard]] bool is_clogged() const { return connection != nullptr && connection->outlet.is_clogged; }
  [[nodiscard]] Kernel& kernel() const { return socket->kernel; }
  virtual void on_bytes(std::string_view bytes) = 0;

  World& world;
  FakeSocket* socket = nullptr;      // null once it is gone
  Connection* connection = nullptr;  // the same
  bool is_ended = false;             // the server has closed its end
  bool ends_with_server = true;      // closes its own end then
};

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  [[nodiscard]] std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

/// Takes a response's head off the front of `bytes`; nothing while it is not whole.
[[nodiscard]] std::optional<Response> take_head(std::string& bytes);

class HttpClient : public Client {
 public:
  using Client::Client;
  /// A request without a body; `headers` are whole lines.
  void request(std::string_view method, std::string_view target, std::string_view headers = {});
  /// The same, then turns; the newest response.
  Response get(std::string_view target, std::string_view headers = {});
  Response exchange(std::string_view method, std::string_view target, std::string_view headers = {});
  void on_bytes(std::string_view bytes) override;

  std::deque<Response> responses;

 private:
  std::string pending_;
  std::deque<bool> is_head_;
};

struct SseBlock {
  std::string event;
  std::optional<Json> data;
  std::optional<std::string> id;
  std::optional<std::uint64_t> retry;
  bool is_comment = false;
};

class SseClient : public Client {
 public:
  using Client::Client;
  void open(std::string_view query, std::string_view headers = {});
  void on_bytes(std::string_view bytes) override;

  std::function<void(const SseBlock&)> on_block;
  std::optional<Response> head;
  std::vector<SseBlock> blocks;
  std::string last_id;
  [[nodiscard]] std::vector<SseBlock> events(std::string_view event) const;

 private:
  void take_block(std::string_view text);
  std::string pending_;
};

class WsClient : public Client {
 public:
  using Client::Client;
  /// Handshake, without a turn.
  void open(std::string_view query = {});
  /// Handshake and connect command, then turns.
  void connect(std::string_view query = {});
  /// One text frame.
  void send(std::string_view text);
  void send_frame(std::uint8_t opcode, std::string_view payload);
  /// One text frame whose payload, which is said to be compressed, is this.
  void send_compressed(std::string_view payload);
  /// One text frame that the server does not read before its next turn.
  void post(std::string_view text);
  /// A command with the next id, then turns; its reply, or null.
  Json command(std::string_view name, Json body);
  Json subscribe(const std::string& channel, Json body = Json::object());
  void on_bytes(std::string_view bytes) override;

  std::function<void(const Json&)> on_reply;  ///< replies and pushes, as they come
  std::optional<Response> head;
  std::vector<Json> replies;  ///< of commands, in order
  std::vector<Json> pushes;
  std::size_t heartbeats = 0;  ///< `{}`
  bool answers_heartbeats = true;
  std::string extensions;          ///< offered in the handshake; empty: none
  bool sends_deflated = false;     ///< texts that this makes shorter
  std::size_t deflated = 0;        ///< frames that came compressed
  std::size_t received_bytes = 0;  ///< payloads of messages, as they came
  std::vector<std::string> pings;  ///< native
  std::vector<std::string> pongs;
  std::vector<std::string> binaries;        ///< messages in binary frames
  std::optional<std::uint16_t> close_code;  ///< 0: a close frame without one
  std::string close_reason;
  std::uint32_t next_id = 1;
  [[nodiscard]] std::vector<Json> pushes_of(std::string_view channel, std::string_view kind) const;

 private:
  std::string pending_;
};

/// The error code of a reply; 0: it is none.
inline std::uint32_t error_of(const Json& reply) {
  return reply.is_object() && reply.contains("error") ? reply["error"]["code"].get<std::uint32_t>() : 0;
}

}  // namespace carillon::testing
