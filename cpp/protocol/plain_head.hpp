#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace carillon {

/// The head of an HTTP/1.1 request in the plain form, that of nearly every client: it is whole, no line is
/// folded, no name occurs twice, it has a Host, and nothing but Content-Length says where the body ends.
/// Views point into the text.
class PlainHead {
 public:
  struct Field {
    std::string_view name;  ///< as written
    std::string_view value;
  };
  static constexpr std::size_t kFieldsMax = 32;

  /// Reads the head at the front of `text`. False: it is not whole, not valid, or in another form: then a
  /// full parser has to judge it. What is accepted here, a full parser reads as the same request.
  [[nodiscard]] bool read(std::string_view text);

  [[nodiscard]] std::string_view method() const { return method_; }
  [[nodiscard]] std::string_view target() const { return target_; }
  [[nodiscard]] std::span<const Field> fields() const { return {fields_.data(), count_}; }
  [[nodiscard]] std::uint64_t content_length() const { return content_length_; }
  [[nodiscard]] bool is_keep_alive() const { return is_keep_alive_; }
  /// With the empty line at its end.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  [[nodiscard]] bool add(const Field& field);

  std::string_view method_;
  std::string_view target_;
  std::array<Field, kFieldsMax> fields_;
  std::size_t count_ = 0;
  std::uint64_t content_length_ = 0;
  bool is_keep_alive_ = true;
  bool has_host_ = false;
  std::size_t bytes_ = 0;
};

}  // namespace carillon
