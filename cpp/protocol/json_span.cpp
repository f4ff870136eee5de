#include "protocol/json_span.hpp"

#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#include "protocol/hex.hpp"
#include "protocol/utf8.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace carillon {
namespace {

constexpr std::uint64_t kEachByte = 0x0101010101010101;
constexpr std::uint64_t kHighBits = 0x8080808080808080;

// Which of eight bytes end a run that can be passed over: the high bit of each '"', '\\', control character
// and byte above ASCII. Exact for the lowest such byte; a borrow can only spoil the bytes above it.
std::uint64_t special_bytes(std::uint64_t word) {
  const std::uint64_t quote = word ^ (kEachByte * '"');
  const std::uint64_t backslash = word ^ (kEachByte * '\\');
  return ((quote - kEachByte) | (backslash - kEachByte) | (word - kEachByte * 0x20) | word) & kHighBits;
}

bool is_special(char c) {
  const auto byte = static_cast<std::uint8_t>(c);
  return byte < 0x20 || byte >= 0x80 || c == '"' || c == '\\';
}

// The first special byte at or after `at`, or `end`.
inline const char* skip_plain(const char* at, const char* end) {
#if defined(__SSE2__)
  // Signed comparison: bytes above ASCII are negative, thus below 0x20 too.
  for (; end - at >= 16; at += 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i special = _mm_or_si128(
        _mm_cmplt_epi8(block, _mm_set1_epi8(0x20)),
        _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('"')), _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'))));
    const auto mask = static_cast<std::uint32_t>(_mm_movemask_epi8(special));
    if (mask != 0) return at + std::countr_zero(mask);
  }
#endif
  for (; end - at >= 8; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    const std::uint64_t special = special_bytes(word);
    if (special == 0) continue;
    if constexpr (std::endian::native == std::endian::little) return at + std::countr_zero(special) / 8;
    break;
  }
  while (at != end && !is_special(*at)) ++at;
  return at;
}

inline const char* skip_space(const char* at, const char* end) {
  while (at != end && static_cast<std::uint8_t>(*at) <= ' ' &&
         (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
    ++at;
  }
  return at;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The skip_ functions below take a complete thing at `at` and return the place behind it, null if malformed.

const char* skip_escape(const char* at, const char* end) {
  if (end - at < 2) return nullptr;
  switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
      return at + 2;
    case 'u':
      if (end - at < 6) return nullptr;
      for (int i = 2; i < 6; ++i) {
        if (hex_value(at[i]) < 0) return nullptr;
      }
      return at + 6;
    default:
      return nullptr;
  }
}

// The rest of a string, from its first special byte on.
const char* skip_string_rest(const char* at, const char* end) {
  while (at != nullptr && at != end && *at != '"') {
    if (*at == '\\') {
      at = skip_escape(at, end);
    } else {
      const std::size_t bytes =
          static_cast<std::uint8_t>(*at) < 0x20
              ? 0
              : utf8_character_bytes(std::string_view(at, static_cast<std::size_t>(end - at)));
      at = bytes == 0 ? nullptr : at + bytes;
    }
    if (at != nullptr) at = skip_plain(at, end);
  }
  return at == nullptr || at == end ? nullptr : at + 1;
}

const char* skip_string(const char* at, const char* end) {
  at = skip_plain(at + 1, end);
  return at != end && *at == '"' ? at + 1 : skip_string_rest(at, end);
}

const char* skip_digits(const char* at, const char* end) {
  if (at == end || !is_digit(*at)) return nullptr;
  while (at != end && is_digit(*at)) ++at;
  return at;
}

const char* skip_number(const char* at, const char* end) {
  if (*at == '-') ++at;
  at = at != end && *at == '0' ? at + 1 : skip_digits(at, end);
  if (at != nullptr && at != end && *at == '.') at = skip_digits(at + 1, end);
  if (at != nullptr && at != end && (*at == 'e' || *at == 'E')) {
    ++at;
    if (at != end && (*at == '+' || *at == '-')) ++at;
    at = skip_digits(at, end);
  }
  return at;
}

const char* skip_literal(const char* at, const char* end, std::string_view literal) {
  return std::string_view(at, static_cast<std::size_t>(end - at)).starts_with(literal) ? at + literal.size()
                                                                                       : nullptr;
}

const char* skip_value(const char* at, const char* end, int depth);

const char* skip_object(const char* at, const char* end, int depth) {
  at = skip_space(at + 1, end);
  if (at != end && *at == '}') return at + 1;
  for (;;) {
    if (at == end || *at != '"') return nullptr;
    at = skip_string(at, end);
    if (at == nullptr) return nullptr;
    at = skip_space(at, end);
    if (at == end || *at != ':') return nullptr;
    at = skip_value(skip_space(at + 1, end), end, depth);
    if (at == nullptr) return nullptr;
    at = skip_space(at, end);
    if (at == end) return nullptr;
    if (*at == '}') return at + 1;
    if (*at != ',') return nullptr;
    at = skip_space(at + 1, end);
  }
}

const char* skip_array(const char* at, const char* end, int depth) {
  at = skip_space(at + 1, end);
  if (at != end && *at == ']') return at + 1;
  for (;;) {
    at = skip_value(at, end, depth);
    if (at == nullptr) return nullptr;
    at = skip_space(at, end);
    if (at == end) return nullptr;
    if (*at == ']') return at + 1;
    if (*at != ',') return nullptr;
    at = skip_space(at + 1, end);
  }
}

// `depth`: how many brackets of the value are open. Recursion is bounded by kJsonDepthMax.
const char* skip_value(const char* at, const char* end, int depth) {
  if (at == end) return nullptr;
  switch (*at) {
    case '"':
      return skip_string(at, end);
    case '{':
      return depth < kJsonDepthMax ? skip_object(at, end, depth + 1) : nullptr;
    case '[':
      return depth < kJsonDepthMax ? skip_array(at, end, depth + 1) : nullptr;
    case 't':
      return skip_literal(at, end, "true");
    case 'f':
      return skip_literal(at, end, "false");
    case 'n':
      return skip_literal(at, end, "null");
    default:
      return *at == '-' || is_digit(*at) ? skip_number(at, end) : nullptr;
  }
}

const char* skip_key(const char* at, const char* end) {
  if (at == end || *at != '"') return nullptr;
  at = skip_string(at, end);
  if (at == nullptr) return nullptr;
  at = skip_space(at, end);
  return at != end && *at == ':' ? skip_space(at + 1, end) : nullptr;
}

// skip_value() for any depth: what it cannot take because of its depth. Slower, and without recursion.
const char* skip_deep_value(const char* at, const char* end) {
  std::string awaited;  // closing brackets, the innermost last
  for (;;) {
    if (at == end) return nullptr;
    if (*at == '{' || *at == '[') {
      awaited.push_back(*at == '{' ? '}' : ']');
      at = skip_space(at + 1, end);
      if (at == end) return nullptr;
      if (*at != awaited.back()) {
        if (awaited.back() == '}') at = skip_key(at, end);
        if (at == nullptr) return nullptr;
        continue;
      }
    } else {
      at = skip_value(at, end, kJsonDepthMax);  // no bracket: it opens none
      if (at == nullptr) return nullptr;
      if (awaited.empty()) return at;
      at = skip_space(at, end);
    }
    while (at != end && *at == awaited.back()) {
      awaited.pop_back();
      if (awaited.empty()) return at + 1;
      at = skip_space(at + 1, end);
    }
    if (at == end || *at != ',') return nullptr;
    at = skip_space(at + 1, end);
    if (awaited.back() == '}') at = skip_key(at, end);
    if (at == nullptr) return nullptr;
  }
}

void append_utf8(std::string& out, std::uint32_t code_point) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::uint32_t hex4(std::string_view digits) {
  std::uint32_t value = 0;
  for (const char digit : digits.substr(0, 4)) {
    value = value << 4 | static_cast<std::uint32_t>(hex_value(digit));
  }
  return value;
}

// Decodes the validated `\uXXXX` (and the low half that must follow a high one) at the front of `text` and
// takes it off. False for a lone surrogate.
bool take_unicode_escape(std::string_view& text, std::string& out) {
  std::uint32_t code_point = hex4(text.substr(2));
  text.remove_prefix(6);
  if (code_point >= 0xD800 && code_point <= 0xDFFF) {
    if (code_point >= 0xDC00 || !text.starts_with("\\u")) return false;
    const std::uint32_t low = hex4(text.substr(2));
    if (low < 0xDC00 || low > 0xDFFF) return false;
    text.remove_prefix(6);
    code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
  }
  append_utf8(out, code_point);
  return true;
}

char unescaped(char c) {
  switch (c) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return c;
  }
}

template <class Number>
std::optional<Number> json_integer(std::string_view raw_value) {
  Number number = 0;
  const char* const end = raw_value.data() + raw_value.size();
  const auto [stop, error] = std::from_chars(raw_value.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

}  // namespace

JsonCheck check_json(std::string_view text) {
  JsonScanner scanner(text);
  std::string_view value;
  if (!scanner.take_value(value) || !scanner.is_at_end()) return JsonCheck::malformed;
  return scanner.is_too_deep() ? JsonCheck::too_deep : JsonCheck::ok;
}

JsonStep JsonScanner::fail() {
  position_ = end_ = nullptr;
  return JsonStep::malformed;
}

char JsonScanner::peek() {
  position_ = skip_space(position_, end_);
  return position_ == end_ ? '\0' : *position_;
}

bool JsonScanner::open(char bracket) {
  if (expected_ != Expected::value || peek() != bracket || depth_ == kJsonDepthMax) {
    fail();
    return false;
  }
  ++position_;
  ++depth_;
  expected_ = Expected::first_or_close;
  return true;
}

JsonStep JsonScanner::next_in(char closing) {
  const char next = peek();
  if (next == '\0' || expected_ == Expected::value) return fail();
  if (next == closing) {
    ++position_;
    --depth_;
    expected_ = Expected::comma_or_close;
    return JsonStep::end;
  }
  if (expected_ == Expected::comma_or_close) {
    if (next != ',') return fail();
    ++position_;
  }
  expected_ = Expected::value;
  return JsonStep::field;
}

JsonStep JsonScanner::next_field(std::string_view& key) {
  const JsonStep step = next_in('}');
  if (step != JsonStep::field) return step;
  if (peek() != '"') return fail();
  const char* const begin = position_ + 1;
  const char* const after = skip_string(position_, end_);
  if (after == nullptr) return fail();
  key = std::string_view(begin, static_cast<std::size_t>(after - 1 - begin));
  position_ = after;
  if (peek() != ':') return fail();
  ++position_;
  return JsonStep::field;
}

JsonStep JsonScanner::next_item() { return next_in(']'); }

bool JsonScanner::take_value(std::string_view& raw) {
  position_ = skip_space(position_, end_);
  const char* after = expected_ == Expected::value ? skip_value(position_, end_, 0) : nullptr;
  if (after == nullptr) {
    if (expected_ == Expected::value && position_ != nullptr) after = skip_deep_value(position_, end_);
    if (after == nullptr) {
      fail();
      return false;
    }
    is_too_deep_ = true;
  }
  raw = std::string_view(position_, static_cast<std::size_t>(after - position_));
  position_ = after;
  expected_ = Expected::comma_or_close;
  return true;
}

bool JsonScanner::is_at_end() {
  return position_ != nullptr && depth_ == 0 && expected_ == Expected::comma_or_close &&
         skip_space(position_, end_) == end_;
}

JsonStep JsonObjectReader::next(std::string_view& key, std::string_view& value) {
  if (!is_open_) {
    is_open_ = true;
    if (!scanner_.open_object()) return JsonStep::malformed;
  }
  const JsonStep step = scanner_.next_field(key);
  if (step == JsonStep::end) return scanner_.is_at_end() ? JsonStep::end : JsonStep::malformed;
  if (step == JsonStep::field && !scanner_.take_value(value)) return JsonStep::malformed;
  return step;
}

JsonStep JsonArrayReader::next(std::string_view& value) {
  if (!is_open_) {
    is_open_ = true;
    if (!scanner_.open_array()) return JsonStep::malformed;
  }
  const JsonStep step = scanner_.next_item();
  if (step == JsonStep::end) return scanner_.is_at_end() ? JsonStep::end : JsonStep::malformed;
  if (step == JsonStep::field && !scanner_.take_value(value)) return JsonStep::malformed;
  return step;
}

std::optional<std::string_view> json_key(std::string_view raw_key, std::string& scratch) {
  std::size_t escape = raw_key.find('\\');
  if (escape == std::string_view::npos) return raw_key;
  const std::size_t begin = scratch.size();
  for (; escape != std::string_view::npos; escape = raw_key.find('\\')) {
    scratch.append(raw_key.substr(0, escape));
    raw_key.remove_prefix(escape);
    if (raw_key[1] == 'u') {
      if (!take_unicode_escape(raw_key, scratch)) return std::nullopt;
    } else {
      scratch.push_back(unescaped(raw_key[1]));
      raw_key.remove_prefix(2);
    }
  }
  scratch.append(raw_key);
  return std::string_view(scratch).substr(begin);
}

std::optional<std::string_view> json_string(std::string_view raw_value, std::string& scratch) {
  if (raw_value.size() < 2 || raw_value.front() != '"') return std::nullopt;
  return json_key(raw_value.substr(1, raw_value.size() - 2), scratch);
}

std::optional<std::uint64_t> json_uint64(std::string_view raw_value) {
  return json_integer<std::uint64_t>(raw_value);
}

std::optional<std::int64_t> json_int64(std::string_view raw_value) {
  return json_integer<std::int64_t>(raw_value);
}

std::optional<bool> json_bool(std::string_view raw_value) {
  if (raw_value == "true") return true;
  if (raw_value == "false") return false;
  return std::nullopt;
}

void append_json_string(std::string& out, std::string_view utf8_text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out.push_back('"');
  const char* at = utf8_text.data();
  const char* const end = at + utf8_text.size();
  const char* run = at;
  const auto replace = [&](std::string_view escape) {
    out.append(run, static_cast<std::size_t>(at - run));
    out.append(escape);
    run = ++at;
  };
  while ((at = skip_plain(at, end)) != end) {
    const auto byte = static_cast<std::uint8_t>(*at);
    switch (byte) {
      case '"':
        replace("\\\"");
        break;
      case '\\':
        replace("\\\\");
        break;
      case '\b':
        replace("\\b");
        break;
      case '\f':
        replace("\\f");
        break;
      case '\n':
        replace("\\n");
        break;
      case '\r':
        replace("\\r");
        break;
      case '\t':
        replace("\\t");
        break;
      default:
        if (byte >= 0x80) {
          ++at;
        } else {
          const char escape[] = {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
          replace(std::string_view(escape, sizeof escape));
        }
    }
  }
  out.append(run, static_cast<std::size_t>(end - run));
  out.push_back('"');
}

void append_without_newlines(std::string& out, std::string_view json) {
  while (!json.empty()) {
    // find(char) is memchr; find_first_of would look at each byte.
    const std::string_view line = json.substr(0, json.find('\n'));
    json.remove_prefix(line.size() < json.size() ? line.size() + 1 : json.size());
    for (std::size_t at = 0;;) {
      const std::size_t stop = line.find('\r', at);
      out.append(line.substr(at, stop - at));
      if (stop == std::string_view::npos) break;
      at = stop + 1;
    }
  }
}

void append_uint(std::string& out, std::uint64_t number) {
  std::array<char, 20> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  out.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

}  // namespace carillon
