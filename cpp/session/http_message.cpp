#include "session/http_message.hpp"

#include "protocol/json_span.hpp"

namespace carillon {

std::string_view http_reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 421:
      return "Misdirected Request";
    case 426:
      return "Upgrade Required";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

void append_http_response(std::string& out, const HttpResponse& response, bool is_keep_alive,
                          std::string_view extra) {
  out.append("HTTP/1.1 ");
  append_uint(out, static_cast<std::uint64_t>(response.status));
  out.push_back(' ');
  out.append(http_reason(response.status)).append("\r\n");
  if (response.status != 204) {
    if (!response.content_type.empty())
      out.append("Content-Type: ").append(response.content_type).append("\r\n");
    out.append("Content-Length: ");
    append_uint(out, response.body.size());
    out.append("\r\n");
  }
  out.append("Cache-Control: no-store\r\n");
  for (const auto& [name, value] : response.headers)
    out.append(name).append(": ").append(value).append("\r\n");
  out.append(extra);
  if (!is_keep_alive) out.append("Connection: close\r\n");
  out.append("\r\n");
  if (response.status != 204) out.append(response.body);
}

}  // namespace carillon
