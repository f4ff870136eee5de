#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "protocol/json_span.hpp"

namespace carillon {

/// `text` with the things replaced in which the span reader and nlohmann differ although both are valid JSON:
/// escaped surrogates (nlohmann refuses lone ones) become `\u0041`, numbers lose their magnitude (nlohmann
/// refuses what does not fit a double). What is malformed stays malformed.
inline std::string without_known_differences(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string out;
  bool is_in_string = false;
  bool is_in_exponent = false;
  int digits_in_run = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (is_in_string) {
      if (c == '\\' && i + 1 < text.size()) {
        const std::string_view escape = text.substr(i, 6);
        const bool is_surrogate =
            escape.size() == 6 && escape[1] == 'u' && (escape[2] | 0x20) == 'd' &&
            std::string_view("89abcdefABCDEF").find(escape[3]) != std::string_view::npos &&
            std::isxdigit(static_cast<unsigned char>(escape[4])) != 0 &&
            std::isxdigit(static_cast<unsigned char>(escape[5])) != 0;
        out += is_surrogate ? "\\u0041" : text.substr(i, 2);
        i += is_surrogate ? 5 : 1;
        continue;
      }
      is_in_string = c != '"';
    } else if (is_digit(c)) {
      if (++digits_in_run > 20) continue;
      out.push_back(is_in_exponent ? '0' : c);
      continue;
    } else {
      is_in_string = c == '"';
      is_in_exponent = c == 'e' || c == 'E' || (is_in_exponent && (c == '+' || c == '-'));
      digits_in_run = 0;
    }
    out.push_back(c);
  }
  return out;
}

/// Deepest nesting of a well-formed text.
inline int nesting_depth(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool is_in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_in_string) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        is_in_string = false;
    } else if (text[i] == '"') {
      is_in_string = true;
    } else if (text[i] == '{' || text[i] == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (text[i] == '}' || text[i] == ']') {
      --depth;
    }
  }
  return deepest;
}

/// What is_json() must say, by nlohmann. Differences that are ours: a NUL (nlohmann reads it as the end) and
/// a byte order mark (nlohmann skips it) are malformed, and so is nesting beyond kJsonDepthMax.
inline bool oracle_is_json(std::string_view text) {
  if (text.find('\0') != std::string_view::npos || text.starts_with("\xEF\xBB\xBF")) return false;
  return nlohmann::json::accept(without_known_differences(text)) && nesting_depth(text) <= kJsonDepthMax;
}

/// Reads one value by descending with the scanner to the last leaf.
inline bool walk_value(JsonScanner& scanner) {
  const char first = scanner.peek();
  std::string_view span;
  if (first == '{') {
    if (!scanner.open_object()) return false;
    JsonStep step;
    while ((step = scanner.next_field(span)) == JsonStep::field) {
      if (!walk_value(scanner)) return false;
    }
    return step == JsonStep::end;
  }
  if (first == '[') {
    if (!scanner.open_array()) return false;
    JsonStep step;
    while ((step = scanner.next_item()) == JsonStep::field) {
      if (!walk_value(scanner)) return false;
    }
    return step == JsonStep::end;
  }
  return scanner.take_value(span);
}

inline bool walk_is_json(std::string_view text) {
  JsonScanner scanner(text);
  return walk_value(scanner) && scanner.is_at_end();
}

/// Reads a whole object or array by its reader.
template <class Reader>
bool reader_accepts(std::string_view text) {
  Reader reader(text);
  std::string_view key, value;
  for (;;) {
    JsonStep step;
    if constexpr (requires { reader.next(key, value); })
      step = reader.next(key, value);
    else
      step = reader.next(value);
    if (step != JsonStep::field) return step == JsonStep::end;
  }
}

}  // namespace carillon
