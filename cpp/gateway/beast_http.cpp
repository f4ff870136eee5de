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
  BeastReader(std::size_t header_bytes_max, std::size_t body_bytes_max)
      : received_max_(header_bytes_max + body_bytes_max + kChunkHeadsBytes) {
    parser_.header_limit(static_cast<std::uint32_t>(header_bytes_max));
    parser_.body_limit(body_bytes_max);
    parser_.eager(true);
  }

  Result read(std::span<const char> bytes) override {
    // The parser wants a whole head in one piece, and a takeover the whole request so far: so it is kept.
    std::span<const char> input = bytes;
    const std::size_t kept = received_.size() - parsed_;
    if (!received_.empty()) {
      received_.append(bytes.data(), bytes.size());
      input = std::span<const char>(received_).subspan(parsed_);
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
      received_ = {};
      parsed_ = 0;
      return result;
    }
    if (received_.empty()) received_.assign(bytes.data(), bytes.size());
    parsed_ += used;
    if (received_.size() > received_max_) {  // tiny chunks: their heads are more than the body
      is_whole_ = false;
      received_.erase(0, parsed_);
      parsed_ = 0;
    }
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

  [[nodiscard]] std::optional<std::string_view> unfinished() const override {
    return is_whole_ ? std::optional<std::string_view>(received_) : std::nullopt;
  }

 private:
  /// Both Content-Length and Transfer-Encoding: the classic of request smuggling (RFC 9112 section 6.3).
  [[nodiscard]] bool has_two_lengths() const {
    if (!parser_.is_header_done()) return false;
    const auto& message = parser_.get();
    return message.count(http::field::content_length) > 0 &&
           message.count(http::field::transfer_encoding) > 0;
  }

  http::request_parser<http::string_body> parser_;
  static constexpr std::size_t kChunkHeadsBytes = 65'536;
  const std::size_t received_max_;
  std::string received_;    // of a request that is not whole yet
  std::size_t parsed_ = 0;  // so much of it the parser has taken
  bool is_whole_ = true;    // from the request's first byte on
};

}  // namespace

std::unique_ptr<HttpReader> BeastHttp::make_reader(std::size_t header_bytes_max,
                                                   std::size_t body_bytes_max) const {
  return std::make_unique<BeastReader>(header_bytes_max, body_bytes_max);
}

}  // namespace carillon
