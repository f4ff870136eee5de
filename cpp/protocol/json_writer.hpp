#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/json_span.hpp"

namespace carillon {

/// Appends one JSON object field by field; close() must come last. Nested objects and lists are written
/// through open(). Field names are plain ASCII literals. For the encoders of this folder.
class JsonObjectWriter {
 public:
  explicit JsonObjectWriter(std::string& out) : out_(out) { out_.push_back('{'); }

  void close() { out_.push_back('}'); }

  /// Writes the name; the caller appends the value to the string that it gets.
  std::string& open(std::string_view name) {
    out_.append(std::exchange(is_first_, false) ? std::string_view("\"") : std::string_view(",\""));
    out_.append(name);
    out_.append("\":");
    return out_;
  }

  /// Where a value that open() began goes on.
  std::string& out() { return out_; }

  void text(std::string_view name, std::string_view value) { append_json_string(open(name), value); }
  void number(std::string_view name, std::uint64_t value) { append_uint(open(name), value); }
  void boolean(std::string_view name, bool value) { open(name).append(value ? "true" : "false"); }
  /// `value` is JSON; its newlines are dropped.
  void json(std::string_view name, std::string_view value) { append_without_newlines(open(name), value); }
  /// `items` are already joined by ','.
  void list(std::string_view name, std::string_view items) {
    open(name).push_back('[');
    out_.append(items);
    out_.push_back(']');
  }

  // Zero values are left out (protocol.md section 1).
  void text_unless_empty(std::string_view name, std::string_view value) {
    if (!value.empty()) text(name, value);
  }
  void number_unless_zero(std::string_view name, std::uint64_t value) {
    if (value != 0) number(name, value);
  }
  void json_unless_empty(std::string_view name, std::string_view value) {
    if (!value.empty()) json(name, value);
  }
  void boolean_if_true(std::string_view name, bool value) {
    if (value) boolean(name, true);
  }

  /// `{"<first>":"<second>",…}`, left out when there is none.
  void text_map_unless_empty(std::string_view name,
                             std::span<const std::pair<std::string, std::string>> map) {
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
