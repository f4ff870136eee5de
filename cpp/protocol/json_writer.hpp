#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/json_span.hpp"

namespace carillon {

/// The name of a field, an ASCII literal: with all that stands around it, so that it is one append.
class JsonName {
 public:
  template <std::size_t Bytes>
  consteval JsonName(const char (&name)[Bytes]) : bytes_(Bytes + 3) {
    static_assert(Bytes + 3 <= kBytesMax);
    text_[0] = ',';
    text_[1] = '"';
    for (std::size_t i = 0; i + 1 < Bytes; ++i) text_[i + 2] = name[i];
    text_[Bytes + 1] = '"';
    text_[Bytes + 2] = ':';
  }
  /// `,"name":`
  [[nodiscard]] constexpr std::string_view text() const { return {text_.data(), bytes_}; }

 private:
  static constexpr std::size_t kBytesMax = 32;
  std::array<char, kBytesMax> text_{};
  std::size_t bytes_;
};

/// Appends one JSON object field by field; close() must come last. Nested objects and lists are written
/// through open(). For the encoders.
class JsonObjectWriter {
 public:
  explicit JsonObjectWriter(std::string& out) : out_(out) {}

  void close() {
    if (is_first_) out_.push_back('{');
    out_.push_back('}');
  }

  /// Writes the name; the caller appends the value to the string that it gets.
  std::string& open(const JsonName& name) {
    const std::size_t begin = out_.size();
    out_.append(name.text());
    if (std::exchange(is_first_, false)) out_[begin] = '{';
    return out_;
  }

  /// Where a value that open() began goes on.
  std::string& out() { return out_; }

  void text(const JsonName& name, std::string_view value) { append_json_string(open(name), value); }
  void number(const JsonName& name, std::uint64_t value) { append_uint(open(name), value); }
  void boolean(const JsonName& name, bool value) { open(name).append(value ? "true" : "false"); }
  /// `value` is JSON; its newlines are dropped.
  void json(const JsonName& name, std::string_view value) { append_without_newlines(open(name), value); }
  /// `items` are already joined by ','.
  void list(const JsonName& name, std::string_view items) {
    open(name).push_back('[');
    out_.append(items);
    out_.push_back(']');
  }

  // Zero values are left out (protocol.md section 1).
  void text_unless_empty(const JsonName& name, std::string_view value) {
    if (!value.empty()) text(name, value);
  }
  void number_unless_zero(const JsonName& name, std::uint64_t value) {
    if (value != 0) number(name, value);
  }
  void json_unless_empty(const JsonName& name, std::string_view value) {
    if (!value.empty()) json(name, value);
  }
  void boolean_if_true(const JsonName& name, bool value) {
    if (value) boolean(name, true);
  }

  /// `{"<first>":"<second>",…}`, left out when there is none.
  void text_map_unless_empty(const JsonName& name, std::span<const std::pair<std::string, std::string>> map) {
    if (map.empty()) return;
    char before = '{';
    open(name);
    for (const auto& [key, value] : map) {
      out_.push_back(before);
      append_json_string(out_, key);
      out_.push_back(':');
      append_json_string(out_, value);
      before = ',';
    }
    out_.push_back('}');
  }

 private:
  std::string& out_;
  bool is_first_ = true;
};

/// Adds one encoded item to a list whose items are joined by ','.
inline void append_list_item(std::string& list, std::string_view item) {
  if (!list.empty()) list.push_back(',');
  list.append(item);
}

}  // namespace carillon
