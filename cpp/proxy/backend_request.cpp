#include "proxy/backend_request.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"

namespace carillon {

namespace {

bool is_same_name(std::string_view one, std::string_view other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(), [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  });
}

/// As the family names it. Its `sse` is that of the SDKs.
std::string_view family_name_of(Transport transport) {
  if (transport == Transport::emulated_sse) return "sse";
  if (transport == Transport::sse) return "plain_sse";
  if (transport == Transport::poll) return "plain_poll";
  return name_of(transport);
}

std::string body_of(const HookQuestion& question, bool is_binary) {
  const bool is_connect = question.operation == Operation::connect;
  const bool is_base64 = is_binary || (!question.data->empty() && !is_json(*question.data));
  std::string body;
  JsonObjectWriter object(body);
  object.text("client", question.client);
  object.text("transport", family_name_of(question.transport));
  object.text("protocol", question.is_protobuf ? "protobuf" : "json");
  object.text("encoding", is_base64 ? "binary" : "json");
  if (!is_connect || question.is_proved) object.text("user", question.user);
  object.text_unless_empty("channel", question.channel);
  object.text_unless_empty("method", question.method);
  object.text_unless_empty("token", question.token);
  if (!question.data->empty()) {
    if (is_base64) {
      object.open("b64data").push_back('"');
      append_base64(body, *question.data);
      body.push_back('"');
    } else {
      object.json("data", *question.data);
    }
  }
  object.close();
  return body;
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

}  // namespace

bool is_free_header(std::string_view name) {
  static constexpr std::array<std::string_view, 9> kFraming{
      "host", "connection", "content-length", "content-type", "transfer-encoding",
      "te",   "trailer",    "upgrade",        "expect"};
  return std::none_of(kFraming.begin(), kFraming.end(),
                      [&](std::string_view framing) { return is_same_name(framing, name); });
}

std::string backend_request_of(const HookQuestion& question, const ProxyEndpoint& endpoint,
                               const EndpointUrl& url) {
  const std::string body = body_of(question, endpoint.is_binary);
  std::string request = "POST " + url.target + " HTTP/1.1\r\n";
  append_header(request, "Host", url.authority);
  append_header(request, "Content-Type", "application/json");
  append_header(request, "Content-Length", std::to_string(body.size()));
  const auto is_passed_on = [&](std::string_view name) {
    return is_free_header(name) &&
           std::any_of(endpoint.http_headers.begin(), endpoint.http_headers.end(),
                       [&](const std::string& each) { return is_same_name(each, name); });
  };
  const ClientRequest::Fields& given = question.request->headers;
  for (const auto& [name, value] : endpoint.static_headers) {
    const bool is_given =
        is_passed_on(name) && std::any_of(given.begin(), given.end(),
                                          [&](const auto& each) { return is_same_name(each.first, name); });
    if (!is_given) append_header(request, name, value);
  }
  for (const auto& [name, value] : given) {
    if (is_passed_on(name)) append_header(request, name, value);
  }
  return request.append("\r\n").append(body);
}

}  // namespace carillon
