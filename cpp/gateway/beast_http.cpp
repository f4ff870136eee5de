#include "gateway/beast_http.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/optional.hpp>
#include <cctype>
#include <string>

namespace carillon {

namespace http = boost::beast::http;

namespace {

HttpReader::Result refusal_of(const boost::beast::error_code& error) {
  HttpReader::Result result;
  result.step = HttpReader::Step::refused;
  if (error == http::error::header_limit) {
    result.refusal_status = 431;
    result.refusal_reason = "the request's head is longer than limits.header_bytes";
  } else if (error == http::error::body_limit) {
    result.refusal_status = 413;
    result.refusal_reason = "the request's body is longer than limits.body_bytes";
  } else {
    result.refusal_status = 400;
    result.refusal_reason = "not a valid HTTP request: " + error.message();
  }
  return result;
}

class BeastReader final : public HttpReader {
 public:
  BeastReader(std::size_t header_bytes_max, std::size_t body_bytes_max) {
    parser_.header_limit(static_cast<std::uint32_t>(header_bytes_max));
    parser_.body_limit(body_bytes_max);
    parser_.eager(true);
  }

  Result read(std::span<const char> bytes) override {
    // The parser wants a whole head in one piece; until it is there, what has come is kept.
    std::span<const char> input = bytes;
    const std::size_t kept = partial_.size();
    if (kept > 0) {
      partial_.append(bytes.data(), bytes.size());
      input = partial_;
    }
    Result result;
    boost::beast::error_code error;
    std::size_t used = 0;
    while (used < input.size() && !parser_.is_done()) {
      const std::size_t step =
          parser_.put(boost::asio::const_buffer(input.data() + used, input.size() - used), error);
      used += step;
      if (error || step == 0) break;
    }
    if (error && error != http::error::need_more) return refusal_of(error);
    if (has_two_lengths()) {
      error = http::error::bad_content_length;
      return refusal_of(error);
    }
    if (parser_.is_done()) {
      result.step = Step::request;
      result.consumed = used - std::min(used, kept);
      partial_.clear();
      return result;
    }
    std::string left(input.subspan(used).data(), input.size() - used);
    partial_ = std::move(left);
    result.consumed = bytes.size();
    return result;
  }

  [[nodiscard]] HttpRequest take() override {
    HttpRequest request;
    auto message = parser_.release();
    request.method = message.method_string();
    request.target = message.target();
    request.is_keep_alive = message.keep_alive();
    for (const auto& field : message) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      request.headers.emplace_back(std::move(name), field.value());
    }
    request.body = std::move(message.body());
    return request;
  }

  [[nodiscard]] bool has_partial() const override { return !partial_.empty() || parser_.got_some(); }

 private:
  /// Both Content-Length and Transfer-Encoding: the classic of request smuggling (RFC 9112 section 6.3).
  [[nodiscard]] bool has_two_lengths() const {
    if (!parser_.is_header_done()) return false;
    const auto& message = parser_.get();
    return message.count(http::field::content_length) > 0 &&
           message.count(http::field::transfer_encoding) > 0;
  }

  http::request_parser<http::string_body> parser_;
  std::string partial_;
};

}  // namespace

std::unique_ptr<HttpReader> BeastHttp::make_reader(std::size_t header_bytes_max,
                                                   std::size_t body_bytes_max) const {
  return std::make_unique<BeastReader>(header_bytes_max, body_bytes_max);
}

}  // namespace carillon
