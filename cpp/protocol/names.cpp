#include "protocol/names.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "protocol/utf8.hpp"

namespace carillon {

namespace {
constexpr std::size_t kNameBytes = 64;  // a longer one comes near none of ours
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> names) {
  if (name.size() > kNameBytes) return {};
  const std::size_t near = std::max<std::size_t>(2, name.size() / 3);
  const auto nearest = std::min_element(names.begin(), names.end(), [&](auto a, auto b) {
    return edit_distance(name, a) < edit_distance(name, b);
  });
  return nearest != names.end() && edit_distance(name, *nearest) <= near ? *nearest : std::string_view();
}

std::string unknown_name(std::string_view kind, std::string_view name,
                         std::span<const std::string_view> names) {
  std::string text = in_quotes(name) + ": unknown ";
  text.append(kind);
  if (const std::string_view nearest = nearest_name(name, names); !nearest.empty())
    return text.append("; did you mean '").append(nearest).append("'?");
  if (names.empty()) return text.append("; there are none");
  text.append("; known: ");
  for (const std::string_view each : names) text.append(each == names.front() ? "" : ", ").append(each);
  return text;
}

}  // namespace carillon
