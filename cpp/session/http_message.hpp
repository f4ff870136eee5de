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

#include "protocol/http_field.hpp"
#include "protocol/query.hpp"
#include "session/body_budget.hpp"

namespace carillon {

/// An HTTP request; its texts are its reader's. Lines of the same name are one list, joined by commas
/// (RFC 9110 section 5.3).
struct HttpRequest {
  std::string_view method;
  std::string_view target;
  std::span<const HttpField> headers;
  std::uint64_t content_length = 0;  ///< as announced; a chunked body announces none
  bool is_chunked = false;
  bool is_http_1_0 = false;
  bool is_keep_alive = true;
  std::string_view body;  ///< once it has been read

  [[nodiscard]] bool has_body() const { return is_chunked || content_length > 0; }
  /// Value of the header with that name; empty if there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const {
    for (const HttpField& field : headers) {
      if (is_same_name(field.name, name)) return field.value;
    }
    return {};
  }
};

struct HttpResponse {
  int status = 200;
  std::string_view content_type = "application/json";  ///< of a literal, or of the server's pages
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string reason;   ///< of a refusal, for its record
  std::string channel;  ///< the same: the channel that was refused
};

/// A refusal, `{"error":{"code":…,"message":…}}`. `code` 0: the status.
[[nodiscard]] HttpResponse http_error(int status, std::string_view message, std::uint32_t code = 0);

/// Does a header's list, separated by commas, contain the token, in upper or lower case?
[[nodiscard]] bool lists_token(std::string_view list, std::string_view token);
/// The credentials in an `Authorization` header, if they are of that scheme.
[[nodiscard]] std::optional<std::string_view> credentials_of(std::string_view authorization,
                                                             std::string_view scheme);

/// Parses requests from bytes; without I/O.
class HttpReader {
 public:
  virtual ~HttpReader() = default;
  enum class Step : std::uint8_t { need_more, head, request, refused };
  struct Result {
    Step step = Step::need_more;
    std::size_t consumed = 0;  ///< bytes consumed from the front of the input
    int refusal_status = 0;    ///< refused: 400, 413, 431 …; the connection can no longer be used
    std::string refusal_reason;
  };
  /// Continues to read. If a body follows, there is a step `head` before it, so that the body can be refused
  /// unread. After `request` make another reader for the next one.
  virtual Result read(std::span<const char> bytes) = 0;
  /// After `head` without the body, after `request` whole. Its texts are valid until the next read(), as long
  /// as the reader.
  [[nodiscard]] virtual const HttpRequest& request() const = 0;
  /// Bytes that bring a new reader to the state of this one, before the request is complete.
  [[nodiscard]] virtual std::string unfinished() const = 0;
};

/// The HTTP library for the sessions: parses requests, and answers WebSocket handshakes. Thread-safe.
class HttpLibrary {
 public:
  virtual ~HttpLibrary() = default;
  /// `body_bytes_max` limits a chunked body. An announced length is checked when the head has been read.
  [[nodiscard]] virtual std::unique_ptr<HttpReader> make_reader(std::size_t header_bytes_max,
                                                                std::size_t body_bytes_max) const = 0;
  [[nodiscard]] virtual bool is_websocket_upgrade(const HttpRequest& request) const = 0;
  struct Upgrade {
    int refusal_status = 0;  ///< 0: accepted
    std::string refusal_reason;
    std::string response;  ///< whole, if accepted
  };
  /// RFC 6455 section 4.2. `subprotocol` and `extensions` are the server's answers, unless empty.
  [[nodiscard]] virtual Upgrade upgrade(const HttpRequest& request, std::string_view subprotocol,
                                        std::string_view extensions) const = 0;
};

/// Answers requests for the API and for pages.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  using Respond = std::function<void(HttpResponse&&)>;
  /// Checks the head of a request (path, method, key) before its body is read. `is_internal`: it came in at
  /// the address for operators. Nothing: it is accepted.
  [[nodiscard]] virtual std::optional<HttpResponse> refusal_of(const HttpRequest& head,
                                                               const HttpTarget& target,
                                                               bool is_internal) const = 0;
  /// Answers a request whose head was not refused. Whoever keeps a copy of its body keeps `body_memory`
  /// beside it. `respond` may be called later, from any thread, once.
  virtual void handle(const HttpRequest& request, BodyBudget::Share body_memory, const HttpTarget& target,
                      Respond respond) = 0;
};

/// Appends status line, headers and body. `extra` are whole header lines, each with its CRLF.
void append_http_response(std::string& out, const HttpResponse& response, std::string_view extra);
[[nodiscard]] std::string_view http_reason(int status);

}  // namespace carillon
