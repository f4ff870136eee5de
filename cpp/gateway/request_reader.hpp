#pragma once

#include <memory>
#include <string>

#include "protocol/plain_head.hpp"
#include "session/http_message.hpp"

namespace carillon {

/// Reads a request in the plain form by itself (protocol/plain_head.hpp), for a small part of what a full
/// parser costs. Any other request a full parser reads, from its first byte on.
class RequestReader final : public HttpReader {
 public:
  using MakeFullReader = std::unique_ptr<HttpReader> (*)(std::size_t header_bytes_max,
                                                         std::size_t body_bytes_max);
  RequestReader(std::size_t header_bytes_max, std::size_t body_bytes_max, MakeFullReader make_full_reader)
      : header_bytes_max_(header_bytes_max),
        body_bytes_max_(body_bytes_max),
        make_full_reader_(make_full_reader) {}

  Result read(std::span<const char> bytes) override;
  [[nodiscard]] const HttpRequest& request() const override { return full_ ? full_->request() : request_; }
  [[nodiscard]] std::string unfinished() const override;

 private:
  Result read_head(std::span<const char> bytes);
  Result read_body(std::span<const char> bytes);
  /// The head stood at `before`, and is in text_ now.
  void refer_to(const char* before, const char* after);

  const std::size_t header_bytes_max_;
  const std::size_t body_bytes_max_;
  const MakeFullReader make_full_reader_;
  PlainHead head_;
  std::string text_;  // the head, once it has been read, and what has come of the body
  HttpRequest request_;
  std::unique_ptr<HttpReader> full_;  // null: the request is a plain one, or nothing of it has been read
};

/// The head of a request that has been read, as text that is read as the same head.
[[nodiscard]] std::string head_text(const HttpRequest& request);

}  // namespace carillon
