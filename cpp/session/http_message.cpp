#include "session/http_message.hpp"

#include <algorithm>
#include <cctype>

#include "protocol/api_answer.hpp"
#include "protocol/json_span.hpp"

namespace carillon {

bool lists_token(std::string_view list, std::string_view token) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  while (!list.empty()) {
    std::string_view item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), item.size() + 1));
    while (!item.empty() && is_blank(item.front())) item.remove_prefix(1);
    while (!item.empty() && is_blank(item.back())) item.remove_suffix(1);
    if (std::equal(item.begin(), item.end(), token.begin(), token.end(),
                   [&](char a, char b) { return lower(a) == lower(b); })) {
      return true;
    }
  }
  return false;
}

std::optional<std::string_view> credentials_of(std::string_view authorization, std::string_view scheme) {
  const std::size_t end = authorization.find(' ');
  if (end == std::string_view::npos || !lists_token(authorization.substr(0, end), scheme))
    return std::nullopt;
  authorization.remove_prefix(std::min(authorization.find_first_not_of(' ', end), authorization.size()));
  return authorization;
}

HttpResponse http_error(int status, std::string_view message, std::uint32_t code) {
  HttpResponse response;
  response.status = status;
  response.reason = message;
  append_api_error(response.body, code != 0 ? code : static_cast<std::uint32_t>(status), message);
  return response;
}

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
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
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
    case 504:
      return "Gateway Timeout";
    default:
      return "Error";
  }
}

void append_http_response(std::string& out, const HttpResponse& response, std::string_view extra) {
  using namespace std::string_view_literals;
  static constexpr std::size_t kUsualHeadBytes = 192;
  out.reserve(out.size() + kUsualHeadBytes + extra.size() + response.body.size());
  out.append("HTTP/1.1 "sv);
  append_uint(out, static_cast<std::uint64_t>(response.status));
  out.push_back(' ');
  out.append(http_reason(response.status));
  if (response.status != 204) {
    if (!response.content_type.empty()) out.append("\r\nContent-Type: "sv).append(response.content_type);
    out.append("\r\nContent-Length: "sv);
    append_uint(out, response.body.size());
  }
  out.append("\r\nCache-Control: no-store\r\n"sv);
  for (const auto& [name, value] : response.headers)
    out.append(name).append(": ").append(value).append("\r\n");
  out.append(extra).append("\r\n"sv);
  if (response.status != 204) out.append(response.body);
}

}  // namespace carillon
