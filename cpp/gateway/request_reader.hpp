#pragma once

#include <memory>
#include <string>

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
  [[nodiscard]] const HttpRequest& head() const override { return full_ ? full_->head() : request_; }
  [[nodiscard]] HttpRequest take() override { return full_ ? full_->take() : std::move(request_); }
  [[nodiscard]] std::string unfinished() const override;

 private:
  Result read_head(std::span<const char> bytes);
  Result read_body(std::span<const char> bytes);

  const std::size_t header_bytes_max_;
  const std::size_t body_bytes_max_;
  const MakeFullReader make_full_reader_;
  bool is_head_read_ = false;
  HttpRequest request_;
  std::unique_ptr<HttpReader> full_;  // null: the request is a plain one, or nothing of it has been read
};

/// The head of a request that has been read, as text that is read as the same head.
[[nodiscard]] std::string head_text(const HttpRequest& request);

}  // namespace carillon
