#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace carillon {

/// A whole request, as the sessions see it. Header names are lower case.
struct HttpRequest {
  std::string method;
  std::string target;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool is_keep_alive = true;

  /// First header of that (lower-case) name; empty when there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return {};
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

/// Reads requests out of bytes; sans-IO.
class HttpReader {
 public:
  virtual ~HttpReader() = default;
  enum class Step : std::uint8_t { need_more, request, refused };
  struct Result {
    Step step = Step::need_more;
    std::size_t consumed = 0;  ///< bytes read off the front of the input
    int refusal_status = 0;    ///< refused: 400, 413, 431 …; the connection is not usable any more
    std::string refusal_reason;
  };
  /// Reads on from where it stands. After `request` take it, then go on with the next.
  virtual Result read(std::span<const char> bytes) = 0;
  [[nodiscard]] virtual HttpRequest take() = 0;
  /// Bytes that bring a new reader to where this one stands, before the request is whole. Nothing: they were
  /// too many to be kept.
  [[nodiscard]] virtual std::optional<std::string_view> unfinished() const = 0;
};

/// What the HTTP library does for the sessions: parse, and answer a WebSocket handshake. Thread-safe.
class HttpLibrary {
 public:
  virtual ~HttpLibrary() = default;
  [[nodiscard]] virtual std::unique_ptr<HttpReader> make_reader(std::size_t header_bytes_max,
                                                                std::size_t body_bytes_max) const = 0;
  [[nodiscard]] virtual bool is_websocket_upgrade(const HttpRequest& request) const = 0;
  struct Upgrade {
    bool is_accepted = false;
    std::string response;  ///< whole, also when refused
  };
  /// RFC 6455 section 4.2. `subprotocol` is echoed unless empty.
  [[nodiscard]] virtual Upgrade upgrade(const HttpRequest& request, std::string_view subprotocol) const = 0;
};

/// Answers what is neither a transport nor a stream: API, health, pages. `respond` may be called later, from
/// any thread, once.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  using Respond = std::function<void(HttpResponse)>;
  virtual void handle(const HttpRequest& request, std::string_view path, Respond respond) = 0;
};

/// Appends status line, headers and body. `extra` are whole header lines, each with its CRLF.
void append_http_response(std::string& out, const HttpResponse& response, bool is_keep_alive,
                          std::string_view extra);
[[nodiscard]] std::string_view http_reason(int status);

}  // namespace carillon
