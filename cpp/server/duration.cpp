#include "server/duration.hpp"

#include <array>
#include <cctype>

namespace carillon {

namespace {

constexpr std::int64_t kSecondMs = 1'000;
constexpr std::int64_t kHourMs = 3'600 * kSecondMs;
constexpr std::int64_t kMostMs = INT64_MAX / 4;

struct Unit {
  std::string_view name;
  std::int64_t ms;
};
constexpr std::array kUnits{Unit{"h", kHourMs}, Unit{"m", 60 * kSecondMs}, Unit{"s", kSecondMs},
                            Unit{"ms", 1}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes digits off the front of `text`. Nothing if there is none, or the number is too large.
std::optional<std::int64_t> take_digits(std::string_view& text) {
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  std::int64_t number = 0;
  for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) {
    if (number > kMostMs / 10 - 1) return std::nullopt;
    number = number * 10 + (text.front() - '0');
  }
  return number;
}

// Takes a unit that is smaller than `above` off the front.
std::optional<std::int64_t> take_unit(std::string_view& text, std::int64_t above) {
  std::size_t length = 0;
  while (length < text.size() && std::isalpha(static_cast<unsigned char>(text[length])) != 0) ++length;
  for (const Unit& unit : kUnits) {
    if (unit.name != text.substr(0, length) || unit.ms >= above) continue;
    text.remove_prefix(length);
    return unit.ms;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::int64_t> parse_duration_ms(std::string_view text) {
  if (text.empty()) return std::nullopt;
  std::int64_t total = 0;
  std::int64_t above = INT64_MAX;
  while (!text.empty()) {
    const auto whole = take_digits(text);
    if (!whole) return std::nullopt;
    std::int64_t part = 0;
    std::int64_t scale = 1;
    if (text.starts_with('.')) {
      text.remove_prefix(1);
      const std::size_t before = text.size();
      const auto digits = take_digits(text);
      if (!digits || before - text.size() > 6) return std::nullopt;
      part = *digits;
      for (std::size_t i = text.size(); i < before; ++i) scale *= 10;
    }
    const auto unit = take_unit(text, above);
    if (!unit || *whole > kMostMs / *unit || part * *unit % scale != 0) return std::nullopt;
    total += *whole * *unit + part * *unit / scale;
    if (total > kMostMs) return std::nullopt;
    above = *unit;
  }
  return total;
}

std::string format_duration(std::int64_t duration_ms) {
  if (duration_ms > 0 && duration_ms % kHourMs == 0) return std::to_string(duration_ms / kHourMs) + "h";
  if (duration_ms % kSecondMs == 0) return std::to_string(duration_ms / kSecondMs) + "s";
  return std::to_string(duration_ms) + "ms";
}

}  // namespace carillon
