#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/base64.hpp"  // part of this interface

namespace carillon {

// JSON (RFC 8259) read by spans: one pass validates and finds the fields, nothing is copied and no document
// is built. Stricter or looser than others in these points:
//  - a byte order mark, a NUL and invalid UTF-8 in a string are malformed;
//  - a value nested deeper than kJsonDepthMax is well-formed and told apart (JsonScanner::is_too_deep,
//    JsonCheck::too_deep), so that whoever sent it can be told what is wrong;
//  - a lone surrogate written as an escape ("\ud800") is valid JSON (the grammar has it, browsers send it)
//    and is passed on in payloads, but json_string() refuses it, because it has no UTF-8 form;
//  - a number may have any magnitude ("1e999"); only json_uint64() and json_int64() ask for a range;
//  - object keys are given as written, undecoded: a field name that is spelled with escapes is not
//    recognised.
// All functions are pure and may be called from any thread; a scanner or reader belongs to one thread.

/// Deepest nesting of arrays and objects in a value, the same by every way in: whatever envelope a payload
/// comes in does not count.
inline constexpr int kJsonDepthMax = 64;

enum class JsonCheck : std::uint8_t { ok, malformed, too_deep };

/// Whether `text` is exactly one complete JSON value; whitespace around it is allowed.
JsonCheck check_json(std::string_view text);
inline bool is_json(std::string_view text) { return check_json(text) == JsonCheck::ok; }

enum class JsonStep : std::uint8_t { field, end, malformed };

/// Walks one JSON text once, descending in place: every byte is validated exactly once, also in nested
/// objects that are read field by field. After a call has said malformed (or false), every later call does
/// too.
class JsonScanner {
 public:
  /// `text` must outlive the scanner and every span that it gives out.
  explicit JsonScanner(std::string_view text) : position_(text.data()), end_(text.data() + text.size()) {}

  /// The first character of the value that comes next ('{', '[', '"', 't', 'f', 'n', '-', a digit), or '\0'.
  char peek();

  /// Takes '{' or '['. False if something else comes or the depth limit is reached.
  bool open_object() { return open('{'); }
  bool open_array() { return open('['); }

  /// In an object: takes the next key and its colon, a value must be taken next; `end` takes the '}'.
  JsonStep next_field(std::string_view& key);

  /// In an array: `field` means that a value must be taken next; `end` takes the ']'.
  JsonStep next_item();

  /// Takes the value that comes next, whole: validated, without the whitespace around it.
  bool take_value(std::string_view& raw);

  /// True if a value that was taken is nested deeper than kJsonDepthMax.
  [[nodiscard]] bool is_too_deep() const { return is_too_deep_; }

  /// True if the text is over: only whitespace is left.
  bool is_at_end();

 private:
  enum class Expected : std::uint8_t { value, first_or_close, comma_or_close };

  bool open(char bracket);
  JsonStep next_in(char closing);
  JsonStep fail();

  const char* position_;  // null once malformed
  const char* end_;
  int depth_ = 0;
  bool is_too_deep_ = false;
  Expected expected_ = Expected::value;
};

/// The fields of one object. `end` is only said once the closing brace is there and nothing but whitespace
/// follows. Duplicate keys are given as often as they occur.
class JsonObjectReader {
 public:
  using Step = JsonStep;
  explicit JsonObjectReader(std::string_view text) : scanner_(text) {}

  /// `key`: raw, between its quotes, undecoded. `value`: raw, validated, trimmed.
  Step next(std::string_view& key, std::string_view& value);

 private:
  JsonScanner scanner_;
  bool is_open_ = false;
};

/// The items of one array, in the same manner.
class JsonArrayReader {
 public:
  using Step = JsonStep;
  explicit JsonArrayReader(std::string_view text) : scanner_(text) {}

  Step next(std::string_view& value);

 private:
  JsonScanner scanner_;
  bool is_open_ = false;
};

// What a raw value (validated by one of the readers above) holds. nullopt: it is of another kind, or out of
// range.

inline bool is_json_null(std::string_view raw_value) { return raw_value == "null"; }

/// The decoded string: a view into `raw_value` when it has no escape, else it is appended to `scratch` and
/// the view points there (valid until `scratch` grows past its capacity: reserve the length of the text
/// beforehand to keep several). Refuses lone surrogates.
std::optional<std::string_view> json_string(std::string_view raw_value, std::string& scratch);

/// The same for an object key as a reader gives it (without quotes).
std::optional<std::string_view> json_key(std::string_view raw_key, std::string& scratch);

/// Integers only: no fraction, no exponent.
std::optional<std::uint64_t> json_uint64(std::string_view raw_value);
std::optional<std::int64_t> json_int64(std::string_view raw_value);
std::optional<bool> json_bool(std::string_view raw_value);

// Writing. All append.

/// A quoted JSON string. `utf8_text` must be valid UTF-8.
void append_json_string(std::string& out, std::string_view utf8_text);

/// `json` less its literal CR and LF, which can only be insignificant whitespace there (protocol.md section
/// 1).
void append_without_newlines(std::string& out, std::string_view json);

/// Decimal, no sign, no leading zeros.
void append_uint(std::string& out, std::uint64_t number);

}  // namespace carillon
