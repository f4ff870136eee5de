#include "protocol/plain_head.hpp"

#include <algorithm>

namespace carillon {
namespace {

using CharClass = std::uint8_t;
constexpr CharClass kTokenChar = 1;   // RFC 9110 section 5.6.2
constexpr CharClass kTargetChar = 2;  // visible ASCII
constexpr CharClass kValueChar = 4;   // RFC 9110 section 5.5
constexpr CharClass kHostChar = 8;    // of usual hosts
constexpr CharClass kDigit = 16;
constexpr std::size_t kDigitsMax = 15;  // no overflow

constexpr std::array<CharClass, 256> kClasses = [] {
  std::array<CharClass, 256> classes{};
  const auto add = [&classes](std::string_view characters, CharClass to) {
    for (const char c : characters) classes[static_cast<unsigned char>(c)] |= to;
  };
  for (std::size_t c = 0x20; c < 0x100; ++c) {
    if (c != 0x7F) classes[c] |= kValueChar;
    if (c > 0x20 && c < 0x7F) classes[c] |= kTargetChar;
  }
  add("\t", kValueChar);
  add("0123456789", kTokenChar | kHostChar | kDigit);
  add("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", kTokenChar | kHostChar);
  add("!#$%&'*+-.^_`|~", kTokenChar);
  add("-._:[]", kHostChar);
  return classes;
}();

bool is_of(CharClass wanted, char c) { return (kClasses[static_cast<unsigned char>(c)] & wanted) != 0; }
bool is_all_of(CharClass wanted, std::string_view text) {
  return std::all_of(text.begin(), text.end(), [wanted](char c) { return is_of(wanted, c); });
}
bool is_blank(char c) { return c == ' ' || c == '\t'; }

}  // namespace

bool PlainHead::read(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto take_while = [&at, end](CharClass wanted) {
    const char* const first = at;
    while (at != end && is_of(wanted, *at)) ++at;
    return std::string_view(first, static_cast<std::size_t>(at - first));
  };
  const auto take = [&at, end](std::string_view word) {
    if (!std::string_view(at, static_cast<std::size_t>(end - at)).starts_with(word)) return false;
    at += word.size();
    return true;
  };
  method_ = take_while(kTokenChar);
  if (method_.empty() || !take(" ")) return false;
  target_ = take_while(kTargetChar);
  if (target_.empty() || !take(" HTTP/1.1\r\n")) return false;
  while (!take("\r\n")) {
    HttpField field;
    field.name = take_while(kTokenChar);
    if (field.name.empty() || !take(":")) return false;
    while (at != end && is_blank(*at)) ++at;
    field.value = take_while(kValueChar);
    if (!take("\r\n") || at == end || is_blank(*at)) return false;  // a blank goes on with the line
    while (!field.value.empty() && is_blank(field.value.back())) field.value.remove_suffix(1);
    if (!add(field)) return false;
  }
  bytes_ = static_cast<std::size_t>(at - text.data());
  return has_host_;
}

void PlainHead::move(const char* from, const char* to) {
  const auto move_view = [from, to](std::string_view& view) {
    view = {to + (view.data() - from), view.size()};
  };
  move_view(method_);
  move_view(target_);
  for (HttpField& field : std::span(fields_.data(), count_)) {
    move_view(field.name);
    move_view(field.value);
  }
}

bool PlainHead::add(const HttpField& field) {
  if (count_ == kFieldsMax) return false;
  for (const HttpField& earlier : fields()) {
    if (is_same_name(earlier.name, field.name)) return false;
  }
  fields_[count_++] = field;
  switch (field.name.size()) {
    case std::string_view("host").size():
      if (!is_same_name(field.name, "host")) return true;
      has_host_ = true;
      return is_all_of(kHostChar, field.value);
    case std::string_view("connection").size():
      if (!is_same_name(field.name, "connection")) return true;
      is_keep_alive_ = !is_same_name(field.value, "close");
      return !is_keep_alive_ || is_same_name(field.value, "keep-alive") ||
             is_same_name(field.value, "upgrade");
    case std::string_view("content-length").size():
      if (!is_same_name(field.name, "content-length")) return true;
      if (field.value.empty() || field.value.size() > kDigitsMax || !is_all_of(kDigit, field.value))
        return false;
      for (const char c : field.value)
        content_length_ = content_length_ * 10 + static_cast<std::uint64_t>(c - '0');
      return true;
    case std::string_view("proxy-connection").size():
      return !is_same_name(field.name, "proxy-connection");
    case std::string_view("transfer-encoding").size():
      return !is_same_name(field.name, "transfer-encoding");
    default:
      return true;
  }
}

}  // namespace carillon
