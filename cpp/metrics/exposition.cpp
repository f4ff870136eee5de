#include "metrics/exposition.hpp"

#include <array>
#include <charconv>

namespace carillon {

namespace {

constexpr double kNanosecondsPerSecond = 1e9;
constexpr double kMicrosecondsPerSecond = 1e6;

template <typename Number>
std::string text_of(Number number) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  return {buffer.data(), end};
}

std::string text_of(std::uint64_t value, Exposition::Unit unit) {
  if (unit == Exposition::Unit::plain) return text_of(value);
  return text_of(static_cast<double>(value) / kNanosecondsPerSecond);
}

}  // namespace

Exposition& Exposition::family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_.append("# HELP ").append(name).append(1, ' ').append(help);
  text_.append("\n# TYPE ").append(name).append(1, ' ').append(type).append(1, '\n');
  return *this;
}

void Exposition::append_label(std::string_view name, std::string_view value, bool is_first) {
  text_.append(1, is_first ? '{' : ',').append(name).append("=\"");
  for (const char c : value) {
    if (c == '\n') {
      text_.append("\\n");
      continue;
    }
    if (c == '"' || c == '\\') text_.append(1, '\\');
    text_.append(1, c);
  }
  text_.append(1, '"');
}

void Exposition::begin_line(std::string_view suffix, Labels labels, std::string_view bound) {
  text_.append(name_).append(suffix);
  bool is_first = true;
  for (const auto& [name, value] : labels) append_label(name, value, std::exchange(is_first, false));
  if (!bound.empty()) append_label("le", bound, std::exchange(is_first, false));
  text_.append(is_first ? " " : "} ");
}

Exposition& Exposition::sample(std::uint64_t value, Labels labels) {
  begin_line("", labels);
  text_.append(text_of(value)).append(1, '\n');
  return *this;
}

Exposition& Exposition::sample(std::int64_t value, Labels labels) {
  begin_line("", labels);
  text_.append(text_of(value)).append(1, '\n');
  return *this;
}

Exposition& Exposition::sample(double value, Labels labels) {
  begin_line("", labels);
  text_.append(text_of(value)).append(1, '\n');
  return *this;
}

Exposition& Exposition::sample(const HistogramCounts& counts, Unit unit, Labels labels) {
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < counts.bounds.size(); ++i) {
    below += counts.observations[i];
    begin_line("_bucket", labels, text_of(counts.bounds[i], unit));
    text_.append(text_of(below)).append(1, '\n');
  }
  below += counts.observations[counts.bounds.size()];
  begin_line("_bucket", labels, "+Inf");
  text_.append(text_of(below)).append(1, '\n');
  begin_line("_sum", labels);
  const bool is_duration = unit == Unit::nanoseconds;
  text_.append(is_duration ? text_of(static_cast<double>(counts.sum) / kMicrosecondsPerSecond)
                           : text_of(counts.sum));
  text_.append(1, '\n');
  begin_line("_count", labels);
  text_.append(text_of(below)).append(1, '\n');
  return *this;
}

}  // namespace carillon
