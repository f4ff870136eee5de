#include "gateway/beast_http.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/none.hpp>
#include <cctype>
#include <charconv>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "gateway/request_reader.hpp"

namespace carillon {

namespace http = boost::beast::http;

namespace {

HttpReader::Result refuse(int status, std::string reason) {
  HttpReader::Result result;
  result.step = HttpReader::Step::refused;
  result.refusal_status = status;
  result.refusal_reason = std::move(reason);
  return result;
}

HttpReader::Result refusal_of(const boost::beast::error_code& error) {
  if (error == http::error::header_limit)
    return refuse(431, "the request's head is longer than limits.header_bytes");
  if (error == http::error::body_limit)
    return refuse(413, "the request's body is longer than limits.body_bytes");
  return refuse(400, "not a valid HTTP request: " + error.message());
}

/// Can this be a host, perhaps with a port (RFC 9110 section 7.2)? It may be empty.
bool is_host(std::string_view host) {
  static constexpr auto kAllowed = [] {
    std::array<bool, 256> allowed{};
    for (const char c :
         std::string_view("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~%!$&'()*+;=:[]"))
      allowed[static_cast<unsigned char>(c)] = true;
    return allowed;
  }();
  return std::all_of(host.begin(), host.end(),
                     [](char c) { return kAllowed[static_cast<unsigned char>(c)]; });
}

/// A line that ends without a carriage return, in a head that is not whole: it would never be (RFC 9112
/// section 2.2). `before` is the character before `bytes`.
bool has_bare_line_feed(std::span<const char> bytes, char before) {
  for (const char c : bytes) {
    if (c == '\n' && before != '\r') return true;
    before = c;
  }
  return false;
}

class BeastReader final : public HttpReader {
 public:
  BeastReader(std::size_t header_bytes_max, std::size_t body_bytes_max)
      : header_bytes_max_(header_bytes_max), body_bytes_max_(body_bytes_max) {
    parser_.header_limit(static_cast<std::uint32_t>(header_bytes_max));
    parser_.body_limit(boost::none);  // an announced length is judged with the rest of the head
    parser_.on_chunk_header(on_chunk_);
  }

  Result read(std::span<const char> bytes) override {
    return parser_.is_header_done() ? read_body(bytes) : read_head(bytes);
  }

  [[nodiscard]] const HttpRequest& request() const override { return request_; }

  [[nodiscard]] std::string unfinished() const override {
    if (!parser_.is_header_done()) return head_;
    std::string bytes = head_text(request_);
    const std::string& body = parser_.get().body();
    if (request_.is_chunked && chunk_bytes_ > 0) {  // as if all had come in one chunk
      std::array<char, 16> digits{};
      const auto end = std::to_chars(digits.begin(), digits.end(), chunk_bytes_, 16).ptr;
      bytes.append(digits.begin(), end).append("\r\n");
    }
    bytes.append(body);
    if (is_last_chunk_)
      bytes.append(chunk_bytes_ > 0 ? "\r\n0\r\n" : "0\r\n");  // the parser has taken its head
    return bytes.append(tail_);
  }

 private:
  Result read_head(std::span<const char> bytes) {
    // The parser wants a whole head in one piece, and a takeover what there is of it: so it is kept.
    const std::size_t kept = head_.size() - parsed_;
    const char before = head_.empty() ? '\n' : head_.back();
    std::span<const char> input = bytes;
    if (!head_.empty()) {
      head_.append(bytes.data(), bytes.size());
      input = std::span<const char>(head_).subspan(parsed_);
    }
    boost::beast::error_code error;
    std::size_t used = 0;
    while (used < input.size() && !parser_.is_header_done()) {
      const std::size_t step = put(input.subspan(used), error);
      used += step;
      if (error || step == 0) break;
    }
    if (error && error != http::error::need_more) return refusal_of(error);
    Result result;
    if (!parser_.is_header_done()) {
      if (has_bare_line_feed(bytes, before))
        return refuse(400, "not a valid HTTP request: lines end with CR LF");
      if (head_.empty()) head_.assign(bytes.data(), bytes.size());
      parsed_ += used;
      result.consumed = bytes.size();
      return result;
    }
    if (std::optional<Result> refusal = take_head()) return *std::move(refusal);
    result.consumed = used - std::min(used, kept);
    if (parser_.is_done()) {
      result.step = Step::request;
      return result;
    }
    head_.clear();
    parser_.body_limit(body_bytes_max_);
    parser_.eager(true);
    result.step = Step::head;
    return result;
  }

  Result read_body(std::span<const char> bytes) {
    const std::size_t kept = tail_.size();
    std::span<const char> input = bytes;
    if (kept > 0) input = std::span<const char>(tail_.append(bytes.data(), bytes.size()));
    boost::beast::error_code error;
    std::size_t used = 0;
    while (used < input.size() && !parser_.is_done()) {
      const std::size_t step = put(input.subspan(used), error);
      used += step;
      if (error || step == 0) break;
    }
    if (error && error != http::error::need_more) return refusal_of(error);
    Result result;
    if (parser_.is_done()) {
      request_.body = parser_.get().body();
      result.step = Step::request;
      result.consumed = used - std::min(used, kept);
      return result;
    }
    // What the parser has not taken is the head of a chunk, or a trailer.
    if (input.size() - used > header_bytes_max_ + kChunkHeadBytes)
      return refuse(431, "the body's trailer is longer than limits.header_bytes");
    tail_ = std::string(input.data() + used, input.size() - used);
    result.consumed = bytes.size();
    return result;
  }

  std::size_t put(std::span<const char> input, boost::beast::error_code& error) {
    return parser_.put(boost::asio::const_buffer(input.data(), input.size()), error);
  }

  /// Fills request_ but for its body; or why the request is refused.
  std::optional<Result> take_head() {
    const auto& message = parser_.get();
    request_.method = message.method_string();
    request_.target = message.target();
    request_.is_http_1_0 = message.version() < 11;
    request_.is_chunked = parser_.chunked();
    request_.content_length = parser_.content_length().value_or(0);
    request_.is_keep_alive = parser_.keep_alive();
    fields_.reserve(kUsualHeaders);
    std::size_t hosts = 0;
    std::size_t lengths = 0;
    std::size_t codings = 0;
    for (const auto& field : message) {
      hosts += static_cast<std::size_t>(field.name() == http::field::host);
      lengths += static_cast<std::size_t>(field.name() == http::field::content_length);
      codings += static_cast<std::size_t>(field.name() == http::field::transfer_encoding);
      add_header(field.name_string(), field.value());
    }
    request_.headers = fields_;
    if (hosts > 1 || (hosts == 0 && !request_.is_http_1_0))
      return refuse(400, "Host: a request has exactly one (RFC 9112 section 3.2)");
    if (!is_host(request_.header("host"))) return refuse(400, "Host: not a host with an optional port");
    if (codings == 0) return std::nullopt;
    // Both: the classic of request smuggling (RFC 9112 section 6.3).
    if (lengths > 0) return refuse(400, "not a valid HTTP request: Content-Length beside Transfer-Encoding");
    if (!boost::beast::iequals(request_.header("transfer-encoding"), "chunked"))
      return refuse(501, "Transfer-Encoding: only 'chunked' is understood");
    return std::nullopt;
  }

  /// Lines of one name are joined to the first of them.
  void add_header(std::string_view name, std::string_view value) {
    const auto earlier = std::find_if(fields_.begin(), fields_.end(), [name](const HttpField& field) {
      return is_same_name(field.name, name);
    });
    if (earlier == fields_.end()) {
      fields_.push_back({name, value});
      return;
    }
    std::string& list = joined_.emplace_back(earlier->value);
    earlier->value = list.append(is_same_name(name, "cookie") ? "; " : ", ").append(value);
  }

  static constexpr std::size_t kUsualHeaders = 8;
  static constexpr std::size_t kChunkHeadBytes = 8'192;  // the parser's own limit
  const std::size_t header_bytes_max_;
  const std::size_t body_bytes_max_;
  std::uint64_t chunk_bytes_ = 0;  // announced by the chunks so far
  bool is_last_chunk_ = false;
  std::function<void(std::uint64_t, boost::beast::string_view, boost::beast::error_code&)> on_chunk_ =
      [this](std::uint64_t bytes, boost::beast::string_view /*extensions*/,
             boost::beast::error_code& /*error*/) {
        chunk_bytes_ += bytes;
        is_last_chunk_ = bytes == 0;
      };
  http::request_parser<http::string_body> parser_;
  std::vector<HttpField> fields_;   // views of the parser's, and of joined_
  std::deque<std::string> joined_;  // values of several lines
  HttpRequest request_;
  std::string head_;        // as it came, while it is not whole
  std::size_t parsed_ = 0;  // so much of it the parser has taken
  std::string tail_;        // of a chunked body: what the parser wants whole
};

}  // namespace

std::unique_ptr<HttpReader> BeastHttp::make_reader(std::size_t header_bytes_max,
                                                   std::size_t body_bytes_max) const {
  return std::make_unique<RequestReader>(
      header_bytes_max, body_bytes_max,
      [](std::size_t head, std::size_t body) -> std::unique_ptr<HttpReader> {
        return std::make_unique<BeastReader>(head, body);
      });
}

}  // namespace carillon
