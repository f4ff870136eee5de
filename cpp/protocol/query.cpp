#include "protocol/query.hpp"

#include <algorithm>

#include "protocol/hex.hpp"
#include "protocol/utf8.hpp"

namespace carillon {
namespace {

enum class Plus : bool { literal, space };

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

bool decode_percent(std::string_view text, Plus plus, std::string& out) {
  const bool is_plain = std::all_of(text.begin(), text.end(),
                                    [](char c) { return c >= ' ' && c <= '~' && c != '%' && c != '+'; });
  if (is_plain) {
    out = text;
    return true;
  }
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus == Plus::space) c = ' ';
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = high < 0 ? -1 : hex_value(text[i + 2]);
      if (low < 0) return false;
      c = static_cast<char>(high << 4 | low);
      i += 2;
    }
    if (is_control(c)) return false;
    out.push_back(c);
  }
  return is_utf8(out);
}

// Length of the "http://" that an absolute form begins with, in upper or lower case, or 0.
std::size_t scheme_length(std::string_view target) {
  for (const std::string_view scheme : {std::string_view("http://"), std::string_view("https://")}) {
    const std::string_view given = target.substr(0, scheme.size());
    if (std::equal(given.begin(), given.end(), scheme.begin(), scheme.end(), [](char a, char b) {
          return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
        })) {
      return scheme.size();
    }
  }
  return 0;
}

// Takes the text up to `separator`, and the separator itself, off the front of `rest`.
std::string_view take_until(std::string_view& rest, char separator) {
  const std::size_t stop = rest.find(separator);
  const std::string_view taken = rest.substr(0, stop);
  rest.remove_prefix(stop == std::string_view::npos ? rest.size() : stop + 1);
  return taken;
}

}  // namespace

std::optional<std::string_view> HttpTarget::find(std::string_view name) const {
  const auto found = std::find_if(parameters.begin(), parameters.end(),
                                  [name](const auto& parameter) { return parameter.first == name; });
  if (found == parameters.end()) return std::nullopt;
  return found->second;
}

std::vector<std::string_view> HttpTarget::find_all(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const auto& [key, value] : parameters) {
    if (key == name) values.push_back(value);
  }
  return values;
}

std::optional<HttpTarget> parse_http_target(std::string_view target) {
  HttpTarget result;
  if (target == "*") {
    result.path = target;
    return result;
  }
  if (const std::size_t scheme = scheme_length(target); scheme > 0) {
    target.remove_prefix(scheme);
    const std::size_t authority = std::min(target.find_first_of("/?#"), target.size());
    if (authority == 0) return std::nullopt;
    result.authority = target.substr(0, authority);
    target.remove_prefix(authority);
    if (target.empty()) target = "/";
  }
  if (!target.starts_with('/') || target.find('#') != std::string_view::npos) return std::nullopt;
  if (!decode_percent(take_until(target, '?'), Plus::literal, result.path)) return std::nullopt;
  while (!target.empty()) {
    std::string_view value = take_until(target, '&');
    if (value.empty()) continue;
    if (result.parameters.size() == kQueryParametersMax) return std::nullopt;
    const std::string_view name = take_until(value, '=');
    auto& [decoded_name, decoded_value] = result.parameters.emplace_back();
    if (!decode_percent(name, Plus::space, decoded_name)) return std::nullopt;
    if (!decode_percent(value, Plus::space, decoded_value)) return std::nullopt;
  }
  return result;
}

}  // namespace carillon
