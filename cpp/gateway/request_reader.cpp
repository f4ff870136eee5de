#include "gateway/request_reader.hpp"

#include <algorithm>
#include <utility>

#include "protocol/plain_head.hpp"

namespace carillon {

HttpReader::Result RequestReader::read(std::span<const char> bytes) {
  if (full_) return full_->read(bytes);
  return is_head_read_ ? read_body(bytes) : read_head(bytes);
}

HttpReader::Result RequestReader::read_head(std::span<const char> bytes) {
  PlainHead head;
  const bool is_plain = head.read({bytes.data(), bytes.size()}) && head.bytes() <= header_bytes_max_ &&
                        head.content_length() <= body_bytes_max_;
  if (!is_plain) {
    full_ = make_full_reader_(header_bytes_max_, body_bytes_max_);
    return full_->read(bytes);
  }
  is_head_read_ = true;
  request_.method = head.method();
  request_.target = head.target();
  request_.content_length = head.content_length();
  request_.is_keep_alive = head.is_keep_alive();
  request_.headers.reserve(head.fields().size());
  for (const auto& [name, value] : head.fields()) {
    std::string& lower = request_.headers.emplace_back(name, value).first;
    for (char& c : lower) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
  }
  Result result;
  result.step = request_.has_body() ? Step::head : Step::request;
  result.consumed = head.bytes();
  return result;
}

HttpReader::Result RequestReader::read_body(std::span<const char> bytes) {
  std::string& body = request_.body;
  if (body.empty()) body.reserve(request_.content_length);
  Result result;
  result.consumed = std::min(bytes.size(), request_.content_length - body.size());
  body.append(bytes.data(), result.consumed);
  if (body.size() == request_.content_length) result.step = Step::request;
  return result;
}

std::string RequestReader::unfinished() const {
  if (full_) return full_->unfinished();
  return is_head_read_ ? head_text(request_) + request_.body : std::string();
}

std::string head_text(const HttpRequest& request) {
  std::string text = request.method + ' ' + request.target;
  text.append(request.is_http_1_0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  for (const auto& [name, value] : request.headers)
    text.append(name).append(": ").append(value).append("\r\n");
  return text.append("\r\n");
}

}  // namespace carillon
