#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "protocol/http_field.hpp"

namespace carillon {

/// The head of an HTTP/1.1 request in the plain form, that of nearly every client: it is whole, no line is
/// folded, no name occurs twice, it has a Host, and nothing but Content-Length says where the body ends.
/// Views point into the text.
class PlainHead {
 public:
  /// Few send more. With many more, a reader of heads would be beyond what allocators have at hand (1 KiB).
  static constexpr std::size_t kFieldsMax = 24;

  /// Reads the head at the front of `text`. False: it is not whole, not valid, or in another form: then a
  /// full parser has to judge it. What is accepted here, a full parser reads as the same request.
  [[nodiscard]] bool read(std::string_view text);

  [[nodiscard]] std::string_view method() const { return method_; }
  [[nodiscard]] std::string_view target() const { return target_; }
  [[nodiscard]] std::span<const HttpField> fields() const { return {fields_.data(), count_}; }
  [[nodiscard]] std::uint64_t content_length() const { return content_length_; }
  [[nodiscard]] bool is_keep_alive() const { return is_keep_alive_; }
  /// With the empty line at its end.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  /// The text has moved from `from` to `to`.
  void move(const char* from, const char* to);

 private:
  [[nodiscard]] bool add(const HttpField& field);

  std::string_view method_;
  std::string_view target_;
  std::array<HttpField, kFieldsMax> fields_;
  std::size_t count_ = 0;
  std::uint64_t content_length_ = 0;
  bool is_keep_alive_ = true;
  bool has_host_ = false;
  std::size_t bytes_ = 0;
};

}  // namespace carillon
