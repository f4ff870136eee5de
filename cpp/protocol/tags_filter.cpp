#include "protocol/tags_filter.hpp"

#include <algorithm>
#include <array>

#include "protocol/json_span.hpp"
#include "protocol/protobuf.hpp"
#include "protocol/utf8.hpp"

namespace carillon {

namespace {

constexpr std::array<std::string_view, 4> kOperators{"", "and", "or", "not"};
constexpr std::array<std::string_view, 13> kComparisons{"eq", "neq", "in", "nin", "ex", "nex", "sw",
                                                        "ew", "ct",  "lt", "lte", "gt", "gte"};

/// A decimal number as its digits, so that it is compared exactly.
struct Decimal {
  bool is_negative = false;
  std::string_view whole;     // without leading zeros
  std::string_view fraction;  // without trailing zeros
};

std::optional<Decimal> decimal_of(std::string_view text) {
  Decimal decimal;
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    decimal.is_negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const std::size_t point = std::min(text.find('.'), text.size());
  decimal.whole = text.substr(0, point);
  decimal.fraction = text.substr(std::min(point + 1, text.size()));
  const auto is_digits = [](std::string_view part) {
    return std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (decimal.whole.empty() || !is_digits(decimal.whole) || !is_digits(decimal.fraction)) return std::nullopt;
  if (point + 1 == text.size()) return std::nullopt;  // "1."
  decimal.whole.remove_prefix(std::min(decimal.whole.find_first_not_of('0'), decimal.whole.size()));
  decimal.fraction = decimal.fraction.substr(0, decimal.fraction.find_last_not_of('0') + 1);
  if (decimal.whole.empty() && decimal.fraction.empty()) decimal.is_negative = false;
  return decimal;
}

/// Below zero: a is less than b; zero: they are equal.
int compared(const Decimal& a, const Decimal& b) {
  if (a.is_negative != b.is_negative) return a.is_negative ? -1 : 1;
  int order = 0;
  if (a.whole.size() != b.whole.size()) {
    order = a.whole.size() < b.whole.size() ? -1 : 1;
  } else {
    order = a.whole.compare(b.whole);
    if (order == 0) order = a.fraction.compare(b.fraction);
  }
  return a.is_negative ? -order : order;
}

}  // namespace

/// Reads one filter, and counts its parts.
class TagsFilter::Builder {
 public:
  bool read_json(std::string_view text, Node& node, std::size_t depth);
  bool read_protobuf(std::string_view message, Node& node, std::size_t depth);

 private:
  template <typename Read>
  bool read_list(std::string_view text, Read read) {
    JsonArrayReader items(text);
    std::string_view item;
    JsonStep step;
    while ((step = items.next(item)) == JsonStep::field)
      if (!read(item)) return false;
    return step == JsonStep::end;
  }
  /// One more part.
  bool may_add() { return ++parts_ <= kPartsMax; }

  std::size_t parts_ = 0;
  // Names, until they are known.
  struct Names {
    std::string join;
    std::string comparison;
  };
  static bool name(Node& node, const Names& names);
};

bool TagsFilter::Builder::name(Node& node, const Names& names) {
  const auto join = std::find(kOperators.begin(), kOperators.end(), names.join);
  if (join == kOperators.end()) return false;
  node.join = static_cast<Operator>(join - kOperators.begin());
  if (node.join == Operator::negation) return node.nodes.size() == 1;
  if (node.join != Operator::leaf) return !node.nodes.empty();
  const auto comparison = std::find(kComparisons.begin(), kComparisons.end(), names.comparison);
  if (comparison == kComparisons.end() || node.key.empty() || !node.nodes.empty()) return false;
  node.comparison = static_cast<Comparison>(comparison - kComparisons.begin());
  return node.comparison < Comparison::lt || decimal_of(node.value).has_value();
}

bool TagsFilter::Builder::read_json(std::string_view text, Node& node, std::size_t depth) {
  if (depth > kDepthMax || !may_add()) return false;
  Names names;
  const auto read_text = [](std::string_view raw, std::string& target) {
    if (is_json_null(raw)) return true;
    std::string scratch;
    const auto decoded = json_string(raw, scratch);
    if (decoded) target = *decoded;
    return decoded.has_value();
  };
  JsonObjectReader fields(text);
  std::string_view key;
  std::string_view value;
  JsonStep step;
  while ((step = fields.next(key, value)) == JsonStep::field) {
    bool is_read = true;
    if (key == "op") {
      is_read = read_text(value, names.join);
    } else if (key == "key") {
      is_read = read_text(value, node.key);
    } else if (key == "cmp") {
      is_read = read_text(value, names.comparison);
    } else if (key == "val") {
      is_read = read_text(value, node.value);
    } else if (key == "vals" && !is_json_null(value)) {
      is_read = read_list(value, [&](std::string_view item) {
        return may_add() && !is_json_null(item) && read_text(item, node.values.emplace_back());
      });
    } else if (key == "nodes" && !is_json_null(value)) {
      is_read = read_list(value, [&](std::string_view item) {
        return read_json(item, node.nodes.emplace_back(), depth + 1);
      });
    }
    if (!is_read) return false;
  }
  return step == JsonStep::end && name(node, names);
}

bool TagsFilter::Builder::read_protobuf(std::string_view message, Node& node, std::size_t depth) {
  if (depth > kDepthMax || !may_add()) return false;
  Names names;
  ProtobufReader reader(message);
  ProtobufField field;
  const std::array<std::string*, 4> texts{&names.join, &node.key, &names.comparison, &node.value};
  while (reader.next(field)) {
    if (field.number < 1 || field.number > 6) continue;
    if (!field.is_bytes) return false;
    if (field.number == 6) {
      if (!read_protobuf(field.bytes, node.nodes.emplace_back(), depth + 1)) return false;
      continue;
    }
    if (!is_utf8(field.bytes) || (field.number == 5 && !may_add())) return false;
    std::string& text = field.number == 5 ? node.values.emplace_back() : *texts[field.number - 1];
    text = field.bytes;
  }
  return !reader.is_malformed() && name(node, names);
}

std::optional<TagsFilter> TagsFilter::from_json(std::string_view text) {
  TagsFilter filter;
  if (!Builder().read_json(text, filter.root_, 1)) return std::nullopt;
  return filter;
}

std::optional<TagsFilter> TagsFilter::from_protobuf(std::string_view message) {
  TagsFilter filter;
  if (!Builder().read_protobuf(message, filter.root_, 1)) return std::nullopt;
  return filter;
}

bool TagsFilter::passes(const Node& node, std::span<const Tag> tags) {
  const auto passes_here = [&](const Node& each) { return passes(each, tags); };
  switch (node.join) {
    case Operator::all:
      return std::all_of(node.nodes.begin(), node.nodes.end(), passes_here);
    case Operator::any:
      return std::any_of(node.nodes.begin(), node.nodes.end(), passes_here);
    case Operator::negation:
      return !passes(node.nodes.front(), tags);
    case Operator::leaf:
      break;
  }
  const auto tag =
      std::find_if(tags.begin(), tags.end(), [&](const Tag& each) { return each.first == node.key; });
  return leaf_passes(node, tag == tags.end() ? nullptr : &tag->second);
}

bool TagsFilter::leaf_passes(const Node& node, const std::string* tag) {
  const auto is_listed = [&] {
    return std::find(node.values.begin(), node.values.end(), *tag) != node.values.end();
  };
  const auto is_ordered = [&](auto is_wanted) {
    const std::optional<Decimal> number = decimal_of(*tag);
    const std::optional<Decimal> bound = decimal_of(node.value);
    return number && bound && is_wanted(compared(*number, *bound));
  };
  switch (node.comparison) {  // a tag that is not there differs from every value
    case Comparison::nex:
      return tag == nullptr;
    case Comparison::neq:
      return tag == nullptr || *tag != node.value;
    case Comparison::nin:
      return tag == nullptr || !is_listed();
    default:
      if (tag == nullptr) return false;
  }
  switch (node.comparison) {
    case Comparison::eq:
      return *tag == node.value;
    case Comparison::in:
      return is_listed();
    case Comparison::sw:
      return tag->starts_with(node.value);
    case Comparison::ew:
      return tag->ends_with(node.value);
    case Comparison::ct:
      return tag->find(node.value) != std::string::npos;
    case Comparison::lt:
      return is_ordered([](int order) { return order < 0; });
    case Comparison::lte:
      return is_ordered([](int order) { return order <= 0; });
    case Comparison::gt:
      return is_ordered([](int order) { return order > 0; });
    case Comparison::gte:
      return is_ordered([](int order) { return order >= 0; });
    default:
      return true;  // ex
  }
}

}  // namespace carillon
