#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "metrics/histogram.hpp"

namespace carillon {

/// A page of metrics in the text format of Prometheus, version 0.0.4: families, each with its samples.
class Exposition {
 public:
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";
  /// Name and value. Values are escaped; names are given by code.
  using Label = std::pair<std::string_view, std::string_view>;
  using Labels = std::initializer_list<Label>;
  /// What the integers of a histogram are.
  enum class Unit : std::uint8_t { plain, nanoseconds };  ///< nanoseconds are shown as seconds

  // Each begins a family; its samples follow.

  Exposition& counter(std::string_view name, std::string_view help) { return family(name, "counter", help); }
  Exposition& gauge(std::string_view name, std::string_view help) { return family(name, "gauge", help); }
  Exposition& histogram(std::string_view name, std::string_view help) {
    return family(name, "histogram", help);
  }

  Exposition& sample(std::uint64_t value, Labels labels = {});
  Exposition& sample(std::int64_t value, Labels labels = {});
  /// Neither infinite nor not-a-number.
  Exposition& sample(double value, Labels labels = {});
  Exposition& sample(const HistogramCounts& counts, Unit unit, Labels labels = {});

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  Exposition& family(std::string_view name, std::string_view type, std::string_view help);
  /// A line up to its value. `bound`: of a bucket; empty: none.
  void begin_line(std::string_view suffix, Labels labels, std::string_view bound = {});
  void append_label(std::string_view name, std::string_view value, bool is_first);

  std::string text_;
  std::string name_;  // of the family
};

}  // namespace carillon
