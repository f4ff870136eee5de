#include <boost/asio/io_context.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "gateway/beast_http.hpp"
#include "protocol/base64.hpp"

namespace carillon {

namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;

namespace {

/// A stream that only remembers what is written to it: Beast's handshake answers into it, without I/O.
class Capture {
 public:
  using executor_type = boost::asio::io_context::executor_type;
  /// Nothing ever runs on it. The system's executor would start threads of its own for the whole process.
  executor_type get_executor() {
    thread_local boost::asio::io_context idle;
    return idle.get_executor();
  }

  template <typename Buffers>
  std::size_t read_some(const Buffers& /*buffers*/, boost::beast::error_code& error) {
    error = boost::asio::error::eof;
    return 0;
  }
  template <typename Buffers>
  std::size_t read_some(const Buffers& /*buffers*/) {
    return 0;
  }
  template <typename Buffers>
  std::size_t write_some(const Buffers& buffers, boost::beast::error_code& error) {
    error = {};
    return write_some(buffers);
  }
  template <typename Buffers>
  std::size_t write_some(const Buffers& buffers) {
    std::size_t bytes = 0;
    for (auto it = boost::asio::buffer_sequence_begin(buffers);
         it != boost::asio::buffer_sequence_end(buffers); ++it) {
      const boost::asio::const_buffer piece(*it);
      written.append(static_cast<const char*>(piece.data()), piece.size());
      bytes += piece.size();
    }
    return bytes;
  }

  std::string written;
};

http::request<http::string_body> to_beast(const HttpRequest& request) {
  http::request<http::string_body> message;
  message.method_string(request.method);
  message.target(request.target);
  message.version(11);
  for (const auto& [name, value] : request.headers) message.insert(name, value);
  // An empty offer is none: some clients send the header without a value.
  if (request.header("sec-websocket-protocol").empty()) message.erase(http::field::sec_websocket_protocol);
  return message;
}

}  // namespace

bool BeastHttp::is_websocket_upgrade(const HttpRequest& request) const {
  return websocket::is_upgrade(to_beast(request));
}

HttpLibrary::Upgrade BeastHttp::upgrade(const HttpRequest& request, std::string_view subprotocol,
                                        std::string_view extensions) const {
  if (request.is_http_1_0) return {400, "a WebSocket handshake is an HTTP/1.1 request", {}};
  if (request.header("sec-websocket-version") != "13")
    return {426, "Sec-WebSocket-Version: only 13 is understood (RFC 6455)", {}};
  const std::optional<std::string> key = from_base64(request.header("sec-websocket-key"));
  if (!key || key->size() != 16) return {400, "Sec-WebSocket-Key: not the base64 of 16 bytes", {}};
  websocket::stream<Capture, false> stream{Capture{}};
  stream.set_option(websocket::stream_base::decorator([&](websocket::response_type& response) {
    response.set(http::field::server, "carillon");  // else it would name its own version
    if (!subprotocol.empty()) response.set(http::field::sec_websocket_protocol, subprotocol);
    if (!extensions.empty()) response.set(http::field::sec_websocket_extensions, extensions);
  }));
  boost::beast::error_code error;
  stream.accept(to_beast(request), error);
  if (error) return {400, "not a valid WebSocket handshake: " + error.message(), {}};
  return {0, {}, std::move(stream.next_layer().written)};
}

}  // namespace carillon
