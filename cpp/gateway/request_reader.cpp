#include "gateway/request_reader.hpp"

#include <algorithm>

namespace carillon {

HttpReader::Result RequestReader::read(std::span<const char> bytes) {
  if (full_) return full_->read(bytes);
  return text_.empty() ? read_head(bytes) : read_body(bytes);
}

HttpReader::Result RequestReader::read_head(std::span<const char> bytes) {
  const bool is_plain = head_.read({bytes.data(), bytes.size()}) && head_.bytes() <= header_bytes_max_ &&
                        head_.content_length() <= body_bytes_max_;
  if (!is_plain) {
    full_ = make_full_reader_(header_bytes_max_, body_bytes_max_);
    return full_->read(bytes);
  }
  text_.reserve(std::min(bytes.size(), head_.bytes() + head_.content_length()));
  text_.assign(bytes.data(), head_.bytes());
  request_.content_length = head_.content_length();
  request_.is_keep_alive = head_.is_keep_alive();
  refer_to(bytes.data(), text_.data());
  Result result;
  result.step = request_.has_body() ? Step::head : Step::request;
  result.consumed = head_.bytes();
  return result;
}

HttpReader::Result RequestReader::read_body(std::span<const char> bytes) {
  const std::size_t whole = head_.bytes() + head_.content_length();
  Result result;
  result.consumed = std::min(bytes.size(), whole - text_.size());
  if (text_.capacity() < whole) {
    std::string longer;
    longer.reserve(whole);
    longer.append(text_);
    refer_to(text_.data(), longer.data());
    text_.swap(longer);
  }
  text_.append(bytes.data(), result.consumed);
  if (text_.size() < whole) return result;
  request_.body = std::string_view(text_).substr(head_.bytes());
  result.step = Step::request;
  return result;
}

void RequestReader::refer_to(const char* before, const char* after) {
  head_.move(before, after);
  request_.method = head_.method();
  request_.target = head_.target();
  request_.headers = head_.fields();
}

std::string RequestReader::unfinished() const { return full_ ? full_->unfinished() : text_; }

std::string head_text(const HttpRequest& request) {
  std::string text(request.method);
  text.append(" ").append(request.target);
  text.append(request.is_http_1_0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  for (const auto& [name, value] : request.headers)
    text.append(name).append(": ").append(value).append("\r\n");
  return text.append("\r\n");
}

}  // namespace carillon
