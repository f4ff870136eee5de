#include "session/plain_http.hpp"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>

namespace carillon::testing {

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return result;
}

class PlainReader final : public HttpReader {
 public:
  explicit PlainReader(std::size_t header_bytes_max) : header_bytes_max_(header_bytes_max) {}

  Result read(std::span<const char> bytes) override {
    Result result;
    const auto refuse = [&](int status, std::string reason) {
      result.step = Step::refused;
      result.refusal_status = status;
      result.refusal_reason = std::move(reason);
      return result;
    };
    const std::size_t kept = text_.size();
    text_.append(bytes.data(), bytes.size());
    if (request_.has_body()) return read_body(kept, bytes.size());
    const std::size_t end = text_.find("\r\n\r\n");
    if (std::min(end, text_.size()) > header_bytes_max_) return refuse(431, "head too long");
    result.consumed = bytes.size();
    if (end == std::string::npos) return result;
    request_ = {};
    line_ = text_.substr(0, text_.find("\r\n"));
    const std::string_view line = line_;
    const std::size_t first = line.find(' ');
    const std::size_t second = line.find(' ', first + 1);
    if (first == std::string::npos || second == std::string::npos) return refuse(400, "no request line");
    request_.method = line.substr(0, first);
    request_.target = line.substr(first + 1, second - first - 1);
    lines_ = read_headers(std::string_view(text_).substr(line.size() + 2, end - line.size() - 2));
    fields_.clear();
    for (const auto& [name, value] : lines_) fields_.push_back({name, value});
    request_.headers = fields_;
    request_.is_keep_alive = lower(request_.header("connection")) != "close";
    request_.is_http_1_0 = line.ends_with("HTTP/1.0");
    if (const auto length = request_.header("content-length"); !length.empty())
      request_.content_length = std::stoul(std::string(length));
    head_bytes_ = end + 4;
    text_.resize(head_bytes_);
    result.step = request_.has_body() ? Step::head : Step::request;
    result.consumed = head_bytes_ - kept;
    return result;
  }
  [[nodiscard]] const HttpRequest& request() const override { return request_; }
  [[nodiscard]] std::string unfinished() const override { return text_; }

 private:
  Result read_body(std::size_t kept, std::size_t offered) {
    Result result;
    result.consumed = offered;
    const std::size_t whole = head_bytes_ + request_.content_length;
    if (text_.size() < whole) return result;
    request_.body = std::string_view(text_).substr(head_bytes_, request_.content_length);
    result.step = Step::request;
    result.consumed = whole - kept;
    return result;
  }

  const std::size_t header_bytes_max_;
  std::size_t head_bytes_ = 0;
  std::string text_;
  std::string line_;
  std::vector<std::pair<std::string, std::string>> lines_;
  std::vector<HttpField> fields_;
  HttpRequest request_;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> read_headers(std::string_view lines) {
  std::vector<std::pair<std::string, std::string>> headers;
  while (!lines.empty()) {
    const std::size_t end = lines.find("\r\n");
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 2);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    headers.emplace_back(lower(line.substr(0, colon)), value);
  }
  return headers;
}

std::unique_ptr<HttpReader> PlainHttp::make_reader(std::size_t header_bytes_max,
                                                   std::size_t /*body_bytes_max*/) const {
  return std::make_unique<PlainReader>(header_bytes_max);
}

bool PlainHttp::is_websocket_upgrade(const HttpRequest& request) const {
  return lower(request.header("upgrade")) == "websocket";
}

HttpLibrary::Upgrade PlainHttp::upgrade(const HttpRequest& request, std::string_view subprotocol,
                                        std::string_view extensions) const {
  if (request.header("sec-websocket-version") != "13") return {426, "version", {}};
  std::string response = "HTTP/1.1 101 Switching Protocols\r\n";
  if (!subprotocol.empty()) response.append("Sec-WebSocket-Protocol: ").append(subprotocol).append("\r\n");
  if (!extensions.empty()) response.append("Sec-WebSocket-Extensions: ").append(extensions).append("\r\n");
  return {0, {}, response + "\r\n"};
}

std::optional<HttpResponse> TestHandler::refusal_of(const HttpRequest& head, const HttpTarget& target,
                                                    bool /*is_internal*/) const {
  if (target.path != "/forbidden" && head.header("x-api-key") != "wrong") return std::nullopt;
  return http_error(401, "no");
}

void TestHandler::handle(const HttpRequest& request, BodyBudget::Share body_memory, const HttpTarget& target,
                         Respond respond) {
  if (on_request) on_request();
  const std::string_view path = target.path;
  HttpResponse response;
  response.body = "{}";
  if (path == "/later") {
    waiting.emplace_back(request.target, std::move(respond));
    body_memories.push_back(std::move(body_memory));
    return;
  }
  if (path == "/echo") response.body = request.body;
  if (path == "/big") response.body.assign(big_bytes, 'x');
  if (path == "/now") response.body = nlohmann::json(request.target).dump();
  if (path == "/nowhere") response = http_error(404, "nothing is here");
  respond(std::move(response));
}

}  // namespace carillon::testing
